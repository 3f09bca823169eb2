"""A study's experiment in MLflow, whose runs are found by the tag `raycl.key` and written once each."""

from __future__ import annotations

import contextlib
import logging
import os
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from mlflow.entities import Metric, Param, Run, RunTag
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient

from raycl.errors import UserError, redacted, screen_line
from raycl.filenames import file_name
from raycl.tune.database import database_uri, make_database
from raycl.tune.projection import PARENT, Projection, milliseconds


def tracking_uri(store: Path) -> str:
    """Return ``MLFLOW_TRACKING_URI``, or the URI of a database in the folder of the store."""
    return os.environ.get("MLFLOW_TRACKING_URI") or database_uri(store / "mlflow.db")


@dataclass
class Experiment:
    """A study's experiment in MLflow.

    Attributes:
        client: MLflow's client.
        id: MLflow's id of the experiment.
        uri: The tracking URI.
    """

    client: MlflowClient
    id: str
    uri: str

    @classmethod
    def open(cls, name: str, store: Path) -> Experiment:
        """Open the experiment, and create it and its database if necessary.

        This must happen before any other use, because a new database can serve only one client.

        Args:
            name: Name of the study.
            store: Folder of results.

        Raises:
            UserError: If nothing answers at the tracking URI.
        """
        uri = tracking_uri(store)
        if re.fullmatch(r"sqlite:/*(:memory:.*)?", uri):
            raise UserError(
                f"MLFLOW_TRACKING_URI={uri} is a database that is lost when this process ends; name a file, "
                "such as sqlite:////home/me/mlflow.db, or unset it"
            )
        _quiet()
        try:
            make_database(uri)
            client = MlflowClient(tracking_uri=uri)
            known = client.get_experiment_by_name(name)
            if known is not None and known.lifecycle_stage == "deleted":
                client.restore_experiment(known.experiment_id)
            local = (store / "mlflow-artifacts" / file_name(name)).as_uri()
            artefacts = None if uri.startswith("http") else local
            experiment = known.experiment_id if known else _new_experiment(client, name, artefacts)
        except Exception as error:
            raise no_answer(uri, error) from None
        return cls(client, experiment, uri)

    def unique(self) -> dict[tuple[str, str], Run]:
        """Return the runs by parent and key; of duplicates that two drivers made, all but one are deleted."""
        known: dict[tuple[str, str], Run] = {}
        parents = {""}
        for run in sorted(self.runs(), key=lambda run: (PARENT in run.data.tags, run_id_of(run))):
            parent, key = run.data.tags.get(PARENT, ""), run.data.tags.get("raycl.key", "")
            if key and (parent not in parents or (parent, key) in known):
                with contextlib.suppress(MlflowException):  # the other driver has deleted it already
                    self.client.delete_run(run.info.run_id)
                continue
            known[parent, key] = run
            if not parent:
                parents.add(run.info.run_id)
        return known

    def runs(self, query: str = "") -> Iterator[Run]:
        """Yield the runs that match a query in MLflow's filter language, page after page."""
        token: str | None = None
        while True:
            page = self.client.search_runs([self.id], query, max_results=1000, page_token=token)
            yield from page
            token = page.token
            if not token:
                return

    def called(self, key: str) -> Iterator[Run]:
        """Yield the runs with this `raycl.key`, which may contain quotes of both kinds in a label."""
        quote = "'" if "'" not in key else '"'
        plain = quote not in key and "\\" not in key  # MLflow's filters cannot express both kinds of quotes
        for run in self.runs(f"tags.`raycl.key` = {quote}{key}{quote}" if plain else ""):
            if run.data.tags.get("raycl.key") == key:
                yield run

    def write(self, what: Projection, known: Mapping[tuple[str, str], Run]) -> str:
        """Create or complete a run, unless its content is there already.

        Args:
            what: What the run should contain.
            known: Existing runs by parent and key.

        Returns:
            MLflow's id of the run.
        """
        run, content = known.get((what.parent, what.key)), what.content()
        if run is not None and run.data.tags.get("raycl.content") == content:
            return str(run.info.run_id)
        if run is not None and not what.parent and what.contradicts(run):
            self._drop(run)
            run = None
        if run is None:
            tags = {"raycl.key": what.key} | ({PARENT: what.parent} if what.parent else {})
            run = self.client.create_run(self.id, milliseconds(what.started), tags, what.name)
        run_id = str(run.info.run_id)
        points = [Metric(n, v, milliseconds(at), step) for n, v, at, step in what.points]
        params = [Param(k, str(v)) for k, v in what.params.items() if k not in run.data.params]
        for start in range(0, max(len(points), 1), 500):
            batch = points[start : start + 500]
            self.client.log_batch(run_id, batch, params if not start else [], [])
        for name, value in what.artefacts.items():
            self.client.log_dict(run_id, value, name)
        if what.status == "RUNNING":
            self.client.update_run(run_id, status="RUNNING")
        else:
            self.client.set_terminated(run_id, what.status, milliseconds(what.ended))
        tags = what.tags | {"raycl.content": content}  # written last, as a mark that the rest is there
        self.client.log_batch(run_id, [], [], [RunTag(k, v) for k, v in tags.items()])
        return run_id

    def _drop(self, cell: Run) -> None:
        """Delete a cell's run and its child runs, because MLflow does not allow parameters to change."""
        children = self.runs(f"tags.`{PARENT}` = '{run_id_of(cell)}'")
        for run in [*children, cell]:
            with contextlib.suppress(MlflowException):  # another driver has deleted it already
                self.client.delete_run(run_id_of(run))


def though_dropped(act: Callable[[], None]) -> None:
    """Call `act`, and repeat it if another driver deletes a duplicate run while it is being written."""
    for attempt in range(5):
        try:
            return act()
        except MlflowException as error:
            if attempt == 4 or "deleted" not in str(error):
                raise


def no_answer(uri: str, error: Exception) -> UserError:
    """Return the error for an MLflow that cannot be used, with the remedy."""
    remedy = "start it, or unset MLFLOW_TRACKING_URI to keep the database in the store's folder"
    if not os.environ.get("MLFLOW_TRACKING_URI"):
        remedy = "move the file away; the results of the store are then written to a new one"
    return UserError(f"MLflow at {redacted(uri)} does not answer ({reason_of(error)}); {remedy}")


def reason_of(error: Exception) -> str:
    """Return the first line of an error's message, shortened and without passwords."""
    first = next(iter(str(error).strip().splitlines()), "") or type(error).__name__
    return screen_line(redacted(first), 160)


def _quiet() -> None:
    """Silence MLflow's own messages and tracebacks, because raycl reports errors itself."""
    for name in ("mlflow", "alembic", "sqlalchemy", "urllib3"):
        logging.getLogger(name).setLevel(logging.CRITICAL + 1)


def run_id_of(run: Run) -> str:
    """Return MLflow's id of a run."""
    return str(run.info.run_id)


def _new_experiment(client: MlflowClient, name: str, artefacts: str | None) -> str:
    """Create an experiment, or return the one that another driver has created at the same moment."""
    try:
        tags = {"mlflow.experimentKind": "custom_model_development"}
        return str(client.create_experiment(name, artifact_location=artefacts, tags=tags))
    except MlflowException:
        known = client.get_experiment_by_name(name)
        if known is None:
            raise
        return str(known.experiment_id)

"""A study's experiment in MLflow, whose runs are found by the tag `raycl.key` and written once each."""

from __future__ import annotations

import contextlib
import logging
import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from mlflow.entities import Metric, Param, Run, RunTag
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient

from raycl.errors import UserError, redacted, screen_line
from raycl.filenames import file_name
from raycl.tune.database import database_file, database_uri, make_database
from raycl.tune.moving import mend_artefacts
from raycl.tune.projection import CELL, PARENT, Projection, digest, milliseconds
from raycl.tune.wholeruns import WholeRuns

CONTENT = "raycl.content"  # tag with the digest of a run's content
BATCH = 500  # points that are written in one request; MLflow accepts 1,000 in total


def tracking_uri(store: Path) -> str:
    """Return ``MLFLOW_TRACKING_URI``, or the URI of a database in the folder of the store."""
    return os.environ.get("MLFLOW_TRACKING_URI") or database_uri(store / "mlflow.db")


@dataclass(slots=True)
class Written:
    """A run in MLflow, as far as a driver remembers it.

    Attributes:
        run_id: MLflow's id of the run.
        content: Digest of its content; "" if it may lack a part.
    """

    run_id: str
    content: str


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
    _known: dict[tuple[str, str], Written] | None = None  # None until the runs have been read
    _whole: WholeRuns | None = None  # None where MLflow's client has to write everything

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
        quiet()
        try:
            make_database(uri)
            mend_artefacts(store)
            client = MlflowClient(tracking_uri=uri)
            known = client.get_experiment_by_name(name)
            if known is not None and known.lifecycle_stage == "deleted":
                client.restore_experiment(known.experiment_id)
            local = (store / "mlflow-artifacts" / file_name(name)).as_uri()
            artefacts = None if uri.startswith("http") else local
            experiment = known.experiment_id if known else _new_experiment(client, name, artefacts)
        except Exception as error:
            raise no_answer(uri, error) from None
        database = database_file(uri)
        whole = None if database is None else WholeRuns(database, experiment)
        return cls(client, experiment, uri, None, whole)

    def close(self) -> None:
        """Close the database; writing opens it again."""
        if self._whole is not None:
            self._whole.close()

    @property
    def known(self) -> dict[tuple[str, str], Written]:
        """The existing runs by parent and key; they are read from MLflow only once, at the first use."""
        return self.read() if self._known is None else self._known

    def read(self) -> dict[tuple[str, str], Written]:
        """Read the existing runs; of duplicates that two drivers made, all but one are deleted.

        Returns:
            The runs by parent and key.
        """
        known: dict[tuple[str, str], Written] = {}
        parents = {"": ""}
        for run_id, parent, key, content in sorted(self._marks(), key=lambda run: (run[1] != "", run[0])):
            if key and (parent not in parents or (parent, key) in known):
                with contextlib.suppress(MlflowException):  # the other driver has deleted it already
                    self.client.delete_run(run_id)
                continue
            if not parent:
                parents[run_id] = run_id
            if key:  # else it is a run of the user's own
                known[parents[parent], key] = Written(run_id, content)
        self._known = known
        return known

    def _marks(self) -> list[tuple[str, ...]]:
        """Return for each run MLflow's id, and the tags with its parent, its key and its content."""
        names = (PARENT, "raycl.key", CONTENT)
        found = self._whole.tags(names) if self._whole is not None else None
        if found is not None:
            return found
        return [(run_id_of(run), *(run.data.tags.get(name, "") for name in names)) for run in self.runs()]

    def runs(self, query: str = "") -> Iterator[Run]:
        """Yield the runs that match a query in MLflow's filter language, page after page."""
        token: str | None = None
        while True:
            page = self.client.search_runs([self.id], query, max_results=1000, page_token=token)
            yield from page
            token = page.token
            if not token:
                return

    def write(self, what: Projection) -> str:
        """Create or complete a run, unless its content is there already.

        A run that somebody has deleted is created again.

        Args:
            what: What the run should contain.

        Returns:
            MLflow's id of the run.
        """
        content, seen = what.content(), self.known.get(what.place)
        if seen is not None and seen.content == content:
            return seen.run_id
        run = self._existing(what, seen)
        if run is not None and not what.parent and what.contradicts(run):
            self._drop(run)
            run = None
        if run is None:
            tags = what.marks | what.tags
            if what.parent and self._whole is not None:
                whole = self._whole.write(what, tags | {CONTENT: content})
                if whole is not None:
                    self.known[what.place] = Written(whole, content)
                    return whole
            run = self.client.create_run(self.id, milliseconds(what.started), tags, what.name)
        self.known[what.place] = written = Written(run_id_of(run), "")
        self._complete(run, what, content)
        written.content = content
        return written.run_id

    def _existing(self, what: Projection, seen: Written | None) -> Run | None:
        """Return the run as it is in MLflow now; None if there is none, or if it was deleted.

        Another driver may have created a cell's run meanwhile. It is searched for by a tag that only cells'
        runs have, so that the database does not look at all other runs.
        """
        if seen is not None:
            try:
                run = self.client.get_run(seen.run_id)
            except MlflowException as error:
                if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                    raise
            else:
                if run.info.lifecycle_stage != "deleted":
                    return run
        if what.parent:
            return None
        return min(self.runs(f"tags.`{CELL}` = '{digest(what.key)}'"), key=run_id_of, default=None)

    def _complete(self, run: Run, what: Projection, content: str) -> None:
        """Write what a run lacks, with few requests; the digest of the content comes last.

        MLflow writes the parameters, the metrics and the tags of a batch in this order, so a run with the
        digest has everything else.
        """
        run_id = run_id_of(run)
        for name, value in what.artefacts.items():
            self.client.log_dict(run_id, value, name)
        if what.status != "RUNNING":
            self.client.set_terminated(run_id, what.status, milliseconds(what.ended))
        elif run.info.status != "RUNNING":
            self.client.update_run(run_id, status="RUNNING")
        points = [Metric(n, v, milliseconds(at), step) for n, v, at, step in what.points]
        params = [Param(k, str(v)) for k, v in what.params.items() if k not in run.data.params]
        tags = [RunTag(k, v) for k, v in what.tags.items() if run.data.tags.get(k) != v]
        for start in range(0, max(len(points), 1), BATCH):
            last = start + BATCH >= len(points)
            self.client.log_batch(
                run_id,
                points[start : start + BATCH],
                params if not start else [],
                [*tags, RunTag(CONTENT, content)] if last else [],
            )

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


def quiet() -> None:
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

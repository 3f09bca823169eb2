"""The store, projected into MLflow by one writer. Doing it again adds nothing.

Experiment = study, parent run = cell, child run = trial or seed. Runs are found by the tag `raycl.key`,
never by an id that somebody remembers; every timestamp comes from the result, so that a repeated projection
writes the same points.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from mlflow.entities import Metric, Param, Run, RunTag
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient

from raycl import metrics, userfiles
from raycl.errors import UserError, redacted, screen_line
from raycl.filenames import file_name
from raycl.papers.published import published
from raycl.reporting.sensitivity import sensitivity
from raycl.reporting.settings import searched
from raycl.results.collect import collect, row_of
from raycl.results.rows import Row
from raycl.specs import key_of
from raycl.study.agenda import Agenda
from raycl.study.progress import CellState, Trial
from raycl.study.values import Study
from raycl.tune.database import database_uri, make_database
from raycl.tune.projection import (
    PARENT,
    Projection,
    about,
    ended_of,
    matrices_of,
    milliseconds,
    points_of,
    shown_value,
)


def _though_dropped(act: Callable[[], None]) -> None:
    """Do it, and again where another driver drops a run that stood there twice while it is written to."""
    for attempt in range(5):
        try:
            return act()
        except MlflowException as error:
            if attempt == 4 or "deleted" not in str(error):
                raise


UI = "http://127.0.0.1:5000"


def view_of(own: Sequence[metrics.Metric] = ()) -> dict[str, Any]:
    """A view of the runs' table that MLflow's pages open by name: a row per cell, its numbers beside it.

    Args:
        own: metrics that the study adds to raycl's.
    """
    main = [metric.name for metric in metrics.all_metrics(own) if metric.main]
    main.insert(main.index("acc") + 1, "acc_std")
    columns = [*main, "ps", "ct", "paper", "difference", "params", "bytes_total"]
    return {
        "searchFilter": "tags.`raycl.kind` = 'cell'",
        "orderByKey": "params.`benchmark`",
        "orderByAsc": True,
        "startTime": "ALL",
        "lifecycleFilter": "Active",
        "datasetsFilter": [],
        "modelVersionFilter": "All Runs",
        "selectedColumns": [
            "params.`method`",
            "params.`benchmark`",
            *(f"metrics.`{name}`" for name in columns),
        ],
        "runsExpanded": {},
        "runsPinned": [],
        "runsHidden": [],
    }


VIEW = view_of()


def tracking_uri(store: Path) -> str:
    """``MLFLOW_TRACKING_URI``, or a database beside the store."""
    return os.environ.get("MLFLOW_TRACKING_URI") or database_uri(store / "mlflow.db")


@dataclass
class Tracking:
    """A study's experiment, opened."""

    client: MlflowClient
    experiment: str
    uri: str
    study: Study
    agenda: Agenda

    @classmethod
    def open(cls, study: Study, agenda: Agenda) -> Tracking:
        """Make database and experiment, before any other use: a cold database takes one client at a time.

        Raises:
            UserError: nothing answers at the tracking URI.
        """
        uri = tracking_uri(agenda.store.root)
        if re.fullmatch(r"sqlite:/*(:memory:.*)?", uri):
            raise UserError(
                f"MLFLOW_TRACKING_URI={uri} is a database that ends with this process; name a file, such as "
                "sqlite:////home/me/mlflow.db, or unset it"
            )
        _quiet()
        try:
            make_database(uri)
            client = MlflowClient(tracking_uri=uri)
            known = client.get_experiment_by_name(study.name)
            if known is not None and known.lifecycle_stage == "deleted":
                client.restore_experiment(known.experiment_id)
            local = (agenda.store.root / "mlflow-artifacts" / file_name(study.name)).as_uri()
            experiment = known.experiment_id if known else _new_experiment(
                client, study.name, None if uri.startswith("http") else local)  # fmt: skip
        except Exception as error:
            raise _no_answer(uri, error) from None
        return cls(client, experiment, uri, study, agenda)

    def show(self) -> tuple[str, str]:
        """Project everything the store has of this study; links to the table of its runs and to its cells.

        Raises:
            UserError: MLflow cannot be used.
        """
        try:
            _though_dropped(self.sync)
            return self.runs_link(), self.compare_link()
        except Exception as error:
            raise _no_answer(self.uri, error) from None

    def sync(self) -> None:
        """Project everything the store has of this study."""
        with userfiles.beside(self.study.folder):
            self._sync()

    def _sync(self) -> None:
        self.client.set_experiment_tag(
            self.experiment, "mlflow.sharedViewState.raycl", json.dumps(view_of(self.study.metrics))
        )
        rows = collect(self.study, self.agenda)
        known = self._unique()
        for state, row in zip(self.agenda.states, rows, strict=True):
            if not any(trial.result for trial in [*state.trials, *state.finals.values()]):
                continue
            parent = self.parent(state, row, published(self.study.paper, row, rows), known)
            for role, trial in _children(state).items():
                self.child(parent, state, trial, role, row, known)

    def _unique(self) -> dict[tuple[str, str], Run]:
        """Runs by parent and key; of those that two drivers made at the same moment, one is left."""
        known: dict[tuple[str, str], Run] = {}
        runs = sorted(self._runs(), key=lambda run: (PARENT in run.data.tags, _id(run)))
        parents = {""}
        for run in runs:
            parent, key = run.data.tags.get(PARENT, ""), run.data.tags.get("raycl.key", "")
            if key and (parent not in parents or (parent, key) in known):
                with contextlib.suppress(MlflowException):  # the other driver was faster
                    self.client.delete_run(run.info.run_id)
                continue
            known[parent, key] = run
            if not parent:
                parents.add(run.info.run_id)
        return known

    def one(self, state: CellState, key: str) -> None:
        """Project one finished run, and what it changes in its cell's row."""
        with userfiles.beside(self.study.folder):
            self._one(state, key)

    def _one(self, state: CellState, key: str) -> None:
        row = row_of(state, self.agenda, self.study.metrics)
        beside = [row, *self._variants(state)] if self.study.paper else []
        known: dict[tuple[str, str], Run] = {}
        name = f"cell {state.cell.name}"
        for run in self._called(name):
            known["", name] = min(run, known.get(("", name), run), key=_id)  # that which `sync` leaves, too
        for run in self._called(key):
            place = run.data.tags.get(PARENT, ""), key
            known[place] = min(run, known.get(place, run), key=_id)
        parent = self.parent(state, row, published(self.study.paper, row, beside), known)
        for role, trial in _children(state).items():
            if trial.spec.key == key:
                self.child(parent, state, trial, role, row, known)

    def _variants(self, state: CellState) -> list[Row]:
        """Other rows of the cell's method on its benchmark."""
        cell = state.cell
        return [
            row_of(other, self.agenda, self.study.metrics)
            for other in self.agenda.states
            if other is not state
            and other.cell.method is cell.method
            and other.cell.benchmark == cell.benchmark
        ]

    def parent(
        self, state: CellState, row: Row, paper: float | None, known: Mapping[tuple[str, str], Run]
    ) -> str:
        """The run id of a cell's row, its summary up to date.

        Args:
            paper: `acc` as the study's paper prints it.
        """
        cell = state.cell
        results = [t.result for t in [*state.trials, *state.finals.values()] if t.result is not None]
        started = min(float(r.provenance["started"]) for r in results)
        ended = max(ended_of(r) for r in results)
        values = self._summary(row, paper)
        # MLflow shows the value of the last step; of equal ones the last in time, of equal ones the larger.
        known_runs = len(results)
        points = [(name, float(v), ended, known_runs) for name, v in values.items() if v is not None]
        params = about(cell, row.best, cell.spec({}, cell.trial_seed).network)
        content = {"results": [r.to_json() for r in state.results.values()], "best": row.best}
        return self._write(
            Projection(
                key=f"cell {cell.name}",
                parent="",
                name=shown_value(cell.title),
                started=started,
                ended=ended,
                points=points,
                params=params,
                tags={"raycl.kind": "cell", "raycl.seeds": " ".join(map(str, state.results))},
                status="FINISHED" if state.complete else "RUNNING",
                artefacts={"matrices.json": matrices_of(state), "best.json": row.best or {}},
                extra=key_of(json.loads(json.dumps(content, default=str))),
                passing=frozenset(searched(cell)),
            ),
            known,
        )

    def _summary(self, row: Row, paper: float | None) -> dict[str, float | None]:
        """The numbers of a cell's row by name; None where there is none."""
        acc, spread = row.stat("acc"), sensitivity([row])
        tracked = [metric.name for metric in metrics.all_metrics(self.study.metrics) if metric.tracked]
        return {
            **{name: row.mean(name) for name in tracked},
            "acc_std": acc.std,
            "ps": row.ps,
            "ps_low": spread.low,
            "ps_high": spread.high,
            **{name: row.mean(name) for name in ("ct", "params", "bytes_total")},
            "paper": paper,
            "difference": None if paper is None or acc.mean is None else acc.mean - paper,
        }

    def child(
        self,
        parent: str,
        state: CellState,
        trial: Trial,
        role: str,
        row: Row,
        known: Mapping[tuple[str, str], Run],
    ) -> None:
        """Project one finished trial or seed."""
        result = trial.result
        assert result is not None
        cell, spec = state.cell, trial.spec
        params = about(cell, trial.params, spec.network) | {"seed": spec.seed}
        final = next((final for final in row.finals if final.key == spec.key), None)
        self._write(
            Projection(
                key=spec.key,
                parent=parent,
                name=f"{shown_value(cell.title)} / {role.split(', ')[0]}",
                started=float(result.provenance["started"]),
                ended=ended_of(result),
                points=points_of(result, final, metrics.all_metrics(self.study.metrics)),
                params=params,
                tags={"raycl.kind": role.split()[0], "raycl.roles": role, "raycl.status": result.status},
                status="FINISHED" if result.status == "done" else "FAILED",
                artefacts={},
            ),
            known,
        )

    def compare_link(self) -> str:
        """The page on which MLflow shows the cells side by side."""
        keys = {f"cell {state.cell.name}" for state in self.agenda.states}
        ids = [run.info.run_id for run in self._runs("tags.`raycl.kind` = 'cell'")
               if run.data.tags.get("raycl.key") in keys]  # fmt: skip
        runs, experiments = (
            quote(json.dumps(ids, separators=(",", ":"))),
            quote(json.dumps([self.experiment])),
        )
        return f"{self._pages()}/#/compare-runs?runs={runs}&experiments={experiments}"

    def runs_link(self) -> str:
        """The experiment's table: a row per cell."""
        return f"{self._pages()}/#/experiments/{self.experiment}/runs?viewStateShareKey=raycl"

    def _pages(self) -> str:
        """Where MLflow shows its pages; a password stays out of it."""
        return re.sub(r"://[^/@]*@", "://", self.uri.rstrip("/")) if self.uri.startswith("http") else UI

    def _runs(self, query: str = "") -> Iterator[Run]:
        token: str | None = None
        while True:
            page = self.client.search_runs([self.experiment], query, max_results=1000, page_token=token)
            yield from page
            token = page.token
            if not token:
                return

    def _called(self, key: str) -> Iterator[Run]:
        """Runs with that `raycl.key`, which may hold a label and a benchmark's text: quotes of both kinds."""
        quote = "'" if "'" not in key else '"'
        plain = quote not in key and "\\" not in key  # MLflow's filters have no way to write such quotes
        for run in self._runs(f"tags.`raycl.key` = {quote}{key}{quote}" if plain else ""):
            if run.data.tags.get("raycl.key") == key:
                yield run

    def _write(self, what: Projection, known: Mapping[tuple[str, str], Run]) -> str:
        """Create or complete a run; one whose content stands there already is left alone."""
        run, content = known.get((what.parent, what.key)), what.content()
        if run is not None and run.data.tags.get("raycl.content") == content:
            return str(run.info.run_id)
        if run is not None and not what.parent and what.contradicts(run):
            self._drop(run)
            run = None
        if run is None:
            tags = {"raycl.key": what.key} | ({PARENT: what.parent} if what.parent else {})
            run = self.client.create_run(self.experiment, milliseconds(what.started), tags, what.name)
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
        tags = what.tags | {"raycl.content": content}  # last: it says that all the rest is written
        self.client.log_batch(run_id, [], [], [RunTag(k, v) for k, v in tags.items()])
        return run_id

    def _drop(self, cell: Run) -> None:
        """Delete a cell's row, whose parameters MLflow lets nobody change, and the runs below it."""
        below = self._runs(f"tags.`{PARENT}` = '{_id(cell)}'")
        for run in [*below, cell]:
            with contextlib.suppress(MlflowException):  # another driver was faster
                self.client.delete_run(_id(run))


def _no_answer(uri: str, error: Exception) -> UserError:
    """What is said where MLflow cannot be used, and what to do about it."""
    remedy = "start it, or unset MLFLOW_TRACKING_URI to keep the database beside the store"
    if not os.environ.get("MLFLOW_TRACKING_URI"):
        remedy = "move the file away: what the store has goes into a new one"
    return UserError(f"MLflow at {redacted(uri)} does not answer ({_reason(error)}); {remedy}")


def _quiet() -> None:
    """Keep MLflow's own lines and tracebacks off the screen: what there is to say of an error, we say."""
    for name in ("mlflow", "alembic", "sqlalchemy", "urllib3"):
        logging.getLogger(name).setLevel(logging.CRITICAL + 1)


def _reason(error: Exception) -> str:
    """The first line of an error, short, and without passwords."""
    first = next(iter(str(error).strip().splitlines()), "") or type(error).__name__
    return screen_line(redacted(first), 160)


def _id(run: Run) -> str:
    return str(run.info.run_id)


def _new_experiment(client: MlflowClient, name: str, artefacts: str | None) -> str:
    """Make an experiment; where another driver does so at the same moment, one of them is left."""
    try:
        tags = {"mlflow.experimentKind": "custom_model_development"}
        return str(client.create_experiment(name, artifact_location=artefacts, tags=tags))
    except MlflowException:
        known = client.get_experiment_by_name(name)
        if known is None:
            raise
        return str(known.experiment_id)


def _children(state: CellState) -> dict[str, Trial]:
    """Finished trials and seeds by role; a run that is both stands there once."""
    roles: dict[str, list[str]] = {}
    trials: dict[str, Trial] = {}
    named = [(f"trial {t.n}", t) for t in state.trials]
    named += [(f"seed {seed}", t) for seed, t in state.finals.items()]
    for role, trial in named:
        if trial.result is not None:
            roles.setdefault(trial.spec.key, []).append(role)
            trials.setdefault(trial.spec.key, trial)
    return {", ".join(roles[key]): trial for key, trial in trials.items()}

"""Tracking: one writer that copies a study's results from the store into MLflow.

A study is an experiment, a cell a parent run, and a trial or seed a child run. Runs are found by the tag
`raycl.key` and never by a remembered id, and every timestamp comes from the result. Writing the same results
again therefore adds nothing.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass

from mlflow.entities import Run

from raycl import metrics, userfiles
from raycl.papers.published import published
from raycl.reporting.sensitivity import sensitivity
from raycl.reporting.settings import searched
from raycl.results.collect import collect, row_of
from raycl.results.rows import CellRow
from raycl.specs import key_of
from raycl.study.agenda import Agenda
from raycl.study.progress import CellState, Trial
from raycl.study.values import Study
from raycl.tune import pages
from raycl.tune.experiment import Experiment, no_answer, run_id_of, though_dropped
from raycl.tune.projection import (
    PARENT,
    Projection,
    about,
    ended_of,
    matrices_of,
    points_of,
    shown_value,
)


@dataclass
class Tracking:
    """A study's experiment in MLflow, with the agenda whose results it should contain."""

    experiment: Experiment
    study: Study
    agenda: Agenda

    @classmethod
    def open(cls, study: Study, agenda: Agenda) -> Tracking:
        """Open the experiment of a study, and create it and its database if necessary.

        Raises:
            UserError: If nothing answers at the tracking URI.
        """
        return cls(Experiment.open(study.name, agenda.store.root), study, agenda)

    @property
    def uri(self) -> str:
        return self.experiment.uri

    def show(self) -> tuple[str, str]:
        """Write all results of the study to MLflow.

        Returns:
            Links to the table of its runs and to the comparison of its cells.

        Raises:
            UserError: If MLflow cannot be used.
        """
        try:
            though_dropped(self.sync)
            return self.runs_link(), self.compare_link()
        except Exception as error:
            raise no_answer(self.uri, error) from None

    def sync(self) -> None:
        """Write all results of the study to MLflow."""
        with userfiles.importing_from(self.study.folder):
            self._sync()

    def _sync(self) -> None:
        view = json.dumps(pages.view_of(self.study.metrics))
        self.experiment.client.set_experiment_tag(self.experiment.id, "mlflow.sharedViewState.raycl", view)
        rows = collect(self.study, self.agenda)
        known = self.experiment.unique()
        for state, row in zip(self.agenda.states, rows, strict=True):
            if not any(trial.result for trial in [*state.trials, *state.finals.values()]):
                continue
            parent = self.parent(state, row, published(self.study.paper, row, rows), known)
            for role, trial in _children(state).items():
                self.child(parent, state, trial, role, row, known)

    def one(self, state: CellState, key: str) -> None:
        """Write one finished run, and what it changes in its cell's run."""
        with userfiles.importing_from(self.study.folder):
            self._one(state, key)

    def _one(self, state: CellState, key: str) -> None:
        row = row_of(state, self.agenda, self.study.metrics)
        rows = [row, *self._variants(state)] if self.study.paper else []
        known: dict[tuple[str, str], Run] = {}
        name = f"cell {state.cell.name}"
        for run in self.experiment.called(name):
            # Of duplicates, `sync` keeps the same one.
            known["", name] = min(run, known.get(("", name), run), key=run_id_of)
        for run in self.experiment.called(key):
            place = run.data.tags.get(PARENT, ""), key
            known[place] = min(run, known.get(place, run), key=run_id_of)
        parent = self.parent(state, row, published(self.study.paper, row, rows), known)
        for role, trial in _children(state).items():
            if trial.spec.key == key:
                self.child(parent, state, trial, role, row, known)

    def _variants(self, state: CellState) -> list[CellRow]:
        """Return the rows of the other cells with the same method and benchmark."""
        cell = state.cell
        return [
            row_of(other, self.agenda, self.study.metrics)
            for other in self.agenda.states
            if other is not state
            and other.cell.kinds.method == cell.kinds.method
            and other.cell.benchmark == cell.benchmark
        ]

    def parent(
        self, state: CellState, row: CellRow, paper: float | None, known: Mapping[tuple[str, str], Run]
    ) -> str:
        """Write a cell's run with its current summary, and return its id.

        Args:
            state: The cell.
            row: Its row in reports.
            paper: `acc` as the study's paper prints it, or None.
            known: Existing runs by parent and key.
        """
        cell = state.cell
        results = [t.result for t in [*state.trials, *state.finals.values()] if t.result is not None]
        started = min(float(r.provenance["started"]) for r in results)
        ended = max(ended_of(r) for r in results)
        values = self._summary(row, paper)
        # MLflow shows the value of the last step; of equal steps the latest, and of equal times the largest.
        # The number of known runs as the step makes the newest summary win.
        known_runs = len(results)
        points = [(name, float(v), ended, known_runs) for name, v in values.items() if v is not None]
        params = about(cell, row.best, cell.spec({}, cell.trial_seed).network)
        content = {"results": [r.to_json() for r in state.results.values()], "best": row.best}
        return self.experiment.write(
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

    def _summary(self, row: CellRow, paper: float | None) -> dict[str, float | None]:
        """Return the numbers of a cell's row by name, with None for missing ones."""
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
        row: CellRow,
        known: Mapping[tuple[str, str], Run],
    ) -> None:
        """Write one finished trial or final run."""
        result = trial.result
        assert result is not None
        cell, spec = state.cell, trial.spec
        params = about(cell, trial.params, spec.network) | {"seed": spec.seed}
        final = next((final for final in row.finals if final.key == spec.key), None)
        self.experiment.write(
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
        """Return the link to the page on which MLflow compares the cells."""
        keys = {f"cell {state.cell.name}" for state in self.agenda.states}
        cells = self.experiment.runs("tags.`raycl.kind` = 'cell'")
        ids = [run_id_of(run) for run in cells if run.data.tags.get("raycl.key") in keys]
        return pages.compare_link(self.uri, self.experiment.id, ids)

    def runs_link(self) -> str:
        """Return the link to the experiment's table, which has a row per cell."""
        return pages.runs_link(self.uri, self.experiment.id)


def _children(state: CellState) -> dict[str, Trial]:
    """Return the finished trials and final runs by role; a run that is both appears once, with both roles."""
    roles: dict[str, list[str]] = {}
    trials: dict[str, Trial] = {}
    named = [(f"trial {t.n}", t) for t in state.trials]
    named += [(f"seed {seed}", t) for seed, t in state.finals.items()]
    for role, trial in named:
        if trial.result is not None:
            roles.setdefault(trial.spec.key, []).append(role)
            trials.setdefault(trial.spec.key, trial)
    return {", ".join(roles[key]): trial for key, trial in trials.items()}

"""Tracking: one writer that copies a study's results from the store into MLflow.

A study is an experiment, a cell a parent run, and a trial or seed a child run. Runs are found by the tag
`raycl.key`, and every timestamp comes from the result. Writing the same results again therefore adds nothing.
A driver reads the existing runs once and remembers their ids; `sync` reads them again.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from raycl import metrics, userfiles
from raycl.papers.published import published
from raycl.reporting.sensitivity import sensitivity
from raycl.reporting.settings import searched
from raycl.results.collect import collect, reference_accuracies, row_of, subset_of
from raycl.results.rows import COMPLETE, DIVERGED, FAILED, CellRow, printed_name
from raycl.specs import key_of
from raycl.study import limits
from raycl.study.agenda import Agenda
from raycl.study.progress import CellState, Trial
from raycl.study.values import Study
from raycl.tune import pages
from raycl.tune.experiment import Experiment, no_answer, though_dropped
from raycl.tune.projection import (
    Projection,
    about,
    curve_points,
    ended_of,
    matrices_of,
    points_of,
    shown_value,
)

_STATUS = {"done": "FINISHED", "pruned": "KILLED"}  # of runs in MLflow; all others have failed


@dataclass
class Tracking:
    """A study's experiment in MLflow, with the agenda whose results it should contain.

    Attributes:
        trials: Whether MLflow also gets the trials that are not a final run.
    """

    experiment: Experiment
    study: Study
    agenda: Agenda
    trials: bool = True

    @classmethod
    def open(cls, study: Study, agenda: Agenda) -> Tracking:
        """Open the experiment of a study, and create it and its database if necessary.

        Raises:
            UserError: If nothing answers at the tracking URI.
        """
        trials = study.track_trials
        if trials is None:
            trials = sum(state.total for state in agenda.states) <= limits.TRACKED
        return cls(Experiment.open(study.name, agenda.store.root), study, agenda, trials)

    @property
    def notice(self) -> str:
        """A line for the user if the number of runs decided that trials are left out, else ""."""
        if self.trials or self.study.track_trials is not None:
            return ""
        return (
            f"MLflow gets the cells and the final runs alone, because there are more than {limits.TRACKED} "
            "runs; --set track_trials=True adds the trials"
        )

    @property
    def uri(self) -> str:
        return self.experiment.uri

    def show(self) -> tuple[str, dict[str, str]]:
        """Write all results of the study to MLflow.

        Returns:
            The link to the table of its runs, and by benchmark the link to the comparison of its cells.

        Raises:
            UserError: If MLflow cannot be used.
        """
        try:
            though_dropped(self.sync)
            return self.runs_link(), self.compare_links()
        except Exception as error:
            raise no_answer(self.uri, error) from None

    def sync(self) -> None:
        """Write all results of the study to MLflow."""
        try:
            with userfiles.importing_from(self.study.folder):
                self._sync()
        finally:
            self.experiment.close()

    def _sync(self) -> None:
        for name, narrow in pages.VIEWS.items():
            view = json.dumps(pages.view_of(self.study.metrics, narrow))
            tag = f"mlflow.sharedViewState.{name}"
            self.experiment.client.set_experiment_tag(self.experiment.id, tag, view)
        self.experiment.read()
        for state, row, rows in self._rows():
            if not any(trial.result for trial in state.runs):
                continue
            parent = self._cell(state, row, rows)
            betas = reference_accuracies(state, self.agenda)
            keys = dict.fromkeys(trial.spec.key for trial in state.runs)
            for key in keys:
                self._run(parent, state, key, betas)

    def _rows(self) -> Iterator[tuple[CellState, CellRow, Sequence[CellRow]]]:
        """Yield each cell with its row, and with all rows if the study has a paper, whose numbers need them.

        Otherwise only one row is in memory at a time.
        """
        if self.study.paper:
            rows = collect(self.study, self.agenda)
            yield from ((state, row, rows) for state, row in zip(self.agenda.states, rows, strict=True))
            return
        for state in self.agenda.states:
            row = row_of(state, self.agenda, self.study.metrics)
            yield state, row, [row]

    def one(self, state: CellState, key: str, summary: bool = True) -> None:
        """Write one finished run of a cell.

        Args:
            state: The cell.
            key: Key of the run; "" for none.
            summary: Whether to write the summary of the cell, too. A cell that MLflow does not have yet is
                written in any case.
        """
        with userfiles.importing_from(self.study.folder):
            known = self.experiment.known.get(("", cell_key(state)))
            parent = self._summarise(state) if summary or known is None else known.run_id
            if key:
                self._run(parent, state, key, None)

    def _summarise(self, state: CellState) -> str:
        """Write a cell's run as it is now, and return its id."""
        row = row_of(state, self.agenda, self.study.metrics)
        rows = [row, *self._variants(state)] if self.study.paper else [row]
        parent = self._cell(state, row, rows)
        if not state.seeds and state.best is not None:  # it became a final run when the search ended
            self._run(parent, state, state.best.spec.key, None)
        if state.searched and len(state.cell.objectives) > 1:  # nobody knew the front before
            for trial in state.front:
                self._run(parent, state, trial.spec.key, None)
        return parent

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

    def _cell(self, state: CellState, row: CellRow, rows: Sequence[CellRow]) -> str:
        """Write a cell's run with its current summary, and return its id.

        Args:
            state: The cell.
            row: Its row in reports.
            rows: The rows that tell which number of the study's paper is the cell's.
        """
        cell = state.cell
        results = [t.result for t in state.runs if t.result is not None]
        started = min(float(r.provenance["started"]) for r in results)
        ended = max(ended_of(r) for r in results)
        values = self._summary(row, published(self.study.paper, row, rows))
        # MLflow shows the value of the last step; of equal steps the latest, and of equal times the largest.
        # The number of known runs as the step makes the newest summary win.
        known_runs = len(results)
        points = [(name, float(v), ended, known_runs) for name, v in values.items() if v is not None]
        finals = state.results
        content = {"results": [r.to_json() for r in finals.values()], "best": row.best}
        artefacts = {"matrices.json": matrices_of(finals), "best.json": row.best or {}}
        return self.experiment.write(
            Projection(
                key=cell_key(state),
                parent="",
                name=shown_value(cell.title),
                started=started,
                ended=ended,
                points=points,
                params=about(cell, row.best, cell.spec({}, cell.trial_seed).network),
                tags={"raycl.kind": "cell", "raycl.seeds": " ".join(map(str, finals))} | _front_of(state),
                status=_CELL_STATUS.get(row.status, "RUNNING"),
                artefacts=artefacts if finals else {},
                extra=key_of(json.loads(json.dumps(content, default=str))),
                passing=frozenset(searched(cell)),
            )
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

    def _run(
        self, parent: str, state: CellState, key: str, betas: Mapping[int, metrics.Matrix] | None
    ) -> None:
        """Write a run of a cell, if it is finished and MLflow should have it.

        Args:
            parent: MLflow's id of the cell's run.
            state: The cell.
            key: Key of the run.
            betas: `reference_accuracies` of the cell; None to compute them if they are needed.
        """
        same = [trial for trial in state.runs_of(key) if trial.result is not None]
        seed = _final_seed(state, same)
        if not same or (seed is None and not self.trials):
            return
        trial = min(same, key=_is_pruned)  # an equal trial of another generation may have gone on
        result, cell = trial.result, state.cell
        assert result is not None
        if betas is None:
            betas = reference_accuracies(state, self.agenda) if seed is not None else {}
        beta = betas.get(seed) if seed is not None and result.status == "done" else None
        whole = self.agenda.store.whole(key) if seed is not None else None
        roles = [str(t.role) for t in same]
        self.experiment.write(
            Projection(
                key=key,
                parent=parent,
                name=f"{shown_value(cell.title)} / {roles[0]}",
                started=float(result.provenance["started"]),
                ended=ended_of(result),
                points=[
                    *points_of(result, beta, metrics.all_metrics(self.study.metrics)),
                    *(curve_points(whole) if whole is not None else ()),
                ],
                params=about(cell, trial.params, trial.spec.network) | {"seed": trial.spec.seed},
                tags={
                    "raycl.kind": roles[0].split()[0],
                    "raycl.roles": ", ".join(roles),
                    "raycl.status": result.status,
                    **_place_on_front(state, same),
                },
                status=_STATUS.get(result.status, "FAILED"),
                artefacts={},
            )
        )

    def compare_links(self) -> dict[str, str]:
        """Return by benchmark the link to the page on which MLflow compares its cells.

        If there are too many cells for that page, it is the link to the table of runs.
        """
        ids: dict[str, list[str]] = {}
        for state in self.agenda.states:
            if run := self.experiment.known.get(("", cell_key(state))):
                name = printed_name(state.cell.shown, subset_of(state.cell))
                ids.setdefault(name, []).append(run.run_id)
        return {
            name: self.runs_link()
            if len(found) > pages.COMPARED
            else pages.compare_link(self.uri, self.experiment.id, found)
            for name, found in ids.items()
        }

    def runs_link(self) -> str:
        """Return the link to the experiment's table, which has a row per cell."""
        return pages.runs_link(self.uri, self.experiment.id)


_CELL_STATUS = {COMPLETE: "FINISHED", DIVERGED: "FAILED", FAILED: "FAILED"}  # others go on


def _is_pruned(trial: Trial) -> bool:
    return trial.result is not None and trial.result.status == "pruned"


def _front_of(state: CellState) -> dict[str, str]:
    """Return the tags with the numbers of the trials on the Pareto front, if there are several objectives."""
    if len(state.cell.objectives) < 2 or state.best is None:
        return {}
    return {"raycl.front": " ".join(str(trial.n) for trial in state.front), "raycl.knee": str(state.best.n)}


def _place_on_front(state: CellState, same: Sequence[Trial]) -> dict[str, str]:
    """Return the tag of a trial that is on the Pareto front of a finished search with several objectives."""
    if len(state.cell.objectives) < 2 or not state.searched:
        return {}
    if state.best in same:
        return {"raycl.front": "knee"}
    return {"raycl.front": "member"} if any(trial in same for trial in state.front) else {}


def cell_key(state: CellState) -> str:
    """Return the key of a cell's run in MLflow."""
    return f"cell {state.cell.name}"


def _final_seed(state: CellState, same: Sequence[Trial]) -> int | None:
    """Return the seed of the final run that these trials and final runs of one key stand for, or None."""
    if not state.seeds and state.best in same:
        return state.cell.trial_seed
    return next((trial.seed for trial in same if trial.seed is not None), None)

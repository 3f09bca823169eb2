"""Pruning of trials: how far each trial of a search has come, which of them end, and where the others pause.

That a trial was pruned is written beside its proposal, because the same run may be a trial of another search.
The reports of its run stay among the paused runs of the store.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

from raycl.runs.pauses import Pauses, score_after
from raycl.runs.records import LOST, Pruned
from raycl.runs.result import Result
from raycl.runs.store import Store
from raycl.study.cells import Cell
from raycl.study.progress import CellState, Trial
from raycl.study.pruners import ALWAYS, Course, Halving, Prune, Verdict
from raycl.study.values import Search
from raycl.text import fraction


def rule_of(cell: Cell) -> Prune | None:
    """Return the rule by which a cell's search prunes, or None."""
    return cell.search.prune if isinstance(cell.search, Search) else None


class Pruning:
    """Judge of the trials of all cells, which keeps its decisions in the store.

    Args:
        store: The store.
        writes: Whether to write decisions; otherwise they are only told.
        fresh: Whether to forget earlier decisions, because the runs are executed again.
    """

    def __init__(self, store: Store, writes: bool, fresh: bool) -> None:
        self._store, self._writes, self._fresh = store, writes, fresh and writes
        self._seen: set[tuple[str, int]] = set()  # trials whose earlier decision was forgotten
        self._medians: dict[
            tuple[str, int], dict[int, float]
        ] = {}  # they stay as they are, by cell and trial

    def read(self, cell: Cell, trial: Trial, result: Result | None) -> None:
        """Read how far a trial has come.

        Args:
            cell: The cell.
            trial: The trial.
            result: The result of its run, if it is finished.
        """
        record = self._record(cell, trial)
        found = result or self._store.paused(trial.spec.key)
        trial.reached = found
        over = found is not None and found.status != "paused"
        if record is not None:
            trial.course = Course(record.scores, over, record.learnt)
        elif found is not None:
            reports = found.unpacked().reports
            judged = len(reports) - (found.status == "done")  # nothing is judged after the last task
            scores = [score_after(reports, learnt, cell.split) for learnt in range(1, judged + 1)]
            trial.course = Course(tuple(scores), over)

    def decided(self, state: CellState) -> Iterator[tuple[Trial, Result]]:
        """Yield the trials of a cell that have ended just now, pruned or not, with their results."""
        for trial, verdict in self._verdicts(state):
            reached = trial.reached
            if reached is None or verdict.waits or not (verdict.pruned or trial.course.over):
                continue
            if not verdict.pruned:
                yield trial, reached
            elif len(reached.reports) >= verdict.pruned:
                scores = trial.course.scores[: verdict.pruned]
                if self._writes and not trial.course.pruned:
                    self._store.prune(state.cell.key, trial.n, Pruned(trial.spec.key, scores))
                # What a run did later, for another search, is nothing that this one may know.
                trial.course = replace(trial.course, scores=scores, pruned=verdict.pruned)
                yield trial, _pruned(state.cell, trial, reached, verdict.pruned)

    def pauses(self, state: CellState) -> dict[int, Pauses]:
        """Return where the runs of a cell's trials pause, by trial; trials that wait are left out."""
        split = state.cell.split
        found = {}
        for trial, verdict in self._verdicts(state):
            if (
                not verdict.waits
            ):  # that of a trial whose reports are lost says after which task it was pruned
                below = {verdict.pruned: ALWAYS} if verdict.pruned else verdict.below
                found[trial.n] = Pauses(below, split)
        return found

    def _record(self, cell: Cell, trial: Trial) -> Pruned | None:
        place = cell.key, trial.n
        if self._fresh and place not in self._seen:
            self._seen.add(place)
            self._store.forget_pruned(*place)
        record = self._store.pruned(*place)
        return record if record is not None and record.run == trial.spec.key else None

    def _verdicts(self, state: CellState) -> list[tuple[Trial, Verdict]]:
        """Return what becomes of the trials of a cell that have not ended."""
        rule, search = rule_of(state.cell), state.cell.search
        waiting = [trial for trial in state.waiting() if trial.seed is None] if rule else []
        if not waiting or rule is None:
            return []
        assert isinstance(search, Search)
        if not isinstance(rule, Halving):
            return [(trial, rule.judge(trial.course, self._medians_of(state, trial))) for trial in waiting]
        lost = [t.result is not None and t.result.status in LOST for t in state.trials]
        together = rule.generation(waiting[0].n, lost, search.trials, search.concurrency)
        trials = state.trials[together.start : together.stop]
        if len(trials) < len(together):  # a proposal is missing
            return [(trial, Verdict(trial.course.pruned, not trial.course.pruned)) for trial in waiting]
        verdicts = rule.judge([trial.course for trial in trials])
        return [(t, v) for t, v in zip(trials, verdicts, strict=True) if t.result is None]

    def _medians_of(self, state: CellState, trial: Trial) -> Mapping[int, float]:
        rule, search = rule_of(state.cell), state.cell.search
        assert isinstance(search, Search) and rule is not None and not isinstance(rule, Halving)
        place = state.cell.key, trial.n
        if place not in self._medians:
            earlier = state.trials[: search.known(trial.n, ())]
            self._medians[place] = rule.medians([each.course for each in earlier])
        return self._medians[place]


def _pruned(cell: Cell, trial: Trial, reached: Result, learnt: int) -> Result:
    """Return the result of a trial that was pruned after `learnt` tasks.

    Args:
        cell: The cell.
        trial: The trial.
        reached: The result of its run, which may have gone on for another search.
        learnt: The number of tasks.
    """
    reports = reached.unpacked().reports
    later = sum(sum(report.seconds.values()) + report.evaluation_seconds for report in reports[learnt:])
    seconds = max(0.0, float(reached.provenance.get("seconds", 0.0)) - later)
    score = trial.course.scores[learnt - 1]
    message = f"after task {learnt}, {cell.split} {fraction(score)}"
    about = {**reached.provenance, "seconds": seconds}
    return replace(
        reached, status="pruned", reports=reports[:learnt], message=message, provenance=about
    ).packed()

"""Which trained methods a study keeps in the store besides the results of its runs (`Study.keep`).

Keeping is in no key, so a finished run may have kept nothing. A study that keeps its method then executes
that run again. Its result stays as it is, so that no number of a report changes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace

from raycl.runs.inputs import parts_of
from raycl.runs.records import LOST
from raycl.runs.result import Result
from raycl.runs.store import Store
from raycl.specs import RunSpec
from raycl.study.cells import Cell
from raycl.study.jobs import Role
from raycl.study.progress import CellState, Trial
from raycl.study.pruning import rule_of

NOT_KEPT = "not_kept"  # Entry of a result's provenance: why the run's method cannot be kept.


class Keeping:
    """The trained methods that an agenda keeps.

    With ``keep="final"``, a trial keeps its method until another trial is better, because the best trial is
    usually a final run as well, and would otherwise be executed twice.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._best: set[str] = set()  # best trials that serve as final runs
        self._due: set[str] = set()  # finished runs that are executed again to keep their methods
        self._over: set[str] = set()  # runs that were executed by this agenda
        self._for_now: set[str] = set()  # trials that have kept a method until another trial is better

    @property
    def again(self) -> int:
        """The number of finished runs that are executed again to keep their methods."""
        return len(self._due)

    def must(self, cell: Cell, role: Role, key: str) -> bool:
        """Return whether a run's method is to be kept, however accurate it is."""
        if role.steps or cell.keep == "none":
            return False
        return cell.keep == "trials" or role.seed is not None or key in self._best

    def keeps(self, cell: Cell, role: Role, spec: RunSpec) -> bool:
        """Return whether a job is to write its method to the store."""
        if role.steps or cell.keep == "none":
            return False
        return not self.parts(cell, role, spec)

    def parts(self, cell: Cell, role: Role, spec: RunSpec) -> tuple[RunSpec, ...]:
        """Return `parts_of` a run.

        The result is () if its method is to be kept, because its parts do not make one, and for a trial whose
        search prunes, because it may end after some of its tasks.
        """
        pauses = role.trial is not None and not role.steps and rule_of(cell) is not None
        return () if pauses or self.must(cell, role, spec.key) else parts_of(spec)

    def lacks(self, cell: Cell, role: Role, result: Result) -> bool:
        """Return whether a finished run is to be executed again because its method was not kept."""
        key = result.key
        if not self.must(cell, role, key) or cell.blocked or key in self._over:
            return False
        if not _lacking(result, self._store):
            return False
        self._due.add(key)
        return True

    def is_due(self, key: str) -> bool:
        """Return whether a run is to be executed although the store has its result."""
        return key in self._due and not self._store.has_model(key)

    def wants_best(self, state: CellState) -> Trial | None:
        """Return the best trial of a finished search if it serves as the final run and was not kept."""
        best = state.best
        if state.cell.keep != "final" or state.seeds or best is None or best.result is None:
            return None
        self._best.add(best.spec.key)
        return best if self.lacks(state.cell, best.role, best.result) else None

    def taken(self, result: Result) -> Result:
        """Return what to store of a run that was executed: the earlier result, if there is one."""
        before = self._store.whole(result.key) if result.key in self._due else None
        if result.status == "failed":
            return result
        self._over.add(result.key)
        self._due.discard(result.key)
        if before is None:
            return result
        why = result.provenance.get(NOT_KEPT, "")
        if result.status in LOST:
            what = "diverged" if result.status == "diverged" else "was invalid"
            why = f"it {what} when it was trained again: {result.message}"
        return before if not why else replace(before, provenance={**before.provenance, NOT_KEPT: why})

    def ended(self, cell: Cell, role: Role, key: str) -> None:
        """Note that a job has ended which may have kept its method for now."""
        if cell.keep == "final" and not self.must(cell, role, key) and not role.steps:
            self._for_now.add(key)

    def release(self, cells_of_run: Callable[[str], Iterable[CellState]]) -> None:
        """Remove the methods of trials that are not the best ones any more.

        Args:
            cells_of_run: Returns the cells that have the run with a key as a trial or a final run.
        """
        for key in list(self._for_now):
            if not any(_wanted(state, key) for state in cells_of_run(key)):
                self._store.forget_model(key)
                self._for_now.discard(key)


def _wanted(state: CellState, key: str) -> bool:
    """Return whether a cell keeps a method that one of its trials has kept for now."""
    if state.cell.keep == "trials" or any(trial.seed is not None for trial in state.runs_of(key)):
        return True
    hopeful = state.chosen if state.searched else state.front  # the knee of a front may move back and forth
    return any(trial.spec.key == key for trial in hopeful)


def _lacking(result: Result, store: Store) -> bool:
    return result.status == "done" and NOT_KEPT not in result.provenance and not store.has_model(result.key)


def kept_runs(state: CellState) -> list[Trial]:
    """Return the runs of a cell whose methods the study keeps, as far as they are known."""
    keep = state.cell.keep
    if keep == "none":
        return []
    finals = state.final_runs
    if keep == "final" and not state.seeds and state.best is not None:
        finals.append(state.best)
    return [*state.trials, *finals] if keep == "trials" else finals


def without_weights(states: Iterable[CellState], store: Store) -> tuple[int, dict[str, int]]:
    """Return how many finished runs have not kept the methods that their study keeps.

    Returns:
        The number of runs that will be executed again, and those that cannot be kept by reason.
    """
    results = {
        trial.spec.key: trial.result
        for state in states
        if not state.cell.blocked
        for trial in kept_runs(state)
        if trial.result is not None
    }
    reasons: dict[str, int] = {}
    for result in results.values():
        if why := result.provenance.get(NOT_KEPT):
            reasons[str(why)] = reasons.get(str(why), 0) + 1
    return sum(_lacking(result, store) for result in results.values()), reasons

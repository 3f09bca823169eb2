"""The proposal of a cell's next trial, which depends on the finished trials of its search and nothing else.

With concurrency c, trial n is proposed as soon as trials 0 .. n - c are finished, and from exactly those;
trials that have finished since count as running. Proposals therefore depend on (seed, cell, n, c) and never
on timing.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from raycl.errors import UserError
from raycl.runs.store import Store
from raycl.study.cells import Cell
from raycl.study.progress import CellState, Trial, most_trials
from raycl.study.proposer import Proposer
from raycl.study.values import Grid


class Trials:
    """Source of the trials of cells, which keeps all proposals in the store.

    Args:
        store: The store.
        propose: Function that suggests the values of a trial; with None, only earlier proposals are read.
    """

    def __init__(self, store: Store, propose: Proposer | None) -> None:
        self._store, self._propose = store, propose

    def next(self, state: CellState) -> Trial | None:
        """Return the next trial of a cell; None if there is none, or it cannot be proposed yet."""
        cell, n = state.cell, len(state.trials)
        if cell.search is None or n >= most_trials(cell) or cell.blocked or state.failed:
            return None
        if isinstance(cell.search, Grid):
            point = cell.search.point(n)
            return Trial(n, point, cell.spec(point, cell.trial_seed))
        # Trials 0 .. n - concurrency must be finished; the sampler sees exactly these.
        known = max(0, n - cell.search.concurrency + 1)
        if any(trial.result is None for trial in state.trials[:known]):
            return None
        if n >= cell.search.trials + _replaced(state, known):
            return None
        params = self._proposal(cell, n, state, known)
        return None if params is None else Trial(n, params, cell.spec(params, cell.trial_seed))

    def _proposal(self, cell: Cell, n: int, state: CellState, known: int) -> dict[str, Any] | None:
        if (written := self._store.proposal(cell.key, n)) is not None:
            try:
                return _within(cell, written)
            except UserError as error:
                self._store.drop_proposal(cell.key, n, str(error))
        if self._propose is None:
            return None
        history = [(t.params, t.objective(cell)) for t in state.trials[:known]]
        params = self._propose(cell, n, history, [t.params for t in state.trials[known:]])
        self._store.propose(cell.key, n, params, {"method": cell.label, "benchmark": cell.benchmark})
        return params


def _replaced(state: CellState, known: int) -> int:
    """Return how many diverged trials to replace now: those the sampler sees, or all once nothing runs."""
    if all(trial.result is not None for trial in state.trials[known:]):
        return state.replaced  # the trials before `known` are finished as well
    return sum(t.result is not None and t.result.status == "diverged" for t in state.trials[:known])


def _within(cell: Cell, written: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values of a stored proposal, checked against what the cell searches.

    Raises:
        UserError: If a searched field is missing, another one is present, or a value is outside its domain.
    """
    if wrong := sorted(cell.space.keys() ^ written.keys()):
        verb = "lacks" if wrong[0] in cell.space else "has"
        raise UserError(
            f"the proposal {verb} {wrong[0]!r:.60}, but {cell.name} searches {', '.join(cell.space)}"
        )
    params = cell.typed(written)
    for name, value in params.items():
        if value not in cell.space[name]:
            raise UserError(f"{name} = {value!r:.60} lies outside its domain {cell.space[name]}")
    return params

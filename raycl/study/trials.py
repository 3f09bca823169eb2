"""Which trial of a cell comes next, from what is finished of the search and from nothing else.

Trial n is proposed when trials 0 .. n - width are finished, and from exactly those; what has finished since
counts as running. So proposals depend on (seed, cell, n, width) and never on timing.
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
    """Proposes the trials of cells, and keeps what was proposed in the store.

    Args:
        propose: suggests the values of a trial; None reads what was proposed before and suggests nothing.
    """

    def __init__(self, store: Store, propose: Proposer | None) -> None:
        self._store, self._propose = store, propose

    def next(self, state: CellState) -> Trial | None:
        """The next trial of a cell, if it may be proposed now."""
        cell, n = state.cell, len(state.trials)
        if cell.search is None or n >= most_trials(cell) or cell.blocked or state.failed:
            return None
        if isinstance(cell.search, Grid):
            point = cell.search.point(n)
            return Trial(n, point, cell.spec(point, cell.trial_seed))
        known = max(
            0, n - cell.search.concurrency + 1
        )  # trials 0 .. n - width must be finished, and are told
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
    """Diverged trials that count now: those told, or all once nothing runs."""
    if all(trial.result is not None for trial in state.trials[known:]):
        return state.replaced  # those before are finished
    return sum(t.result is not None and t.result.status == "diverged" for t in state.trials[:known])


def _within(cell: Cell, written: Mapping[str, Any]) -> dict[str, Any]:
    """Values of a proposal as its cell searches them.

    Raises:
        UserError: a searched field is missing, another is there, or a value lies outside its domain.
    """
    if wrong := sorted(cell.space.keys() ^ written.keys()):
        verb = "lacks" if wrong[0] in cell.space else "has"
        raise UserError(
            f"the proposal {verb} {wrong[0]!r:.60}, and {cell.name} searches {', '.join(cell.space)}"
        )
    params = cell.typed(written)
    for name, value in params.items():
        if value not in cell.space[name]:
            raise UserError(f"{name} = {value!r:.60} lies outside its domain {cell.space[name]}")
    return params

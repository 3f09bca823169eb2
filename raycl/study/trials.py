"""The proposal of a cell's next trial, which depends on the finished trials of its search and nothing else.

With concurrency c, trial n is proposed as soon as trials 0 .. n - c are finished, and from exactly those;
trials that have finished since count as running. Where a search prunes by `Halving`, the trials of a
generation are proposed together, from the outcomes of all earlier ones. Proposals therefore depend on (seed,
cell, n, c) and never on timing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from raycl.errors import UserError
from raycl.runs.records import LOST
from raycl.runs.store import Store
from raycl.study.cells import Cell
from raycl.study.progress import CellState, Trial, most_trials
from raycl.study.proposer import Outcome, Proposer, Values
from raycl.study.pruners import Halving
from raycl.study.values import Grid, Search


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
            return _trial(cell, n, point)
        # The sampler sees exactly the first `known` trials, which must be finished.
        known = cell.search.known(n, lost := _lost(state))
        if any(trial.result is None for trial in state.trials[:known]):
            return None
        if not _wanted(cell.search, state, lost, known):
            return None
        params = self._proposal(cell, n, state, known)
        return None if params is None else _trial(cell, n, params)

    def _proposal(self, cell: Cell, n: int, state: CellState, known: int) -> dict[str, Any] | None:
        if (written := self._store.proposal(cell.key, n)) is not None:
            try:
                return _within(cell, written)
            except UserError as error:
                self._store.drop_proposal(cell.key, n, str(error))
        if self._propose is None:
            return None
        history = [(t.params, _outcome(t, cell)) for t in state.trials[:known]]
        params = self._propose(cell, n, history, [t.params for t in state.trials[known:]])
        self._store.propose(cell.key, n, params, {"method": cell.label, "benchmark": cell.benchmark})
        return params


def _trial(cell: Cell, n: int, params: dict[str, Any]) -> Trial:
    """Return trial `n`, with the reason if the method or the network refuses its values together."""
    try:
        return Trial(n, params, cell.spec(params, cell.trial_seed))
    except UserError as error:
        refused = cell.spec(params, cell.trial_seed, checked=False)
        return Trial(n, params, refused, refusal=" ".join(str(error).split()))


def _lost(state: CellState) -> list[bool]:
    """Return for each trial whether it has no value."""
    return [t.result is not None and t.result.status in LOST for t in state.trials]


def _wanted(search: Search, state: CellState, lost: Sequence[bool], known: int) -> bool:
    """Return whether a search needs another trial now, of which some may replace those without a value.

    Those are replaced that the sampler sees, or all of them once nothing runs. The number of trials that
    `Halving` compares must not depend on what still runs.
    """
    n = len(state.trials)
    if isinstance(search.prune, Halving):
        return n in search.prune.generation(n, lost, search.trials, search.concurrency)
    if all(trial.result is not None for trial in state.trials[known:]):
        return n < search.trials + state.replaced  # the trials before `known` are finished as well
    return n < search.trials + sum(lost[:known])


def _outcome(trial: Trial, cell: Cell) -> Outcome:
    if trial.result is not None and trial.result.status == "pruned":
        return trial.course.scores[: len(trial.result.reports)]
    values = trial.values(cell)
    known = tuple(value for value in values if value is not None)
    if len(known) < len(values):
        return None
    return known[0] if len(known) == 1 else Values(known)


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

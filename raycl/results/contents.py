"""Keys of what a report shows, by which it is known whether the report has changed since it was written."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from raycl.specs import key_of
from raycl.study.agenda import Agenda
from raycl.study.memory import described
from raycl.study.progress import CellState
from raycl.study.values import Study


def content_key(study: Study, agenda: Agenda) -> str | None:
    """Return a key of the study and of all results that the agenda has read.

    The key is None if the study contains code of a user, such as a metric or a view of its own: what such
    code returns may change at any time.
    """
    plain = described(study)
    if plain is None or any(state.cell.code for state in agenda.states):
        return None
    states = [*agenda.states, *agenda.references]
    return key_of([plain, len(agenda.states), [list(_content(state, agenda)) for state in states]])


def _content(state: CellState, agenda: Agenda) -> Iterator[Any]:
    """Yield what a report says of a cell besides its settings; a result is known by its file."""
    cell = state.cell
    yield [cell.name, repr(cell.blocked), repr(cell.data), cell.notes, dict(cell.identity), state.failed]
    for trial in state.runs:
        key = trial.spec.key
        yield [repr(trial.role), key, key in agenda.store.unsealed, agenda.store.state_of(key)]
        if trial.result is not None and trial.result.status == "pruned":
            yield ["pruned", len(trial.result.reports)]

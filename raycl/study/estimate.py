"""Estimates of how long the runs of a study will take."""

from __future__ import annotations

import math
from collections import defaultdict

from raycl.study.agenda import Agenda
from raycl.study.progress import CellState
from raycl.study.values import Search


class Estimate:
    """Estimate of how long an agenda's runs will take.

    It is updated from the cells that have changed since the last question, so that asking stays cheap.
    """

    def __init__(self, agenda: Agenda) -> None:
        self.agenda = agenda
        self._read = 0  # entries of the agenda's list of changes that have been read
        # Cells with missing runs, by index. For cells with measured runs: the seconds of all missing runs
        # (`_all`), and of those that must run one after another (`_row`). For cells without, by method
        # (`_like`): the same two as numbers of runs.
        self._all: dict[int, float] = {}
        self._row: dict[int, float] = {}
        self._like: dict[str, tuple[dict[int, int], dict[int, int]]] = defaultdict(lambda: ({}, {}))

    def seconds(self, slots: float) -> float | None:
        """Return the estimated seconds to the end with this many slots; None if unknown.

        The estimate uses the measured seconds of the cell's own runs, or of its method's runs elsewhere.
        """
        changed = self.agenda.changed_cells
        for index in {*changed[self._read :]}:
            self._note(index, self.agenda.states[index])
        self._read = len(changed)
        total, longest = sum(self._all.values()), max(self._row.values(), default=0.0)
        for method, (runs, rows) in self._like.items():
            if not runs:
                continue
            seconds = self.agenda.seconds_of(method)
            if seconds is None:
                return None
            total += seconds * sum(runs.values())
            longest = max(longest, seconds * max(rows.values()))
        return max(total / max(slots, 1), longest)

    def _note(self, index: int, state: CellState) -> None:
        runs, rows = self._like[state.cell.kinds.method]
        for numbers in (self._all, self._row, runs, rows):
            numbers.pop(index, None)
        if not (missing := state.missing):
            return
        width = state.cell.search.concurrency if isinstance(state.cell.search, Search) else missing
        row, seconds = math.ceil(missing / max(1, width)), state.seconds_per_run
        if seconds is None:
            runs[index], rows[index] = missing, row
        else:
            self._all[index], self._row[index] = seconds * missing, seconds * row


def seconds_left(agenda: Agenda, slots: float) -> float | None:
    """Return the estimated seconds to the end; None if unknown."""
    return Estimate(agenda).seconds(slots)


def seconds_per_run(state: CellState, agenda: Agenda) -> float | None:
    """Return the mean measured seconds of a cell's runs, or else of its method's runs in the study."""
    own = state.seconds_per_run
    return agenda.seconds_of(state.cell.kinds.method) if own is None else own

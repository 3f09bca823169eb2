"""Estimates of how long the runs of a study will take."""

from __future__ import annotations

import heapq
import math
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass

from raycl.study.agenda import Agenda
from raycl.study.progress import CellState
from raycl.study.values import Search


@dataclass(frozen=True)
class Left:
    """Estimated time to the end of something.

    Attributes:
        seconds: The seconds.
        rough: Whether they rest on runs of other methods, or on one epoch (`raycl.study.measuring`).
    """

    seconds: float
    rough: bool = False


class _Amounts:
    """Amounts of cells by index, with their sum and their maximum at hand however many they are."""

    def __init__(self) -> None:
        self.total = 0.0
        self._of: dict[int, float] = {}
        self._largest: list[tuple[float, int]] = []  # heap of (-amount, index), with outdated entries

    def __len__(self) -> int:
        return len(self._of)

    def put(self, index: int, amount: float) -> None:
        """Set the amount of a cell that has none."""
        self._of[index] = amount
        self.total += amount
        heapq.heappush(self._largest, (-amount, index))
        if len(self._largest) > 2 * len(self._of) + 100:  # mostly outdated
            self._largest = [(-known, of) for of, known in self._of.items()]
            heapq.heapify(self._largest)

    def drop(self, index: int) -> None:
        """Remove the amount of a cell, if it has one."""
        self.total -= self._of.pop(index, 0.0)
        if not self._of:  # what rounding has left of the sum goes too
            self.total, self._largest = 0.0, []

    @property
    def largest(self) -> float:
        """The maximum; 0 if there are no amounts."""
        while self._largest and self._of.get(self._largest[0][1]) != -self._largest[0][0]:
            heapq.heappop(self._largest)
        return -self._largest[0][0] if self._largest else 0.0


class Estimate:
    """Estimate of how long an agenda's runs will take.

    It is updated from the cells that have changed since the last question, so that asking stays cheap.

    Args:
        agenda: The agenda.
        guesses: Seconds of a run of a cell without measured runs, by the name of the cell.
    """

    def __init__(self, agenda: Agenda, guesses: Mapping[str, float] | None = None) -> None:
        self.agenda, self._guesses = agenda, guesses or {}
        self._read = 0  # entries of the agenda's list of changes that have been read
        # Cells with missing runs, by index. For cells with measured runs: the seconds of all missing runs
        # (`_all`), and of those that must run one after another (`_row`). For cells without, by method
        # (`_like`): the same two as numbers of runs.
        self._all, self._row = _Amounts(), _Amounts()
        self._like: dict[str, tuple[_Amounts, _Amounts]] = defaultdict(lambda: (_Amounts(), _Amounts()))
        self._guessed: set[int] = set()  # cells in `_all` whose seconds are a guess

    def left(self, slots: float) -> Left | None:
        """Return the estimated time to the end with this many slots; None if no run was measured at all.

        The estimate uses the measured seconds of the cell's own runs, or else of its method's runs elsewhere,
        or else the guess, or else the mean of the methods that were measured, which makes it rough.
        """
        changed = self.agenda.changed_cells
        for index in {*changed[self._read :]}:
            self._note(index, self.agenda.states[index])
        self._read = len(changed)
        total, longest = self._all.total, self._row.largest
        rough = bool(self._guessed)
        for method, (runs, rows) in self._like.items():
            if not len(runs):
                continue
            seconds = self.agenda.seconds_of(method)
            if seconds is None:
                rough, seconds = True, self._usual()
            if seconds is None:
                return None
            total += seconds * runs.total
            longest = max(longest, seconds * rows.largest)
        return Left(max(total / max(slots, 1), longest), rough)

    def per_run(self, state: CellState) -> Left | None:
        """Return the estimated time of one run of a cell; None if no run was measured at all."""
        method, name = state.cell.kinds.method, state.cell.name
        for seconds in (state.seconds_per_run, self.agenda.seconds_of(method)):
            if seconds is not None:
                return Left(seconds)
        guess = self._guesses.get(name, self._usual())
        return None if guess is None else Left(guess, rough=True)

    def _usual(self) -> float | None:
        """Return the mean over the methods of the study that were measured or guessed."""
        known = self.agenda.mean_seconds()
        found = known or [*self._guesses.values()]
        return sum(found) / len(found) if found else None

    def _note(self, index: int, state: CellState) -> None:
        method, name = state.cell.kinds.method, state.cell.name
        runs, rows = self._like[method]
        for amounts in (self._all, self._row, runs, rows):
            amounts.drop(index)
        self._guessed.discard(index)
        if not (missing := state.missing):
            return
        width = state.cell.search.concurrency if isinstance(state.cell.search, Search) else missing
        row, seconds = math.ceil(missing / max(1, width)), state.seconds_per_run
        if seconds is None and self.agenda.seconds_of(method) is None and name in self._guesses:
            seconds = self._guesses[name]
            self._guessed.add(index)
        if seconds is None:
            runs.put(index, missing)
            rows.put(index, row)
        else:
            self._all.put(index, seconds * missing)
            self._row.put(index, seconds * row)

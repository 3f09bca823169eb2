"""Progress of a study: its trials and final runs, and the state of each cell."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from raycl.runs.records import LOST
from raycl.runs.result import Result
from raycl.specs import RunSpec
from raycl.study import objectives
from raycl.study.cells import Cell
from raycl.study.jobs import Role
from raycl.study.objectives import ACC, Point
from raycl.study.pruners import Course
from raycl.study.values import Grid, Search, Seeds

_AT_THE_START = Course()  # one for all, because a study may have a million trials


@dataclass(slots=True)
class Trial:
    """One trial or final run of a cell, with the run that it stands for.

    Attributes:
        n: Number of the trial, or position of the final run, from 0.
        params: Values of the searched fields.
        refusal: Why no run can have these values; "" for all that a run can be made of.
        seed: Training seed of a final run; None for a trial.
        of: Of a final run with the values of a trial on the Pareto front that is not the best one, the number
            of that trial; otherwise None.
        course: How far a trial has come whose search prunes.
        reached: What the store has of the run of such a trial: the result of a finished or a paused run.
    """

    n: int
    params: dict[str, Any]
    spec: RunSpec
    result: Result | None = None
    seed: int | None = None
    of: int | None = None
    refusal: str = ""
    course: Course = _AT_THE_START
    reached: Result | None = field(default=None, repr=False, compare=False)
    _accs: tuple[float | None, float | None] | None = field(default=None, repr=False, compare=False)
    _values: tuple[float | None, ...] | None = field(default=None, repr=False, compare=False)

    @property
    def role(self) -> Role:
        return Role(trial=self.n) if self.seed is None else Role(seed=self.seed, of=self.of)

    @property
    def priority(self) -> float:
        """Sort key: of a cell's runs, the one with the smallest value runs first."""
        return self.n if self.seed is None else 10_000 + self.n

    def acc(self, split: Literal["val", "test"]) -> float | None:
        """Return the mean accuracy after the last task, or None if there is none; the value is cached."""
        if self.result is None:
            return None
        if self._accs is None:
            self._accs = self.result.accs()
        return self._accs[split == "test"]

    def values(self, cell: Cell) -> tuple[float | None, ...]:
        """Return the value of each objective of the cell's search, None where there is none; it is cached."""
        if cell.objectives == (ACC,):
            return (self.acc(cell.split),)
        if self.result is None:
            return (None,) * len(cell.objectives)
        if self._values is None:
            result = self.result.unpacked()
            self._values = tuple(each.value(result, cell.split) for each in cell.objectives)
        return self._values

    def objective(self, cell: Cell) -> float | None:
        """Return the value of the first objective; by default, the mean accuracy after the last task."""
        return self.values(cell)[0]

    def point(self, cell: Cell) -> Point | None:
        """Return the values with the sign that makes larger ones better; None if one of them is missing."""
        return objectives.oriented(cell.objectives, self.values(cell))


@dataclass
class _Tally:
    """Running counts over a cell's runs, so that a question costs the same however many runs there are.

    Attributes:
        runs: Trials and final runs by the key of their run; trials come first.
        open: Trials and final runs without a result, by the key of their run.
        trials, completed, lost: Number of trials that have a result, that are done, that have no value.
        pruned: Number of trials that were pruned.
        finals, extra: Number of final runs that have a result, and of those that are not also a trial.
        front: The completed trials that no other one beats, with their points, in the order of the trials.
            With one objective it is the best trial; of equals, the earliest.
        seconds, measured: Total seconds of the runs whose duration is known, and the number of these runs.
    """

    runs: dict[str, tuple[Trial, ...]] = field(default_factory=dict)
    open: dict[str, list[Trial]] = field(default_factory=dict)
    trials: int = 0
    completed: int = 0
    lost: int = 0
    pruned: int = 0
    finals: int = 0
    extra: int = 0
    front: list[tuple[Point, int]] = field(default_factory=list)
    seconds: float = 0.0
    measured: int = 0

    def add(self, trial: Trial) -> None:
        """Count one more trial or final run."""
        self.runs[trial.spec.key] = (*self.runs.get(trial.spec.key, ()), trial)
        self.open.setdefault(trial.spec.key, []).append(trial)

    def settle(self, trial: Trial, cell: Cell) -> None:
        """Count the result of a run that was added before."""
        key, result = trial.spec.key, trial.result
        assert result is not None
        self.open[key].remove(trial)
        if not self.open[key]:
            del self.open[key]
        if "seconds" in result.provenance:
            self.seconds += float(result.provenance["seconds"])
            self.measured += 1
        if trial.seed is not None:
            self.finals += 1
            self.extra += all(same.seed is not None for same in self.runs[key])
            return
        self.trials += 1
        self.completed += result.status == "done"
        self.lost += result.status in LOST
        self.pruned += result.status == "pruned"
        if result.status == "done" and (point := trial.point(cell)) is not None:
            self.front = objectives.with_point(self.front, (point, trial.n))


@dataclass
class CellState:
    """State of a cell.

    Attributes:
        trials: Trials in the order of proposal; a cell without a search has none.
        finals: Final runs by seed, as soon as the search is over.
        front_finals: Final runs of the other trials on the Pareto front, by the number of the trial and by
            seed, if the search asks for them.
        failed: Messages of failed runs by key. After a failure the cell queues no more runs; the next start
            of the study tries again.
    """

    cell: Cell
    trials: list[Trial] = field(default_factory=list)
    finals: dict[int, Trial] = field(default_factory=dict)
    front_finals: dict[tuple[int, int], Trial] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)
    _tally: _Tally = field(default_factory=_Tally, repr=False)

    def add(self, trial: Trial) -> None:
        """Register one more trial or final run."""
        if trial.seed is None:
            self.trials.append(trial)
        elif trial.of is None:
            self.finals[trial.seed] = trial
        else:
            self.front_finals[trial.of, trial.seed] = trial
        self._tally.add(trial)

    @property
    def final_runs(self) -> list[Trial]:
        """All final runs: those of the best trial, then those of others on the Pareto front."""
        return [*self.finals.values(), *self.front_finals.values()]

    @property
    def runs(self) -> list[Trial]:
        """The trials, then all final runs."""
        return [*self.trials, *self.final_runs]

    def lost(self, status: str) -> int:
        """Return the number of trials with this status, "diverged", "invalid" or "pruned"."""
        return sum(t.result is not None and t.result.status == status for t in self.trials)

    def settle(self, trial: Trial, result: Result) -> None:
        """Register the result of a run that was added before."""
        trial.result, trial.reached = result, None
        self._tally.settle(trial, self.cell)

    def waiting(self, keys: Iterable[str] | None = None) -> list[Trial]:
        """Return trials, then final runs, without a result: all of them, or those with these keys."""
        runs = self._tally.open
        found = runs.values() if keys is None else (runs[key] for key in keys if key in runs)
        return sorted((t for same in found for t in same), key=lambda t: (t.seed is not None, t.n))

    def runs_of(self, key: str) -> Sequence[Trial]:
        """Return the trials, then the final runs, that stand for the run with this key."""
        return self._tally.runs.get(key, ())

    def unsettled(self, key: str) -> tuple[int, int]:
        """Return how many trials and how many final runs have this key and no result."""
        same = self._tally.open.get(key, ())
        finals = sum(trial.seed is not None for trial in same)
        return len(same) - finals, finals

    @property
    def settled(self) -> tuple[int, int]:
        """The number of trials and the number of final runs that have a result."""
        return self._tally.trials, self._tally.finals

    @property
    def wanted(self) -> int:
        """The number of completed and pruned trials that the search asks for."""
        search = self.cell.search
        if isinstance(search, Grid):
            return len(search)
        return search.trials if search else 0

    @property
    def completed(self) -> list[Trial]:
        """The trials that are done."""
        return [t for t in self.trials if t.result is not None and t.result.status == "done"]

    @property
    def diverged(self) -> list[Trial]:
        """The trials and final runs that diverged."""
        return [t for t in self.runs if t.result is not None and t.result.status == "diverged"]

    @property
    def replaced(self) -> int:
        """The number of trials that diverged or were invalid; each of them is replaced by another."""
        return self._tally.lost

    @property
    def searched(self) -> bool:
        """Whether the search is over."""
        if self._tally.trials < len(self.trials):
            return False
        ended = self._tally.completed + self._tally.pruned
        return ended >= self.wanted or len(self.trials) >= most_trials(self.cell)

    @property
    def front(self) -> list[Trial]:
        """The completed trials so far that no other one beats; with one objective, at most one."""
        return [self.trials[n] for _, n in self._tally.front]

    @property
    def leader(self) -> Trial | None:
        """The best completed trial so far: of one objective the earliest of equals, of several the knee."""
        front = self._tally.front
        return self.trials[objectives.knee(front)] if front else None

    @property
    def best(self) -> Trial | None:
        """The leader once the search is over; None before."""
        return self.leader if self.searched else None

    @property
    def seeds(self) -> Sequence[int]:
        """The seeds of final runs; empty if the best trial serves as the final run."""
        final = self.cell.final
        if isinstance(final, Seeds):
            return final
        return () if self.cell.search else (self.cell.trial_seed,)

    @property
    def chosen(self) -> list[Trial]:
        """The trials whose values final runs have, the best one first; empty before the search is over."""
        best, search = self.best, self.cell.search
        if best is None:
            return []
        others = self.front if isinstance(search, Search) and search.pick == "front" else []
        return [best, *(trial for trial in others if trial is not best)]

    def final_plan(self) -> list[Trial]:
        """Return the final runs of a cell whose search is over or that has none, in the order to run."""
        chosen: list[Trial | None] = [*self.chosen] or [None]
        planned = [(trial, seed) for trial in chosen for seed in self.seeds]
        return [
            Trial(
                position,
                params := trial.params if trial else {},
                self.cell.spec(params, seed),
                seed=seed,
                of=trial.n if trial is not None and trial is not chosen[0] else None,
            )
            for position, (trial, seed) in enumerate(planned)
        ]

    @property
    def wanted_finals(self) -> int:
        """The number of final runs, as far as is known."""
        return len(self.seeds) * self._members

    @property
    def _members(self) -> int:
        """The number of trials whose values final runs have, as far as is known; 1 if there is no search."""
        search = self.cell.search
        picks = isinstance(search, Search) and search.pick == "front"
        return len(self.front) or 1 if picks and self.searched else 1

    @property
    def results(self) -> dict[int, Result]:
        """The results of final runs by seed; with `final="best trial"`, that of the best trial."""
        if not self.seeds:
            best = self.best
            return {self.cell.trial_seed: best.result} if best and best.result else {}
        return {seed: trial.result for seed, trial in self.finals.items() if trial.result is not None}

    @property
    def total(self) -> int:
        """The number of runs in total, as far as is known.

        A replaced trial adds one, and the best trial counts as the final run with its seed.
        """
        if self.cell.search and self.searched and self.best is None:
            return len(self.trials)  # no trial has a value, so no final run follows
        trials = max(self.wanted + self.replaced, len(self.trials))
        if isinstance(self.cell.search, Search):
            trials = min(trials, most_trials(self.cell))
        # The final run with the seed of the trials is a trial already.
        shared = self._members if self.cell.search and self.seeds else 0
        return trials + self.wanted_finals - shared

    @property
    def done(self) -> int:
        """The number of finished runs; a final run that equals a trial is not counted twice."""
        return self._tally.trials + self._tally.extra

    @property
    def missing(self) -> int:
        """The number of runs still to do, as far as is known; 0 for a blocked cell."""
        return 0 if self.complete or self.cell.blocked else max(0, self.total - self.done)

    @property
    def complete(self) -> bool:
        """Whether nothing is missing."""
        if not self.searched:
            return False
        if self.cell.search and self.best is None:
            return False
        return self._tally.finals == self.wanted_finals

    @property
    def seconds_per_run(self) -> float | None:
        """The mean measured seconds of the cell's runs; None if none was measured."""
        return self._tally.seconds / self._tally.measured if self._tally.measured else None


def most_trials(cell: Cell) -> int:
    """Return the largest number of trials: a search replaces those without a value, a grid does not."""
    if isinstance(cell.search, Grid):
        return len(cell.search)
    return 2 * cell.search.trials if cell.search else 0

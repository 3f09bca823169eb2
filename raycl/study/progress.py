"""Where a study stands: its runs, its trials, and the state of each cell."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from raycl.runs.result import Result
from raycl.specs import RunSpec
from raycl.study.cells import Cell
from raycl.study.jobs import Role
from raycl.study.values import Grid, Search, Seeds


@dataclass(slots=True)
class Trial:
    """One proposal of a cell, or a final run of it, and the run that it means.

    Attributes:
        seed: of a final run; None of a trial.
    """

    n: int
    params: dict[str, Any]
    spec: RunSpec
    result: Result | None = None
    seed: int | None = None
    _accs: dict[str, float | None] | None = field(default=None, repr=False, compare=False)

    @property
    def role(self) -> Role:
        return Role(trial=self.n) if self.seed is None else Role(seed=self.seed)

    @property
    def priority(self) -> float:
        """Of a cell's runs, that with the smallest goes first."""
        return self.n if self.seed is None else 10_000 + self.n

    def acc(self, split: Literal["val", "test"]) -> float | None:
        """Mean accuracy after the last task; None if there is none. It is worked out once."""
        if self.result is None:
            return None
        if self._accs is None:
            self._accs = {}
        if split not in self._accs:
            self._accs[split] = self.result.acc(split)
        return self._accs[split]

    def objective(self, cell: Cell) -> float | None:
        """Mean accuracy after the last task, on the split that the protocol names; None if there is none."""
        return self.acc("test" if cell.protocol == "paper" else "val")


@dataclass
class _Tally:
    """What is known of a cell's runs, counted as they come, so that asking costs the same with any number.

    Attributes:
        keys: of its trials.
        open: trials and final runs without a result, by the key of their run.
        trials, completed, diverged: trials that have a result; that are done; that diverged.
        finals, extra: final runs that have a result; those among them that are no trial as well.
        best: the completed trial with the highest objective, the earliest of equals.
        seconds, measured: of runs that say how long they took, and how many these are.
    """

    keys: set[str] = field(default_factory=set)
    open: dict[str, list[Trial]] = field(default_factory=dict)
    trials: int = 0
    completed: int = 0
    diverged: int = 0
    finals: int = 0
    extra: int = 0
    best: Trial | None = None
    seconds: float = 0.0
    measured: int = 0

    def add(self, trial: Trial) -> None:
        if trial.seed is None:
            self.keys.add(trial.spec.key)
        self.open.setdefault(trial.spec.key, []).append(trial)

    def settle(self, trial: Trial, cell: Cell) -> None:
        """A run that was added has its result."""
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
            self.extra += key not in self.keys
            return
        self.trials += 1
        self.completed += result.status == "done"
        self.diverged += result.status == "diverged"
        if result.status == "done" and (value := trial.objective(cell)) is not None:
            best = self.best.objective(cell) if self.best else None
            if best is None or self.best is None or (value, -trial.n) > (best, -self.best.n):
                self.best = trial


@dataclass
class CellState:
    """Where a cell stands.

    Attributes:
        trials: in the order of proposal; a cell without a search has none.
        finals: by seed, as soon as the search has its winner.
        failed: messages of failed runs by key; no more is emitted, the next start tries again.
    """

    cell: Cell
    trials: list[Trial] = field(default_factory=list)
    finals: dict[int, Trial] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)
    _tally: _Tally = field(default_factory=_Tally, repr=False)

    def add(self, trial: Trial) -> None:
        """A proposal more, or a final run."""
        if trial.seed is None:
            self.trials.append(trial)
        else:
            self.finals[trial.seed] = trial
        self._tally.add(trial)

    def settle(self, trial: Trial, result: Result) -> None:
        """A run that was added has its result."""
        trial.result = result
        self._tally.settle(trial, self.cell)

    def waiting(self, keys: Iterable[str] | None = None) -> list[Trial]:
        """Trials, then final runs, without a result; of all, or of those with these keys."""
        runs = self._tally.open
        found = runs.values() if keys is None else (runs[key] for key in keys if key in runs)
        return sorted((t for same in found for t in same), key=lambda t: (t.seed is not None, t.n))

    def unsettled(self, key: str) -> tuple[int, int]:
        """Trials, and final runs, that are the run with this key and have no result."""
        same = self._tally.open.get(key, ())
        finals = sum(trial.seed is not None for trial in same)
        return len(same) - finals, finals

    @property
    def settled(self) -> tuple[int, int]:
        """Trials, and final runs, that have a result."""
        return self._tally.trials, self._tally.finals

    @property
    def wanted(self) -> int:
        """Completed trials that the search asks for."""
        search = self.cell.search
        if isinstance(search, Grid):
            return len(search)
        return search.trials if search else 0

    @property
    def completed(self) -> list[Trial]:
        """Trials that are done."""
        return [t for t in self.trials if t.result is not None and t.result.status == "done"]

    @property
    def diverged(self) -> list[Trial]:
        """Trials and final runs that diverged."""
        everything = [*self.trials, *self.finals.values()]
        return [t for t in everything if t.result is not None and t.result.status == "diverged"]

    @property
    def replaced(self) -> int:
        """Trials that diverged, each of which makes room for another."""
        return self._tally.diverged

    @property
    def searched(self) -> bool:
        """Whether the search is over."""
        if self._tally.trials < len(self.trials):
            return False
        return self._tally.completed >= self.wanted or len(self.trials) >= most_trials(self.cell)

    @property
    def leader(self) -> Trial | None:
        """The completed trial with the highest objective so far, the earliest of equals."""
        return self._tally.best

    @property
    def best(self) -> Trial | None:
        """The leader, when the search is over."""
        return self.leader if self.searched else None

    @property
    def seeds(self) -> Sequence[int]:
        """Seeds of final runs besides the best trial."""
        final = self.cell.final
        if isinstance(final, Seeds):
            return final
        return () if self.cell.search else (self.cell.trial_seed,)

    @property
    def results(self) -> dict[int, Result]:
        """Finished final runs by seed; with `final="best trial"` the best trial itself."""
        if not self.seeds:
            best = self.best
            return {self.cell.trial_seed: best.result} if best and best.result else {}
        return {seed: trial.result for seed, trial in self.finals.items() if trial.result is not None}

    @property
    def total(self) -> int:
        """Runs in all, as far as is known: a replaced trial adds one, and the best trial is a final run."""
        if self.cell.search and self.searched and self.best is None:
            return len(self.trials)  # all diverged: nothing is left to do
        trials = max(self.wanted + self.replaced, len(self.trials))
        if isinstance(self.cell.search, Search):
            trials = min(trials, most_trials(self.cell))
        shared = 1 if self.cell.search and self.seeds else 0
        return trials + len(self.seeds) - shared

    @property
    def done(self) -> int:
        """Runs that are finished; the best trial is no second run."""
        return self._tally.trials + self._tally.extra

    @property
    def missing(self) -> int:
        """Runs that are not finished, as far as is known; of a cell that is blocked, none will be."""
        return 0 if self.complete or self.cell.blocked else max(0, self.total - self.done)

    @property
    def complete(self) -> bool:
        """Nothing is missing."""
        if not self.searched:
            return False
        if self.cell.search and self.best is None:
            return False
        return self._tally.finals == len(self.seeds)

    @property
    def seconds_per_run(self) -> float | None:
        """Mean measured seconds of its runs."""
        return self._tally.seconds / self._tally.measured if self._tally.measured else None


def most_trials(cell: Cell) -> int:
    """Proposals at most: a diverged trial of a search is replaced, a grid is what it is."""
    if isinstance(cell.search, Grid):
        return len(cell.search)
    return 2 * cell.search.trials if cell.search else 0

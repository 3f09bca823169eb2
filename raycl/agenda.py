"""What is to be played next, decided from the store alone: the same for one process and for a cluster.

Trial n of a cell is proposed when trials 0 .. n - width are finished, and from exactly those; what has
finished since counts as running. So proposals depend on (seed, cell, n, width) and never on timing.
"""

from __future__ import annotations

import functools
import heapq
import math
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from raycl.maskjobs import MaskJob, MaskQueue, Trained
from raycl.sequence import joined
from raycl.spec import RunSpec
from raycl.store import Result, Store
from raycl.study import Cell, Grid, Search, Seeds
from raycl.supermasks.bank import MaskSpec


class Proposer(Protocol):
    """Suggests the parameters of trial `n` of a search."""

    def __call__(
        self,
        cell: Cell,
        n: int,
        told: Sequence[tuple[Mapping[str, Any], float | None]],
        running: Sequence[Mapping[str, Any]],
    ) -> dict[str, Any]:
        """`told`: finished trials with their objective (None: diverged); `running`: the rest below n."""
        ...


def nothing_to_propose(cell: Cell, n: int, told: object, running: object) -> dict[str, Any]:
    """The proposer of a study that searches nothing."""
    raise AssertionError(f"{cell.name} searches nothing, and was asked for trial {n}")


@dataclass(frozen=True)
class Job:
    """A run to be played, and why."""

    spec: RunSpec
    cell: Cell
    role: str  # "trial 3", "seed 2", and of a run below them "seed 2, backbone" or "seed 2, task 5"

    @property
    def key(self) -> str:
        return self.spec.key

    @property
    def name(self) -> str:
        return f"{self.cell.name.replace('/', ' / ')} / {self.role}"

    @property
    def below(self) -> bool:
        """Not a run of its cell, but one that such a run builds on or is made of."""
        return "," in self.role


@dataclass
class Trial:
    """One proposal of a cell, and the run it means."""

    n: int
    params: dict[str, Any]
    spec: RunSpec
    result: Result | None = None

    def objective(self, cell: Cell) -> float | None:
        """Mean accuracy after the last task, on the split that the protocol names; None if there is none."""
        return None if self.result is None else self.result.acc("test" if cell.protocol == "paper" else "val")


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

    @property
    def wanted(self) -> int:
        """Completed trials that the search asks for."""
        search = self.cell.search
        if isinstance(search, Grid):
            return len(search.points())
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
    def searched(self) -> bool:
        """Whether the search is over."""
        if any(trial.result is None for trial in self.trials):
            return False
        enough = len(self.completed) >= self.wanted
        return enough or len(self.trials) >= most_trials(self.cell)

    @property
    def best(self) -> Trial | None:
        """The completed trial with the highest objective, the earliest of equals; None before the end."""
        if not self.searched:
            return None
        scored = [(t.objective(self.cell), -t.n, t) for t in self.completed]
        scored = [s for s in scored if s[0] is not None]
        return max(scored, key=lambda s: s[:2])[2] if scored else None

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
        trials = max(self.wanted + len([t for t in self.trials if self._diverged(t)]), len(self.trials))
        if isinstance(self.cell.search, Search):
            trials = min(trials, most_trials(self.cell))
        shared = 1 if self.cell.search and self.seeds else 0
        return trials + len(self.seeds) - shared

    @property
    def done(self) -> int:
        """Runs that are finished."""
        trials = {trial.spec.key for trial in self.trials}
        finals = [
            f for f in self.finals.values() if f.spec.key not in trials
        ]  # the best trial is no second run
        return sum(trial.result is not None for trial in [*self.trials, *finals])

    @property
    def complete(self) -> bool:
        """Nothing is missing."""
        if not self.searched:
            return False
        if self.cell.search and self.best is None:
            return False
        return all(seed in self.finals and self.finals[seed].result is not None for seed in self.seeds)

    @staticmethod
    def _diverged(trial: Trial) -> bool:
        return trial.result is not None and trial.result.status == "diverged"


def assembled(spec: RunSpec, parts: Sequence[Result]) -> Result:
    """The result of a run whose tasks were learnt side by side, from a finished run of each, in order."""
    about = dict(parts[-1].provenance)
    about["seconds"] = sum(float(part.provenance["seconds"]) for part in parts)
    about["started"] = min(float(part.provenance["started"]) for part in parts)
    for t, part in enumerate(parts):
        if part.status != "done":
            return Result(spec, part.status, (), f"task {t + 1}: {part.message}", about)
    reports = joined([part.reports[0] for part in parts], spec.evaluate)
    return Result(spec, "done", tuple(reports), "", about)


def most_trials(cell: Cell) -> int:
    """Proposals at most: a diverged trial of a search is replaced, a grid is what it is."""
    if isinstance(cell.search, Grid):
        return len(cell.search.points())
    return 2 * cell.search.trials if cell.search else 0


class Agenda:
    """Hands out jobs and takes their results, until nothing is missing that can be had.

    Args:
        propose: suggests trials; None hands out nothing and only reads what the store has (`plan`,
            `report`).
        fresh: compute again what the store has.
        beside: cells that are not played, but read: references that a choice of cells leaves out.
    """

    def __init__(
        self,
        cells: Sequence[Cell],
        store: Store,
        propose: Proposer | None = None,
        fresh: bool = False,
        beside: Sequence[Cell] = (),
    ) -> None:
        self.store = store
        self.states: list[CellState] = [CellState(cell) for cell in cells]
        self.beside: list[CellState] = Agenda(beside, store).states if beside else []
        self.live: dict[str, Job | MaskJob] = {}
        self.masks = MaskQueue(store)
        self.listeners: list[Callable[[str, Any, Any], None]] = []
        self.ran = 0
        self._propose = propose
        self._fresh: set[str] = set()  # finished runs that --fresh recomputes are asked for once
        self._again = fresh
        self._ready: list[tuple[int, float, str]] = []
        self._jobs: dict[str, Job] = {}
        self._put_together: list[tuple[Job, Result]] = []
        self._parked: dict[str, tuple[int, float, Job]] = {}  # runs that wait for masks
        self._watchers: dict[str, set[int]] = defaultdict(set)
        for index in range(len(self.states)):
            self._advance(index)

    def next(self) -> Job | MaskJob | None:
        """A job to play now, or None: wait for live ones, or all is over (`over`)."""
        if (masks := self.masks.next()) is not None:
            self.live[masks.key] = masks
            self._tell("started", masks)
            return masks
        while self._ready:
            *_, key = heapq.heappop(self._ready)
            job = self._jobs.pop(key)
            if self.store.get(key) is not None:
                self._notice(key)
                continue
            self.live[key] = job
            self.ran += 1
            self._tell("started", job)
            return job
        return None

    @property
    def over(self) -> bool:
        """Nothing is live and nothing is ready."""
        return not self.live and not self._ready and self.masks.idle

    def finish(self, key: str, result: Result) -> None:
        """A job came to an end: publish what it came to, and see what may follow."""
        job = self.live.pop(key)
        assert isinstance(job, Job)
        if damaged := self._damaged(result):
            damaged()
            self._notice(key)
            self._tell("finished", job, result)
            return
        self.store.put(result)
        if result.status == "failed":
            for index in self._watchers[key]:
                self.states[index].failed[key] = f"{job.name}: {result.message.strip()}"
        if job.below:  # told before the run that it may complete
            self._tell("finished", job, result)
            self._notice(key)
            return
        self._notice(key)
        self._tell("finished", job, result)

    def _damaged(self, result: Result) -> Callable[[], None] | None:
        """How to drop a file that a run found damaged, to have it made again."""
        for kind, drop in (("damaged_mask", self.store.drop_mask),
                           ("damaged_backbone", self.store.drop_backbone)):  # fmt: skip
            if key := result.provenance.get(kind):
                return functools.partial(drop, key, result.message)
        return None

    def finish_masks(self, key: str, outcome: Trained) -> None:
        """A job of masks came to an end; those it trained are in the store."""
        job = self.live.pop(key)
        assert isinstance(job, MaskJob)
        freed, lost = self.masks.finish(job)
        self._unpark(freed)
        message = f"{job.name}: {outcome.message.strip() or 'a mask is not in the store'}"
        for run in lost:
            self._parked.pop(run, None)
            for index in self._watchers[run]:
                self.states[index].failed[run] = message
        self._tell("finished", job, outcome)

    def mask_ready(self, key: str) -> None:
        """A mask of a live job is in the store: runs that waited for it alone may begin."""
        if self.store.has_mask(key):
            self._unpark(self.masks.ready(key))

    def _unpark(self, runs: Sequence[str]) -> None:
        for run in runs:
            index, priority, job = self._parked.pop(run)
            self._jobs[run] = job
            heapq.heappush(self._ready, (index, priority, run))

    def pulse(self, key: str, pulse: Any) -> None:
        """A sign of life from a live job."""
        if key in self.live:
            self._tell("pulse", self.live[key], pulse)

    def open_cells(self) -> Iterator[CellState]:
        """Cells that are not complete."""
        return (state for state in self.states if not state.complete)

    def _tell(self, what: str, job: Job | MaskJob, more: Any = None) -> None:
        for listener in self.listeners:
            listener(what, job, more)

    def _notice(self, key: str) -> None:
        for index in sorted(self._watchers.pop(key, ())):
            self._advance(index)

    def _advance(self, index: int) -> None:
        """Read what the store has for a cell, propose what may be proposed, emit what is ready."""
        state = self.states[index]
        for trial in state.trials:
            trial.result = trial.result or self._whole(state, trial.spec, f"trial {trial.n}")
        while (proposed := self._next_trial(state)) is not None:
            state.trials.append(proposed)
            proposed.result = self._whole(state, proposed.spec, f"trial {proposed.n}")
        for trial in state.trials:
            if trial.result is None:
                self._emit(index, trial.spec, f"trial {trial.n}", trial.n)
        if state.searched and (state.best is not None or not state.cell.search):
            params = state.best.params if state.best else {}
            for position, seed in enumerate(state.seeds):
                final = state.finals.get(seed)
                if final is None:
                    final = state.finals[seed] = Trial(position, params, state.cell.spec(params, seed))
                final.result = final.result or self._whole(state, final.spec, f"seed {seed}")
                if final.result is None:
                    self._emit(index, final.spec, f"seed {seed}", 10_000 + position)
        while self._put_together:  # told when the state has them, as of any other run
            self._tell("finished", *self._put_together.pop())

    def _result(self, spec: RunSpec) -> Result | None:
        key = spec.key
        if self._again and self._propose is not None and key not in self._fresh:
            self._fresh.add(key)
            self.store.forget(key)
        result = self.store.get(key)
        if result is not None and result.status == "done" and spec.kind == "pretrain":
            if self.store.has_backbone(key):
                return result
            if self._propose is not None:
                self.store.forget(key)
            return None
        return result

    def _whole(self, state: CellState, spec: RunSpec, role: str) -> Result | None:
        """The result of a run of a cell, put together from its parts as soon as the last of them is there."""
        result = self._result(spec)
        if result is not None or self._propose is None or state.cell.blocked or state.failed:
            return result
        parts = [part for run in spec.parts if (part := self._result(run)) is not None]
        if not parts or len(parts) < len(spec.parts):
            return None
        result = assembled(spec, parts)
        self.store.put(result)
        for part in parts:
            self.store.forget(part.key)
        self._put_together.append((Job(spec, state.cell, role), result))
        return result

    def _emit(self, index: int, spec: RunSpec, role: str, priority: float) -> None:
        """Have a run played that has no result, or what it waits for."""
        state, key = self.states[index], spec.key
        if state.cell.blocked or key in state.failed:
            return
        self._watchers[key].add(index)
        missing = self._missing_masks(spec)
        if self._propose is None or state.failed or key in self.live or key in self._jobs:
            return
        if key in self._parked or self._waits(index, spec, role, priority):
            return
        job = Job(spec, state.cell, role)
        if missing:
            self._parked[key] = index, priority, job
            self.masks.wait(key, missing, state.cell)
            return
        self._jobs[key] = job
        heapq.heappush(self._ready, (index, priority, key))

    def _waits(self, index: int, spec: RunSpec, role: str, priority: float) -> bool:
        """Whether other runs must end before one can be played; they are emitted."""
        waits = False
        for name, run in spec.runs.items():
            result = self._result(run)
            if result is None:
                self._emit(index, run, f"{role}, {name}", priority)
                waits = True
            elif result.status != "done":
                self.states[index].failed[run.key] = f"its {name} {result.status}: {result.message}"
                waits = True
        if waits:
            return True
        for t, part in enumerate(spec.parts):
            if self._result(part) is None:
                self._emit(index, part, f"{role}, task {t + 1}", priority + t / 1000)
        return bool(spec.parts)

    def _missing_masks(self, spec: RunSpec) -> list[MaskSpec]:
        """Basis masks that a run lacks; with --fresh every mask is trained once more."""
        if self._again and self._propose is not None:
            for mask in spec.masks:
                if mask.trained and mask.key not in self._fresh:
                    self._fresh.add(mask.key)
                    self.store.forget_mask(mask.key)
        return self.masks.missing(spec.masks)

    def _next_trial(self, state: CellState) -> Trial | None:
        """The next trial of a cell, if it may be proposed now."""
        cell, n = state.cell, len(state.trials)
        if cell.search is None or n >= most_trials(cell) or cell.blocked or state.failed:
            return None
        if isinstance(cell.search, Grid):
            point = cell.search.points()[n]
            return Trial(n, point, cell.spec(point, cell.trial_seed))
        known = max(0, n - cell.search.width + 1)  # trials 0 .. n - width must be finished, and are told
        if any(trial.result is None for trial in state.trials[:known]):
            return None
        if n >= cell.search.trials + self._replaced(state, known):
            return None
        params = self._proposal(cell, n, state, known)
        return None if params is None else Trial(n, params, cell.spec(params, cell.trial_seed))

    @staticmethod
    def _replaced(state: CellState, known: int) -> int:
        """Diverged trials that count now: those told, or all once nothing runs."""
        finished = all(trial.result is not None for trial in state.trials)
        counted = state.trials if finished else state.trials[:known]
        return sum(CellState._diverged(trial) for trial in counted)

    def _proposal(self, cell: Cell, n: int, state: CellState, known: int) -> dict[str, Any] | None:
        if (written := self.store.proposal(cell.key, n)) is not None:
            return cell.typed(written)
        if self._propose is None:
            return None
        told = [(t.params, t.objective(cell)) for t in state.trials[:known]]
        params = self._propose(cell, n, told, [t.params for t in state.trials[known:]])
        self.store.propose(cell.key, n, params, {"method": cell.label, "benchmark": cell.benchmark})
        return params


def seconds_left(agenda: Agenda, slots: float) -> float | None:
    """Estimated seconds to the end: measured seconds of like runs, on so many slots; None if unknown."""
    total, longest = 0.0, 0.0
    for state in agenda.states:
        if state.complete or state.cell.blocked:
            continue
        seconds = seconds_per_run(state, agenda)
        if seconds is None:
            return None
        missing = max(0, state.total - state.done)
        width = state.cell.search.width if isinstance(state.cell.search, Search) else missing
        total += seconds * missing
        longest = max(longest, seconds * math.ceil(missing / max(1, width)))
    return max(total / max(slots, 1), longest)


def seconds_per_run(state: CellState, agenda: Agenda) -> float | None:
    """Mean measured seconds of a cell's runs, or of its method's elsewhere in the study."""
    for like in ([state], [s for s in agenda.states if s.cell.method is state.cell.method]):
        seconds = [
            float(trial.result.provenance["seconds"])
            for s in like
            for trial in [*s.trials, *s.finals.values()]
            if trial.result is not None and "seconds" in trial.result.provenance
        ]
        if seconds:
            return sum(seconds) / len(seconds)
    return None

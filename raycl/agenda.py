"""What is to be played next, decided from the store alone: the same for one process and for a cluster.

Trial n of a cell is proposed when trials 0 .. n - width are finished, and from exactly those; what has
finished since counts as running. So proposals depend on (seed, cell, n, width) and never on timing.
"""

from __future__ import annotations

import contextlib
import functools
import heapq
import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from raycl.errors import UserError
from raycl.maskjobs import MaskJob, MaskQueue
from raycl.method import Method
from raycl.sequence import joined
from raycl.spec import RunSpec
from raycl.store import Result, Store, Trained
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
        return f"{self.cell.title} / {self.role}"

    @property
    def below(self) -> bool:
        """Not a run of its cell, but one that such a run builds on or is made of."""
        return "," in self.role


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
    def role(self) -> str:
        return f"trial {self.n}" if self.seed is None else f"seed {self.seed}"

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
        return len(cell.search)
    return 2 * cell.search.trials if cell.search else 0


class Agenda:
    """Hands out jobs and takes their results, until nothing is missing that can be had.

    Args:
        propose: suggests trials; None hands out nothing and only reads what the store has (`plan`,
            `report`).
        fresh: compute again what the store has.
        beside: cells that are not played, but read: references that a choice of cells leaves out.

    Attributes:
        moved: indices of cells in the order in which they changed, for whoever remembers how far they have
            read.
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
        self.moved: list[int] = []
        self.ran = 0
        self._propose = propose
        self._fresh: set[str] = set()  # finished runs that --fresh recomputes are asked for once
        self._again = fresh
        self._ready: list[tuple[int, float, str]] = []
        self._jobs: dict[str, Job] = {}
        self._put_together: list[tuple[Job, Result]] = []
        self._parked: dict[str, tuple[int, float, Job]] = {}  # runs that wait for masks
        # By the key of a run: the cells that wait for it, and their own runs for whose sake they do.
        self._watchers: dict[str, dict[int, set[str]]] = defaultdict(lambda: defaultdict(set))
        self._homes: dict[str, tuple[int, ...]] = {}
        self._tasks: dict[str, int | None] = {}  # of benchmarks whose results have no digest
        self._seconds: dict[type[Method], tuple[float, int]] = defaultdict(lambda: (0.0, 0))
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
            if self.store.get(key) is not None or (job.below and self._had(self._sake(key))):
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
        result = self.store.put(result)
        if result.status == "failed":
            for index in self._watchers[key]:
                self._fail(index, key, f"{job.name}: {result.message.strip()}")
        if job.below:  # told before the run that it may complete
            self._tell("finished", job, result)
            sake = self._sake(key)
            self._notice(key)
            if job.spec.part is not None and job.spec.kind == "sequence" and self._had(sake):
                self.store.forget(key)  # another driver may have put the whole together from its own parts
            return
        self._notice(key)
        self._tell("finished", job, result)

    def _sake(self, key: str) -> set[str]:
        """Keys of the cells' own runs for whose sake a run is played."""
        return {own for keys in self._watchers.get(key, {}).values() for own in keys}

    def _had(self, keys: set[str]) -> bool:
        """Whether all of some runs are in the store, be it from another driver."""
        return bool(keys) and all(self.store.get(key) is not None for key in keys)

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
                self._fail(index, run, message)
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

    def homes(self, key: str) -> Sequence[int]:
        """Indices of the cells of which the run with this key is a trial or a final run."""
        return self._homes.get(key, ())

    def seconds_of(self, method: type[Method]) -> float | None:
        """Mean measured seconds of a method's runs in all cells; None if there are none."""
        seconds, measured = self._seconds[method]
        return seconds / measured if measured else None

    def _tell(self, what: str, job: Job | MaskJob, more: Any = None) -> None:
        for listener in self.listeners:
            listener(what, job, more)

    def _notice(self, key: str) -> None:
        for index, own in sorted(self._watchers.pop(key, {}).items()):
            self._advance(index, own)

    def _fail(self, index: int, key: str, message: str) -> None:
        self.states[index].failed[key] = message
        self.moved.append(index)

    def _advance(self, index: int, own: Iterable[str] | None = None) -> None:
        """Read what the store has for a cell, propose what may be proposed, emit what is ready.

        Args:
            own: keys of the runs of the cell that something has happened to; None: look at all.
        """
        state = self.states[index]
        self.moved.append(index)
        touched = state.waiting(own)
        for run in touched:
            if run.seed is None:
                self._read(state, run)
        while (proposed := self._next_trial(state)) is not None:
            self._add(index, proposed)
            touched.append(proposed)
        for run in touched:
            if run.seed is None and run.result is None:
                self._emit(index, run)
        self._finals(index, [run for run in touched if run.seed is not None])
        while self._put_together:  # told when the state has them, as of any other run
            self._tell("finished", *self._put_together.pop())

    def _finals(self, index: int, touched: list[Trial]) -> None:
        """Read and emit final runs: those that something has happened to, or all when they begin."""
        state = self.states[index]
        if state.searched and not state.finals and (state.best is not None or not state.cell.search):
            params = state.best.params if state.best else {}
            for position, seed in enumerate(state.seeds):
                final = Trial(position, params, state.cell.spec(params, seed), seed=seed)
                self._add(index, final)
                if final.result is None:
                    self._emit(index, final)
            return
        for final in touched:
            self._read(state, final)
            if final.result is None:
                self._emit(index, final)

    def _add(self, index: int, run: Trial) -> None:
        """A run more of a cell; the store may have it."""
        state, key = self.states[index], run.spec.key
        state.add(run)
        if index not in (homes := self._homes.get(key, ())):
            self._homes[key] = (*homes, index)
        self._read(state, run)

    def _read(self, state: CellState, run: Trial) -> None:
        """See whether the store has the result of a run that has none yet."""
        if (result := self._whole(state, run.spec, run.role)) is None:
            return
        state.settle(run, result)
        if "seconds" in result.provenance:
            seconds, measured = self._seconds[state.cell.method]
            seconds += float(result.provenance["seconds"])
            self._seconds[state.cell.method] = seconds, measured + 1

    def _result(self, spec: RunSpec) -> Result | None:
        key = spec.key
        if self._again and self._propose is not None and key not in self._fresh:
            self._fresh.add(key)
            self.store.forget(key)
        result = self.store.get(key)
        if result is not None and key in self.store.unsealed and (why := self._too_few(spec, result)):
            self.store.refuse(key, why)
            return None
        if result is not None and result.status == "done" and spec.kind == "pretrain":
            if self.store.has_backbone(key):
                return result
            if self._propose is not None:
                self.store.forget(key)
            return None
        return result

    def _too_few(self, spec: RunSpec, result: Result) -> str:
        """Why a result of the first format, which has no digest, lacks reports; "" if it has all."""
        if result.status != "done" or spec.part is not None:
            return ""
        name = f"{spec.benchmark} in {spec.home}"
        if name not in self._tasks:
            self._tasks[name] = None
            with contextlib.suppress(UserError):  # its data are not here
                self._tasks[name] = len(spec.make_benchmark().tasks)
        tasks = self._tasks[name]
        return (
            "" if tasks in (None, len(result.reports)) else f"{len(result.reports)} reports of {tasks} tasks"
        )

    def _whole(self, state: CellState, spec: RunSpec, role: str) -> Result | None:
        """The result of a run of a cell, put together from its parts as soon as the last of them is there."""
        result = self._result(spec)
        if result is not None or self._propose is None or state.cell.blocked or state.failed:
            return result
        if any(self._underway(part.key) for part in spec.parts):
            return None
        parts = [part for run in spec.parts if (part := self._result(run)) is not None]
        if not parts or len(parts) < len(spec.parts):
            return None
        result = assembled(spec, parts)
        self.store.put(result)
        for part in parts:
            self.store.forget(part.key)
        self._put_together.append((Job(spec, state.cell, role), result))
        return result

    def _underway(self, key: str) -> bool:
        """Whether a run is played or about to be: the store need not be asked for it."""
        return key in self.live or key in self._jobs

    def _emit(self, index: int, run: Trial) -> None:
        """Have a run of a cell played that has no result, or what it waits for."""
        self._emit_spec(index, run.spec.key, run.spec, run.role, run.priority)

    def _emit_spec(self, index: int, own: str, spec: RunSpec, role: str, priority: float) -> None:
        """Have a run played for the sake of the cell's own run with the key `own`: that, or one below it."""
        state, key = self.states[index], spec.key
        if state.cell.blocked or key in state.failed:
            return
        self._watchers[key][index].add(own)
        missing = self._missing_masks(spec)
        if self._propose is None or state.failed or self._underway(key):
            return
        if key in self._parked or self._waits(index, own, spec, role, priority):
            return
        job = Job(spec, state.cell, role)
        if missing:
            self._parked[key] = index, priority, job
            self.masks.wait(key, missing, state.cell)
            return
        self._jobs[key] = job
        heapq.heappush(self._ready, (index, priority, key))

    def _waits(self, index: int, own: str, spec: RunSpec, role: str, priority: float) -> bool:
        """Whether other runs must end before one can be played; they are emitted."""
        waits = False
        for name, run in spec.runs.items():
            result = None if self._underway(run.key) else self._result(run)
            if result is None:
                self._emit_spec(index, own, run, f"{role}, {name}", priority)
                waits = True
            elif result.status != "done":
                self._fail(index, run.key, f"its {name} {result.status}: {result.message}")
                waits = True
        if waits:
            return True
        for t, part in enumerate(spec.parts):
            if self._underway(part.key) or self._result(part) is None:
                self._emit_spec(index, own, part, f"{role}, task {t + 1}", priority + t / 1000)
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
            point = cell.search.point(n)
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
        if all(trial.result is not None for trial in state.trials[known:]):
            return state.replaced  # those before are finished
        return sum(t.result is not None and t.result.status == "diverged" for t in state.trials[:known])

    def _proposal(self, cell: Cell, n: int, state: CellState, known: int) -> dict[str, Any] | None:
        if (written := self.store.proposal(cell.key, n)) is not None:
            try:
                return _within(cell, written)
            except UserError as error:
                self.store.drop_proposal(cell.key, n, str(error))
        if self._propose is None:
            return None
        told = [(t.params, t.objective(cell)) for t in state.trials[:known]]
        params = self._propose(cell, n, told, [t.params for t in state.trials[known:]])
        self.store.propose(cell.key, n, params, {"method": cell.label, "benchmark": cell.benchmark})
        return params


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


class Outlook:
    """How long an agenda's runs will take, kept up to date by what has changed since it was asked last."""

    def __init__(self, agenda: Agenda) -> None:
        self.agenda = agenda
        self._read = 0  # how much of the agenda's list of changes
        # Cells with missing runs by index. Of those that have been measured: seconds of all their runs, and
        # of as many in a row as their search makes wait for one another. Of the others, by method: how many
        # runs these are.
        self._all: dict[int, float] = {}
        self._row: dict[int, float] = {}
        self._like: dict[type[Method], tuple[dict[int, int], dict[int, int]]] = defaultdict(lambda: ({}, {}))

    def seconds(self, slots: float) -> float | None:
        """Estimated seconds to the end, on so many slots: measured seconds of like runs; None if unknown."""
        moved = self.agenda.moved
        for index in {*moved[self._read :]}:
            self._note(index, self.agenda.states[index])
        self._read = len(moved)
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
        runs, rows = self._like[state.cell.method]
        for of in (self._all, self._row, runs, rows):
            of.pop(index, None)
        if not (missing := state.missing):
            return
        width = state.cell.search.width if isinstance(state.cell.search, Search) else missing
        row, seconds = math.ceil(missing / max(1, width)), state.seconds_per_run
        if seconds is None:
            runs[index], rows[index] = missing, row
        else:
            self._all[index], self._row[index] = seconds * missing, seconds * row


def seconds_left(agenda: Agenda, slots: float) -> float | None:
    """Estimated seconds to the end; None if unknown."""
    return Outlook(agenda).seconds(slots)


def seconds_per_run(state: CellState, agenda: Agenda) -> float | None:
    """Mean measured seconds of a cell's runs, or of its method's elsewhere in the study."""
    own = state.seconds_per_run
    return agenda.seconds_of(state.cell.method) if own is None else own

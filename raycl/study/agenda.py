"""What is to be played next, decided from the store alone: the same for one process and for a cluster."""

from __future__ import annotations

import contextlib
import functools
import heapq
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from raycl.archives import Artefact
from raycl.errors import UserError
from raycl.method import Method
from raycl.runs.build import make_benchmark, masks_for, parts_of, runs_for
from raycl.runs.result import Result, Trained
from raycl.runs.sequence import join_reports
from raycl.runs.store import Store
from raycl.specs import MaskSpec, RunSpec
from raycl.study.cells import Cell
from raycl.study.jobs import Event, Finished, Job, Pulsed, Role, Started
from raycl.study.maskjobs import MaskJob, MaskQueue
from raycl.study.progress import CellState, Trial
from raycl.study.proposer import Proposer
from raycl.study.trials import Trials


def assemble(spec: RunSpec, parts: Sequence[Result]) -> Result:
    """The result of a run whose tasks were learnt side by side, from a finished run of each, in order."""
    about = dict(parts[-1].provenance)
    about["seconds"] = sum(float(part.provenance["seconds"]) for part in parts)
    about["started"] = min(float(part.provenance["started"]) for part in parts)
    for t, part in enumerate(parts):
        if part.status != "done":
            return Result(spec, part.status, (), f"task {t + 1}: {part.message}", about)
    reports = join_reports([part.reports[0] for part in parts], spec.evaluate)
    return Result(spec, "done", tuple(reports), "", about)


class Agenda:
    """Hands out jobs and takes their results, until nothing is missing that can be had.

    Args:
        propose: suggests trials; None hands out nothing and only reads what the store has (`plan`,
            `report`).
        fresh: compute again what the store has.
        references: cells that are not played, but read: references that a choice of cells leaves out.

    Attributes:
        listeners: told of each event, in the order in which they were added.
        changed_cells: indices of cells in the order in which they changed; a reader remembers how many of
            them it has seen.
    """

    def __init__(
        self,
        cells: Sequence[Cell],
        store: Store,
        propose: Proposer | None = None,
        fresh: bool = False,
        references: Sequence[Cell] = (),
    ) -> None:
        self.store = store
        self.states: list[CellState] = [CellState(cell) for cell in cells]
        self.references: list[CellState] = Agenda(references, store).states if references else []
        self.live: dict[str, Job | MaskJob] = {}
        self.masks = MaskQueue(store)
        self.listeners: list[Callable[[Event], None]] = []
        self.changed_cells: list[int] = []
        self.ran = 0
        self._propose = propose
        self._trials = Trials(store, propose)
        self._fresh: set[str] = set()  # finished runs that --fresh recomputes are asked for once
        self._again = fresh
        self._ready: list[tuple[int, float, str]] = []
        self._jobs: dict[str, Job] = {}
        self._assembled: list[tuple[Job, Result]] = []
        self._parked: dict[str, tuple[int, float, Job]] = {}  # runs that wait for masks
        # By the key of a run: the cells that wait for it, and their own runs for whose sake they do.
        self._watchers: dict[str, dict[int, set[str]]] = defaultdict(lambda: defaultdict(set))
        self._cells_of_run: dict[str, tuple[int, ...]] = {}
        self._tasks: dict[str, int | None] = {}  # of benchmarks whose results have no digest
        self._seconds: dict[type[Method], tuple[float, int]] = defaultdict(lambda: (0.0, 0))
        for index in range(len(self.states)):
            self._advance(index)

    def next(self) -> Job | MaskJob | None:
        """A job to play now, or None: wait for live ones, or all is over (`over`)."""
        if (masks := self.masks.next()) is not None:
            self.live[masks.key] = masks
            self._tell(Started(masks))
            return masks
        while self._ready:
            *_, key = heapq.heappop(self._ready)
            job = self._jobs.pop(key)
            if self.store.get(key) is not None or (job.is_part and self._all_stored(self._waiting_for(key))):
                self._notice(key)
                continue
            self.live[key] = job
            self.ran += 1
            self._tell(Started(job))
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
            self._tell(Finished(job, result))
            return
        result = self.store.put(result)
        if result.status == "failed":
            for index in self._watchers[key]:
                self._fail(index, key, f"{job.name}: {result.message.strip()}")
        if job.is_part:  # told before the run that it may complete
            self._tell(Finished(job, result))
            waiting = self._waiting_for(key)
            self._notice(key)
            if job.spec.part is not None and job.spec.kind == "sequence" and self._all_stored(waiting):
                self.store.forget(key)  # another driver may have put the whole together from its own parts
            return
        self._notice(key)
        self._tell(Finished(job, result))

    def _waiting_for(self, key: str) -> set[str]:
        """Keys of the cells' own runs for whose sake a run is played."""
        return {own for keys in self._watchers.get(key, {}).values() for own in keys}

    def _all_stored(self, keys: set[str]) -> bool:
        """Whether all of some runs are in the store, be it from another driver."""
        return bool(keys) and all(self.store.get(key) is not None for key in keys)

    def _damaged(self, result: Result) -> Callable[[], None] | None:
        """How to drop a file that a run found damaged, to have it made again."""
        for kind in Artefact:
            if key := result.provenance.get(f"damaged_{kind}"):
                return functools.partial(self.store.drop, kind, key, result.message)
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
        self._tell(Finished(job, outcome))

    def mask_ready(self, key: str) -> None:
        """A mask of a live job is in the store: runs that waited for it alone may begin."""
        if self.store.has(Artefact.MASK, key):
            self._unpark(self.masks.ready(key))

    def _unpark(self, runs: Sequence[str]) -> None:
        for run in runs:
            index, priority, job = self._parked.pop(run)
            self._jobs[run] = job
            heapq.heappush(self._ready, (index, priority, run))

    def pulse(self, key: str, pulse: Any) -> None:
        """A sign of life from a live job."""
        if key in self.live:
            self._tell(Pulsed(self.live[key], pulse))

    def open_cells(self) -> Iterator[CellState]:
        """Cells that are not complete."""
        return (state for state in self.states if not state.complete)

    def cells_of_run(self, key: str) -> Sequence[int]:
        """Indices of the cells of which the run with this key is a trial or a final run."""
        return self._cells_of_run.get(key, ())

    def seconds_of(self, method: type[Method]) -> float | None:
        """Mean measured seconds of a method's runs in all cells; None if there are none."""
        seconds, measured = self._seconds[method]
        return seconds / measured if measured else None

    def _tell(self, event: Event) -> None:
        for listener in self.listeners:
            listener(event)

    def _notice(self, key: str) -> None:
        for index, own in sorted(self._watchers.pop(key, {}).items()):
            self._advance(index, own)

    def _fail(self, index: int, key: str, message: str) -> None:
        self.states[index].failed[key] = message
        self.changed_cells.append(index)

    def _advance(self, index: int, own: Iterable[str] | None = None) -> None:
        """Read what the store has for a cell, propose what may be proposed, emit what is ready.

        Args:
            own: keys of the runs of the cell that something has happened to; None: look at all.
        """
        state = self.states[index]
        self.changed_cells.append(index)
        touched = state.waiting(own)
        for run in touched:
            if run.seed is None:
                self._read(state, run)
        while (proposed := self._trials.next(state)) is not None:
            self._add(index, proposed)
            touched.append(proposed)
        for run in touched:
            if run.seed is None and run.result is None:
                self._emit(index, run)
        self._finals(index, [run for run in touched if run.seed is not None])
        while self._assembled:  # told when the state has them, as of any other run
            self._tell(Finished(*self._assembled.pop()))

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
        if index not in (cells_of_run := self._cells_of_run.get(key, ())):
            self._cells_of_run[key] = (*cells_of_run, index)
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
            if self.store.has(Artefact.BACKBONE, key):
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
                self._tasks[name] = len(make_benchmark(spec).tasks)
        tasks = self._tasks[name]
        return (
            "" if tasks in (None, len(result.reports)) else f"{len(result.reports)} reports of {tasks} tasks"
        )

    def _whole(self, state: CellState, spec: RunSpec, role: Role) -> Result | None:
        """The result of a run of a cell, put together from its parts as soon as the last of them is there."""
        result = self._result(spec)
        if result is not None or self._propose is None or state.cell.blocked or state.failed:
            return result
        if any(self._underway(part.key) for part in parts_of(spec)):
            return None
        parts = [part for run in parts_of(spec) if (part := self._result(run)) is not None]
        if not parts or len(parts) < len(parts_of(spec)):
            return None
        result = assemble(spec, parts)
        self.store.put(result)
        for part in parts:
            self.store.forget(part.key)
        self._assembled.append((Job(spec, state.cell, role), result))
        return result

    def _underway(self, key: str) -> bool:
        """Whether a run is played or about to be: the store need not be asked for it."""
        return key in self.live or key in self._jobs

    def _emit(self, index: int, run: Trial) -> None:
        """Have a run of a cell played that has no result, or what it waits for."""
        self._emit_spec(index, run.spec.key, run.spec, run.role, run.priority)

    def _emit_spec(self, index: int, own: str, spec: RunSpec, role: Role, priority: float) -> None:
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

    def _waits(self, index: int, own: str, spec: RunSpec, role: Role, priority: float) -> bool:
        """Whether other runs must end before one can be played; they are emitted."""
        waits = False
        for name, run in runs_for(spec).items():
            result = None if self._underway(run.key) else self._result(run)
            if result is None:
                self._emit_spec(index, own, run, role.under(name), priority)
                waits = True
            elif result.status != "done":
                self._fail(index, run.key, f"its {name} {result.status}: {result.message}")
                waits = True
        if waits:
            return True
        for t, part in enumerate(parts_of(spec)):
            if self._underway(part.key) or self._result(part) is None:
                self._emit_spec(index, own, part, role.under(f"task {t + 1}"), priority + t / 1000)
        return bool(parts_of(spec))

    def _missing_masks(self, spec: RunSpec) -> list[MaskSpec]:
        """Basis masks that a run lacks; with --fresh every mask is trained once more."""
        if self._again and self._propose is not None:
            for mask in masks_for(spec):
                if mask.trained and mask.key not in self._fresh:
                    self._fresh.add(mask.key)
                    self.store.forget_artefact(Artefact.MASK, mask.key)
        return self.masks.missing(masks_for(spec))

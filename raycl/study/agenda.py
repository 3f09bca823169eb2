"""The agenda, which decides from the store alone what to run next, in one process as on a cluster."""

from __future__ import annotations

import contextlib
import functools
import heapq
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any

from raycl.archives import Artefact
from raycl.errors import UserError
from raycl.runs.inputs import make_benchmark, masks_for, runs_for
from raycl.runs.pauses import Pauses
from raycl.runs.records import LOST
from raycl.runs.result import Result, Trained
from raycl.runs.store import Store
from raycl.specs import MaskSpec, RunSpec
from raycl.study.assembly import assemble, without_value
from raycl.study.cells import Cell
from raycl.study.jobs import Event, Finished, Job, Pulsed, Role, Started
from raycl.study.keeping import Keeping
from raycl.study.maskjobs import MaskJob, MaskQueue
from raycl.study.progress import CellState, Trial
from raycl.study.proposer import Proposer
from raycl.study.pruning import Pruning, rule_of
from raycl.study.trials import Trials


@functools.cache
def _alone(index: int) -> tuple[int]:
    """Return a tuple of one index, which is one for all runs of a cell, because a cell has many."""
    return (index,)


class Agenda:
    """Queue that hands out jobs and takes their results until every run that can be done is done.

    Args:
        propose: Suggests trials. With None, the agenda hands out nothing and only reads what the store
            contains, as `plan` and `report` do.
        fresh: Whether to recompute results that the store already contains.
        references: Cells that are read but not run: reference methods that a choice of cells leaves out.

    Attributes:
        listeners: Functions that are called with each event, in the order in which they were added.
        changed_cells: Indices of cells in the order in which they changed. A reader remembers how many
            entries it has seen, so that it only looks at new ones.
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
        self.keeping = Keeping(store)
        self.listeners: list[Callable[[Event], None]] = []
        self.changed_cells: list[int] = []
        self.ran = 0
        self._propose = propose
        self._trials = Trials(store, propose)
        self._pruning = Pruning(store, writes=propose is not None, fresh=fresh)
        self._fresh: set[str] = set()  # keys that --fresh has dropped already, so that each is dropped once
        self._again = fresh
        self._ready: list[tuple[int, float, str]] = []
        self._jobs: dict[str, Job] = {}
        self._assembled: list[tuple[Job, Result]] = []
        self._lost: dict[str, tuple[int, Result]] = {}  # of trials that lost a run on which they depend
        self._parked: dict[str, tuple[int, float, Job]] = {}  # runs that wait for masks
        # Key of a run -> index of each cell that waits for it -> keys of the cell's runs that depend on it.
        self._watchers: dict[str, dict[int, set[str]]] = defaultdict(lambda: defaultdict(set))
        self._cells_of_run: dict[str, tuple[int, ...]] = {}
        self._tasks: dict[str, int | None] = {}  # number of tasks per benchmark, for results without digest
        self._seconds: dict[str, tuple[float, int]] = defaultdict(lambda: (0.0, 0))
        for index in range(len(self.states)):
            self._advance(index)

    def next(self) -> Job | MaskJob | None:
        """Return a job to run now, or None if live jobs must end first or everything is over (see `over`)."""
        if (masks := self.masks.next()) is not None:
            self.live[masks.key] = masks
            self._tell(Started(masks))
            return masks
        while self._ready:
            *_, key = heapq.heappop(self._ready)
            job = self._jobs.pop(key)
            stored = self.store.get(key) is not None and not self.keeping.is_due(key)
            if stored or (job.is_part and self._all_stored(self._waiting_for(key))):
                self._notice(key)
                continue
            self.live[key] = job
            self.ran += 1
            self._tell(Started(job))
            return job
        return None

    @property
    def over(self) -> bool:
        """Whether nothing is live and nothing is ready."""
        return not self.live and not self._ready and self.masks.idle

    def finish(self, key: str, result: Result) -> None:
        """Publish the result of a job that has ended, and queue what can follow."""
        job = self.live.pop(key)
        assert isinstance(job, Job)
        self._settle(job, result)

    def _settle(self, job: Job, result: Result) -> None:
        """Publish the result of a job, and queue what can follow."""
        key = job.key
        if result.status == "invalid" and not self._is_tried(key):
            # No search can replace it, so that its author has to change something.
            result = replace(result, status="failed")
        if damaged := self._damaged(result):
            damaged()
            self._notice(key)
            self._tell(Finished(job, result))
            return
        if result.status == "paused" and (result := self.store.put(result)).status == "paused":
            self._notice(key)
            self._tell(Finished(job, result))
            return
        result = self.store.put(self.keeping.taken(result))
        self.keeping.ended(job.cell, job.role, key)
        if result.status == "failed":
            for index in self._watchers[key]:
                self._fail(index, key, f"{job.name}: {result.message.strip()}")
        if job.is_part:  # listeners hear of a part before the run that it may complete
            self._tell(Finished(job, result))
            waiting = self._waiting_for(key)
            self._notice(key)
            if job.spec.part is not None and job.spec.kind == "sequence" and self._all_stored(waiting):
                self.store.forget(key)  # not needed any more: another driver assembled the whole
            return
        self._notice(key)
        self.keeping.release(lambda key: [self.states[index] for index in self.cells_of_run(key)])
        self._tell(Finished(job, result))

    def _is_tried(self, key: str) -> bool:
        """Return whether a run is a trial of any cell, or a part of one."""
        return any(
            run.seed is None
            for index, keys in self._watchers.get(key, {}).items()
            for own in keys
            for run in self.states[index].runs_of(own)
        )

    def _waiting_for(self, key: str) -> set[str]:
        """Return the keys of the cell runs that depend on this run."""
        return {own for keys in self._watchers.get(key, {}).values() for own in keys}

    def _all_stored(self, keys: set[str]) -> bool:
        """Return whether every one of these runs is in the store, where another driver may have put it."""
        return bool(keys) and all(self.store.get(key) is not None for key in keys)

    def _damaged(self, result: Result) -> Callable[[], None] | None:
        """Return a function that drops the file which a run found damaged, so that it is made again."""
        for kind in Artefact:
            if key := result.provenance.get(f"damaged_{kind}"):
                return functools.partial(self.store.drop, kind, key, result.message)
        return None

    def finish_masks(self, key: str, outcome: Trained) -> None:
        """Take the outcome of a job of masks that has ended; the masks it trained are in the store."""
        job = self.live.pop(key)
        assert isinstance(job, MaskJob)
        freed, lost = self.masks.finish(job)
        self._unpark(freed)
        message = f"{job.name}: {outcome.message.strip() or 'a mask is not in the store'}"
        for run in lost:
            parked = self._parked.pop(run, None)
            if parked and self._is_tried(run) and self._diverged(parked[2].spec, outcome):
                why = f"basis masks: {outcome.message.strip()}"
                self._settle(parked[2], without_value(parked[2].spec, "diverged", why))
                continue
            for index in self._watchers[run]:
                self._fail(index, run, message)
        self._tell(Finished(job, outcome))

    @staticmethod
    def _diverged(spec: RunSpec, outcome: Trained) -> bool:
        """Return whether the training of a mask diverged that a run needs."""
        return any(mask.key in outcome.diverged for mask in masks_for(spec))

    def mask_ready(self, key: str) -> None:
        """Release the runs that waited only for this mask, which a live job has put into the store."""
        if self.store.has(Artefact.MASK, key):
            self._unpark(self.masks.ready(key))

    def _unpark(self, runs: Sequence[str]) -> None:
        for run in runs:
            index, priority, job = self._parked.pop(run)
            self._jobs[run] = job
            heapq.heappush(self._ready, (index, priority, run))

    def pulse(self, key: str, pulse: Any) -> None:
        """Pass a sign of life of a live job on to the listeners."""
        if key in self.live:
            self._tell(Pulsed(self.live[key], pulse))

    def open_cells(self) -> Iterator[CellState]:
        """Return an iterator over the cells that are not complete."""
        return (state for state in self.states if not state.complete)

    @functools.cached_property
    def reference_states(self) -> dict[tuple[str, int], list[CellState]]:
        """The cells of reference methods by benchmark and order.

        The forward transfer of other methods on the same benchmark in the same order is measured from them.
        """
        found: dict[tuple[str, int], list[CellState]] = defaultdict(list)
        for state in [*self.states, *self.references]:
            if state.cell.kinds.is_reference:
                found[state.cell.benchmark, state.cell.order].append(state)
        return dict(found)

    def cells_of_run(self, key: str) -> Sequence[int]:
        """Return the indices of the cells that have the run with this key as a trial or a final run."""
        return self._cells_of_run.get(key, ())

    def runs_of(self, key: str) -> Sequence[Trial]:
        """Return the trials and final runs of all cells that stand for the run with this key."""
        return [run for index in self.cells_of_run(key) for run in self.states[index].runs_of(key)]

    def seconds_of(self, method: str) -> float | None:
        """Return the mean measured seconds of a method's runs over all cells; None if there are none.

        Args:
            method: Name of the method, as in `Kinds`.
        """
        seconds, measured = self._seconds[method]
        return seconds / measured if measured else None

    def mean_seconds(self) -> list[float]:
        """Return the mean measured seconds of a run of each method that was measured."""
        return [seconds / measured for seconds, measured in self._seconds.values() if measured]

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
        """Read the cell's results from the store, propose new trials where possible, and queue ready runs.

        Args:
            index: Index of the cell.
            own: Keys of the cell's runs that have changed; None looks at all of them.
        """
        state = self.states[index]
        self.changed_cells.append(index)
        touched = state.waiting(own)
        for run in touched:
            if run.seed is None:
                self._read(index, run)
        while (proposed := self._next_trial(index)) is not None:
            self._add(index, proposed)
            touched.append(proposed)
        self._emit_trials(index, [run for run in touched if run.seed is None and run.result is None])
        self._finals(index, [run for run in touched if run.seed is not None])
        if self._propose is not None and (best := self.keeping.wants_best(state)) is not None:
            self._emit(index, best)
        while self._lost:
            key, (place, lost) = self._lost.popitem()
            job = Job(lost.spec, self.states[place].cell, self.states[place].runs_of(key)[0].role)
            self._assembled.append((job, self.store.put(lost)))
            self._notice(key)
        while self._assembled:  # listeners hear of a result when the state has it, as with any other run
            self._tell(Finished(*self._assembled.pop()))

    def _next_trial(self, index: int) -> Trial | None:
        """Note which trials have ended, where a search prunes, and return the next trial, if there is one."""
        state = self.states[index]
        for run, result in self._pruning.decided(state):
            self._book(state, run, result)
            if result.status != "pruned":
                continue
            key = run.spec.key
            self._assembled.append((Job(run.spec, state.cell, run.role), result))
            if self._propose is not None and not self._underway(key) and not self._watchers.get(key):
                self.store.forget_checkpoint(key)
        return self._trials.next(state)

    def _emit_trials(self, index: int, touched: Sequence[Trial]) -> None:
        """Queue the trials that have changed, or all that do not wait for others if the search prunes."""
        state = self.states[index]
        if rule_of(state.cell) is None:
            for run in touched:
                self._emit(index, run)
            return
        for n, pauses in self._pruning.pauses(state).items():
            run = state.trials[n]
            self._emit_spec(index, run.spec.key, run.spec, run.role, run.priority, pauses)

    def _finals(self, index: int, touched: list[Trial]) -> None:
        """Read and queue the final runs that have changed, or all of them once the search is over."""
        state = self.states[index]
        if state.searched and not state.finals and (state.best is not None or not state.cell.search):
            for final in state.final_plan():
                self._add(index, final)
                if final.result is None:
                    self._emit(index, final)
            return
        for final in touched:
            self._read(index, final)
            if final.result is None:
                self._emit(index, final)

    def _add(self, index: int, run: Trial) -> None:
        """Register one more run of a cell, and read its result if the store has one."""
        state, key = self.states[index], run.spec.key
        state.add(run)
        if index not in (cells_of_run := self._cells_of_run.get(key, ())):
            self._cells_of_run[key] = (*cells_of_run, index) if cells_of_run else _alone(index)
        self._read(index, run)
        if run.refusal and run.result is None and self._propose is not None:
            refused = self.store.put(without_value(run.spec, "invalid", run.refusal))
            state.settle(run, refused)
            self._assembled.append((Job(run.spec, state.cell, run.role), refused))

    def _read(self, index: int, run: Trial) -> None:
        """Read the result of a cell's run from the store, if it is there now."""
        state = self.states[index]
        result = self._whole(state, run.spec, run.role)
        if run.seed is None and rule_of(state.cell) is not None:
            self._pruning.read(state.cell, run, result)  # `_next_trial` tells whether it has ended
            return
        if result is None:
            return
        if result.status == "invalid" and run.seed is not None:  # another study has tried these values
            self._fail(index, run.spec.key, f"{run.role}: {result.message}")
            return
        self._book(state, run, result)

    def _book(self, state: CellState, run: Trial, result: Result) -> None:
        """Register the result of a cell's run."""
        state.settle(run, result)
        if "seconds" in result.provenance:
            seconds, measured = self._seconds[state.cell.kinds.method]
            seconds += float(result.provenance["seconds"])
            self._seconds[state.cell.kinds.method] = seconds, measured + 1

    def _result(self, spec: RunSpec) -> Result | None:
        key = spec.key
        if self._again and self._propose is not None and key not in self._fresh:
            self._fresh.add(key)
            self.store.forget(key)
        result = self.store.get(key, spec)
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
        """Return what a result lacks, or "" if it has a report of every task.

        Results of the first format have no digest, so a shortened file shows only in its number of reports.
        """
        if result.status != "done" or spec.part is not None:
            return ""
        name = f"{spec.benchmark} in {spec.home}"
        if name not in self._tasks:
            self._tasks[name] = None
            with contextlib.suppress(UserError):  # the data are not on this machine
                self._tasks[name] = len(make_benchmark(spec).tasks)
        tasks = self._tasks[name]
        return (
            "" if tasks in (None, len(result.reports)) else f"{len(result.reports)} reports of {tasks} tasks"
        )

    def _whole(self, state: CellState, spec: RunSpec, role: Role) -> Result | None:
        """Return the result of a cell's run, assembled from its parts as soon as all of them are there."""
        result = self._result(spec)
        if result is not None and self._propose is not None and self.keeping.lacks(state.cell, role, result):
            return None
        if result is not None or self._propose is None or state.cell.blocked or state.failed:
            return result
        runs = self.keeping.parts(state.cell, role, spec)
        if any(self._underway(part.key) for part in runs):
            return None
        parts = [part for run in runs if (part := self._result(run)) is not None]
        if not parts or len(parts) < len(runs):
            return None
        result = assemble(spec, [self.store.whole(part.key) or part for part in parts])
        self.store.put(result)
        for part in parts:
            self.store.forget(part.key)
        self._assembled.append((Job(spec, state.cell, role), result))
        return result

    def _underway(self, key: str) -> bool:
        """Return whether a run is live or ready, so that the store need not be asked for it."""
        return key in self.live or key in self._jobs

    def _emit(self, index: int, run: Trial) -> None:
        """Queue a run of a cell that has no result, or the runs that it depends on."""
        self._emit_spec(index, run.spec.key, run.spec, run.role, run.priority)

    def _emit_spec(
        self,
        index: int,
        own: str,
        spec: RunSpec,
        role: Role,
        priority: float,
        pauses: Pauses | None = None,
    ) -> None:
        """Queue a run that the cell's run with the key `own` depends on, or that run itself."""
        state, key = self.states[index], spec.key
        if state.cell.blocked or key in state.failed:
            return
        self._watchers[key][index].add(own)
        missing = self._missing_masks(spec)
        if self._propose is None or state.failed or self._underway(key):
            return
        if key in self._parked or self._waits(index, own, spec, role, priority):
            return
        job = Job(spec, state.cell, role, self.keeping.keeps(state.cell, role, spec), pauses)
        if missing:
            self._parked[key] = index, priority, job
            self.masks.wait(key, missing, state.cell)
            return
        self._jobs[key] = job
        heapq.heappush(self._ready, (index, priority, key))

    def _waits(self, index: int, own: str, spec: RunSpec, role: Role, priority: float) -> bool:
        """Queue the runs that must end before this one, and return whether there are any."""
        waits = False
        for name, run in runs_for(spec).items():
            result = None if self._underway(run.key) else self._result(run)
            if result is None:
                self._emit_spec(index, own, run, role.under(name), priority)
                waits = True
            elif result.status in LOST and self._is_tried(own):
                lost = without_value(self.states[index].runs_of(own)[0].spec, result.status)
                self._lost[own] = index, replace(lost, message=f"its {name}: {result.message}")
                waits = True
            elif result.status != "done":
                self._fail(index, run.key, f"its {name} {result.status}: {result.message}")
                waits = True
        if waits:
            return True
        parts = self.keeping.parts(self.states[index].cell, role, spec)
        for t, part in enumerate(parts):
            if self._underway(part.key) or self._result(part) is None:
                self._emit_spec(index, own, part, role.under(f"task {t + 1}"), priority + t / 1000)
        return bool(parts)

    def _missing_masks(self, spec: RunSpec) -> list[MaskSpec]:
        """Return the basis masks that a run still lacks; --fresh trains every mask once more."""
        if self._again and self._propose is not None:
            for mask in masks_for(spec):
                if mask.trained and mask.key not in self._fresh:
                    self._fresh.add(mask.key)
                    self.store.forget_artefact(Artefact.MASK, mask.key)
        return self.masks.missing(masks_for(spec))

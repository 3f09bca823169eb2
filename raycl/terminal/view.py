"""The live view of a running study, in 80 columns."""

from __future__ import annotations

import heapq
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any

from rich.console import Console
from rich.live import Live
from rich.text import Text

from raycl import registry, texttable, userfiles
from raycl.errors import UserError, screen_line
from raycl.runs.records import LOST
from raycl.runs.result import Result, Trained
from raycl.study.agenda import Agenda
from raycl.study.estimate import Estimate, Left
from raycl.study.jobs import Event, Finished, Job, Pulsed, Started
from raycl.study.maskjobs import MaskJob
from raycl.study.objectives import ACC
from raycl.study.progress import CellState
from raycl.study.values import Study
from raycl.terminal.plan import _names
from raycl.terminal.words import NAME, say
from raycl.text import (
    clip,
    clock,
    counted,
    cut,
    fraction,
    one_line,
)
from raycl.texttable import Column

_OF_CELL = [Column(width=NAME), Column(width=13), Column(width=15, gap=1), Column(width=9), Column()]
_ALONE = [Column(width=NAME), Column()]  # columns of a cell that only has a message


@dataclass
class _Live:
    """A live run or job of basis masks, with its last sign of life."""

    job: Job | MaskJob
    pulse: Any = None


@dataclass
class _Line:
    """A cell's line, as it was composed last."""

    text: str = ""
    live: bool = False
    touched: float = -1.0
    open: bool = True


@dataclass
class _Counts:
    """The numbers of the header, as they were counted last."""

    done: int = 0
    total: int = 0
    running: int = 0
    failed: int = 0
    left: Left | None = None
    at: float = 0.0  # time of that estimate


class LiveView:
    """Context manager that shows a study while it runs.

    On a terminal it shows a table, elsewhere one plain line per finished run. The agenda belongs to the
    thread that drives it. The table is therefore composed in that thread, when something happens; the thread
    that refreshes the screen only reads finished strings and the clock.

    Args:
        study: The study.
        agenda: Its agenda.
        slots: Number of runs that can be live at the same time.
        console: Where to print.
        clock: Function that returns the time in seconds, from any origin.
    """

    def __init__(
        self,
        study: Study,
        agenda: Agenda,
        slots: float,
        console: Console,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.study, self.agenda, self.slots, self.console, self._clock = study, agenda, slots, console, clock
        self._lines: list[_Line] = []
        self._names = _names(agenda, NAME)
        self._places = {id(state.cell): index for index, state in enumerate(agenda.states)}
        self._tasks: list[int] = []  # number of tasks of each cell's benchmark
        self._running: dict[str, _Live] = {}
        self._running_in: dict[int, dict[str, _Live]] = defaultdict(dict)  # the same by `id` of the cell
        self._failed: set[str] = set()
        self._finished: set[str] = set()
        self._counts = _Counts()
        self._done: list[int] = []  # number of finished runs of each cell
        self._total: list[int] = []
        self._sums = [0, 0]  # of these two lists
        self._estimate = Estimate(agenda)
        self._read = 0  # entries of the agenda's list of changes that have been read
        self._live: Live | None = None
        self._began = 0.0

    def __enter__(self) -> LiveView:
        self._began = self._clock()
        self._lines = [_Line() for _ in self.agenda.states]
        self._done, self._total, self._sums = [0] * len(self._lines), [0] * len(self._lines), [0, 0]
        self._read = len(self.agenda.changed_cells)
        self._tasks = [_tasks(state) for state in self.agenda.states]
        for index in range(len(self._lines)):
            self._compose(index)
        self._count(estimate=True)
        if self.console.is_terminal:
            self._live = Live(
                console=self.console, get_renderable=self.render, refresh_per_second=4, transient=False
            )
            self._live.start(refresh=True)
        self.agenda.listeners.append(self._listen)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.agenda.listeners.remove(self._listen)
        try:
            for index in range(len(self._lines)):
                self._compose(index)
            self._count(estimate=False)
        finally:
            if self._live is not None:
                self._live.stop()  # restores the cursor and the streams in any case
                self._live = None

    def _listen(self, event: Event) -> None:
        job, finished = event.job, ""
        if isinstance(event, Started):
            self._running[job.key] = self._running_in[id(job.cell)][job.key] = _Live(job)
        elif isinstance(event, Pulsed):
            if job.key in self._running:
                self._running[job.key].pulse = event.pulse
        else:
            self._running.pop(job.key, None)
            self._running_in[id(job.cell)].pop(job.key, None)
            if event.outcome.status == "failed":
                self._failed |= {job.key} - self._finished
            elif event.outcome.status != "paused":
                self._finished.add(job.key)
                self._failed.discard(job.key)
                finished = job.key
        now, own = self._clock(), self._places.get(id(job.cell))
        changed = {*self.agenda.changed_cells[self._read :], *self.agenda.cells_of_run(finished)} - {own}
        self._read = len(self.agenda.changed_cells)
        for index in sorted(changed):
            self._compose(index, finished=finished)
        if own is not None:
            self._compose(own, now, finished)
        self._count(estimate=isinstance(event, Finished) or now - self._counts.at > 10)
        if isinstance(event, Finished) and self._live is None and event.outcome.status != "paused":
            self._say(job, event.outcome)

    def _say(self, job: Job | MaskJob, result: Result | Trained) -> None:
        """Print one plain line for a finished run or job of masks, and flush it at once."""
        counts, masks = self._counts, self.agenda.masks
        if isinstance(job, Job) and isinstance(result, Result):
            text = f"{counts.done}/{counts.total} {one_line(job.name)} {_outcome(job, result)}"
        else:
            text = f"{masks.done}/{len(masks.wanted)} masks: {one_line(job.name)} {_trained(result)}"
        say(self.console, text)
        self.console.file.flush()

    def _count(self, estimate: bool) -> None:
        """Update the header's numbers."""
        old = self._counts
        counts = _Counts(
            done=self._sums[0],
            total=self._sums[1],
            running=len(self._running),
            failed=len(self._failed),
            left=old.left,
            at=old.at,
        )
        if estimate:
            counts.left, counts.at = self._estimate.left(self.slots), self._clock()
        self._counts = counts

    def _compose(self, index: int, touched: float | None = None, finished: str = "") -> None:
        """Compose a cell's line.

        Args:
            index: Index of the cell.
            touched: The time now if the event is about this cell; None keeps the earlier time.
            finished: Key of a run that has just finished. The agenda may register it only after the event.
        """
        state, line = self.agenda.states[index], self._lines[index]
        trials, finals = state.settled
        more = state.unsettled(finished)
        trials, finals = trials + more[0], finals + more[1]
        done, total = state.done + any(more), state.total
        self._sums[0] += done - self._done[index]
        self._sums[1] += total - self._total[index]
        self._done[index], self._total[index] = done, total
        live = [*self._running_in.get(id(state.cell), {}).values()]
        text = _cell_line(state, live, self._names[index], self._tasks[index], (trials, finals))
        self._lines[index] = _Line(
            text, bool(live), line.touched if touched is None else touched, not state.complete
        )

    def render(self) -> Text:
        """Return the current table, cut to the width and height of the terminal."""
        width, height = self.console.size
        lines = [self._header(), *self._chosen(max(1, height - 3))]
        text = Text(no_wrap=True, overflow="crop")
        for number, line in enumerate(lines):
            text.append(("\n" if number else "") + cut(line, width), "bold" if not number else "")
        return text

    def _header(self) -> str:
        now, counts = self._clock(), self._counts
        text = (
            f"{clip(self.study.name, 24)}  {counts.done}/{counts.total} runs   {counts.running} running   "
            f"{counts.failed} failed   {clock(now - self._began)} elapsed"
        )
        masks = self.agenda.masks
        if masks.done < len(masks.wanted):
            text += f"   {masks.done}/{len(masks.wanted)} basis masks"
        if counts.left is not None and counts.done < counts.total:
            mark = "~" if counts.left.rough else "about "
            text += f", {mark}{clock(counts.left.seconds - (now - counts.at))} left"
        return text

    def _chosen(self, room: int) -> list[str]:
        """Return all cells' lines, or if they are too many first the live, recently changed and open ones."""
        lines = self._lines
        if len(lines) <= room:
            return [line.text for line in lines]
        shown = sorted(
            heapq.nsmallest(
                max(1, room - 1),
                range(len(lines)),
                key=lambda n: (not lines[n].live, -lines[n].touched, not lines[n].open, n),
            )
        )
        return [*(lines[n].text for n in shown), f"... and {counted(len(lines) - len(shown), 'more cell')}"]


def _cell_line(
    state: CellState, live: Sequence[_Live], name: str, tasks: int, booked: tuple[int, int]
) -> str:
    """Return a cell's line, such as ``spg / digits  search 8/8  best val .842  final 3/3  acc .838``."""
    cell, (trials, finals) = state.cell, booked
    if cell.blocked and not state.complete:
        return texttable.line((name, "blocked: raycl plan shows what it needs"), _ALONE)
    if state.failed:
        return texttable.line(
            (name, f"failed: {userfiles.located(next(iter(state.failed.values())))}"), _ALONE
        )
    search = leading = ""
    if cell.search is not None:
        search = f"search {trials}/{max(state.wanted, len(state.trials))}"
        first, leader = cell.objectives[0], state.leader
        named = cell.split if first == ACC else first.name
        leading = f"best {named} {first.text(leader.objective(cell))}" if leader else ""
    final = f"final {finals}/{state.wanted_finals}" if state.seeds else ""
    more = ""
    if live and all(isinstance(run.job, MaskJob) for run in live):
        final = "trains basis masks"
    elif live and any(isinstance(run.job, Job) and run.job.role.seed is not None for run in live):
        final = f"{final}, {_progress(live, tasks, epoch=False)}"
    elif live:
        final = _progress(live, tasks)
    elif state.complete and (accs := _accs(state)):
        more = f"acc {fraction(sum(accs) / len(accs))}"
    return texttable.line((name, search, leading, final, more), _OF_CELL)


def _accs(state: CellState) -> list[float]:
    """Return the test accuracies of a complete cell's final runs."""
    return [acc for result in state.results.values() if (acc := result.acc()) is not None]


def _progress(live: Sequence[_Live], tasks: int, epoch: bool = True) -> str:
    """Return the progress of the run that is furthest, such as ``task 3/5, epoch 7 (4)`` for 4 live runs."""
    live = [run for run in live if isinstance(run.job, Job)]
    pulses = [run.pulse for run in live if run.pulse is not None]
    running = f"{len(live)} running" if len(live) > 1 else "running"
    if not pulses:
        return running
    last = max(pulses, key=lambda pulse: (pulse.task, pulse.epoch))
    of = f"/{tasks}" if tasks else ""
    text = f"task {last.task + 1}{of}" + (f", epoch {last.epoch + 1}" if epoch else "")
    return f"{text} ({len(live)})" if len(live) > 1 else text


def _tasks(state: CellState) -> int:
    """Return the number of tasks of a cell's benchmark; 0 if its data are not here."""
    cell = state.cell
    if cell.data is not None:
        return len(cell.data.classes)
    from raycl import process  # imported here, because it loads torch

    try:
        with process.untouched(cell.benchmark), userfiles.importing_from(cell.home):
            return len(registry.load(cell.benchmark, cell.trial_seed, 0, cell.identity).tasks)
    except UserError:
        return 0


def _outcome(job: Job, result: Result) -> str:
    """Return the outcome of a run, such as ``val .934 1.2 s``, or its status with the reason."""
    if result.status != "done":
        first = screen_line(result.message.strip().partition("\n")[0])
        reason = first if result.status in (*LOST, "pruned") else userfiles.located(result.message)
        return f"{result.status}: {reason}" if reason else result.status
    trial = job.role.trial is not None and job.cell.protocol == "val"
    seconds = result.provenance.get("seconds", result.ct)
    return f"{'val' if trial else 'acc'} {fraction(result.acc('val' if trial else 'test'))} {seconds:.1f} s"


def _trained(outcome: Any) -> str:
    """Return the outcome of a job of masks: its seconds, or its status with the reason."""
    if outcome.status == "done":
        return f"{outcome.seconds:.1f} s"
    return f"{outcome.status}: {userfiles.located(outcome.message)}"

"""What the terminal shows: a plan before, the cells while they run, a few lines after. 80 columns."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any

from rich.console import Console
from rich.live import Live
from rich.text import Text

from raycl import process, registry, texttable, userfiles
from raycl.errors import UserError, fault_of, screen_line
from raycl.runs.result import Result, Trained
from raycl.study.agenda import Agenda
from raycl.study.estimate import Estimate
from raycl.study.jobs import Event, Finished, Job, Pulsed, Started
from raycl.study.maskjobs import MaskJob
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
_ALONE = [Column(width=NAME), Column()]  # a cell of which there is only one thing to say


@dataclass
class _Live:
    """A run, or a job of basis masks, in flight, and its last sign of life."""

    job: Job | MaskJob
    pulse: Any = None


@dataclass
class _Line:
    """A cell's line, as it was when the driver last looked."""

    text: str = ""
    live: bool = False
    touched: float = -1.0
    open: bool = True


@dataclass
class _Counts:
    """The header, as it was when the driver last looked."""

    done: int = 0
    total: int = 0
    running: int = 0
    failed: int = 0
    left: float | None = None  # estimated seconds
    at: float = 0.0  # when that was estimated


class LiveView:
    """Shows a study while it runs: a table on a terminal, elsewhere one plain line per finished run.

    The agenda belongs to the thread that drives it. So the table is composed there, when something
    happens; the thread that refreshes the screen sees finished texts and the clock alone.

    Args:
        slots: how many runs can be live at once.
        clock: seconds, of no particular origin.
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
        self._tasks: list[int] = []  # of each cell's benchmark
        self._flying: dict[str, _Live] = {}
        self._failed: set[str] = set()
        self._finished: set[str] = set()
        self._counts = _Counts()
        self._done: list[int] = []  # runs of each cell
        self._total: list[int] = []
        self._outlook = Estimate(agenda)
        self._read = 0  # how much of the agenda's list of changes
        self._live: Live | None = None
        self._began = 0.0

    def __enter__(self) -> LiveView:
        self._began = self._clock()
        self._lines = [_Line() for _ in self.agenda.states]
        self._done, self._total = [0] * len(self._lines), [0] * len(self._lines)
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
                self._live.stop()  # gives the cursor and the streams back, whatever happened
                self._live = None

    def _listen(self, event: Event) -> None:
        job, told = event.job, ""
        if isinstance(event, Started):
            self._flying[job.key] = _Live(job)
        elif isinstance(event, Pulsed):
            if job.key in self._flying:
                self._flying[job.key].pulse = event.pulse
        else:
            self._flying.pop(job.key, None)
            if event.outcome.status == "failed":
                self._failed.add(job.key)
            else:
                self._finished.add(job.key)
                told = job.key
        now, own = self._clock(), self._places.get(id(job.cell))
        moved = {*self.agenda.changed_cells[self._read :], *self.agenda.cells_of_run(told)} - {own}
        self._read = len(self.agenda.changed_cells)
        for index in sorted(moved):
            self._compose(index, told=told)
        if own is not None:
            self._compose(own, now, told)
        self._count(estimate=isinstance(event, Finished) or now - self._counts.at > 10)
        if isinstance(event, Finished) and self._live is None:
            self._say(job, event.outcome)

    def _say(self, job: Job | MaskJob, result: Result | Trained) -> None:
        """One plain line for a finished run or job of masks, at once."""
        counts, masks = self._counts, self.agenda.masks
        if isinstance(job, Job) and isinstance(result, Result):
            text = f"{counts.done}/{counts.total} {one_line(job.name)} {_outcome(job, result)}"
        else:
            text = f"{masks.done}/{len(masks.wanted)} masks: {one_line(job.name)} {_trained(result)}"
        say(self.console, text)
        self.console.file.flush()

    def _count(self, estimate: bool) -> None:
        """Totals, as the cells' lines have them."""
        old = self._counts
        counts = _Counts(
            done=sum(self._done),
            total=sum(self._total),
            running=len(self._flying),
            failed=len(self._failed - self._finished),
            left=old.left,
            at=old.at,
        )
        if estimate:
            counts.left, counts.at = self._outlook.seconds(self.slots), self._clock()
        self._counts = counts

    def _compose(self, index: int, touched: float | None = None, told: str = "") -> None:
        """A cell's line.

        Args:
            touched: when the cell was heard of last, if that is now.
            told: key of a run that has just finished; the agenda may book it after it told us.
        """
        state, line = self.agenda.states[index], self._lines[index]
        trials, finals = state.settled
        more = state.unsettled(told)
        trials, finals = trials + more[0], finals + more[1]
        self._done[index], self._total[index] = state.done + any(more), state.total
        live = [run for run in self._flying.values() if run.job.cell is state.cell]
        text = _cell_line(state, live, self._names[index], self._tasks[index], (trials, finals))
        self._lines[index] = _Line(
            text, bool(live), line.touched if touched is None else touched, not state.complete
        )

    def render(self) -> Text:
        """The table now, no wider than the terminal and no longer."""
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
            text += f", about {clock(counts.left - (now - counts.at))} left"
        return text

    def _chosen(self, room: int) -> list[str]:
        """All cells, or where they are too many the live ones, then the last touched, then open ones."""
        lines = self._lines
        if len(lines) <= room:
            return [line.text for line in lines]
        order = sorted(
            range(len(lines)), key=lambda n: (not lines[n].live, -lines[n].touched, not lines[n].open, n)
        )
        kept = sorted(order[: max(1, room - 1)])
        return [*(lines[n].text for n in kept), f"... and {counted(len(lines) - len(kept), 'more cell')}"]


def _cell_line(
    state: CellState, live: Sequence[_Live], name: str, tasks: int, booked: tuple[int, int]
) -> str:
    """label / benchmark  search 8/8  best val .842  final 3/3  acc .838, or where its run stands."""
    cell, (trials, finals) = state.cell, booked
    if cell.blocked and not state.complete:
        return texttable.line((name, "blocked: raycl plan says what it needs"), _ALONE)
    if state.failed:
        return texttable.line((name, f"failed: {fault_of(next(iter(state.failed.values())))}"), _ALONE)
    search = said = ""
    if cell.search is not None:
        search = f"search {trials}/{max(state.wanted, len(state.trials))}"
        best = state.leader.objective(cell) if state.leader else None
        split = "test" if cell.protocol == "paper" else "val"
        said = f"best {split} {fraction(best)}" if best is not None else ""
    final = f"final {finals}/{len(state.seeds)}" if state.seeds else ""
    more = ""
    if live and all(isinstance(run.job, MaskJob) for run in live):
        final = "trains basis masks"
    elif live and any(isinstance(run.job, Job) and run.job.role.seed is not None for run in live):
        final = f"{final}, {_progress(live, tasks, epoch=False)}"
    elif live:
        final = _progress(live, tasks)
    elif state.complete and (accs := _accs(state)):
        more = f"acc {fraction(sum(accs) / len(accs))}"
    return texttable.line((name, search, said, final, more), _OF_CELL)


def _accs(state: CellState) -> list[float]:
    """Accuracies on test of a complete cell's final runs."""
    return [acc for result in state.results.values() if (acc := result.acc()) is not None]


def _progress(live: Sequence[_Live], tasks: int, epoch: bool = True) -> str:
    """task 3/5, epoch 7 of the run that is furthest, and how many are live if several."""
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
    """How many tasks a cell's benchmark has; 0 where its data are not here."""
    try:
        cell = state.cell
        with process.untouched(cell.benchmark), userfiles.importing_from(cell.home):
            return len(registry.load(cell.benchmark, cell.trial_seed, 0, cell.identity).tasks)
    except UserError:
        return 0


def _outcome(job: Job, result: Result) -> str:
    """val .934 1.2 s; diverged and failed with their reason."""
    if result.status != "done":
        first = screen_line(result.message.strip().partition("\n")[0])
        reason = first if result.status == "diverged" else fault_of(result.message)
        return f"{result.status}: {reason}" if reason else result.status
    trial = job.role.trial is not None and job.cell.protocol == "val"
    seconds = result.provenance.get("seconds", result.ct)
    return f"{'val' if trial else 'acc'} {fraction(result.acc('val' if trial else 'test'))} {seconds:.1f} s"


def _trained(outcome: Any) -> str:
    """12.3 s; or what it failed of."""
    if outcome.status == "done":
        return f"{outcome.seconds:.1f} s"
    return f"{outcome.status}: {fault_of(outcome.message)}"

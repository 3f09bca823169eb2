"""What the terminal shows: a plan before, the cells while they run, a few lines after. 80 columns."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from rich.console import Console
from rich.live import Live
from rich.text import Text

from raycl import registry, userfiles
from raycl.errors import UserError, fault_of, screen_line
from raycl.reporting.settings import network_text, plan_lines
from raycl.results.collect import failure_of, older, subset_of
from raycl.results.rows import printed_name
from raycl.runs.build import runs_for
from raycl.runs.store import Result, Trained
from raycl.study.agenda import Agenda
from raycl.study.estimate import Outlook, seconds_left, seconds_per_run
from raycl.study.maskjobs import MaskJob
from raycl.study.notes import lines_of
from raycl.study.progress import CellState, Job
from raycl.study.values import Grid, Search, Seeds, Study
from raycl.text import (
    COLUMNS,
    about,
    clip,
    clock,
    counted,
    cut,
    fraction,
    one_line,
    padded,
    printable,
    width_of,
    wrapped,
)

NAME = 28  # columns of a cell's name


def say(console: Console, text: str) -> None:
    """Print a text as it stands, above a live table too: no markup, no emoji, no control characters."""
    lines = (printable(line) for line in text.split("\n"))
    console.print(Text("\n".join(lines)), soft_wrap=True)


def plan_text(study: Study, agenda: Agenda, store_root: Path | str, slots: float) -> str:
    """Cells, runs, what is done, missing and blocked, and what it will cost; starts nothing.

    Args:
        store_root: as the user wrote it.
        slots: CPUs that runs can use at once.
    """
    table = [_plan_cells(state, agenda, slots) for state in agenda.states]
    widths = [max(map(len, column)) for column in zip(_HEADER[1:], *table, strict=True)]
    names = _names(agenda, COLUMNS - sum(widths) - GAP * len(widths))
    widths.insert(0, max([NAME, *map(width_of, names)]))
    lines = [*_heading(study, agenda, store_root), _plan_line(_HEADER, widths)]
    told: set[str] = set()
    for state, name, row in zip(agenda.states, names, table, strict=True):
        if state.cell.blocked and not state.complete:
            lines += _blocked_lines(state, name, widths[0], told)
            continue
        lines.append(_plan_line((name, *row), widths))
        if failure := "" if state.complete else failure_of(state, agenda):
            lines.append("  " + clip(f"failed last time, will be tried again: {failure}", COLUMNS - 2))
    lines += plan_lines(study, [state.cell for state in agenda.states])
    if stale := sum(map(older, agenda.states)):
        text = f"* {counted(stale, 'result')} of older source code; raycl run --fresh computes all again"
        lines += wrapped(text)
    masks = agenda.masks
    if masks.done < len(masks.wanted):
        lines += wrapped(f"{len(masks.wanted)} basis masks for these runs, {masks.done} trained, "
                         f"{len(masks.wanted) - masks.done} to train")  # fmt: skip
    below = _built_on(agenda)
    if missing := sum(agenda.store.get(key) is None for key in below):
        lines += wrapped(f"{counted(len(below), 'run')} that these build on, {missing} to do first")
    for note in lines_of(state.cell for state in agenda.states):
        lines += wrapped(f"note: {note}", "  ")
    return "\n".join([*lines, *_total(agenda, slots)])


def _built_on(agenda: Agenda) -> set[str]:
    """Keys of runs that the study's own build on, as far as these are known, and that are none of them."""
    specs = [t.spec for s in agenda.states if not s.cell.blocked for t in [*s.trials, *s.finals.values()]]
    own = {spec.key for spec in specs}
    found: set[str] = set()
    while specs:
        specs = [run for spec in specs for run in runs_for(spec).values()]
        found |= {run.key for run in specs}
    return found - own


_HEADER = ("cell", "search", "final", "runs", "done ", "est.")
GAP = 2


def _plan_line(row: Sequence[str], widths: Sequence[int]) -> str:
    """Texts to the left, numbers to the right."""
    texts = [padded(text, width) for text, width in zip(row[:3], widths[:3], strict=True)]
    numbers = [text.rjust(width) for text, width in zip(row[3:], widths[3:], strict=True)]
    return (" " * GAP).join([*texts, *numbers]).rstrip()


def _plan_cells(state: CellState, agenda: Agenda, slots: float) -> tuple[str, ...]:
    """Search, final, runs, done (marked where older code made some), estimated time."""
    cell, missing = state.cell, state.total - state.done
    search = "-"
    if isinstance(cell.search, Search):
        search = f"{counted(cell.search.trials, 'trial')} w{cell.search.width}"
    elif isinstance(cell.search, Grid):
        search = counted(len(cell.search), "point")
    final = counted(len(cell.final), "seed") if isinstance(cell.final, Seeds) else "best trial"
    left = _cell_seconds(state, agenda, slots)
    cost = "-" if not missing else "?" if left is None else clock(left)
    return search, final, str(state.total), f"{state.done}{'*' if older(state) else ' '}", cost


def _heading(study: Study, agenda: Agenda, store_root: Path | str) -> list[str]:
    labels = dict.fromkeys(state.cell.label for state in agenda.states)
    names = dict.fromkeys(state.cell.benchmark for state in agenda.states)
    orders = f" x {counted(study.orders, 'order')}" if study.orders > 1 else ""
    network = network_text(study, [state.cell for state in agenda.states])
    left = (
        f"{study.name}: {counted(len(labels), 'method')} x {counted(len(names), 'benchmark')}{orders}, "
        + (f"network {network}" if network else "each on a network of its own")
    )
    right = f"store {shown(store_root)}"
    room = COLUMNS - len(left) - len(right)
    return [left + " " * room + right] if room >= 2 else [*wrapped(left), *wrapped(right)]


def shown(path: Path | str) -> str:
    """A path as a reader types it: from here, or from home, where that is shorter."""
    path = Path(path)
    if not path.is_absolute():
        return str(path) if str(path).startswith(".") else f"./{path}"
    for base, mark in ((Path.cwd(), "."), (Path.home(), "~")):
        if path != base and path.is_relative_to(base):
            return f"{mark}/{path.relative_to(base)}"
    return str(path)


def _names(agenda: Agenda, width: int) -> list[str]:
    """label / benchmark, and the order where there are several; the strokes stand under one another."""
    labels = [one_line(state.cell.label) for state in agenda.states]
    cells = {state.cell.benchmark: state.cell for state in agenda.states}
    printed = {text: printed_name(text, subset_of(cell)) for text, cell in cells.items()}
    rests = [
        printed[state.cell.benchmark] + (f" / order {state.cell.order}" if state.cell.orders > 1 else "")
        for state in agenda.states
    ]
    column = max(map(width_of, labels), default=0)
    names = [f"{padded(label, column)} / {rest}" for label, rest in zip(labels, rests, strict=True)]
    if max(map(width_of, names), default=0) <= width:
        return names
    return [clip(f"{label} / {rest}", width) for label, rest in zip(labels, rests, strict=True)]


def _blocked_lines(state: CellState, name: str, width: int, told: set[str]) -> list[str]:
    """Why, and the remedy under it; cells that lack the same thing say it once."""
    if state.cell.blocked in told:
        return [f"{padded(name, width)}  blocked: as above"]
    told.add(state.cell.blocked)
    reason, *remedies = [line.strip() for line in state.cell.blocked.splitlines() if line.strip()]
    reason, arrow, remedy = reason.partition(" -> ")
    indent = " " * (width + GAP)
    lines = wrapped(f"{padded(name, width)}  blocked: {reason}", indent)
    for text in [remedy, *remedies] if arrow else remedies:
        lines += [f"{indent}{line}" for line in wrapped(f"-> {text}", "   ", COLUMNS - len(indent))]
    return lines


def _cell_seconds(state: CellState, agenda: Agenda, slots: float) -> float | None:
    """Estimated seconds to the end of a cell that has all slots for itself; None if unknown."""
    seconds = seconds_per_run(state, agenda)
    if seconds is None:
        return None
    missing = max(0, state.total - state.done)
    search = state.cell.search
    wide = search.width if isinstance(search, Search) and not state.searched else missing
    return seconds * math.ceil(missing / max(1, min(wide, int(slots))))


def _total(agenda: Agenda, slots: float) -> list[str]:
    blocked = [state for state in agenda.states if state.cell.blocked and not state.complete]
    open_ = [state for state in agenda.states if not state.cell.blocked and not state.complete]
    runs, done = sum(s.total for s in agenda.states), sum(s.done for s in agenda.states)
    parts = [counted(runs, "run"), f"{done} done"]
    lost = sum(max(0, s.total - s.done) for s in blocked)
    left = sum(max(0, s.total - s.done) for s in open_)
    if left:
        parts.append(f"{left} to do")
    if lost:
        parts.append(f"{lost} blocked")
    if not left:
        return wrapped(", ".join(parts) + ("" if lost else ": nothing to do"))
    estimate = seconds_left(agenda, slots)
    if estimate is None:
        return wrapped(", ".join([*parts, "time unknown until a run of each method is measured"]))
    longest = max((_cell_seconds(state, agenda, slots) or 0.0 for state in open_), default=0.0)
    cpus = f"{slots:g} CPU{'' if slots == 1 else 's'}"
    return wrapped(", ".join([*parts, f"about {about(estimate)} on {cpus} (longest cell {clock(longest)})"]))


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
        self._outlook = Outlook(agenda)
        self._read = 0  # how much of the agenda's list of changes
        self._live: Live | None = None
        self._began = 0.0

    def __enter__(self) -> LiveView:
        self._began = self._clock()
        self._lines = [_Line() for _ in self.agenda.states]
        self._done, self._total = [0] * len(self._lines), [0] * len(self._lines)
        self._read = len(self.agenda.moved)
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

    def _listen(self, what: str, job: Job | MaskJob, more: Any) -> None:
        if what == "started":
            self._flying[job.key] = _Live(job)
        elif what == "pulse":
            if job.key in self._flying:
                self._flying[job.key].pulse = more
        else:
            self._flying.pop(job.key, None)
            if more.status == "failed":
                self._failed.add(job.key)
            else:
                self._finished.add(job.key)
        now, own = self._clock(), self._places.get(id(job.cell))
        told = job.key if what == "finished" and more.status != "failed" else ""
        moved = {*self.agenda.moved[self._read :], *self.agenda.homes(told)} - {own}
        self._read = len(self.agenda.moved)
        for index in sorted(moved):
            self._compose(index, told=told)
        if own is not None:
            self._compose(own, now, told)
        self._count(estimate=what == "finished" or now - self._counts.at > 10)
        if what == "finished" and self._live is None:
            self._say(job, more)

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
    parts = [padded(name, NAME)]
    if cell.blocked and not state.complete:
        return f"{parts[0]}  blocked: raycl plan says what it needs"
    if state.failed:
        return f"{parts[0]}  failed: {fault_of(next(iter(state.failed.values())))}"
    if cell.search is None:
        parts.append(" " * 29)
    else:
        wanted = max(state.wanted, len(state.trials))
        best = state.leader.objective(cell) if state.leader else None
        split = "test" if cell.protocol == "paper" else "val"
        said = f"best {split} {fraction(best)}" if best is not None else ""
        parts.append(f"{f'search {trials}/{wanted}':<13} {said:<15}")
    final = f"final {finals}/{len(state.seeds)}" if state.seeds else ""
    if live and all(isinstance(run.job, MaskJob) for run in live):
        parts.append("trains basis masks")
    elif live and any(run.job.role.startswith("seed") for run in live):
        parts.append(f"{final}, {_progress(live, tasks, epoch=False)}")
    elif live:
        parts.append(_progress(live, tasks))
    elif state.complete and (accs := _accs(state)):
        parts.append(f"{final:<9}  acc {fraction(sum(accs) / len(accs))}")
    else:
        parts.append(final)
    return "  ".join(parts).rstrip()


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
        with userfiles.beside(cell.home):
            return len(registry.load(cell.benchmark, cell.trial_seed, 0, cell.identity).tasks)
    except UserError:
        return 0


def _outcome(job: Job, result: Result) -> str:
    """val .934 1.2 s; diverged and failed with their reason."""
    if result.status != "done":
        first = screen_line(result.message.strip().partition("\n")[0])
        reason = first if result.status == "diverged" else fault_of(result.message)
        return f"{result.status}: {reason}" if reason else result.status
    trial = job.role.startswith("trial") and job.cell.protocol == "val"
    seconds = result.provenance.get("seconds", result.ct)
    return f"{'val' if trial else 'acc'} {fraction(result.acc('val' if trial else 'test'))} {seconds:.1f} s"


def _trained(outcome: Any) -> str:
    """12.3 s; or what it failed of."""
    if outcome.status == "done":
        return f"{outcome.seconds:.1f} s"
    return f"{outcome.status}: {fault_of(outcome.message)}"


def closing_text(store_root: Path | str, page: Path | str | None = None, compare: str = "") -> str:
    """At most four lines after a study: where results, report and comparison are, and what comes next."""
    results, report = f"results    {shown(store_root)}", f"report     {shown(page)}" if page else ""
    beside = f"{results:<40}  {report.replace('report     ', 'report  ')}"
    lines = [beside.rstrip()] if len(beside) <= COLUMNS else [results, report]
    if compare:
        lines.append(f"compare    {compare}   (raycl ui)")
    lines.append("again      the same command computes nothing; raycl plan says what is missing")
    return "\n".join(line for line in lines if line)


def interrupted_text(agenda: Agenda, cut_off: int, command: str) -> str:
    """What Ctrl-C left, and how to go on."""
    done, runs = sum(s.done for s in agenda.states), sum(s.total for s in agenda.states)
    text = f"stopped: {done} of {counted(runs, 'run')} {'is' if runs == 1 else 'are'} done"
    if cut_off:
        text += f", {cut_off} {'was' if cut_off == 1 else 'were'} cut off after "
        text += "its last finished task" if cut_off == 1 else "their last finished task"
    return "\n".join([*wrapped(f"{text}."), f"go on with:  {command}"])

"""The plan of a study as text, as `raycl plan` prints it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path

from raycl import texttable
from raycl.errors import Obstacle, screen_line
from raycl.reporting.settings import network_text, plan_lines
from raycl.results.collect import failure_of, older, subset_of
from raycl.results.rows import printed_name
from raycl.runs.inputs import runs_for
from raycl.study.agenda import Agenda
from raycl.study.estimate import Estimate, Left
from raycl.study.keeping import without_weights
from raycl.study.notelines import lines_of
from raycl.study.progress import CellState
from raycl.study.values import Grid, Search, Seeds, Study
from raycl.terminal.words import NAME, shown
from raycl.text import (
    COLUMNS,
    about,
    clip,
    clock,
    counted,
    one_line,
    padded,
    width_of,
    wrapped,
)


def plan_text(
    study: Study,
    agenda: Agenda,
    store_root: Path | str,
    slots: float,
    guesses: Mapping[str, float] | None = None,
) -> str:
    """Return the plan: cells, runs, what is done, missing or blocked, and the estimated time.

    Args:
        study: The study.
        agenda: Its agenda, of which nothing is started.
        store_root: Folder of the store, as the user wrote it.
        slots: Number of CPUs that runs can use at the same time.
        guesses: Seconds of a run by the name of its cell, as `raycl.study.measuring` finds them.
    """
    estimate = Estimate(agenda, guesses)
    rows = [_HEADER[1:], *(_plan_cells(state, estimate, slots) for state in agenda.states)]
    names = _names(agenda, texttable.room_beside(rows, _FACTS))
    width = max([NAME, *map(width_of, names)])
    table = [(name, *row) for name, row in zip((_HEADER[0], *names), rows, strict=True)]
    header, *table_lines = texttable.lines(table, [texttable.Column(width=width), *_FACTS])
    lines = [*_heading(study, agenda, store_root), header]
    seen: set[Obstacle] = set()
    for state, name, line in zip(agenda.states, names, table_lines, strict=True):
        if state.cell.blocked and not state.complete:
            lines += _blocked_lines(state.cell.blocked, name, width, seen)
            continue
        lines.append(line)
        if failure := "" if state.complete else failure_of(state, agenda):
            told = f"failed last time and will be tried again: {screen_line(failure)}"
            lines += [f"  {line}" for line in wrapped(told, "  ", COLUMNS - 2)]
    lines += plan_lines(study, [state.cell for state in agenda.states])
    lines += _sampler_lines(agenda)
    if stale := sum(map(older, agenda.states)):
        text = f"* {counted(stale, 'result')} of older source code; raycl run --fresh recomputes all"
        lines += wrapped(text)
    masks = agenda.masks
    if masks.done < len(masks.wanted):
        left = len(masks.wanted) - masks.done
        lines += wrapped(
            f"{len(masks.wanted)} basis masks for these runs, {masks.done} trained, {left} to train"
        )
    needed = _built_on(agenda)
    if missing := sum(agenda.store.get(key) is None for key in needed):
        lines += wrapped(f"{counted(len(needed), 'run')} that these build on, {missing} to do first")
    again, _ = without_weights(agenda.states, agenda.store)
    for text in [*filter(None, [again_line(again)]), *reason_lines(agenda)]:
        lines += wrapped(text)
    for note in lines_of(state.cell for state in agenda.states):
        lines += wrapped(f"note: {note}", "  ")
    return "\n".join([*lines, *_total(agenda, estimate, slots, again)])


def again_line(many: int) -> str:
    """Return a line on finished runs that are trained again to keep their weights; "" if there are none."""
    if not many:
        return ""
    verb, them = ("has", "it is") if many == 1 else ("have", "they are")
    return (
        f"{counted(many, 'finished run')} {verb} kept no weights, so {them} trained again to keep them; the "
        "results stay as they are"
    )


def reason_lines(agenda: Agenda) -> list[str]:
    """Return lines on finished runs whose weights cannot be kept."""
    _, reasons = without_weights(agenda.states, agenda.store)
    return [f"{counted(many, 'run')} cannot keep weights: {why}" for why, many in reasons.items()]


def _sampler_lines(agenda: Agenda) -> list[str]:
    """Return a line for each way to search that is not the default, with the labels."""
    labels: dict[str, dict[str, None]] = {}
    searched = [state.cell for state in agenda.states if isinstance(state.cell.search, Search)]
    for cell in searched:
        assert isinstance(cell.search, Search)
        if not cell.search.plain_tpe:
            labels.setdefault(cell.search.how, {})[cell.label] = None
        if cell.search.prune:
            labels.setdefault(cell.search.prune.how, {})[cell.label] = None
        if cell.search.sought:
            labels.setdefault(cell.search.sought, {})[cell.label] = None
    everyone = len({cell.label for cell in searched})
    return [
        line
        for how, named in labels.items()
        for line in wrapped(
            f"trials{'' if len(named) == everyone else ' of ' + ', '.join(map(one_line, named))}: {how}"
        )
    ]


def _built_on(agenda: Agenda) -> set[str]:
    """Return the keys of the other runs that the study's known runs build on."""
    specs = [t.spec for s in agenda.states if not s.cell.blocked for t in s.runs]
    own = {spec.key for spec in specs}
    found: set[str] = set()
    while specs:
        specs = [run for spec in specs for run in runs_for(spec).values()]
        found |= {run.key for run in specs}
    return found - own


_HEADER = ("cell", "trials", "final", "runs", "done ", "est.")
_FACTS = [*[texttable.Column()] * 2, *[texttable.Column(right=True)] * 3]  # the columns after the cell's name


def _plan_cells(state: CellState, estimate: Estimate, slots: float) -> tuple[str, ...]:
    """Return a cell's entries: trials, concurrency, final runs, runs, done and estimated time.

    The number of done runs has a mark if older source code made some of them.
    """
    cell, missing = state.cell, state.total - state.done
    trials = "-"
    if isinstance(cell.search, Search):
        together = f", {cell.search.concurrency} at once" if cell.search.concurrency > 1 else ""
        trials = f"{cell.search.trials}{together}"
    elif isinstance(cell.search, Grid):
        trials = counted(len(cell.search), "point")
    final = counted(len(cell.final), "seed") if isinstance(cell.final, Seeds) else "best trial"
    left = _cell_left(state, estimate, slots)
    cost = "-" if not missing else "?" if left is None else "~" * left.rough + clock(left.seconds)
    return trials, final, str(state.total), f"{state.done}{'*' if older(state) else ' '}", cost


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


def _names(agenda: Agenda, width: int) -> list[str]:
    """Return the cells' names as label / benchmark / order, aligned at the first slash if they fit."""
    labels = [one_line(state.cell.label) for state in agenda.states]
    cells = {state.cell.benchmark: state.cell for state in agenda.states}
    printed = {text: printed_name(cell.shown, subset_of(cell)) for text, cell in cells.items()}
    rests = [
        printed[state.cell.benchmark] + (f" / order {state.cell.order}" if state.cell.orders > 1 else "")
        for state in agenda.states
    ]
    column = max(map(width_of, labels), default=0)
    names = [f"{padded(label, column)} / {rest}" for label, rest in zip(labels, rests, strict=True)]
    if max(map(width_of, names), default=0) <= width:
        return names
    return [clip(f"{label} / {rest}", width) for label, rest in zip(labels, rests, strict=True)]


def _blocked_lines(blocked: Obstacle, name: str, width: int, seen: set[Obstacle]) -> list[str]:
    """Return the reason why a cell is blocked, with the remedies below it; the same reason only once."""
    if blocked in seen:
        return [f"{padded(name, width)}  blocked: as above"]
    seen.add(blocked)
    indent = " " * (width + texttable.GAP)
    lines = wrapped(f"{padded(name, width)}  blocked: {blocked.reason}", indent)
    for text in blocked.remedies:
        lines += [f"{indent}{line}" for line in wrapped(f"-> {text}", "   ", COLUMNS - len(indent))]
    return lines


def _cell_left(state: CellState, estimate: Estimate, slots: float) -> Left | None:
    """Return the estimated time to the end of a cell with all slots to itself; None if blocked or unknown."""
    run = estimate.per_run(state)
    if run is None or state.cell.blocked:
        return None
    missing = max(0, state.total - state.done)
    search = state.cell.search
    wide = search.concurrency if isinstance(search, Search) and not state.searched else missing
    return Left(run.seconds * math.ceil(missing / max(1, min(wide, int(slots)))), run.rough)


def _total(agenda: Agenda, estimate: Estimate, slots: float, again: int) -> list[str]:
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
    if again:
        parts.append(f"{again} to train again")
    if not left:
        return wrapped(", ".join(parts) + ("" if lost or again else ": nothing to do"))
    whole = estimate.left(slots)
    if whole is None:
        return wrapped(", ".join([*parts, "time unknown: --measure times an epoch of each method"]))
    cells = [cell for state in open_ if (cell := _cell_left(state, estimate, slots)) is not None]
    longest = max(cells, key=lambda cell: cell.seconds, default=Left(0.0))
    cpus = f"{slots:g} CPU{'' if slots == 1 else 's'}"
    took = f"{'~' if whole.rough else 'about '}{about(whole.seconds)} on {cpus}"
    took += f" (longest cell {'~' * longest.rough}{clock(longest.seconds)})"
    return wrapped(", ".join([*parts, took]))

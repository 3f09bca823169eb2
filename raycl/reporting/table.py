"""The report of a study as text, at most 80 columns wide."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from raycl import texttable
from raycl.metrics import Metric, all_metrics
from raycl.papers import tabletext
from raycl.reporting.fronts import Fronts
from raycl.reporting.searches import Searches
from raycl.reporting.view import View, methods_shown, views_across, views_of
from raycl.results import measures
from raycl.results.collect import collect, searched_on, sections
from raycl.results.rows import COMPLETE, CROWDED, CellRow, Group, Section
from raycl.study.agenda import Agenda
from raycl.study.values import Seeds, Sheet, Study
from raycl.text import (
    ABSENT,
    COLUMNS,
    clipped,
    counted,
    fraction,
    printable,
    quantity,
    seconds,
    width_of,
    wrapped,
)

MANY = 24  # A reader can compare at most this many labels line by line.
LEAST = 24  # Labels keep at least this many columns of the terminal before a study's own metrics.


@dataclass(frozen=True)
class Column:
    """A column of numbers; a cell is a value and a standard deviation, or a value and ""."""

    header: str
    cells: Sequence[tuple[str, str]]

    def lines(self) -> list[str]:
        """Return header and cells in equal width; a header over two numbers is aligned with the first."""
        double = any(std for _, std in self.cells)
        texts = [self.header, *texttable.pairs(self.cells)]
        return texttable.grid([[text] for text in texts], [texttable.Column(right=not double)])


def table_text(study: Study, agenda: Agenda) -> str:
    """Return the paper's tables and then a table per benchmark, each with its notes."""
    rows = collect(study, agenda)
    found = sections(study, rows)
    parts = ["\n".join(sheet_lines(sheet)) for sheet in study.written_sheets]
    parts += [_missing(rows)] if any(row.status != COMPLETE for row in rows) else []
    papers = tabletext.tables_of(study, found)
    known = tabletext.deviations(papers, methods_shown(study, rows))
    parts += ["\n".join(tabletext.lines(study, paper, known)) for paper in papers]
    whole = [view_lines(view, section) for view, section in views_across(study, found)]
    parts += ["\n".join(lines) for lines in whole if lines]
    parts += ["\n".join(tabletext.deviation_lines(known))] if known else []
    for section in found:
        main = ["\n".join(section_lines(study, section))]
        for view in (Searches(), Fronts()):
            main += ["\n".join(lines)] if (lines := view_lines(view, section)) else []
        seen = ["\n".join(lines) for view in views_of(study) if (lines := view_lines(view, section))]
        parts += seen + main if crowded(study, section) else main + seen
    return "\n\n".join(parts) + "\n"


def sheet_lines(sheet: Sheet) -> list[str]:
    """Return title, header, rows and notes of a sheet; names are aligned left and numbers right."""
    table = [[printable(text) for text in row] for row in [sheet.header, *sheet.rows]]
    columns = texttable.names_and_numbers(len(sheet.header))
    if width_of(texttable.grid(table, columns)[0]) > COLUMNS:
        columns = texttable.names_and_numbers(len(sheet.header), gap=1)
    lines = texttable.lines(table, columns)
    return [*wrapped(sheet.title), *lines, *(line for note in sheet.notes for line in wrapped(note))]


def section_lines(study: Study, section: Section) -> list[str]:
    """Return title, header, a line per method variant, caption and notes of a benchmark's table.

    A study's own metrics are below the others, with as many side by side as fit.
    """
    short: list[str] = []
    table: list[str] = []
    for columns in [number_columns(section), *_fitting(own_columns(section))]:
        lines, shortened = _block(section, columns)
        table += lines
        short += [text for text in shortened if text not in short]
    lines = [*wrapped(title(study, section)), *table]
    for text in [*caption(section), *notes(section), *short]:
        lines += wrapped(text)
    return lines


def _fitting(columns: Sequence[Column]) -> list[list[Column]]:
    """Arrange columns in blocks that leave room for labels."""
    blocks: list[list[Column]] = []
    room = 0
    for column in columns:
        width = len(column.lines()[0]) + texttable.GAP
        if width > room:
            blocks.append([])
            room = COLUMNS - LEAST
        blocks[-1].append(column)
        room -= width
    return blocks


def _block(section: Section, shown: Sequence[Column]) -> tuple[list[str], list[str]]:
    """Return columns side by side with a line per method variant, and the full forms of shortened labels."""
    numbers = list(zip(*(column.lines() for column in shown), strict=True))
    stars = [" *" if mark else "" for mark in marked(section)]
    names = [group.label for group in section.groups]
    for gap in (texttable.GAP, 1):  # Narrow gaps are better than shortened labels.
        columns = texttable.names_and_numbers(1 + len(shown), gap)
        room = texttable.room_beside(numbers, columns[1:]) - max(map(len, stars))
        labels = clipped(names, room)
        if labels == names:
            break
    first = ["method", *(label + star for label, star in zip(labels, stars, strict=True))]
    table = texttable.lines([[label, *cells] for label, cells in zip(first, numbers, strict=True)], columns)
    return table, [f"{a} = {b}" for a, b in zip(labels, names, strict=True) if a != b]


def crowded(study: Study, section: Section) -> bool:
    """Return whether there are too many labels to compare one by one, and views that summarise them."""
    return bool(study.views) and len(section.groups) > MANY


def view_lines(view: View, section: Section) -> list[str]:
    """Return title, table and notes of a view; [] if it does not have anything to show."""
    header, rows = view.lines(section)
    if not rows:
        return []
    rows = [[printable(text) for text in row] for row in rows]
    columns = texttable.names_and_numbers(len(header))
    room = texttable.room_beside([row[1:] for row in [header, *rows]], columns[1:])
    names = list(dict.fromkeys(row[0] for row in rows))
    firsts = dict(zip(names, clipped(names, room), strict=True))
    table = [header, *([firsts[name], *cells] for name, *cells in rows)]
    lines = wrapped(f"{view.title}: {section.name}") + texttable.lines(table, columns)
    return lines + [line for note in view.notes for line in wrapped(note)]


def title(study: Study, section: Section) -> str:
    """Return a title such as ``digits_split (5 tasks x 2 classes), 3 seeds, searched on validation``."""
    facts = []
    if section.classes:
        low, high = min(section.classes), max(section.classes)
        each = f"{low}" if low == high else f"{low} to {high}"
        facts.append(f"{counted(section.tasks, 'task')} x {each} classes")
    elif section.tasks:
        facts.append(counted(section.tasks, "task"))
    if section.similar is not None:
        facts.append("similar" if section.similar else "dissimilar")
    about = f" ({', '.join(facts)})" if facts else ""
    orders = f", {counted(section.orders, 'order')}" if section.orders > 1 else ""
    final = study.final
    seeds = counted(len(final), "seed") if isinstance(final, Seeds) else "best trial"
    return f"{section.name}{about}{orders}, {seeds}, {searched_on(study)}"


def caption(section: Section) -> list[str]:
    """Return lines that explain the numbers, and how large a difference must be to exceed the noise."""
    several = section.orders > 1
    if not any(len(group.stat("acc").values) > 1 for group in section.groups):
        return ["one value each: no spread, and no verdict on differences"] if _any(section) else []
    text = f"value and standard deviation{' over orders' if several else ''}"
    noise = section.noise
    if noise is not None and noise >= 0.0005:
        text += f"; differences under about {fraction(noise)} are within noise here"
    return [text]


def notes(section: Section) -> list[str]:
    """Return remarks on the numbers of a benchmark, each with the methods to which it applies."""
    lines = []
    if section.subset:
        lines.append(f"subset: {section.subset}; cannot be compared with published numbers")
    lines += [f"tasks not as published: {text}" for text in section.deviations]
    if any(group.rows[0].cell.protocol == "paper" and group.rows[0].cell.search for group in section.groups):
        lines.append("protocol paper: configurations were chosen on test accuracy, which inflates it")
    searched = [group for group in section.groups if any(row.trials for row in group.rows)]
    for text in dict.fromkeys(row.random for group in searched for row in group.rows if row.random):
        labels = [group.label for group in searched if any(row.random == text for row in group.rows)]
        lines.append(text if len(labels) == len(searched) else f"{', '.join(labels)}: {text}")
    busy, runs = section.crowded
    if busy:
        lines.append(
            f"{busy} of {counted(runs, 'final run')} had less than {CROWDED:.0%} of a processor, so their "
            "wall times say little; the times shown are processor time"
        )
    if 0 < section.untimed < runs:
        lines.append(
            f"times of {section.untimed} of {counted(runs, 'final run')} are wall time, because their "
            "processor time was not measured"
        )
    if section.machines > 1:
        lines.append(
            f"times come from {section.machines} combinations of machine type and thread count and cannot be "
            "compared"
        )
    shared = _shared(section)
    own: dict[str, list[str]] = {}
    lines += [f"all methods: {text}" for text in shared]
    for group in section.groups:
        texts = "; ".join(text for text in group_notes(group) if text not in shared)
        own.setdefault(texts, []).append(group.label)
    return lines + [f"* {', '.join(labels)}: {texts}" for texts, labels in own.items() if texts]


def marked(section: Section) -> list[bool]:
    """Return for each line of the table whether it has an asterisk, which marks a note not shared by all."""
    shared = _shared(section)
    return [any(text not in shared for text in group_notes(group)) for group in section.groups]


def group_notes(group: Group) -> list[str]:
    """Return the notes of a group's rows; a note that holds only for some orders names these orders."""
    found = []
    for text in dict.fromkeys(note for row in group.rows for note in row.notes):
        where = [row.cell.order for row in group.rows if text in row.notes]
        some = len(where) < len(group.rows)
        found.append(f"{text} (order {', '.join(map(str, where))})" if some else text)
    have = sum(row.mean("acc") is not None for row in group.rows)
    if 0 < have < len(group.rows):
        found.append(f"mean over {have} of {counted(len(group.rows), 'order')}")
    return found


def _shared(section: Section) -> list[str]:
    """Return the notes that hold for all methods, if there are several."""
    first, *others = [group_notes(group) for group in section.groups]
    return [text for text in first if others and all(text in notes for notes in others)]


def number_columns(section: Section) -> list[Column]:
    """Return the columns of a benchmark's table, without a study's own metrics."""
    groups = section.groups
    columns = []
    if any(len(group.finals) < group.wanted for group in groups):
        columns.append(Column("n", [(f"{len(group.finals)}/{group.wanted}", "") for group in groups]))
    columns += [
        *(_column(metric, groups) for metric in all_metrics() if metric.main),
        Column("ps", [(fraction(group.stat("ps").mean), "") for group in groups]),
    ]
    times = [group.stat("ct").mean for group in groups]
    hours = any(value is not None and value >= 99_999.5 for value in times)
    shown = [value / 3600 if hours and value is not None else value for value in times]
    columns.append(Column("time h" if hours else "time s", [(seconds(value), "") for value in shown]))
    columns.append(Column("params", [(quantity(group.stat("params").mean), "") for group in groups]))
    columns.append(
        Column("stored", [(quantity(group.stat("bytes_total").mean, "B"), "") for group in groups])
    )
    return columns


def own_columns(section: Section) -> list[Column]:
    """Return the columns of the metrics that a study adds to raycl's."""
    return [_column(metric, section.groups) for metric in section.own]


def _column(metric: Metric, groups: Sequence[Group]) -> Column:
    return Column(metric.name, [pair(group, metric) for group in groups])


def pair(group: Group, metric: Metric) -> tuple[str, str]:
    """Return mean and standard deviation of a metric as a table shows them.

    Both are blank for a reference, if the metric is defined relative to the reference.
    """
    if group.reference and metric.blank_for_reference:
        return ABSENT, ""
    stat = group.stat(metric.name)
    return measures.format_value(metric, stat.mean), measures.format_std(metric, stat.std)


def _any(section: Section) -> bool:
    return any(group.finals for group in section.groups)


def _missing(rows: Sequence[CellRow]) -> str:
    done, runs = sum(row.done for row in rows), sum(row.runs for row in rows)
    return f"not complete: {done} of {counted(runs, 'run')} done; raycl plan says what is missing"

"""The cells of a paper's table: the numbers of a study's runs and the numbers that the paper prints."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from raycl import metrics, noise, registry
from raycl.papers.judging import ENOUGH
from raycl.papers.matching import MetricReading, fields_named, reading, rows_meant, tasks_of
from raycl.papers.printed import Printed
from raycl.papers.printedplaces import (
    Key,
    Spot,
    Where,
    fewer_tasks,
    is_papers_own,
    method_named,
    printed_by_place,
    same_item,
    same_metric,
    together,
)
from raycl.papers.published import as_printed
from raycl.papers.tables import MEAN, PaperTable, first_of, parts_of
from raycl.results.grammar import Item, Metric, parse_item, parse_metric
from raycl.results.numbers import is_signed, number
from raycl.results.rows import COMPLETE, DIVERGED, INCOMPLETE, MISSING, Group, Section, Stat
from raycl.study.cells import Kinds
from raycl.study.values import Study
from raycl.text import ABSENT, counted

SUBSET, SUBSTITUTE = "subset", "substitute"


@dataclass(frozen=True)
class Entry:
    """A cell of a table.

    Attributes:
        row, column: The names of the table's row and column.
        method, benchmark: The method and the benchmark as the study's author wrote them.
        metric: The metric of the cell.
        unit: The unit in which the cell is written.
        paper_seeds: The number of runs behind a printed mean.
        mean: Whether the cell is the mean over all other columns.
        label: The label of the study's cell, or "" where there is none.
        values: Our values by seed, or by order where there are several orders.
        wanted: How many values there should be.
        printed: The paper's number, or None where there is none or it cannot be compared with ours.
        word: Why the printed number cannot be compared with ours: `SUBSET`, `SUBSTITUTE`, or "".
        status: Why there are no values, such as "not run" or "blocked"; `ABSENT` where no run measured the
            metric, or where it says nothing of the reference.
        reason: The reason for the status, for a choice among several cells, or for fewer values than wanted.
        own: The metrics that the study adds to raycl's.
    """

    row: str
    column: str
    method: str
    benchmark: str
    metric: Metric
    unit: str
    paper_seeds: int
    mean: bool = False
    label: str = ""
    values: Mapping[int, float] = field(default_factory=dict)
    wanted: int = 0
    printed: Printed | None = None
    word: str = ""
    status: str = ""
    reason: str = ""
    own: Sequence[metrics.Metric] = ()

    @property
    def signed(self) -> bool:
        """Whether the metric is a difference, which is written with its sign."""
        return is_signed(self.metric.name, self.own)

    @property
    def ours(self) -> Stat:
        """The mean and standard deviation of our values."""
        return Stat(tuple(self.values.values()))

    @property
    def timed(self) -> bool:
        """Whether the metric is a time; times of different machines cannot be compared."""
        return self.metric.name.startswith(("ct", "seconds"))

    @property
    def difference(self) -> float | None:
        """Our mean minus the printed number, or None where they cannot be compared."""
        mean = self.ours.mean
        return None if mean is None or self.printed is None or self.timed else mean - self.printed.value

    @property
    def half_width(self) -> float | None:
        """The half-width of the difference's 95 % confidence interval.

        The interval is Welch's, because our runs and the paper's are independent samples. Where the paper
        prints no deviation, only ours counts. The value is None where there is no difference, and where a
        deviation is unknown or is stated for a single run.
        """
        if self.difference is None or self.printed is None:
            return None
        theirs = noise.Spread(self.printed.std or 0.0, self.paper_seeds)
        return noise.welch_half_width(noise.Spread(self.ours.std, len(self.values)), theirs)

    @property
    def beyond(self) -> bool:
        """Whether the difference exceeds the noise and the rounding of the printed number.

        It is always False for fewer than `ENOUGH` values.
        """
        if self.difference is None or self.half_width is None or self.printed is None:
            return False
        limit = max(self.half_width, self.printed.last_digit / 2)
        return len(self.values) >= ENOUGH and noise.beyond_noise(self.difference, limit)


@dataclass(frozen=True)
class FilledTable:
    """A table with its cells, in the order of its rows and columns (transposed where the table asks for it).

    Attributes:
        table: The table as the study defines it.
        rows, columns: The names of the rows and of the columns.
        entries: The cells by (row, column).
        methods: The class of the method by name of its row.
        subsets: By name of a column, the reason why its data are only a part of the benchmark.
        held: By name of a column with a printed number, the share of training images that is held out.
        orders: Whether the study has several orders of the tasks.
        lost: Whether the paper has such a table but none of its numbers is known.
    """

    table: PaperTable
    rows: tuple[str, ...]
    columns: tuple[str, ...]
    entries: Mapping[tuple[str, str], Entry]
    methods: Mapping[str, Kinds]
    subsets: Mapping[str, str]
    held: Mapping[str, str]
    orders: bool
    lost: bool

    @property
    def all(self) -> list[Entry]:
        """All cells of the table."""
        return list(self.entries.values())


class _Column(NamedTuple):
    label: str
    text: str
    section: Section | None
    place: Spot
    word: str
    subset: str
    held: str


def fill_table(table: PaperTable, study: Study, sections: Sequence[Section]) -> FilledTable:
    """Fill a table with the numbers of a report and with the printed ones."""
    known = printed_by_place(study.paper)
    columns = [
        _column(label, first_of(entry), study.paper, sections) for label, entry in table.columns.items()
    ]
    entries: dict[tuple[str, str], Entry] = {}
    methods: dict[str, Kinds] = {}
    for row, text in table.rows.items():
        printed_as = _printed_as(row, first_of(text), study.paper)
        for column in columns:
            metric = table.metric_of(row, column.label)
            groups = _groups(table, study, first_of(text), metric, column)
            if groups:
                methods[row] = groups[0].rows[0].cell.kinds
            entry = _entry(table, row, first_of(text), metric, column, groups)
            entries[row, column.label] = _with_printed(entry, printed_as, table, column.place, known)
        if table.mean:
            whole = together(column.place for column in columns)
            mean = _mean([entries[row, c.label] for c in columns], columns)
            entries[row, MEAN] = _with_printed(mean, printed_as, table, whole, known)
    compared = {column for (_, column), entry in entries.items() if entry.printed}
    axes = tuple(table.rows), (*table.columns, *([MEAN] if table.mean else []))
    if table.transpose:
        axes = axes[1], axes[0]
        entries = {(column, row): entry for (row, column), entry in entries.items()}
    return FilledTable(
        table=table,
        rows=axes[0],
        columns=axes[1],
        entries=entries,
        methods=methods,
        subsets={c.label: c.subset for c in columns if c.subset},
        held={c.label: c.held for c in columns if c.held and compared & {c.label, MEAN}},
        orders=any(c.section.orders > 1 for c in columns if c.section),
        lost=bool(study.paper and table.tables) and not any(key[0] in table.tables for key in known),
    )


def _printed_as(row: str, text: str, paper: str) -> str:
    """Return the method under which the numbers of a row are printed, or "".

    It is the method that the row shows. A row that shows a label of the study says by its name which method
    of the paper is meant.
    """
    return same_item(text if _method_in(text) else method_named(row, paper))


def _method_in(text: str) -> Item | None:
    """Return the method that a row names, or None where it names a label of the study."""
    item = parse_item(text)
    return item if item is not None and item.method in registry.method_names() else None


def _groups(table: PaperTable, study: Study, text: str, metric: str, column: _Column) -> list[Group]:
    """Return the study's cells that a row refers to in a column; the first one is the one to show."""
    if column.section is None:
        return []
    item, groups = _method_in(text), column.section.groups
    if item is None:
        return [group for group in groups if group.label == text]
    read = reading(_metric(metric))
    admitted = [row for row in column.section.rows if read.admits(row)]
    meant = rows_meant(item, admitted, fields_named(table.items, read), read)
    labels = {row.cell.label for row in meant}
    return sorted((g for g in groups if g.label in labels), key=lambda g: _rank(g, table.best), reverse=True)


def _rank(group: Group, best: str) -> tuple[bool, float]:
    values = [number(row, final, _metric(best)) for row in group.rows for final in row.finals]
    mean = metrics.mean(values)
    return mean is not None, mean or 0.0


def _entry(
    table: PaperTable, row: str, text: str, metric: str, column: _Column, groups: Sequence[Group]
) -> Entry:
    about = Entry(
        row=row,
        column=column.label,
        method=text,
        benchmark=column.text,
        metric=_metric(metric),
        unit=table.unit_of(metric),
        paper_seeds=table.paper_seeds,
        word=column.word,
        status=MISSING,
        own=column.section.own if column.section else (),
    )
    if not groups or column.section is None:
        return about
    group, reasons = groups[0], []
    values = {} if _is_blank(group, about) else _values(group, reading(about.metric), column)
    run = [g for g in groups if g.finals]
    if len(groups) > 1 and run:
        reasons.append(f"best {table.best} of {_of(len(run), len(groups))}: {group.label}")
    status, wanted = "", _wanted(group, about.metric)
    if not group.finals:
        status, why = _absence(group)
        reasons.append(why)
    elif not values:
        status = ABSENT
    elif len(values) < wanted:
        reasons.append(_fewer(len(values), wanted, column.section.orders > 1))
    reason = "; ".join(filter(None, reasons))
    return _changed(about, label=group.label, values=values, wanted=wanted, status=status, reason=reason)


def _is_blank(group: Group, entry: Entry) -> bool:
    """Return whether the group is the reference and the metric says nothing of it."""
    found = metrics.metric_named(entry.metric.name, entry.own)
    return group.reference and found is not None and found.blank_for_reference


def _of(run: int, cells: int) -> str:
    return counted(cells, "cell") if run == cells else f"{run} run of {counted(cells, 'cell')}"


def _fewer(have: int, wanted: int, orders: bool) -> str:
    return f"mean over {have} of {counted(wanted, 'order' if orders else 'seed')}"


def _absence(group: Group) -> tuple[str, str]:
    """Return the status of a cell without a number, and a short reason."""
    stopped = next((row for row in group.rows if row.status not in (COMPLETE, INCOMPLETE, MISSING)), None)
    if stopped:
        return stopped.status, stopped.reason.splitlines()[0] if stopped.reason else ""
    if any(row.diverged for row in group.rows):
        return DIVERGED, ""
    done, runs = sum(row.done for row in group.rows), sum(row.runs for row in group.rows)
    return MISSING, f"{done} of {counted(runs, 'run')} done" if done else ""


def _wanted(group: Group, metric: Metric) -> int:
    if len(group.rows) > 1:
        return len(group.rows)
    return 1 if metric.name == "ps" else group.wanted


def _values(group: Group, read: MetricReading, column: _Column) -> dict[int, float]:
    """Return the values by seed; where there are several orders, return the mean of each order instead."""
    assert column.section is not None
    part = column.place.part
    tasks = column.place.tasks or (tasks_of(column.section.benchmark, part) if part else ())
    if part and not tasks:
        return {}
    orders = len(group.rows) > 1
    found: dict[int, list[float]] = {}
    for row in group.rows:
        for final in row.finals[:1] if read.metric.name == "ps" else row.finals:
            unit = row.cell.order if orders else final.seed
            value = number(row, final, read.metric, tasks)
            if value is not None:
                found.setdefault(unit, []).append(value - read.base(row, unit, column.section.rows, orders))
    means = {unit: sum(values) / len(values) for unit, values in found.items()}
    return {unit: mean for unit, mean in means.items() if not math.isnan(mean)}


def _mean(entries: Sequence[Entry], columns: Sequence[_Column]) -> Entry:
    """Return the cell with the mean over all columns, for each seed that all columns have."""
    first = entries[0]
    shared = [unit for unit in first.values if all(unit in entry.values for entry in entries)]
    values = {unit: sum(e.values[unit] for e in entries) / len(entries) for unit in shared}
    wanted, words = min(entry.wanted for entry in entries), {entry.word for entry in entries}
    orders = any(column.section.orders > 1 for column in columns if column.section)
    return _changed(
        first,
        column=MEAN,
        mean=True,
        benchmark="; ".join(entry.benchmark for entry in entries),
        label=first.label if len({entry.label for entry in entries}) == 1 else "",
        values=values,
        wanted=wanted,
        printed=None,
        word=next((word for word in (SUBSTITUTE, SUBSET) if word in words), ""),
        status="" if values else ABSENT,
        reason=_fewer(len(values), wanted, orders) if 0 < len(values) < wanted else "",
    )


def _changed(entry: Entry, **changes: object) -> Entry:
    return Entry(**{**vars(entry), **changes})


def _with_printed(
    entry: Entry, printed_as: str, table: PaperTable, place: Where, known: Mapping[Key, Printed]
) -> Entry:
    """Add the printed number, if our data are the paper's and complete."""
    if entry.word:
        return entry
    metric = same_metric(str(entry.metric))
    found = (known.get((number, place, printed_as, metric)) for number in table.tables)
    return _changed(entry, printed=next(filter(None, found), None))


def _column(label: str, text: str, paper: str, sections: Sequence[Section]) -> _Column:
    written, part, tasks = parts_of(text)
    recipe = registry.recipe(written)
    section = next((s for s in sections if s.benchmark == str(recipe)), None)
    known, held = as_printed(recipe)
    place = Spot(str(known), part, tasks)
    lacking = [section.subset] if section and section.subset else []
    word = SUBSET if lacking else ""
    if paper and not is_papers_own(label, place, paper):
        fewer = fewer_tasks(label, known, paper)
        word = SUBSET if fewer else SUBSTITUTE
        lacking += [fewer] if fewer else []
    return _Column(label, text, section, place, word, "; ".join(lacking), held)


def _metric(text: str) -> Metric:
    metric = parse_metric(text)
    assert metric is not None, text
    return metric

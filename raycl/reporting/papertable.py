"""A table as a paper has it: methods by benchmarks, each number beside the printed one.

`PaperTable` is what a study writes, `filled` reads the rows of a report into its cells; `papertext` and
`latex` write them. A row means by ``spg[chi=false]`` what a claim means by it.
"""

from __future__ import annotations

import functools
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field
from typing import NamedTuple, TypeAlias

from raycl import metrics, names
from raycl.errors import UserError, nearest
from raycl.method import Method
from raycl.reporting import printed, units
from raycl.reporting.claims import claims
from raycl.reporting.collect import (
    COMPLETE,
    DIVERGED,
    INCOMPLETE,
    MISSING,
    Group,
    Section,
    Stat,
)
from raycl.reporting.grammar import (
    Item,
    Metric,
    Place,
    catalogue,
    expanded,
    parse_item,
    parse_metric,
    parse_place,
    split,
)
from raycl.reporting.judging import ENOUGH
from raycl.reporting.matching import Reading, fields_named, reading, rows_meant, tasks_of
from raycl.reporting.numbers import BY_TASK, CORE, number
from raycl.reporting.printed import Printed
from raycl.reporting.published import as_printed
from raycl.reporting.text import ABSENT, counted
from raycl.space import fields_of
from raycl.study import Study

SUBSET, SUBSTITUTE = "subset", "substitute"
MEAN = "mean"

_COLUMN = re.compile(r"(.+?)(?:\[(\w+)\])?(?:#(\d+(?:\+\d+)*))?")


class Spot(NamedTuple):
    """What a number is about: a benchmark, or a part or some tasks of it.

    Attributes:
        benchmark: its canonical text.
        tasks: counted from 1.
    """

    benchmark: str
    part: str = ""
    tasks: tuple[int, ...] = ()


class MeanOver(NamedTuple):
    """The mean over several spots, in sorted order."""

    spots: tuple[Spot, ...]


Where: TypeAlias = Spot | MeanOver


@dataclass(frozen=True)
class PaperTable:
    """Methods by benchmarks, in a paper's layout.

    Attributes:
        title: "Table 2: accuracy".
        rows: the paper's name -> method as claims write it, ``spg[chi=false]``, or a label of the study; or a
            pair of that and a metric, where the table has metrics or moments as rows.
        columns: the paper's name -> benchmark of the study, of which ``#3`` or ``[part]`` picks a task; or
            a pair of that and a metric. A benchmark that is not the one that the paper calls so, or none of
            the paper's, is a substitute: no printed number stands beside it. Holding other images out to
            decide by makes no substitute, and is said under the table.
        metric: where rows and columns name none.
        table: where printed numbers are looked up: "6", or "2, 12" for the first that has one.
        mean: a last column with the mean over all others; only where all are there.
        unit: how numbers are written, one of `units.UNITS`; by metric where a table has several.
        best: of several cells that a row means, the one with the highest mean of this.
        transpose: benchmarks as rows.
        paper_seeds: runs behind a printed mean.
        notes: printed under it.
    """

    title: str
    _: KW_ONLY
    rows: Mapping[str, str | tuple[str, str]]
    columns: Mapping[str, str | tuple[str, str]]
    metric: str = "acc"
    table: str = ""
    mean: bool = False
    unit: str | Mapping[str, str] = "fraction"
    best: str = "val_acc"
    transpose: bool = False
    paper_seeds: int = 5
    notes: Sequence[str] = ()

    def __post_init__(self) -> None:
        def fail(text: str) -> UserError:
            return UserError(f"PaperTable({self.title!r}): {text}")

        for name in ("rows", "columns"):
            entries = getattr(self, name)
            if not isinstance(entries, Mapping) or not entries:
                raise fail(f"{name} = {entries!r} should be a dictionary of at least one printed name")
            for label, entry in entries.items():
                pair = entry if isinstance(entry, tuple | list) else (entry, "acc")
                if len(pair) != 2 or not all(isinstance(text, str) for text in (label, *pair)):
                    raise fail(f"{name}[{label!r}] = {entry!r} should be a text, or a pair with a metric")
        if isinstance(self.notes, str):
            raise fail(f"notes is a list; write [{self.notes!r}]")
        if not isinstance(self.paper_seeds, int) or self.paper_seeds < 1:
            raise fail(f"paper_seeds = {self.paper_seeds!r} must be a whole number of at least 1")
        asked = self.unit.values() if isinstance(self.unit, Mapping) else [self.unit]
        for unit in asked:
            if unit not in units.UNITS:
                raise fail(f"unknown unit {unit!r}{nearest(str(unit), units.UNITS)} "
                           f"(known: {', '.join(units.UNITS)})")  # fmt: skip
        if _own_metrics(self.rows) and _own_metrics(self.columns):
            raise fail("rows and columns both name metrics; let one of them do it")
        if self.mean and (_own_metrics(self.columns) or MEAN in self.columns):
            raise fail(f"mean = True needs columns of one metric, none of them called {MEAN!r}")

    def unit_of(self, metric: str) -> str:
        if isinstance(self.unit, str):
            return self.unit
        return self.unit.get(metric, self.unit.get(metric.partition("[")[0], "fraction"))

    @property
    def tables(self) -> list[str]:
        return [text.strip() for text in self.table.split(",") if text.strip()]

    @property
    def items(self) -> list[Item]:
        """Methods that the rows name."""
        found = [parse_item(_first(entry)) for entry in self.rows.values()]
        return [item for item in found if item is not None]

    def metric_of(self, row: str, column: str) -> str:
        entries = self.rows[row], self.columns.get(column, "")
        return next((entry[1] for entry in entries if not isinstance(entry, str)), self.metric)


# Checks, before anything runs for hours


def check(table: PaperTable, study: Study, place: str) -> None:
    """See that all that a table names exists.

    Raises:
        UserError: names the value, the place and the remedy.
    """
    where = f"{place}: tables: {table.title!r}"
    for label, entry in table.rows.items():
        if _first(entry) not in study.methods:
            _check_item(_first(entry), f"{where}: rows[{label!r}]")
    for label, entry in table.columns.items():
        text, _, _ = _parts(_first(entry))
        names.recipe(text, f"{where}: columns[{label!r}]")
    own = any(":" in str(keys.get("method", label)) for label, keys in study.methods.items())
    for row in table.rows:
        for column in table.columns:
            _check_metric(table.metric_of(row, column), where, own)
    _check_metric(table.best, where, own)


def _check_item(text: str, place: str) -> None:
    item = parse_item(text)
    if item is None or item.place or item.tasks:
        raise UserError(f"{place} = {text!r} does not read as a method such as hat or spg[chi=false]")
    known = fields_of(names.method(item.method, place).Config)
    for name, _ in item.fields:
        if name not in known:
            raise UserError(f"{place} = {text!r}: {item.method} has no field {name!r}{nearest(name, known)} "
                            f"(it has: {', '.join(known) or 'none'})")  # fmt: skip


def _check_metric(text: str, place: str, own: bool) -> None:
    """`own`: a method of the study's own may report figures that the catalogue does not know."""
    metric = parse_metric(text)
    if metric is None:
        raise UserError(f"{place}: {text!r} does not read as a metric such as acc or blocked[t=T]")
    known = known_metrics()
    if metric.name not in known and not own:
        raise UserError(
            f"{place}: unknown metric {metric.name!r}{nearest(metric.name, known)} "
            f"(known: {', '.join(known)})"
        )


def known_metrics() -> list[str]:
    """The catalogue's: of every run, of claims, of printed tables, and figures of methods."""
    found = {*CORE, *BY_TASK, *catalogue()["readings"], *catalogue()["figures"]}
    return sorted(found | {claim.metric.name for claim in claims()})


# What stands in a cell


@dataclass(frozen=True)
class Entry:
    """A cell of a table.

    Attributes:
        method, benchmark: as the study's author wrote them.
        label: of the study's cell, "" where there is none.
        values: by seed, or by order where there are several.
        wanted: how many values there should be.
        printed: the paper's number, where ours may stand beside it.
        mean: whether it is the mean over all other columns.
        word: why it may not: `SUBSET`, `SUBSTITUTE`, or "".
        status: why there are no values: "not run", "blocked", ...; `ABSENT` where nobody measured it.
        reason: of the status, of a choice among several cells, or of fewer values than wanted.
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

    @property
    def ours(self) -> Stat:
        return Stat(tuple(self.values.values()))

    @property
    def timed(self) -> bool:
        """Times of other machines are no finding."""
        return self.metric.name.startswith(("ct", "seconds"))

    @property
    def difference(self) -> float | None:
        """Ours - printed."""
        mean = self.ours.mean
        return None if mean is None or self.printed is None or self.timed else mean - self.printed.value

    @property
    def half_width(self) -> float | None:
        """Half-width of the difference's 95 % confidence interval, after Welch: our runs are not the paper's.

        Of ours alone where no deviation is printed. None where there is no difference, and where a deviation
        is unknown or is said to be over a single run.
        """
        if self.difference is None or self.printed is None:
            return None
        theirs = metrics.Spread(self.printed.std or 0.0, self.paper_seeds)
        return metrics.welch_half_width(metrics.Spread(self.ours.std, len(self.values)), theirs)

    @property
    def beyond(self) -> bool:
        """Whether the difference is more than noise, and than the printed number's rounding.

        Never on fewer than `ENOUGH` values.
        """
        if self.difference is None or self.half_width is None or self.printed is None:
            return False
        limit = max(self.half_width, self.printed.last_digit / 2)
        return len(self.values) >= ENOUGH and metrics.beyond_noise(self.difference, limit)


@dataclass(frozen=True)
class Filled:
    """A table with its cells, in the order of rows and columns (transposed where the table asks for it).

    Attributes:
        held: by benchmark's label, what is held out of the training images beside a printed number.
    """

    table: PaperTable
    rows: tuple[str, ...]
    columns: tuple[str, ...]
    entries: Mapping[tuple[str, str], Entry]
    methods: Mapping[str, type[Method]]
    subsets: Mapping[str, str]
    held: Mapping[str, str]
    orders: bool
    lost: bool  # the paper has such a table, and none of its numbers is known

    @property
    def all(self) -> list[Entry]:
        return list(self.entries.values())


class _Column(NamedTuple):
    label: str
    text: str
    section: Section | None
    place: Spot
    word: str
    held: str


def filled(table: PaperTable, study: Study, sections: Sequence[Section]) -> Filled:
    """Read a report's numbers into a table."""
    known = _printed(study.paper)
    columns = [_column(label, _first(entry), study.paper, sections) for label, entry in table.columns.items()]
    entries: dict[tuple[str, str], Entry] = {}
    methods: dict[str, type[Method]] = {}
    for row, text in table.rows.items():
        for column in columns:
            metric = table.metric_of(row, column.label)
            groups = _groups(table, study, _first(text), metric, column)
            if groups:
                methods[row] = groups[0].rows[0].cell.method
            entry = _entry(table, row, _first(text), metric, column, groups)
            entries[row, column.label] = _beside(entry, table, column.place, known)
        if table.mean:
            entries[row, MEAN] = _mean(table, [entries[row, c.label] for c in columns], columns, known)
    beside = {column for (_, column), entry in entries.items() if entry.printed}
    axes = tuple(table.rows), (*table.columns, *([MEAN] if table.mean else []))
    if table.transpose:
        axes = axes[1], axes[0]
        entries = {(column, row): entry for (row, column), entry in entries.items()}
    return Filled(
        table=table,
        rows=axes[0],
        columns=axes[1],
        entries=entries,
        methods=methods,
        subsets={c.label: c.section.subset for c in columns if c.section and c.section.subset},
        held={c.label: c.held for c in columns if c.held and beside & {c.label, MEAN}},
        orders=any(c.section.orders > 1 for c in columns if c.section),
        lost=bool(study.paper and table.tables) and not any(key[0] in table.tables for key in known),
    )


def _groups(table: PaperTable, study: Study, text: str, metric: str, column: _Column) -> list[Group]:
    """Cells of the study that a row means in a column, the one to show first."""
    if column.section is None:
        return []
    item, groups = parse_item(text), column.section.groups
    if item is None or item.method not in names.method_names():
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
    about = Entry(row, column.label, text, column.text, _metric(metric), table.unit_of(metric),
                  table.paper_seeds, word=column.word, status=MISSING)  # fmt: skip
    if not groups or column.section is None:
        return about
    group, reasons = groups[0], []
    values = _values(group, reading(about.metric), column)
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


def _of(run: int, cells: int) -> str:
    return counted(cells, "cell") if run == cells else f"{run} run of {counted(cells, 'cell')}"


def _fewer(have: int, wanted: int, orders: bool) -> str:
    return f"mean over {have} of {counted(wanted, 'order' if orders else 'seed')}"


def _absence(group: Group) -> tuple[str, str]:
    """Why a cell has no number, as a word and in half a line."""
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


def _values(group: Group, read: Reading, column: _Column) -> dict[int, float]:
    """By seed, or by order where there are several, of which each counts as its mean."""
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


def _mean(
    table: PaperTable, entries: Sequence[Entry], columns: Sequence[_Column], known: Mapping[_Key, Printed]
) -> Entry:
    """Over columns, of each seed that all of them have."""
    first = entries[0]
    shared = [unit for unit in first.values if all(unit in entry.values for entry in entries)]
    values = {unit: sum(e.values[unit] for e in entries) / len(entries) for unit in shared}
    wanted, words = min(entry.wanted for entry in entries), {entry.word for entry in entries}
    orders = any(column.section.orders > 1 for column in columns if column.section)
    mean = _changed(
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
    return _beside(mean, table, _together(column.place for column in columns), known)


def _changed(entry: Entry, **changes: object) -> Entry:
    return Entry(**{**vars(entry), **changes})


# Where the paper's numbers stand

_Key: TypeAlias = tuple[str, Where, str, str]  # table, benchmark, method, metric


def _printed(paper: str) -> dict[_Key, Printed]:
    """A paper's numbers by place; without places where it prints several, and without arithmetic."""
    found: dict[_Key, Printed] = {}
    twice = set()
    for one in _numbers(paper):
        place = _place_of(one.benchmark)
        if place and not one.arithmetic:
            key = (one.table, place, _same_item(one.method), _same_metric(one.metric))
            twice |= {key} & found.keys()
            found[key] = one
    found = {key: one for key, one in found.items() if key not in twice}
    return _averages(found) | found


def _averages(found: Mapping[_Key, Printed]) -> dict[_Key, Printed]:
    """An accuracy over all tasks is the mean of those of the tasks, where a paper prints these as well."""
    tasks: dict[_Key, list[Spot]] = {}
    for table, place, method, metric in found:
        if isinstance(place, Spot) and place.tasks and metric == "acc":
            whole = (table, place._replace(tasks=()), method, metric)
            tasks.setdefault(whole, []).append(place)
    printed_too = {key: places for key, places in tasks.items() if key in found}
    return {(key[0], _together(places), *key[2:]): found[key] for key, places in printed_too.items()}


def _numbers(paper: str) -> tuple[Printed, ...]:
    try:
        return printed.numbers(paper) if paper else ()
    except UserError:  # of some papers none survives
        return ()


def _beside(entry: Entry, table: PaperTable, place: Where, known: Mapping[_Key, Printed]) -> Entry:
    """With the printed number, where data are the paper's and whole."""
    if entry.word:
        return entry
    method, metric = _same_item(entry.method), _same_metric(str(entry.metric))
    found = (known.get((number, place, method, metric)) for number in table.tables)
    return _changed(entry, printed=next(filter(None, found), None))


def _column(label: str, text: str, paper: str, sections: Sequence[Section]) -> _Column:
    written, part, tasks = _parts(text)
    recipe = names.recipe(written)
    section = next((s for s in sections if s.benchmark == str(recipe)), None)
    known, held = as_printed(recipe)
    place = Spot(str(known), part, tasks)
    word = SUBSET if section and section.subset else ""
    if paper and place not in _places(label, paper):
        word = SUBSTITUTE
    return _Column(label, text, section, place, word, held)


def _places(label: str, paper: str) -> set[Where | None]:
    """What a column of that name may hold: what the paper calls so, or else any of the papers' benchmarks."""
    stated = printed.datasets(paper)
    if label in stated:
        return {_place_of(stated[label])}
    known = [*stated.values(), *(one.benchmark for one in _numbers(paper)), *catalogue()["stand_ins"]]
    return {_place_of(text) for text in known}


@functools.cache
def _place_of(text: str) -> Where | None:
    """``cifar100_super[first=5]#3``, ``mean(spg_all)`` as a place; None where there is no such benchmark."""
    inner = text.removeprefix(f"{MEAN}(").removesuffix(")")
    if inner != text:
        found = [_place_of(part) for part in split(expanded(inner))]
        spots = [place for place in found if isinstance(place, Spot)]
        return _together(spots) if len(spots) == len(found) else None
    written, _, numbers = text.partition("#")
    place = parse_place(written)
    try:
        return Spot(str(names.recipe(_call(place))), place.part, _tasks(numbers)) if place else None
    except UserError:
        return None


def _call(place: Place) -> str:
    return f"{place.benchmark}({', '.join(f'{name}={value!r}' for name, value in place.fields)})"


def _tasks(text: str) -> tuple[int, ...]:
    return tuple(map(int, text.split("+"))) if text else ()


def _together(spots: Iterable[Spot]) -> MeanOver:
    return MeanOver(tuple(sorted(spots)))


def _parts(text: str) -> tuple[str, str, tuple[int, ...]]:
    """A column's benchmark, part and tasks."""
    found = _COLUMN.fullmatch(text)
    return (found[1], found[2] or "", _tasks(found[3] or "")) if found else (text, "", ())


def _same_item(text: str) -> str:
    """Equal for texts that differ in the order of fields alone."""
    item = parse_item(text)
    return text if item is None else str(Item(item.method, tuple(sorted(item.fields, key=repr))))


def _same_metric(text: str) -> str:
    metric = parse_metric(text)
    return text if metric is None else str(Metric(metric.name, tuple(sorted(metric.picks))))


def _metric(text: str) -> Metric:
    metric = parse_metric(text)
    assert metric is not None, text
    return metric


def _first(entry: str | tuple[str, str]) -> str:
    return entry if isinstance(entry, str) else entry[0]


def _own_metrics(entries: Mapping[str, str | tuple[str, str]]) -> bool:
    return not all(isinstance(entry, str) for entry in entries.values())

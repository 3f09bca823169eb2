"""Find the rows of a study that a claim or a line of a paper's table refers to, and read their metric.

A row must have the fields that the item asks for. A field that only another item names must have its default
value. The same holds for a switch (any field that is not a number) in which the rows differ.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from raycl import calls, registry, userfiles
from raycl.catalogue import catalogue
from raycl.errors import UserError
from raycl.results.grammar import Item, Metric, Place
from raycl.results.numbers import ABSENT, number, setting
from raycl.results.rows import CellRow
from raycl.study.values import Grid


@dataclass(frozen=True)
class MetricReading:
    """How a metric of the catalogue is read from a run.

    Attributes:
        metric: The metric that runs have.
        less: The id of the method whose value on the same benchmark is subtracted, or "".
        asked: By method, the fields that its rows must have; None admits every method.
        window: "behind" if only tasks after a basis count, "basis" if only tasks of a basis count, or "".
    """

    metric: Metric
    less: str = ""
    asked: Mapping[str, Mapping[str, Any]] | None = None
    window: str = ""

    def admits(self, row: CellRow) -> bool:
        """Return whether the tasks of a row are those that `window` asks for.

        The tasks of a benchmark with a setting `first` above 0 come after a basis.
        """
        first = getattr(recipe_here(row.cell.benchmark), "first", 0)
        return not self.window or (first > 0) == (self.window == "behind")

    def base(self, row: CellRow, unit: int, rows: Iterable[CellRow], orders: bool) -> float:
        """Return the value that is subtracted from a row's; NaN where that method was not run.

        Args:
            row: The row whose value is read.
            unit: A seed, or an order if `orders` is set.
            rows: The rows of the study.
            orders: Whether values are paired by order instead of seed.
        """
        if not self.less:
            return 0.0
        like = [
            r for r in rows if r.cell.kinds.method == self.less and r.cell.benchmark == row.cell.benchmark
        ]
        found = [
            number(r, final, self.metric)
            for r in like
            for final in r.finals
            if (r.cell.order if orders else final.seed) == unit
        ]
        known = [value for value in found if value is not None]
        return sum(known) / len(known) if known else math.nan


def reading(metric: Metric) -> MetricReading:
    """Return how a metric is read, by the catalogue; most metrics are read from runs as they are."""
    found = catalogue()["readings"].get(metric.name, {})
    own = replace(metric, name=found.get("metric", metric.name))
    return MetricReading(own, found.get("less", ""), found.get("rows"), found.get("window", ""))


def fields_named(items: Iterable[Item], read: MetricReading) -> set[str]:
    """Return the fields that any of the items or the reading names."""
    named = {name for item in items for name, _ in item.fields}
    return named | {name for fields in (read.asked or {}).values() for name in fields}


def rows_meant(
    item: Item, rows: Iterable[CellRow], named: set[str], read: MetricReading, axis: str = ""
) -> list[CellRow]:
    """Return the rows of the item's method that have its fields.

    A field in `named` that the item does not ask for must have its default value. Of the rows that fit, those
    are meant that `_narrowed` keeps. None of this applies to the field `axis`.
    """
    return _narrowed(rows_fitting(item, rows, named, read, axis), {*_asked(item, read), axis})


def rows_fitting(
    item: Item, rows: Iterable[CellRow], named: set[str], read: MetricReading, axis: str = ""
) -> list[CellRow]:
    """Return all rows that fit an item, among which `rows_meant` chooses."""
    if read.asked is not None and item.method not in read.asked:
        return []
    found = [row for row in rows if row.cell.kinds.method == item.method]
    asked = _asked(item, read)
    for name, value in asked.items():
        found = [row for row in found if same(setting(row, f"method.{name}"), value)]
    for name in sorted(named - asked.keys() - {axis}):
        found = [row for row in found if _at_default(row, f"method.{name}")]
    return found


def _asked(item: Item, read: MetricReading) -> dict[str, Any]:
    """Return the fields that the rows of an item must have."""
    return {**(read.asked or {}).get(item.method, {}), **dict(item.fields)}


def _narrowed(rows: Sequence[CellRow], free: set[str]) -> list[CellRow]:
    """Return the rows whose switches have their default values, where the rows differ in one.

    A row that fixes a field which another row searches is a variant and is left out. The fields in `free` may
    differ.
    """
    found = list(rows)
    for key in sorted(_varying(found, numbers=False) - {f"method.{name}" for name in free}):
        found = [row for row in found if _at_default(row, key)] or found
    for key in sorted({key for row in found for key in row.cell.settings if key.startswith("method.")}):
        if key.removeprefix("method.") not in free:
            found = [row for row in found if searched(row, key)] or found
    return found


def switched(rows: Sequence[CellRow], others: Sequence[CellRow]) -> tuple[tuple[str, Any], ...]:
    """Return the switches, with their values, in which `rows` agree and differ from all `others`."""
    found = []
    for key in sorted(_varying([*rows, *others], numbers=False)):
        values = [setting(row, key) for row in rows]
        agree = values[0] is not ABSENT and all(same(value, values[0]) for value in values)
        if agree and not any(same(setting(row, key), values[0]) for row in others):
            found.append((key.removeprefix("method."), values[0]))
    return tuple(found)


def grid_of(row: CellRow, key: str) -> tuple[Any, ...]:
    """Return the values of a field over which a row's search is a grid; () if there is no such grid."""
    search = row.cell.search
    return search.axes.get(key, ()) if isinstance(search, Grid) else ()


def searched(row: CellRow, key: str) -> bool:
    """Return whether a row's search varies a field."""
    search, setting = row.cell.search, row.cell.settings.get(key)
    if isinstance(search, Grid):
        return key in search.axes
    return search is not None and setting is not None and setting.domain is not None


def resized(row: CellRow) -> bool:
    """Return whether the network differs from its defaults in anything but dropout."""
    net = {key: found for key, found in row.cell.settings.items() if key.startswith("net.")}
    return any(
        not key.startswith("net.drop") and s.domain is None and s.value != s.field.default
        for key, s in net.items()
    )


def recipe_here(text: str) -> Any:
    """Return the recipe of a benchmark, which may be defined in the study's own files."""
    return _recipe_of(text, userfiles.home())


@functools.lru_cache(maxsize=64)
def _recipe_of(text: str, home: Path | None) -> Any:
    """Return the recipe that a string names among raycl's benchmarks and the files of `home`."""
    return registry.recipe(text)


def is_place(text: str, place: Place) -> bool:
    """Return whether a benchmark of the study is the one that `place` asks for."""
    recipe = recipe_here(text)
    of_name = calls.name_of(type(recipe)) == place.benchmark
    return of_name and all(same(getattr(recipe, name, ABSENT), value) for name, value in place.fields)


def tasks_of(text: str, part: str) -> tuple[int, ...]:
    """Return the task, counted from 1, that has the name of a part; () if there is none."""
    try:
        tasks = registry.load(text).tasks
    except UserError:
        return ()
    return tuple(task.index + 1 for task in tasks if task.name.casefold() == part.casefold())


def same(value: Any, wanted: Any) -> bool:
    """Return whether a setting has a value; numbers do not equal truth values."""
    return bool(value == wanted) and isinstance(value, bool) == isinstance(wanted, bool)


def _at_default(row: CellRow, key: str) -> bool:
    """Return whether a field has its default value; a field that the method does not have counts as such."""
    value = setting(row, key)
    return value is ABSENT or same(value, row.cell.settings[key].field.default)


def _varying(rows: Sequence[CellRow], numbers: bool) -> set[str]:
    """Return the fields of the method in which rows differ, without searched ones.

    Args:
        rows: The rows.
        numbers: Whether to return fields that are numbers, or all other fields.
    """
    fields = {
        key: found.field
        for row in rows
        for key, found in row.cell.settings.items()
        if key.startswith("method.")
    }
    wanted = [key for key, field in fields.items() if (field.type in (int, float)) == numbers]
    searched = {key for row in rows for key in row.cell.space}
    return {
        key for key in wanted if key not in searched and len({repr(setting(row, key)) for row in rows}) > 1
    }


def paired_fields(*sides: Sequence[Sequence[CellRow]]) -> list[str]:
    """Return the fields to pair by: those that all methods have and in which rows of one method differ."""
    methods = [rows for side in sides for rows in side if rows]
    varying = set().union(*(_varying(rows, numbers) for rows in methods for numbers in (True, False)))
    return sorted(
        key for key in varying if all(setting(row, key) is not ABSENT for rows in methods for row in rows)
    )

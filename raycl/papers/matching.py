"""Which rows of a study a claim or a line of a paper's table means, and what its metric is of them.

A field that is asked for must be there. A field that another item names stands at its default where this one
does not, and so does a switch, which is any field but a number, where it varies.
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
    """What a metric of the catalogue is of a run.

    Attributes:
        metric: that runs have.
        less: id of the method from whose value on the same benchmark it is measured, or "".
        asked: by method, fields that its rows must have; None admits every method.
        window: "behind" a basis or of "basis" tasks, or "".
    """

    metric: Metric
    less: str = ""
    asked: Mapping[str, Mapping[str, Any]] | None = None
    window: str = ""

    def admits(self, row: CellRow) -> bool:
        """Whether a row's tasks stand behind a basis, or are its own."""
        first = getattr(recipe_here(row.cell.benchmark), "first", 0)
        return not self.window or (first > 0) == (self.window == "behind")

    def base(self, row: CellRow, unit: int, rows: Iterable[CellRow], orders: bool) -> float:
        """What a gain is measured from; NaN where it was not run.

        Args:
            unit: a seed, or where there are `orders` one of them.
        """
        if not self.less:
            return 0.0
        like = [
            r
            for r in rows
            if calls.name_of(r.cell.method) == self.less and r.cell.benchmark == row.cell.benchmark
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
    """As the catalogue says; most metrics are what runs have."""
    found = catalogue()["readings"].get(metric.name, {})
    own = replace(metric, name=found.get("metric", metric.name))
    return MetricReading(own, found.get("less", ""), found.get("rows"), found.get("window", ""))


def fields_named(items: Iterable[Item], read: MetricReading) -> set[str]:
    """Fields that some of the items name, or the reading does."""
    named = {name for item in items for name, _ in item.fields}
    return named | {name for fields in (read.asked or {}).values() for name in fields}


def rows_meant(
    item: Item, rows: Iterable[CellRow], named: set[str], read: MetricReading, axis: str = ""
) -> list[CellRow]:
    """Rows of the item's method that have its fields.

    A field that stands in `named` is at its default where the item does not ask for it, and so is a switch in
    which the rows differ. A row that fixes what another searches is a variant of that one. All this but for
    the field `axis`.
    """
    if read.asked is not None and item.method not in read.asked:
        return []
    found = [row for row in rows if calls.name_of(row.cell.method) == item.method]
    asked = {**(read.asked or {}).get(item.method, {}), **dict(item.fields)}
    for name, value in asked.items():
        found = [row for row in found if _same(setting(row, f"method.{name}"), value)]
    for name in sorted(named - asked.keys() - {axis}):
        found = [row for row in found if _at_default(row, f"method.{name}")]
    for key in _varying(found, numbers=False) - {f"method.{name}" for name in (*asked, axis)}:
        found = [row for row in found if _at_default(row, key)] or found
    for key in sorted({key for row in found for key in row.cell.settings if key.startswith("method.")}):
        if key.removeprefix("method.") not in {*asked, axis}:
            found = [row for row in found if _searched(row, key)] or found
    return found


def _searched(row: CellRow, key: str) -> bool:
    """Whether a row's search varies a field."""
    search, setting = row.cell.search, row.cell.settings.get(key)
    if isinstance(search, Grid):
        return key in search.axes
    return search is not None and setting is not None and setting.domain is not None


def resized(row: CellRow) -> bool:
    """Whether the network is another than its defaults make it, dropout aside."""
    net = {key: found for key, found in row.cell.settings.items() if key.startswith("net.")}
    return any(
        not key.startswith("net.drop") and s.domain is None and s.value != s.field.default
        for key, s in net.items()
    )


def recipe_here(text: str) -> Any:
    return _recipe_of(text, userfiles.home())


@functools.lru_cache(maxsize=64)
def _recipe_of(text: str, home: Path | None) -> Any:
    """The recipe that a text means beside the files of `home`."""
    return registry.recipe(text)


def is_place(text: str, place: Place) -> bool:
    """Whether a benchmark of the study is the one that is asked for."""
    recipe = recipe_here(text)
    same = calls.name_of(type(recipe)) == place.benchmark
    return same and all(_same(getattr(recipe, name, ABSENT), value) for name, value in place.fields)


def tasks_of(text: str, part: str) -> tuple[int, ...]:
    """The task, counted from 1, that bears the name of a part."""
    try:
        tasks = registry.load(text).tasks
    except UserError:
        return ()
    return tuple(task.index + 1 for task in tasks if task.name.casefold() == part.casefold())


def _same(value: Any, wanted: Any) -> bool:
    return bool(value == wanted) and isinstance(value, bool) == isinstance(wanted, bool)


def _at_default(row: CellRow, key: str) -> bool:
    """A row whose method has no such field is at its default."""
    value = setting(row, key)
    return value is ABSENT or _same(value, row.cell.settings[key].field.default)


def _varying(rows: Sequence[CellRow], numbers: bool) -> set[str]:
    """Fields of the method in which rows differ, but for searched ones: numbers, or everything else."""
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
    """Fields by which to pair: every method has them, and rows of one of them differ in them."""
    methods = [rows for side in sides for rows in side if rows]
    varying = set().union(*(_varying(rows, numbers) for rows in methods for numbers in (True, False)))
    return sorted(
        key for key in varying if all(setting(row, key) is not ABSENT for rows in methods for row in rows)
    )

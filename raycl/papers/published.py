"""The number that a study's paper prints for a cell, wherever in the paper it is printed."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import fields, replace
from typing import TYPE_CHECKING

from raycl import calls, registry, userfiles
from raycl.errors import UserError
from raycl.papers.matching import fields_named, reading, rows_meant
from raycl.papers.printed import printed_numbers
from raycl.results.collect import subset_of
from raycl.results.grammar import parse_item, parse_metric, parse_place
from raycl.results.rows import CellRow
from raycl.study.cells import Cell

if TYPE_CHECKING:
    from raycl.benchmarks.base import Recipe


def published(paper: str, row: CellRow, rows: Sequence[CellRow], metric: str = "acc") -> float | None:
    """Return the number that the paper prints for a row's method on the row's benchmark, in our units.

    The result is None where the paper prints nothing, where its tables disagree, and where the data are a
    part or a substitute.

    Args:
        paper: The name of the paper.
        row: The row.
        rows: Rows of the study, at least all rows of the same method on the same benchmark. They are needed
            because variants of a method are distinguished by the fields in which these rows differ.
        metric: The metric.
    """
    wanted = parse_metric(metric)
    if not paper or wanted is None or subset_of(row.cell):
        return None
    try:
        printed = [p for p in printed_numbers(paper) if p.metric == metric and not p.arithmetic]
    except UserError:  # The available text of some papers does not contain any tables.
        return None
    items = [(item, p) for p in printed if (item := parse_item(p.method)) is not None]
    read = reading(wanted)
    named = fields_named((item for item, _ in items), read)
    alike = [other for other in rows if other.cell.benchmark == row.cell.benchmark]
    values = {
        p.value
        for item, p in items
        if _is_benchmark(row.cell, p.benchmark)
        and any(meant is row for meant in rows_meant(item, alike, named, read))
    }
    return values.pop() if len(values) == 1 else None


def as_printed(recipe: Recipe) -> tuple[Recipe, str]:
    """Return the benchmark as the papers define it, and how the study's benchmark differs from it, or "".

    Only the share of the training images that is held out for validation may differ; the tasks and test
    images are then still the paper's.
    """
    own = next((field for field in fields(recipe) if field.name == "val"), None)
    share = getattr(recipe, "val", math.nan)
    if own is None or share == own.default:
        return recipe, ""
    known = replace(recipe, val=own.default)  # type: ignore[call-arg]
    return known, f"{100 * share:g} % of the training images are held out (val={share:g})"


def _is_benchmark(cell: Cell, printed: str) -> bool:
    """Return whether a cell's benchmark is the printed one in all settings but the held-out share."""
    with userfiles.importing_from(cell.home):
        place, recipe = parse_place(printed), registry.recipe(cell.benchmark)
    if place is None or place.part or place.benchmark != calls.name_of(type(recipe)):
        return False
    return type(recipe)(**dict(place.fields)) == as_printed(recipe)[0]

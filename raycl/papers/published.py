"""The number that a study's paper prints for a cell, wherever in the paper it stands."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import fields, replace

from raycl import calls, registry, userfiles
from raycl.benchmarks.base import Recipe
from raycl.errors import UserError
from raycl.papers.matching import fields_named, reading, rows_meant
from raycl.papers.printed import printed_numbers
from raycl.results.collect import subset_of
from raycl.results.grammar import parse_item, parse_metric, parse_place
from raycl.results.rows import CellRow
from raycl.study.cells import Cell


def published(paper: str, row: CellRow, rows: Sequence[CellRow], metric: str = "acc") -> float | None:
    """What the paper prints of a row's method on the row's benchmark, in our units.

    None where it prints nothing, where its tables disagree, and where the data are a part or a substitute.

    Args:
        rows: of the study, at least all of the row's method on its benchmark: variants are told apart by what
            varies among them.
    """
    wanted = parse_metric(metric)
    if not paper or wanted is None or subset_of(row.cell):
        return None
    try:
        printed = [p for p in printed_numbers(paper) if p.metric == metric and not p.arithmetic]
    except UserError:  # of some papers no table survives
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
    """The benchmark as papers know it, and in what a study's differs from it, or "".

    Where nothing differs but the share of the training images that is held out to decide by, tasks and test
    images are the paper's.
    """
    own = next((field for field in fields(recipe) if field.name == "val"), None)
    share = getattr(recipe, "val", math.nan)
    if own is None or share == own.default:
        return recipe, ""
    known = replace(recipe, val=own.default)  # type: ignore[call-arg]
    return known, f"{100 * share:g} % of the training images are held out (val={share:g})"


def _is_benchmark(cell: Cell, printed: str) -> bool:
    """Whether a cell's benchmark is what the table names, in all settings but what is held out."""
    with userfiles.importing_from(cell.home):
        place, recipe = parse_place(printed), registry.recipe(cell.benchmark)
    if place is None or place.part or place.benchmark != calls.name_of(type(recipe)):
        return False
    return type(recipe)(**dict(place.fields)) == as_printed(recipe)[0]

"""The number that a study's paper prints for a cell, wherever in the paper it stands."""

from __future__ import annotations

from collections.abc import Sequence

from raycl import names
from raycl.errors import UserError
from raycl.reporting.claims import parse_item, parse_metric, parse_place
from raycl.reporting.collect import Row, subset_of
from raycl.reporting.printed import numbers
from raycl.reporting.verdicts import fields_named, reading, rows_meant


def published(paper: str, row: Row, rows: Sequence[Row], metric: str = "acc") -> float | None:
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
        printed = [p for p in numbers(paper) if p.metric == metric and not p.arithmetic]
    except UserError:  # of some papers no table survives
        return None
    items = [(item, p) for p in printed if (item := parse_item(p.method)) is not None]
    read = reading(wanted)
    named = fields_named((item for item, _ in items), read)
    alike = [other for other in rows if other.cell.benchmark == row.cell.benchmark]
    values = {
        p.value
        for item, p in items
        if _is_benchmark(row.cell.benchmark, p.benchmark)
        and any(meant is row for meant in rows_meant(item, alike, named, read))
    }
    return values.pop() if len(values) == 1 else None


def _is_benchmark(text: str, printed: str) -> bool:
    """Whether a study's benchmark is what the table names, in all its settings."""
    place, recipe = parse_place(printed), names.recipe(text)
    if place is None or place.part or place.benchmark != names.name_of(type(recipe)):
        return False
    return type(recipe)(**dict(place.fields)) == recipe

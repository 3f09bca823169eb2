"""This module defines the ranges of recipes' settings, which are written in the type and checked by `Recipe`.

``size: Annotated[int, Range(8, 1024)] = 32`` rejects values outside 8..1024. Settings that most recipes have
are defined here as types of their own, so that they have the same meaning and range everywhere.
"""

from __future__ import annotations

import functools
import typing
from dataclasses import dataclass
from typing import Annotated, Any, TypeAlias

from raycl.configs import hints_of
from raycl.errors import UserError


@dataclass(frozen=True)
class Range:
    """The numbers from `low` to `high`, both included."""

    low: float
    high: float


# The seed of the draws that make the tasks. Recipes that also depend on the run's seed get it in `build`.
DataSeed: TypeAlias = Annotated[int, Range(0, 2**32 - 1)]

# The share of the training images that is held out for validation; 0 if the paper holds out none.
HeldOut: TypeAlias = Annotated[float, Range(0, 0.9)]


def within(name: str, value: float, low: float, high: float) -> None:
    """Check that a setting is in its range.

    Raises:
        ValueError: `value` lies outside [low, high]; the message contains the name, the value and the range.
    """
    if not low <= value <= high:
        raise ValueError(f"{name} = {value:g} is outside {low:g}..{high:g}")


def check_ranges(recipe: object) -> None:
    """Check the settings of a recipe whose types are annotated with a range.

    Raises:
        ValueError: A setting is outside its range, as in `within`.
    """
    kind: type = type(recipe)
    for name, allowed in _ranges_of(kind):
        within(name, getattr(recipe, name), allowed.low, allowed.high)


@functools.cache
def _ranges_of(kind: type) -> tuple[tuple[str, Range], ...]:
    """Return names and ranges; a setting that is declared again without a range keeps that of its base."""
    found: dict[str, Range] = {}
    for base in reversed(kind.__mro__):
        for name, hint in _hints_of(base).items():
            ranges = [extra for extra in typing.get_args(hint) if isinstance(extra, Range)]
            found.update((name, allowed) for allowed in ranges)
    return tuple(found.items())


def _hints_of(kind: type) -> dict[str, Any]:
    try:
        return hints_of(kind)
    except UserError:  # a user's own class; `fields_of` rejects it later with a message about its fields
        return {}

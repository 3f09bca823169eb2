"""What recipes' settings may be: the range of a number stands beside its type, and is checked by `Recipe`.

``size: Annotated[int, Range(8, 1024)] = 32`` is refused outside 8..1024. The settings that most recipes have
are types of their own here, so that they mean one thing and take the same values everywhere.
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


# Seed of what is drawn to make the tasks; the run's own seed, where it counts too, is an argument of `build`.
DataSeed: TypeAlias = Annotated[int, Range(0, 2**32 - 1)]

# Share of the training images that is held out for validation; 0 where the paper holds out none.
HeldOut: TypeAlias = Annotated[float, Range(0, 0.9)]


def within(name: str, value: float, low: float, high: float) -> None:
    """Check a setting.

    Raises:
        ValueError: `value` lies outside [low, high]; names all of them.
    """
    if not low <= value <= high:
        raise ValueError(f"{name} = {value:g} is outside {low:g}..{high:g}")


def check_ranges(recipe: object) -> None:
    """Check the settings of a recipe that have a range beside their type.

    Raises:
        ValueError: as `within`.
    """
    kind: type = type(recipe)
    for name, allowed in _ranges_of(kind):
        within(name, getattr(recipe, name), allowed.low, allowed.high)


@functools.cache
def _ranges_of(kind: type) -> tuple[tuple[str, Range], ...]:
    """Names and ranges; a class that declares a setting again without a range keeps that of its base."""
    found: dict[str, Range] = {}
    for base in reversed(kind.__mro__):
        for name, hint in _hints_of(base).items():
            ranges = [extra for extra in typing.get_args(hint) if isinstance(extra, Range)]
            found.update((name, allowed) for allowed in ranges)
    return tuple(found.items())


def _hints_of(kind: type) -> dict[str, Any]:
    try:
        return hints_of(kind)
    except UserError:  # of a user's own class, which is refused where its fields are read (`fields_of`)
        return {}

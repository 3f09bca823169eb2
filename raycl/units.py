"""Conversion and formatting of numbers in the units that papers print, such as percent and minutes."""

from __future__ import annotations

import math
from collections.abc import Mapping

UNITS: Mapping[str, float] = {
    "fraction": 1,
    "percent": 0.01,
    "seconds": 1,
    "minutes": 60,
    "count": 1,
    "MiB": 2**20,
}
"""The factor from each unit to ours, which are fractions, seconds and bytes."""


def decimals(value: float, unit: str) -> int:
    """Return the number of decimals of one of our means, of its deviation and of its difference."""
    scaled = abs(value / UNITS[unit])
    if unit == "fraction":
        return 3
    if unit == "count":
        return 0 if float(scaled).is_integer() else 1
    if unit == "percent":
        return 2 if 0 < scaled < 0.1 else 1
    return next((places for places, least in enumerate((99.95, 9.95, 0.995)) if scaled >= least), 3)


def decimals_of(last_digit: float, unit: str) -> int:
    """Return the number of decimals of a printed number, which are as many as the paper prints.

    Args:
        last_digit: The value of one unit of the last printed digit, in our units.
        unit: The unit in which the number is written.
    """
    return max(0, math.ceil(-math.log10(last_digit / UNITS[unit]) - 1e-9))


def format_number(value: float, unit: str, places: int, sign: bool = False) -> str:
    """Write a number in a unit, such as ``.842``, ``+.006``, ``77.0`` or ``65,198,080``.

    Args:
        value: The number in our units.
        unit: One of `UNITS`.
        places: The number of decimals.
        sign: Whether to write a plus sign before positive numbers.
    """
    rounded = round(value / UNITS[unit], places) + 0.0  # Adding 0.0 turns -0.0 into 0.0.
    text = f"{rounded:,.{places}f}"
    if text.startswith(("0.", "-0.")):
        text = text.replace("0.", ".", 1) if unit == "fraction" else text
    return f"+{text}" if sign and rounded > 0 else text

"""Numbers in the units that papers print: fractions, percents, minutes, counts."""

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
"""What one of each is worth in ours, which are fractions, seconds, bytes."""


def decimals(value: float, unit: str) -> int:
    """How many a mean of ours gets, and with it its deviation and its difference."""
    scaled = abs(value / UNITS[unit])
    if unit == "fraction":
        return 3
    if unit == "count":
        return 0 if float(scaled).is_integer() else 1
    if unit == "percent":
        return 2 if 0 < scaled < 0.1 else 1
    return next((places for places, least in enumerate((99.95, 9.95, 0.995)) if scaled >= least), 3)


def decimals_of(last_digit: float, unit: str) -> int:
    """How many a printed number gets: as many as the paper gave it."""
    return max(0, math.ceil(-math.log10(last_digit / UNITS[unit]) - 1e-9))


def format_number(value: float, unit: str, places: int, sign: bool = False) -> str:
    """.842, +.006, 77.0, 65,198,080."""
    rounded = round(value / UNITS[unit], places) + 0.0  # -0.0 + 0.0 is 0.0
    text = f"{rounded:,.{places}f}"
    if text.startswith(("0.", "-0.")):
        text = text.replace("0.", ".", 1) if unit == "fraction" else text
    return f"+{text}" if sign and rounded > 0 else text

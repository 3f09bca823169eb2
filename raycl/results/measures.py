"""The metrics of a final run: how they are computed from its matrices, and how they are written.

A report summarises hours of training, so an error in one metric must not prevent it. Where the function of a
metric raises or does not return a finite number, that run does not have the metric, and a note of the run's
method gives the reason.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from raycl import installed, units, userfiles
from raycl.domains import is_number, plain, shown
from raycl.errors import screen_line
from raycl.metrics import Matrix, Metric
from raycl.text import counted, fraction, signed


@dataclass(frozen=True)
class Measured:
    """The metrics of one run.

    Attributes:
        values: The values by name; None where the run does not have the matrices that the metric needs.
        faults: By name of a metric, one line that says why its function did not return a number.
    """

    values: dict[str, float | None] = field(default_factory=dict)
    faults: dict[str, str] = field(default_factory=dict)


def measure(
    known: Sequence[Metric], test: Matrix, val: Matrix | None = None, reference: Matrix | None = None
) -> Measured:
    """Compute metrics on the matrices of one run.

    Args:
        known: The metrics to compute.
        test, val: The accuracies on test and validation data, [T, T]; rows are the tasks learnt.
        reference: The accuracies of a separate network for each task, [T], or None if there is no such run.
    """
    if reference is not None and len(reference) != len(test):
        reference = None
    given = {"test": test, "val": val, "reference": reference}
    values: dict[str, float | None] = {}
    faults: dict[str, str] = {}
    for metric in known:
        arrays = [array for name in metric.inputs if (array := given[name]) is not None]
        values[metric.name] = None
        if len(arrays) == len(metric.inputs):
            try:
                values[metric.name] = _number(metric, arrays)
            except (Exception, SystemExit) as error:
                faults[metric.name] = screen_line(_fault(error))
    return Measured(values, faults)


def _number(metric: Metric, arrays: Sequence[Matrix]) -> float | None:
    """Return the result of a metric's function on copies of these arrays.

    Raises:
        _NoNumber: If the result is neither a finite number nor NaN nor None.
    """
    with np.errstate(all="ignore"):  # Results that are not finite are reported below.
        value: Any = plain(metric.function(*(array.copy() for array in arrays)))
    if value is None or (isinstance(value, float) and value != value):
        return None
    if not is_number(value):
        raise _NoNumber(f"{_place(metric)}its function returns {shown(value)}, not a finite number")
    return float(value)


class _NoNumber(ValueError):
    """Raised when a metric's function does not return a finite number."""


def _fault(error: BaseException) -> str:
    if isinstance(error, _NoNumber):
        return str(error)
    return userfiles.fault(error) or f"{type(error).__name__}: {error}".removesuffix(": ")


def _place(metric: Metric) -> str:
    """Return the location ``mine.py:7: `` of a function that is defined in a user's file, else ""."""
    code = getattr(metric.function, "__code__", None)
    if code is None or not installed.is_own_file(Path(code.co_filename)):
        return ""
    return f"{userfiles.shown(Path(code.co_filename))}:{code.co_firstlineno}: "


def gaps(runs: Sequence[Measured], known: Sequence[Metric]) -> list[str]:
    """Return a note for each metric that some of a method's runs lack, and for each whose function failed."""
    notes = []
    for metric in known:
        have = sum(run.values.get(metric.name) is not None for run in runs)
        fault = next((run.faults[metric.name] for run in runs if metric.name in run.faults), "")
        if have < len(runs) and (have or fault):
            over = f"{metric.name} over {have} of {counted(len(runs), 'seed')}"
            notes.append(": ".join(filter(None, [over if have else f"no {metric.name}", fault])))
    return notes


def format_value(metric: Metric, value: float | None) -> str:
    """Write a value as in tables: ``.842``, ``+.006``, ``3``, or ``-`` where there is none."""
    if value is None or metric.unit == "fraction":
        return signed(value) if metric.signed else fraction(value)
    return units.format_number(value, metric.unit, units.decimals(value, metric.unit), metric.signed)


def format_std(metric: Metric, std: float | None) -> str:
    """Write the standard deviation of a metric; "" where there is none."""
    if std is None or metric.unit == "fraction":
        return "" if std is None else fraction(std)
    return units.format_number(std, metric.unit, units.decimals(std, metric.unit))

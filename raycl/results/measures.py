"""The metrics of a final run: what each of a table of them gives on its matrices, and how it is written.

A report shows what runs of hours came to, so no metric ends it: where its function raises, or gives what is
no finite number, the metric is absent from that run, and a note of the run's method says so and why.
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
        values: by name; None where the run has not what the metric needs.
        faults: by name, why a metric's function gave no number, a line each.
    """

    values: dict[str, float | None] = field(default_factory=dict)
    faults: dict[str, str] = field(default_factory=dict)


def measure(
    known: Sequence[Metric], test: Matrix, val: Matrix | None = None, reference: Matrix | None = None
) -> Measured:
    """Compute metrics on the matrices of one run.

    Args:
        test, val: [T, T] accuracies, rows = tasks learnt.
        reference: [T] accuracies of a network of each task's own, None where there is no such run.
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
    """What a metric's function gives on copies of these arrays.

    Raises:
        _NoNumber: neither a finite number, nor NaN, nor None.
    """
    with np.errstate(all="ignore"):  # what comes of it is said below
        value: Any = plain(metric.function(*(array.copy() for array in arrays)))
    if value is None or (isinstance(value, float) and value != value):
        return None
    if not is_number(value):
        raise _NoNumber(f"{_place(metric)}its function gives {shown(value)}, which is no finite number")
    return float(value)


class _NoNumber(ValueError):
    """Raised for a metric's value that is none."""


def _fault(error: BaseException) -> str:
    if isinstance(error, _NoNumber):
        return str(error)
    return userfiles.fault(error) or f"{type(error).__name__}: {error}".removesuffix(": ")


def _place(metric: Metric) -> str:
    """``mine.py:7: `` where the function is written in a file of the user's, else ""."""
    code = getattr(metric.function, "__code__", None)
    if code is None or not installed.is_own_file(Path(code.co_filename)):
        return ""
    return f"{userfiles.shown(Path(code.co_filename))}:{code.co_firstlineno}: "


def gaps(runs: Sequence[Measured], known: Sequence[Metric]) -> list[str]:
    """A note for each metric that some of a method's runs lack, and for each whose function failed."""
    notes = []
    for metric in known:
        have = sum(run.values.get(metric.name) is not None for run in runs)
        fault = next((run.faults[metric.name] for run in runs if metric.name in run.faults), "")
        if have < len(runs) and (have or fault):
            over = f"{metric.name} over {have} of {counted(len(runs), 'seed')}"
            notes.append(": ".join(filter(None, [over if have else f"no {metric.name}", fault])))
    return notes


def format_value(metric: Metric, value: float | None) -> str:
    """A value as tables write it: ``.842``, ``+.006``, ``3``, or ``-`` where there is none."""
    if value is None or metric.unit == "fraction":
        return signed(value) if metric.signed else fraction(value)
    return units.format_number(value, metric.unit, units.decimals(value, metric.unit), metric.signed)


def format_std(metric: Metric, std: float | None) -> str:
    """A standard deviation beside it; "" where there is none."""
    if std is None or metric.unit == "fraction":
        return "" if std is None else fraction(std)
    return units.format_number(std, metric.unit, units.decimals(std, metric.unit))

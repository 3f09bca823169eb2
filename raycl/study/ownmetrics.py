"""Checks of a study's own metrics that are made before anything runs."""

from __future__ import annotations

import inspect
from typing import Any

from raycl import units
from raycl.catalogue import catalogue
from raycl.errors import UserError, nearest, quoted, screen_line
from raycl.metrics import RESERVED, Metric, metric_named


def check(own: Any, place: str) -> None:
    """Check that a study's own metrics can be used together with raycl's.

    Args:
        own: The study's `metrics`.
        place: Where the study is defined, for messages.

    Raises:
        UserError: If they cannot; the message names the file, the metric and the remedy.
    """
    if not isinstance(own, list | tuple) or not all(isinstance(metric, Metric) for metric in own):
        raise UserError(
            f"{place}: metrics = {quoted(own)} should be a list of metrics, such as [Metric(...)]"
        )
    taken = {*RESERVED, *catalogue()["readings"], *catalogue()["diagnostics"]}
    names: list[str] = []
    for metric in own:
        if metric.name in names:
            raise UserError(f"{place}: metrics: two metrics are named {metric.name!r}; rename one")
        if metric_named(metric.name) or metric.name in taken:
            what = "a metric" if metric_named(metric.name) else "another quantity"
            raise UserError(
                f"{place}: metrics: {metric.name!r} is the name of {what} of raycl; choose another name"
            )
        names.append(metric.name)
        _check_call(metric, f"{place}: metrics: {metric.name!r}")


def _check_call(metric: Metric, place: str) -> None:
    """Check that a metric's unit exists, and that its function accepts one array per input."""
    if not isinstance(metric.unit, str) or metric.unit not in units.UNITS:
        raise UserError(
            f"{place}: unknown unit {quoted(metric.unit)}{nearest(metric.unit, units.UNITS)} "
            f"(known: {', '.join(units.UNITS)})"
        )
    try:
        signature = inspect.signature(metric.function)
    except (TypeError, ValueError):  # a function that is not written in Python may have none
        return
    try:
        signature.bind(*metric.inputs)
    except TypeError as error:
        raise UserError(
            f"{place}: its function cannot be called with one array for each of inputs = {metric.inputs!r}: "
            f"{screen_line(str(error))}"
        ) from None

"""What a study's own metrics must be, checked before anything runs."""

from __future__ import annotations

import inspect

from raycl import units
from raycl.errors import UserError, nearest, quoted, screen_line
from raycl.metrics import Metric, metric_named
from raycl.papers.claims import RUNNING
from raycl.papers.tables import known_metrics
from raycl.reporting import csvfile, sensitivity
from raycl.reporting.curves import Curves, one_per_run
from raycl.study.values import Study

ELSEWHERE = ("paper", "difference", "epochs", "stored", "method", "view", "kind", "task", *RUNNING)
"""Names that MLflow, the page and the points of views give to other things."""


def check(study: Study, place: str) -> None:
    """See that a study's own metrics can stand beside raycl's.

    Raises:
        UserError: names the file, the metric and the remedy.
    """
    own = study.metrics
    if not isinstance(own, list | tuple) or not all(isinstance(metric, Metric) for metric in own):
        raise UserError(
            f"{place}: metrics = {quoted(own)} should be a list of metrics, such as [Metric(...)]"
        )
    taken = {
        *known_metrics(),
        *csvfile.columns(),
        *csvfile.TIME_COLUMNS,
        *sensitivity.DEFINITIONS,
        *ELSEWHERE,
    }
    names: list[str] = []
    for metric in own:
        if metric.name in names:
            raise UserError(f"{place}: metrics: two of them are named {metric.name!r}; rename one")
        if metric.name in taken:
            what = "a metric" if metric_named(metric.name) else "another number"
            raise UserError(
                f"{place}: metrics: {metric.name!r} is the name of {what} of raycl's; take another name"
            )
        names.append(metric.name)
        _check_call(metric, f"{place}: metrics: {metric.name!r}")
    for view in study.views:
        if isinstance(view, Curves) and view.metric.name in names:
            raise one_per_run(f"{place}: views: {quoted(view.title)}", view.metric.name)


def _check_call(metric: Metric, place: str) -> None:
    """See that a metric's unit is one, and that its function takes as many arrays as it is given."""
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
            f"{place}: its function cannot be called with inputs = {metric.inputs!r}, an array each: "
            f"{screen_line(str(error))}"
        ) from None

"""Read a metric of one final run from its matrices, its times, or the diagnostics of its method."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from raycl import metrics
from raycl.catalogue import catalogue
from raycl.metrics import mean
from raycl.results import measures
from raycl.results.grammar import Metric
from raycl.results.rows import CellRow, FinalRun
from raycl.text import fraction, plain_value, quantity, seconds, signed

FACTS = ("epochs_mean", "params", "bytes_total")  # Numbers of a run besides the metrics of its matrices.
TIMES = ("ct", "ct_fits", "ct_train", "ct_wall", "ct_cpu", "ct_gpu")
BY_TASK = ("acc_task", "fwt_vs_one", "ct_task", "ct_fits", "ct_train")
LARGEST = 1e100  # Larger numbers count as not measured, because their squares might not be finite.
ABSENT = object()  # The value of a field that the method does not have.


def of_every_run() -> tuple[str, ...]:
    """Return the names of the numbers that each final run has once: raycl's metrics, facts and times."""
    return (*(metric.name for metric in metrics.METRICS), *FACTS, *TIMES)


def is_signed(name: str, own: Sequence[metrics.Metric] = ()) -> bool:
    """Return whether a metric is a difference; `own` are the metrics that the study adds."""
    found = metrics.metric_named(name, own)
    return found.signed if found else "less" in catalogue()["readings"].get(name, {})


def setting(row: CellRow, key: str) -> Any:
    """Return a setting of a row, such as ``method.k``; for a searched setting, return the winner's value.

    The result is `ABSENT` where there is no such field.
    """
    found = row.cell.settings.get(key)
    return ABSENT if found is None else (row.best or {}).get(key, found.value)


def number(row: CellRow, final: FinalRun, metric: Metric, tasks: Sequence[int] = ()) -> float | None:
    """Return a metric of a run, or None where it was not measured.

    Args:
        row: The row of the run.
        final: The run.
        metric: The metric.
        tasks: Tasks, counted from 1, over which alone the mean is taken; () for all.
    """
    if tasks:
        values = by_task(final, _per_task(metric))
        return mean([values.get(task) for task in tasks])
    if metric.name == "ps":
        return row.ps
    moment = metric.pick("t")
    if moment is not None and metric.name in BY_TASK:
        return by_task(final, metric).get(_moment(moment, len(final.a)))
    if not metric.picks and metric.name in (*final.measured.values, *FACTS, *TIMES):
        return final.value(metric.name)
    reports: Sequence[Mapping[str, Any]] = final.diagnostics
    if moment is not None:
        place = _moment(moment, len(reports))
        reports = reports[place - 1 : place] if place else ()
    layered = metric.pick("layer") is not None
    found_in = [_recorded(diagnostics, metric.name, layered) for diagnostics in reports]
    return mean([_averaged(value, metric) for value in found_in if value is not None])


def by_task(final: FinalRun, metric: Metric) -> dict[int, float]:
    """Return the metric by task, counted from 1, or after each task; missing values are left out."""
    if metric.name == "acc_task":
        values: Sequence[Any] = list(final.a[-1])
    elif metric.name == "fwt_vs_one":
        values = [] if final.transfer_task is None else list(final.transfer_task)
    elif metric.name == "ct_task":
        values = final.ct_task
    elif metric.name == "ct_fits":
        values = final.ct_fits_task
    elif metric.name == "ct_train":
        values = final.ct_train_task
    else:
        layered = metric.pick("layer") is not None
        recorded = [_recorded(diagnostics, metric.name, layered) for diagnostics in final.diagnostics]
        values = [None if value is None else _averaged(value, metric) for value in recorded]
    numbers = {task: value for task, value in enumerate(values, start=1) if value is not None}
    return {task: float(value) for task, value in numbers.items() if not math.isnan(value)}


def along(final: FinalRun, metric: Metric, axis: str) -> dict[Any, float]:
    """Return the metric of one run along an axis.

    The axis is the tasks, or the entries of a diagnostic, which are averaged over the reports.
    """
    if axis == "t":
        return dict(by_task(final, metric))
    reports: Sequence[Mapping[str, Any]] = final.diagnostics
    if (moment := metric.pick("t")) is not None:
        place = _moment(moment, len(reports))
        reports = reports[place - 1 : place] if place else ()
    found: dict[Any, list[float]] = {}
    for diagnostics in reports:
        for level, value in _entries(_recorded(diagnostics, metric.name, axis == "layer")).items():
            found.setdefault(level, []).append(float(value))
    return {level: sum(values) / len(values) for level, values in found.items()}


def format_metric(metric: Metric | str, value: float | None, own: Sequence[metrics.Metric] = ()) -> str:
    """Write a number in the format of its metric; `own` are the metrics that the study adds."""
    name = metric if isinstance(metric, str) else metric.name
    if value is None:
        return "-"
    found = metrics.metric_named(name, own)
    if found is not None and (found.signed or found.unit != "fraction"):
        return measures.format_value(found, value)
    if is_signed(name, own):
        return signed(value)
    if found is None and name.startswith(("ct", "seconds")):
        return f"{seconds(value)} s"
    if found is None and name == "params":
        return str(round(value)) if value < 10_000 else quantity(value)
    if found is None and name.startswith("bytes"):
        return quantity(value, "B")
    return fraction(value) if abs(value) < 10 else plain_value(value)


def _per_task(metric: Metric) -> Metric:
    """Return the metric of one task that corresponds to a metric over all tasks."""
    of_one = {"acc": "acc_task", "ct": "ct_task"}
    return Metric(of_one.get(metric.name, metric.name), metric.picks)


def _moment(text: str, tasks: int) -> int:
    """Return the task that ``T``, ``T/2`` or a number means, counted from 1; 0 if there is none."""
    if text in ("T", "T/2"):
        return tasks if text == "T" else tasks // 2
    place = int(text) if text.isdigit() else 0
    return place if place <= tasks else 0


def _recorded(diagnostics: Mapping[str, Any], name: str, layered: bool) -> Any:
    """Return a diagnostic as a method reports it; its values by layer are reported as ``NAME_layers``."""
    by_layer = diagnostics.get(f"{name}_layers") if layered else None
    return diagnostics.get(name) if by_layer is None else by_layer


def _averaged(value: Any, metric: Metric) -> float | None:
    """Return the picked entry of a diagnostic, or the mean over all entries.

    ``similar[any]`` is 1 where a method reports any entry and 0 where it reports none.
    """
    picked = metric.pick("layer") or metric.pick("")
    if picked == "any":
        return float(bool(value))
    if picked is not None and picked not in ("t", "layer", "steps"):
        value = value.get(picked) if isinstance(value, Mapping) else None
    entries = list(_entries(value).values())
    return sum(entries) / len(entries) if entries else None


def measured(value: Any) -> float | None:
    """Return a diagnostic that can be averaged and drawn; None for anything else that a method reports."""
    return float(value) if isinstance(value, int | float) and abs(value) <= LARGEST else None


def _entries(value: Any) -> dict[Any, float]:
    """Return the numbers of a number, a list or a mapping, by position or name, in their order."""
    if isinstance(value, Mapping):
        pairs: list[tuple[Any, Any]] = list(value.items())
    else:
        pairs = list(enumerate(value if isinstance(value, list | tuple) else [value], start=1))
    return {level: number for level, v in pairs if (number := measured(v)) is not None}


def by_layer(diagnostics: Mapping[str, Any], name: str) -> dict[str, float]:
    """Return a diagnostic by layer; {} where it is not a mapping from names to numbers."""
    return {layer: v for layer, v in _entries(diagnostics.get(name)).items() if isinstance(layer, str)}

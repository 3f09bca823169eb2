"""A metric of the catalogue of one final run: from its matrix, its times, or the method's own figures."""

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

FACTS = ("epochs_mean", "params", "bytes_total")  # of a run, beside the metrics of its matrices
TIMES = ("ct", "ct_train")
BY_TASK = ("acc_task", "fwt_vs_one", "ct_task", "ct_train")
LARGEST = 1e100  # whose square is still a number; what is larger, or no number, nobody measured
ABSENT = object()  # a field that the method has not


def of_every_run() -> tuple[str, ...]:
    """Names of the numbers that each final run has once: raycl's metrics, facts and times."""
    return (*(metric.name for metric in metrics.METRICS), *FACTS, *TIMES)


def is_signed(name: str, own: Sequence[metrics.Metric] = ()) -> bool:
    """Whether a metric of that name is a difference; `own` are those that the study adds."""
    found = metrics.metric_named(name, own)
    return found.signed if found else "less" in catalogue()["readings"].get(name, {})


def setting(row: CellRow, key: str) -> Any:
    """``method.k`` of a row, of a search that of its winner; `ABSENT` where there is no such field."""
    found = row.cell.settings.get(key)
    return ABSENT if found is None else (row.best or {}).get(key, found.value)


def number(row: CellRow, final: FinalRun, metric: Metric, tasks: Sequence[int] = ()) -> float | None:
    """`metric` of a run, None where nobody measured it.

    Args:
        tasks: counted from 1; the mean over these alone.
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
    return mean([_figure(value, metric) for value in found_in if value is not None])


def by_task(final: FinalRun, metric: Metric) -> dict[int, float]:
    """A number for each task, counted from 1, or after each task; without those that were not measured."""
    if metric.name == "acc_task":
        values: Sequence[Any] = list(final.a[-1])
    elif metric.name == "fwt_vs_one":
        values = [] if final.transfer_task is None else list(final.transfer_task)
    elif metric.name == "ct_task":
        values = final.ct_task
    elif metric.name == "ct_train":
        values = final.ct_train_task
    else:
        layered = metric.pick("layer") is not None
        values = [
            _figure(_recorded(diagnostics, metric.name, layered), metric) for diagnostics in final.diagnostics
        ]
    numbers = {task: value for task, value in enumerate(values, start=1) if value is not None}
    return {task: float(value) for task, value in numbers.items() if not math.isnan(value)}


def along(final: FinalRun, metric: Metric, axis: str) -> dict[Any, float]:
    """The metric along an axis of one run: tasks, or the entries of a figure, mean over its reports."""
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
    """A number in the manner of its metric; `own` are those that the study adds."""
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
    """What a metric over all tasks is of one task."""
    of_one = {"acc": "acc_task", "ct": "ct_task"}
    return Metric(of_one.get(metric.name, metric.name), metric.picks)


def _moment(text: str, tasks: int) -> int:
    """T, T/2 or a number, counted from 1; 0 where there is no such task."""
    if text in ("T", "T/2"):
        return tasks if text == "T" else tasks // 2
    place = int(text) if text.isdigit() else 0
    return place if place <= tasks else 0


def _recorded(diagnostics: Mapping[str, Any], name: str, layered: bool) -> Any:
    """A figure as a method reports it; what it is by layer stands beside it as ``NAME_layers``."""
    by_layer = diagnostics.get(f"{name}_layers") if layered else None
    return diagnostics.get(name) if by_layer is None else by_layer


def _figure(value: Any, metric: Metric) -> float | None:
    """An entry of a figure, or the mean over all of them."""
    picked = metric.pick("layer") or metric.pick("")
    if picked is not None and picked not in ("t", "layer", "steps"):
        value = value.get(picked) if isinstance(value, Mapping) else None
    entries = list(_entries(value).values())
    return sum(entries) / len(entries) if entries else None


def measured(value: Any) -> float | None:
    """A figure that can be averaged and drawn; None for all else that a method may report."""
    return float(value) if isinstance(value, int | float) and abs(value) <= LARGEST else None


def _entries(value: Any) -> dict[Any, float]:
    """A number, a list or a mapping as numbers by name, in their order."""
    if isinstance(value, Mapping):
        pairs: list[tuple[Any, Any]] = list(value.items())
    else:
        pairs = list(enumerate(value if isinstance(value, list | tuple) else [value], start=1))
    return {level: number for level, v in pairs if (number := measured(v)) is not None}


def by_layer(diagnostics: Mapping[str, Any], name: str) -> dict[str, float]:
    """What a run measured of each layer; nothing where it is no mapping of names to numbers."""
    return {layer: v for layer, v in _entries(diagnostics.get(name)).items() if isinstance(layer, str)}

"""Conversion of a cell or a run into what MLflow stores: parameters, points of curves and matrices."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mlflow.entities import Run

from raycl import metrics
from raycl.reporting.settings import ran_with
from raycl.results.collect import subset_of
from raycl.results.measures import measure
from raycl.results.rows import printed_name
from raycl.runs.result import Result
from raycl.specs import key_of
from raycl.study.cells import Cell
from raycl.text import clip

PARENT = "mlflow.parentRunId"
CELL = "raycl.cell"  # tag of cells' runs alone: the digest of the cell's key, which may contain any quotes
NAME = 200  # characters of a cell's name in a run's name, for which a server's database has room for 250
STEPS = 500  # epochs of a run of which MLflow gets the training curves
_UNFIT = re.compile(r"[^\w.\-]", re.ASCII)  # characters that names in MLflow should not have
_SETTING = re.compile(r"(fit|method|net)\.")


@dataclass
class Projection:
    """The content that a run in MLflow should have.

    Attributes:
        key: Value of the tag `raycl.key`.
        parent: MLflow's id of the parent run; "" for a cell's own run.
        started, ended: Unix times.
        points: (metric, value, Unix time, step).
        extra: Digest of further content, such as the artefacts.
        passing: Settings that an existing run may have although `params` lacks them: while a search runs,
            the best values of the searched settings can disappear again.
    """

    key: str
    parent: str
    name: str
    started: float
    ended: float
    points: list[tuple[str, float, float, int]]
    params: dict[str, Any]
    tags: dict[str, str]
    status: str
    artefacts: dict[str, Any]
    extra: str = ""
    passing: frozenset[str] = frozenset()

    @property
    def place(self) -> tuple[str, str]:
        """The parent and the key, which no other run of the experiment shares."""
        return self.parent, self.key

    @property
    def marks(self) -> dict[str, str]:
        """The tags by which the run is found again."""
        own = {PARENT: self.parent} if self.parent else {CELL: digest(self.key)}
        return {"raycl.key": self.key} | own

    def content(self) -> str:
        """Return a digest of the whole content."""
        params = {name: str(value) for name, value in self.params.items()}
        return digest([self.name, self.points, params, self.tags, self.status, self.extra])

    def contradicts(self, run: Run) -> bool:
        """Return whether an existing run has a parameter that is not valid any more."""
        wanted = {name: str(value) for name, value in self.params.items()}
        return any(
            value != wanted[name]
            if name in wanted
            else bool(_SETTING.match(name)) and name not in self.passing
            for name, value in run.data.params.items()
        )


def digest(content: Any) -> str:
    """Return a short digest of plain values."""
    return key_of(content)[:16]


def about(cell: Cell, params: Mapping[str, Any] | None, network: str) -> dict[str, Any]:
    """Return the parameters of a cell's run: method, benchmark, order, network and non-default settings."""
    return {
        "method": cell.kinds.method,
        "benchmark": printed_name(cell.benchmark, subset_of(cell)),
        "order": cell.order,
        "network": network,
        **ran_with(cell, params),
    }


def shown_value(title: str) -> str:
    """Return a cell's title, cut to the length that MLflow's database accepts."""
    return clip(title, NAME)


def points_of(
    result: Result, beta: metrics.Matrix | None, known: Sequence[metrics.Metric]
) -> list[tuple[str, float, float, int]]:
    """Return the points of a run's curves as (metric, value, Unix time, step).

    The step is the number of tasks learnt.

    Args:
        result: Result of the run.
        beta: Accuracies [T] of the reference's run of the same seed on each task just learnt, or None.
        known: Metrics to compute.
    """
    found: list[tuple[str, float | None, float, int]] = []
    result = result.unpacked()
    reports, test, val = result.reports, result.matrix("test"), result.matrix("val")
    if beta is not None and len(beta) != len(test):
        beta = None
    curves = [metric for metric in known if metric.tracked == "curve"]
    seconds = 0.0
    for n, (report, spent) in enumerate(zip(reports, result.seconds_by_task(), strict=True), start=1):
        seconds += sum(spent.values())
        so_far = measure(curves, test[:n, :n], val[:n, :n], None if beta is None else beta[:n])
        numbers = so_far.values | {"ct": seconds}
        found += [(name, value, report.ended, n) for name, value in numbers.items()]
    if reports and result.status == "done":
        ends = [metric for metric in known if metric.tracked == "end"]
        last, at = reports[-1], len(reports)
        numbers = measure(ends, test, val, beta).values
        numbers |= {
            "ct_wall": result.ct_wall,
            "params": float(last.parameters),
            "bytes_total": float(last.stored_bytes),
        }
        found += [(name, value, last.ended, at) for name, value in numbers.items()]
    return [(name, float(value), at, step) for name, value, at, step in found if value is not None]


def curve_points(result: Result) -> list[tuple[str, float, float, int]]:
    """Return the points of a run's training curves as (metric, value, Unix time, step).

    The step is the number of epochs so far, over all tasks, of the fits of an account; for the main fits the
    names are ``train_loss``, ``val_loss``, ``lr`` and those of the method's own numbers, and for others they
    end in the name of the account. At most about `STEPS` epochs of a run are taken, evenly spaced.
    """
    found: list[tuple[str, float, float, int]] = []
    before: dict[str, int] = defaultdict(int)
    accounts = sum(len(columns["epoch"]) for report in result.reports for columns in report.curves.values())
    every = max(1, -(-accounts // STEPS))
    for report in result.reports:
        for account, columns in report.curves.items():
            end = "" if account == "main" else f"_{_UNFIT.sub('_', account)}"
            epochs = columns["epoch"]
            for place in range(0, len(epochs), every):
                step = before[account] + int(epochs[place] or 0)
                for name, values in columns.items():
                    if name != "epoch" and (value := values[place]) is not None:
                        found.append((f"{_UNFIT.sub('_', name)}{end}", float(value), report.ended, step))
            before[account] += int(epochs[-1] or 0) if epochs else 0
    return found


def matrices_of(results: Mapping[int, Result]) -> dict[str, Any]:
    """Return the accuracy matrices of final runs by seed, with None where nothing was measured."""
    return {
        str(seed): [[None if value != value else value for value in row] for row in result.matrix().tolist()]
        for seed, result in results.items()
    }


def ended_of(result: Result) -> float:
    """Return the Unix time at which a run ended."""
    if reports := result.reports:
        return reports[-1].ended
    return float(result.provenance["started"]) + float(result.provenance["seconds"])


def milliseconds(seconds: float) -> int:
    """Return a time in milliseconds, as MLflow counts it."""
    return int(seconds * 1000)

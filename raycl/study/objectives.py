"""Objectives of a search, the trials that no other trial beats in all of them, and the choice among these.

A trial beats another if it is at least as good in every objective, and better in one. The Pareto front
consists of the trials that none beats. The knee is the trial of the front that is closest to the best value
of every objective at once.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np

from raycl.domains import plain, repeated, shown
from raycl.errors import UserError, nearest
from raycl.metrics import METRICS, SMALLER_IS_BETTER, Matrix, metric_named
from raycl.runs.pauses import Split
from raycl.runs.result import Result
from raycl.text import counted, fraction, quantity, seconds, signed

Pick: TypeAlias = Literal["knee", "front"]
PICKS: tuple[Pick, ...] = ("knee", "front")
MOST = 4  # With more objectives, nearly all trials are on the front.

ACCURACIES = tuple(metric.name for metric in METRICS if metric.inputs == ("test",))
"""Metrics that need one accuracy matrix, which is that of the split on which the study searches."""

TIMES = ("ct", "ct_wall", "ct_cpu")
SIZES = ("params", "bytes_total", "peak_bytes")
NAMES = (*ACCURACIES, *TIMES, *SIZES)
_ALIASES = {"stored_bytes": "bytes_total"}  # as the reports of a run call it

Point: TypeAlias = tuple[float, ...]
"""The values of a trial with the sign that makes a larger value the better one."""


@dataclass(frozen=True)
class Objective:
    """An objective of a search.

    Attributes:
        name: Name of the number, as in reports.
    """

    name: str

    def __str__(self) -> str:
        """The objective as a study writes it, such as ``-bytes_total``."""
        return f"-{self.name}" if self.smaller else self.name

    @property
    def smaller(self) -> bool:
        """Whether a smaller value is better."""
        return self.name in SMALLER_IS_BETTER

    @property
    def is_accuracy(self) -> bool:
        """Whether it is computed from the accuracies of a split."""
        return self.name in ACCURACIES

    def value(self, result: Result, split: Split) -> float | None:
        """Return the value for a run; None if the run is not done, or does not have the number."""
        if result.status != "done":
            return None
        if self.name == "acc":
            return result.acc(split)
        if self.is_accuracy:
            return self.of_matrix(result.matrix(split))
        return _cost(self.name, result)

    def of_matrix(self, a: Matrix) -> float | None:
        """Return the value for a matrix of accuracies, [T, T]."""
        metric = metric_named(self.name)
        assert metric is not None
        value: float | None = metric.function(a)
        return value

    def text(self, value: float | None) -> str:
        """Return a value as tables print it."""
        if self.name in TIMES:
            return seconds(value) if value is None or value >= 10 else f"{value:.2f}"
        if self.name in SIZES:
            return quantity(value, "" if self.name == "params" else "B")
        metric = metric_named(self.name)
        return signed(value) if metric is not None and metric.signed else fraction(value)

    def label(self, split: Split) -> str:
        """Return what the axis of a figure says, such as ``validation accuracy (fraction)``."""
        if self.name in TIMES:
            return f"{self.name} (s)"
        if self.name in SIZES:
            return self.name  # the ticks have units
        where = "test" if split == "test" else "validation"
        return f"{where} accuracy (fraction)" if self.name == "acc" else f"{self.name} on {where} (fraction)"


def _cost(name: str, result: Result) -> float | None:
    reports = tuple(result.reports)
    if not reports:
        return None
    match name:
        case "ct":
            return result.ct
        case "ct_wall":
            return result.ct_wall
        case "ct_cpu":
            known = all(report.cpu_seconds for report in reports)
            return sum(sum(report.cpu_seconds.values()) for report in reports) if known else None
        case "params":
            return float(reports[-1].parameters)
        case "bytes_total":
            return float(reports[-1].stored_bytes)
        case _:
            return float(max(report.peak_bytes for report in reports))


ACC = Objective("acc")


@functools.lru_cache(maxsize=256)
def parsed(texts: tuple[str, ...]) -> tuple[Objective, ...]:
    """Return the objectives that a search names, such as ``("acc", "-bytes_total")``."""
    return tuple(Objective(text.removeprefix("-")) for text in texts)


def checked(given: Any, place: str) -> tuple[str, ...]:
    """Return the objectives of a search as a tuple of texts.

    Args:
        given: What the study says; a single text is accepted.
        place: The field, for messages.

    Raises:
        UserError: If it is no sequence of known objectives, or the sign of one would prefer bad values.
    """
    given = plain(given)
    texts = (given,) if isinstance(given, str) else given
    if not isinstance(texts, list | tuple) or not texts or not all(isinstance(text, str) for text in texts):
        raise UserError(
            f"{place} = {shown(given)} should be a tuple of names, such as ('acc', '-bytes_total')"
        )
    found = tuple(_checked(text, place) for text in texts)
    if (twice := repeated(found)) is not None:
        raise UserError(f"{place}: {twice!r} is given twice: remove one of them")
    if len(found) > MOST:
        many = counted(len(found), "objective")
        raise UserError(
            f"{place} = {shown(given)}: {many} are too many; name at most {MOST}, because with more of them "
            "hardly any trial is better than another in all"
        )
    return found


def _checked(text: str, place: str) -> str:
    name = text.removeprefix("-")
    name = _ALIASES.get(name, name)
    if name not in NAMES:
        known = [str(Objective(each)) for each in NAMES]
        raise UserError(
            f"{place}: {shown(text)} is not an objective{nearest(text.strip(), known)} (known: "
            f"{', '.join(known)})"
        )
    right = str(Objective(name))
    if text.startswith("-") != right.startswith("-"):
        better = "smaller" if right.startswith("-") else "larger"
        raise UserError(f"{place}: {name} is better when it is {better}: write {right!r}")
    return right


def named(objectives: Sequence[Objective]) -> str:
    """Return the objectives as a phrase, such as ``acc and -bytes_total``."""
    texts = [str(each) for each in objectives]
    return " and ".join(filter(None, [", ".join(texts[:-1]), texts[-1]]))


def oriented(objectives: Sequence[Objective], values: Sequence[float | None]) -> Point | None:
    """Return the point of a trial with these values; None if one of them is missing."""
    point = tuple(
        -value if objective.smaller else value
        for objective, value in zip(objectives, values, strict=True)
        if value is not None
    )
    return point if len(point) == len(objectives) else None


def beats(point: Point, other: Point) -> bool:
    """Return whether a point is at least as good as another in everything, and better in something."""
    return point != other and all(mine >= its for mine, its in zip(point, other, strict=True))


def with_point(front: Sequence[tuple[Point, int]], new: tuple[Point, int]) -> list[tuple[Point, int]]:
    """Return the Pareto front after one more trial, in the order of the trials.

    Args:
        front: The points so far, each with the number of its trial.
        new: The new point. Of trials with equal values, the earliest is on the front.
    """
    if any(beats(old[0], new[0]) or (old[0] == new[0] and old[1] < new[1]) for old in front):
        return list(front)
    kept = [old for old in front if not beats(new[0], old[0]) and old[0] != new[0]]
    return sorted([*kept, new], key=lambda member: member[1])


def knee(front: Sequence[tuple[Point, int]]) -> int:
    """Return the number of the trial at the knee of a Pareto front, which is not empty.

    Every objective is scaled so that its worst value on the front is 0 and its best one is 1. The knee is the
    trial with the smallest Euclidean distance to the point that is 1 in all of them; of equals, the earliest.
    """
    if len(front) == 1:
        return front[0][1]
    points = np.array([point for point, _ in front], float)
    low, high = points.min(0), points.max(0)
    scaled = np.divide(points - low, high - low, out=np.ones_like(points), where=high > low)
    distances = [math.sqrt(sum((1 - x) ** 2 for x in row)) for row in scaled.tolist()]
    return min(zip(distances, (n for _, n in front), strict=True))[1]

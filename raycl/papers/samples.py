"""The numbers that a claim compares: read from final runs, or from the trials of a grid, and paired."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from raycl.papers.claims import Claim
from raycl.papers.judging import Values
from raycl.papers.matching import MetricReading, grid_of, recipe_here, searched, tasks_of
from raycl.results.grammar import Item
from raycl.results.numbers import ABSENT, along, number, setting
from raycl.results.rows import CellRow, FinalRun

Sample: TypeAlias = dict[tuple[Any, tuple[Any, ...]], float]
"""A value for each (unit, values of what is paired within it); a unit is a seed, an order or a setting."""

Read: TypeAlias = Callable[[CellRow, FinalRun, Sequence[int]], float | None]
"""Reads a value from a row, one of its final runs, and the tasks that count (() for all)."""


@dataclass(frozen=True)
class Where:
    """Benchmarks of a study that are compared together, or a part of one benchmark.

    Attributes:
        texts: The benchmarks as the study writes them.
        part: The name of the part, or "".
        name: The printed name.
        subset: Why the numbers cannot be compared with published ones, or "".
        other_data: Which of `findings.SUBSET` and `findings.SUBSTITUTE` apply.
        members: The benchmarks of each place of the claim that they stand for.
    """

    texts: tuple[str, ...] = ()
    part: str = ""
    name: str = ""
    subset: str = ""
    other_data: tuple[str, ...] = ()
    members: tuple[tuple[str, ...], ...] = ((),)

    def __str__(self) -> str:
        return self.name

    @property
    def clause(self) -> str:
        """The name as the end of a sentence, `` on digits_split``; "" for no benchmark."""
        return f" on {self.name}" if self.texts else ""


@dataclass(frozen=True)
class ItemRows:
    """An item of a claim and the rows of the study to which it refers.

    Attributes:
        item: The item.
        rows: The rows that are meant, finished or not.
        others: Further rows that fit the item and are not meant.
        where: Where the rows are.
    """

    item: Item
    rows: tuple[CellRow, ...]
    others: tuple[CellRow, ...] = ()
    where: Where = Where()

    def __bool__(self) -> bool:
        return bool(self.rows)

    @property
    def finished(self) -> bool:
        """Whether any of the rows has a finished final run."""
        return any(row.finals for row in self.rows)

    @property
    def labels(self) -> tuple[str, ...]:
        """The labels of the rows with results; () if no other row of the study fits the item."""
        fitting = {row.cell.label for row in (*self.rows, *self.others)}
        if len(fitting) < 2:
            return ()
        return tuple(dict.fromkeys(row.cell.label for row in self.rows if row.finals or row.trials))

    def __str__(self) -> str:
        """Return the item as it is printed, with its benchmark if that is not the paper's."""
        other = self.item.place is not None and self.where.other_data
        return f"{self.item}{self.where.clause}" if other else str(self.item)


@dataclass(frozen=True)
class SampleReader:
    """Reads the metric of a claim from rows.

    Attributes:
        claim: The claim.
        reading: How its metric is read.
        rows: The rows of the study.
        orders: Whether orders are paired instead of seeds.
    """

    claim: Claim
    reading: MetricReading
    rows: Sequence[CellRow]
    orders: bool

    def sample(
        self,
        item: Item,
        rows: Iterable[CellRow],
        fields: Sequence[str],
        where: Where,
        read: Read | None = None,
    ) -> Sample:
        """Return the value of each pair, as the mean over everything that is not paired.

        Args:
            item: The item of the claim.
            rows: Its rows.
            fields: The settings that are paired.
            where: The benchmarks.
            read: How a value is read; by default it is the claim's metric.
        """
        metric = self.reading.metric
        values: dict[tuple[Any, tuple[Any, ...]], list[float]] = {}
        for row in rows:
            part = item.place.part if item.place else where.part
            tasks = item.tasks or (tasks_of(row.cell.benchmark, part) if part else ())
            if part and not tasks:
                continue
            key = self._key(row, fields)
            for final in row.finals[:1] if metric.name == "ps" else row.finals:
                unit = row.cell.order if self.orders else final.seed
                value = read(row, final, tasks) if read else number(row, final, metric, tasks)
                if value is not None:
                    base = self.reading.base(row, unit, self.rows, self.orders)
                    values.setdefault((unit, key), []).append(value - base)
        return _means(values)

    def of_trials(self, rows: Iterable[CellRow], axis: str, fields: Sequence[str]) -> dict[Any, Sample]:
        """Return the sample of the trials at each level of a field over which the rows search a grid.

        A trial has the accuracy by which the search chooses. All trials have the same seed. They are paired
        by the other settings of the grid and by `fields`; each such setting is a unit, unless a study has
        several orders.
        """
        values: dict[Any, dict[tuple[Any, tuple[Any, ...]], list[float]]] = {}
        for row in rows:
            if not grid_of(row, axis):
                continue
            for trial in row.trials:
                others = tuple(sorted((key, value) for key, value in trial.params.items() if key != axis))
                key = (*self._key(row, fields), *others)
                pair = (row.cell.order, key) if self.orders else (key, ())
                if trial.objective is not None and axis in trial.params:
                    values.setdefault(trial.params[axis], {}).setdefault(pair, []).append(trial.objective)
        return {level: _means(found) for level, found in values.items()}

    def _key(self, row: CellRow, fields: Sequence[str]) -> tuple[Any, ...]:
        where = (row.cell.benchmark,) if self.claim.averaged else ()
        return (*where, *(setting(row, field) for field in fields))


def _means(values: dict[tuple[Any, tuple[Any, ...]], list[float]]) -> Sample:
    sample = {key: sum(found) / len(found) for key, found in values.items()}
    return {} if any(math.isnan(value) for value in sample.values()) else sample


def by_unit(samples: Sequence[Sample]) -> Values:
    """Return the values that all samples have, averaged over what is paired: [samples, units]."""
    shared = shared_keys(samples)
    units = sorted({unit for unit, _ in shared}, key=repr)
    table = [
        [np.mean([sample[key] for key in shared if key[0] == unit]) for unit in units] for sample in samples
    ]
    return np.array(table, dtype=np.float64)


def shared_keys(samples: Sequence[Sample]) -> list[tuple[Any, tuple[Any, ...]]]:
    """Return the keys that all samples have, of the units that have all that any unit has.

    A seed whose run diverged on one benchmark of a mean would be a mean over other benchmarks, so it is left
    out. If no unit has all, the keys count that every unit has.
    """
    shared = [key for key in samples[0] if all(key in sample for sample in samples)]
    parts: dict[Any, set[tuple[Any, ...]]] = {}
    for unit, part in shared:
        parts.setdefault(unit, set()).add(part)
    every = set().union(*parts.values())
    if any(found == every for found in parts.values()):
        return [(unit, part) for unit, part in shared if parts[unit] == every]
    common = every.intersection(*parts.values())
    return [(unit, part) for unit, part in shared if part in common]


def mean_lead(sample: Sample, other: Sample | None) -> float | None:
    """Return the mean of a sample, or its mean lead over another one; see `shared_keys` for what counts."""
    keys = shared_keys([sample] if other is None else [sample, other])
    values = [sample[key] - (other[key] if other is not None else 0.0) for key in keys]
    return sum(values) / len(values) if values else None


def level_of(row: CellRow, axis: str) -> Any:
    """Return the place of a row on an axis: a setting of its method or of its benchmark, or `ABSENT`.

    A row whose search varies the axis has no place on it.
    """
    if searched(row, f"method.{axis}"):
        return ABSENT
    level = setting(row, f"method.{axis}")
    return getattr(recipe_here(row.cell.benchmark), axis, ABSENT) if level is ABSENT else level


def levels_along(rows: Iterable[CellRow], metric: Any, axis: str) -> list[Any]:
    """Return the tasks, layers or steps at which all final runs of the rows have a metric."""
    found = [along(final, metric, axis) for row in rows for final in row.finals]
    return [level for level in (found[0] if found else {}) if all(level in one for one in found)]

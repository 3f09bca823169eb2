"""A study's results as plain values: a run, a cell, and those of a benchmark together.

Accuracies and transfers are fractions, times seconds, sizes bytes. A number that cannot be had is None.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from raycl import metrics, noise
from raycl.metrics import Metric, all_metrics
from raycl.results.measures import Measured
from raycl.study.cells import Cell
from raycl.study.values import Search
from raycl.text import counted

COMPLETE, INCOMPLETE, MISSING = "complete", "incomplete", "not run"
BLOCKED, FAILED, DIVERGED = "blocked", "failed", "diverged"


@dataclass(frozen=True)
class Stat:
    """Mean and standard deviation (ddof 1; None for fewer than two) of the values that are there."""

    values: tuple[float, ...] = ()

    @property
    def mean(self) -> float | None:
        return metrics.mean(self.values)

    @property
    def std(self) -> float | None:
        return metrics.std(self.values)


def stat_of(values: Sequence[float | None]) -> Stat:
    """Over those that are there."""
    return Stat(tuple(value for value in values if value is not None))


@dataclass(frozen=True)
class FinalRun:
    """A finished final run in numbers.

    Attributes:
        a: [T, T] test accuracies, rows = tasks learnt.
        beta: [T] accuracies on each task just learnt of the reference's run of the same seed, or None.
        measured: the metrics of its matrices.
        ct: seconds to learn all tasks, the method's own phases and extra fits among them.
        ct_train: seconds of the fits of the main stream alone.
        ct_task, ct_train_task: the same of each task.
        epochs_mean: mean over tasks of the epochs of the main stream.
        params, bytes_total: after the last task.
        transfer_task: [T] forward transfer of each task, None without a reference of the same seed.
        figures: the method's own numbers after each task.
    """

    seed: int
    key: str
    a: metrics.Matrix
    beta: metrics.Matrix | None
    measured: Measured
    ct: float
    ct_train: float
    ct_task: tuple[float, ...]
    ct_train_task: tuple[float, ...]
    epochs_mean: float | None
    params: float
    bytes_total: float
    peak_bytes: float
    transfer_task: metrics.Matrix | None
    provenance: Mapping[str, Any]
    diagnostics: tuple[Mapping[str, Any], ...] = ()

    def value(self, name: str) -> float | None:
        """A metric of its matrices, or another number of the run such as ``ct``; None where it is absent."""
        if name in self.measured.values:
            return self.measured.values[name]
        found: float | None = getattr(self, name)
        return found


@dataclass(frozen=True)
class Tried:
    """A finished trial of a search: its objective and its accuracy on test, None where it diverged."""

    n: int
    params: Mapping[str, Any]
    objective: float | None
    acc: float | None
    seconds: float


@dataclass(frozen=True)
class CellRow:
    """A cell in numbers.

    Attributes:
        finals: finished final runs that did not diverge, in the order of their seeds.
        seeds: those wanted.
        diverged: seeds whose final run diverged.
        trials: finished trials in the order of proposal.
        best: searched fields of the winner; None before the end of the search.
        ps: parameter sensitivity over completed trials.
        runs, done: wanted and finished runs.
        status: one of complete, incomplete, not run, blocked, failed, diverged (every trial did).
        reason: why it is blocked or failed.
        notes: where its numbers deviate from what a reader takes for granted.
        reference: whether forward transfer is measured from this method.
    """

    cell: Cell
    finals: tuple[FinalRun, ...]
    seeds: tuple[int, ...]
    diverged: tuple[int, ...]
    trials: tuple[Tried, ...]
    best: dict[str, Any] | None
    ps: float | None
    runs: int
    done: int
    status: str
    reason: str
    notes: tuple[str, ...]
    reference: bool

    def stat(self, name: str) -> Stat:
        """Return the number `name` over the final seeds that have it; `ps` is one number."""
        if name == "ps":
            return stat_of([self.ps])
        return stat_of([final.value(name) for final in self.finals])

    def mean(self, name: str) -> float | None:
        """Mean of `stat`."""
        return self.stat(name).mean

    def by_seed(self, name: str) -> dict[int, float]:
        """The number `name` of each final run that has it, by seed."""
        found = {final.seed: final.value(name) for final in self.finals}
        return {seed: value for seed, value in found.items() if value is not None}

    @property
    def random(self) -> str:
        """That the search never left its random start, or ""."""
        search = self.cell.search
        if not (self.trials and isinstance(search, Search) and search.trials <= search.startup_trials):
            return ""
        trials = counted(search.trials, "trial")
        return f"random search: {trials}, and TPE would start after {search.startup_trials}"


@dataclass(frozen=True)
class Group:
    """A method variant on a benchmark, in one order or several."""

    label: str
    rows: tuple[CellRow, ...]

    @property
    def reference(self) -> bool:
        return self.rows[0].reference

    @property
    def finals(self) -> list[FinalRun]:
        """Of all orders."""
        return [final for row in self.rows for final in row.finals]

    @property
    def wanted(self) -> int:
        """Final runs in all."""
        return sum(len(row.seeds) for row in self.rows)

    def stat(self, name: str) -> Stat:
        """Over seeds; where there are several orders, over orders, of which each counts as its mean."""
        if len(self.rows) == 1:
            return self.rows[0].stat(name)
        return stat_of([row.stat(name).mean for row in self.rows])


@dataclass(frozen=True)
class Section:
    """All of a study on one benchmark.

    Attributes:
        tasks: how many; 0 where nobody knows yet.
        classes: of each task, () where the data are not here.
        similar: whether the tasks resemble one another; None if mixed or unknown.
        subset: why its numbers must not stand beside published ones, or "".
        orders: how many orders of its tasks.
        own: metrics that the study adds to raycl's.
    """

    benchmark: str
    tasks: int
    classes: tuple[int, ...]
    similar: bool | None
    subset: str
    orders: int
    groups: tuple[Group, ...]
    own: tuple[Metric, ...] = ()

    @property
    def metrics(self) -> tuple[Metric, ...]:
        """All metrics of its final runs."""
        return all_metrics(self.own)

    @property
    def name(self) -> str:
        """As it is printed: whoever reads a number sees that the data are a part."""
        return printed_name(self.benchmark, self.subset)

    @property
    def rows(self) -> list[CellRow]:
        return [row for group in self.groups for row in group.rows]

    @property
    def noise(self) -> float | None:
        """Half-width of the 95 % confidence interval of the difference of two methods' `acc`.

        Variances are pooled over methods. None where no method has two values.
        """
        stats = [group.stat("acc") for group in self.groups]
        return noise.pooled_half_width([noise.Spread(s.std, len(s.values)) for s in stats])

    @property
    def machines(self) -> int:
        """Kinds of machine, and thread counts, that the times were measured on."""
        finals = [final for group in self.groups for final in group.finals]
        kinds = {
            json.dumps([f.provenance.get(k) for k in ("system", "cpu", "device", "threads")]) for f in finals
        }
        return len(kinds)


def printed_name(benchmark: str, subset: str) -> str:
    """``cifar100_10 (subset)``."""
    return f"{benchmark} (subset)" if subset else benchmark

"""A study's results as plain values: runs, cells, and all cells of a benchmark.

Accuracies and transfers are fractions, times are in seconds, and sizes are in bytes. A number that is not
available is None.
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
    """The mean and the standard deviation (ddof 1; None for fewer than two values) of some values."""

    values: tuple[float, ...] = ()

    @property
    def mean(self) -> float | None:
        """The mean, or None if there are no values."""
        return metrics.mean(self.values)

    @property
    def std(self) -> float | None:
        """The standard deviation, or None if there are fewer than two values."""
        return metrics.std(self.values)


def stat_of(values: Sequence[float | None]) -> Stat:
    """Return the statistics of the values that are not None."""
    return Stat(tuple(value for value in values if value is not None))


@dataclass(frozen=True)
class FinalRun:
    """A finished final run in numbers.

    Attributes:
        seed: The seed of the run.
        key: The key of the run in the store.
        a: The test accuracies, [T, T]; rows are the tasks learnt.
        beta: The accuracies of the reference's run of the same seed on each task just learnt, [T], or None.
        measured: The metrics of its matrices.
        ct: The seconds to learn all tasks, including the method's own phases and extra fits.
        ct_train: The seconds of the fits of the main stream only.
        ct_task, ct_train_task: The same for each task.
        epochs_mean: The mean over tasks of the epochs of the main stream.
        params, bytes_total: The learnable parameters and the stored bytes after the last task.
        peak_bytes: The largest use of memory in any task.
        transfer_task: The forward transfer of each task, [T]; None without a reference of the same seed.
        provenance: Where, when and with what the run was made.
        diagnostics: The method's own numbers after each task.
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
        """Return a metric of its matrices or another number such as ``ct``; None where it is absent."""
        if name in self.measured.values:
            return self.measured.values[name]
        found: float | None = getattr(self, name)
        return found


@dataclass(frozen=True)
class Tried:
    """A finished trial of a search.

    Attributes:
        n: The number of the trial.
        params: The values of the searched fields.
        objective: The value that the search maximises, or None if the trial diverged.
        acc: The accuracy on test data, or None if the trial diverged.
        seconds: The run time.
    """

    n: int
    params: Mapping[str, Any]
    objective: float | None
    acc: float | None
    seconds: float


@dataclass(frozen=True)
class CellRow:
    """A cell in numbers.

    Attributes:
        cell: The cell of the study.
        finals: The finished final runs that did not diverge, in the order of their seeds.
        seeds: The seeds of all final runs that are wanted.
        diverged: The seeds whose final run diverged.
        trials: The finished trials in the order of proposal.
        best: The searched fields of the winner; None before the end of the search.
        ps: The parameter sensitivity over completed trials.
        runs, done: The numbers of wanted and of finished runs.
        status: One of complete, incomplete, not run, blocked, failed, or diverged (if every trial diverged).
        reason: Why the cell is blocked or failed.
        notes: Remarks on numbers that differ from what a reader would expect.
        reference: Whether the forward transfer of other methods is measured from this one.
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
        """Return the mean of `stat`."""
        return self.stat(name).mean

    def by_seed(self, name: str) -> dict[int, float]:
        """Return the number `name` by seed, for each final run that has it."""
        found = {final.seed: final.value(name) for final in self.finals}
        return {seed: value for seed, value in found.items() if value is not None}

    @property
    def random(self) -> str:
        """A note if the search never got beyond its random start, else ""."""
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
        """Whether the forward transfer of other methods is measured from this one."""
        return self.rows[0].reference

    @property
    def finals(self) -> list[FinalRun]:
        """The final runs of all orders."""
        return [final for row in self.rows for final in row.finals]

    @property
    def wanted(self) -> int:
        """The number of final runs that are wanted in all orders."""
        return sum(len(row.seeds) for row in self.rows)

    def stat(self, name: str) -> Stat:
        """Return the statistics over seeds, or over the means of the orders where there are several."""
        if len(self.rows) == 1:
            return self.rows[0].stat(name)
        return stat_of([row.stat(name).mean for row in self.rows])


@dataclass(frozen=True)
class Section:
    """All results of a study on one benchmark.

    Attributes:
        benchmark: The benchmark as the study writes it.
        tasks: The number of tasks; 0 where it is not known yet.
        classes: The number of classes of each task; () where the data are missing.
        similar: Whether the tasks resemble one another; None if mixed or unknown.
        subset: Why its numbers cannot be compared with published ones, or "".
        orders: The number of orders of its tasks.
        groups: The method variants.
        own: The metrics that the study adds to raycl's.
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
        """The printed name, which shows whether the data are only a part of the benchmark."""
        return printed_name(self.benchmark, self.subset)

    @property
    def rows(self) -> list[CellRow]:
        """The rows of all groups."""
        return [row for group in self.groups for row in group.rows]

    @property
    def noise(self) -> float | None:
        """The half-width of the 95 % confidence interval of the difference of two methods' `acc`.

        Variances are pooled over methods. The value is None where no method has two values.
        """
        stats = [group.stat("acc") for group in self.groups]
        return noise.pooled_half_width([noise.Spread(s.std, len(s.values)) for s in stats])

    @property
    def machines(self) -> int:
        """The number of different combinations of machine type and thread count that times come from."""
        finals = [final for group in self.groups for final in group.finals]
        kinds = {
            json.dumps([f.provenance.get(k) for k in ("system", "cpu", "device", "threads")]) for f in finals
        }
        return len(kinds)


def printed_name(benchmark: str, subset: str) -> str:
    """Return the printed name of a benchmark, such as ``cifar100_10 (subset)``."""
    return f"{benchmark} (subset)" if subset else benchmark

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

CROWDED = 0.8  # A run with a smaller share of a processor counts as run on a busy machine.
LEAST_TIMED = 0.2  # Seconds of learning for which such a share is not known well enough.
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
        ct: The seconds to learn all tasks, including the method's own phases and extra fits. They are
            processor time on a CPU, and wall time on an accelerator or if processor time was not measured.
        ct_fits: The seconds of all fits, without the method's own phases.
        ct_train: The seconds of the fits of the main stream only.
        ct_wall, ct_cpu, ct_gpu: The same as `ct` as wall time, as processor time (None if it was not
            measured), and as the time for which the run had an accelerator (None without one).
        ct_task, ct_fits_task, ct_train_task: `ct`, `ct_fits` and `ct_train` for each task.
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
    ct_fits: float
    ct_train: float
    ct_wall: float
    ct_cpu: float | None
    ct_gpu: float | None
    ct_task: tuple[float, ...]
    ct_fits_task: tuple[float, ...]
    ct_train_task: tuple[float, ...]
    epochs_mean: float | None
    params: float
    bytes_total: float
    peak_bytes: float
    transfer_task: metrics.Matrix | None
    provenance: Mapping[str, Any]
    diagnostics: tuple[Mapping[str, Any], ...] = ()

    @property
    def cpu_share(self) -> float | None:
        """The share of a processor that the run had while it learnt.

        It is None on an accelerator, for several threads, or if processor time was not measured.
        """
        alone = self.ct_gpu is None and self.provenance.get("threads", 1) == 1
        if not alone or self.ct_cpu is None or self.ct_wall < LEAST_TIMED:
            return None
        return min(1.0, self.ct_cpu / self.ct_wall)

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
        objective: The value of the first objective of the search, or None if the trial has none.
        acc: The accuracy on test data, or None if the trial has none.
        seconds: The run time.
        outcome: "done", "diverged", "invalid" if no run accepts its values, or "pruned".
        learnt: The number of tasks after which the trial was pruned; 0 if it was not.
        values: The value of each objective, if the search has several.
    """

    n: int
    params: Mapping[str, Any]
    objective: float | None
    acc: float | None
    seconds: float
    outcome: str = "done"
    learnt: int = 0
    values: tuple[float | None, ...] = ()


@dataclass(frozen=True)
class Member:
    """A trial on the Pareto front of a search with several objectives.

    Attributes:
        trial: The trial, which has all values.
        best: Whether it is the one whose settings the tables show, the knee.
        finals: The finished final runs with its settings.
        wanted: The number of such runs that the study asks for.
    """

    trial: Tried
    best: bool
    finals: tuple[FinalRun, ...]
    wanted: int


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
        ps: The parameter sensitivity over completed trials; pruned ones are not among them.
        runs, done: The numbers of wanted and of finished runs.
        status: One of complete, incomplete, not run, blocked, failed, or diverged (if no trial has a value).
        reason: Why the cell is blocked or failed.
        notes: Remarks on numbers that differ from what a reader would expect.
        reference: Whether the forward transfer of other methods is measured from this one.
        front: The trials that no other one beats, if the search has several objectives.
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
    front: tuple[Member, ...] = ()

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
    def best_objective(self) -> float | None:
        """The best value of the first objective that a trial has; None if there is none."""
        found = [trial.objective for trial in self.trials if trial.objective is not None]
        return None if not found else min(found) if self.cell.objectives[0].smaller else max(found)

    def lost(self, outcome: str) -> int:
        """Return the number of trials with this outcome."""
        return sum(trial.outcome == outcome for trial in self.trials)

    @property
    def random(self) -> str:
        """A note if the search never got beyond its random start, else ""."""
        search = self.cell.search
        if not (self.trials and isinstance(search, Search)):
            return ""
        trials = counted(search.trials, "trial")
        if search.sampler == "random":
            return f"random search: {trials}"
        if not search.starts_random or search.trials > search.startup_trials:
            return ""
        name = search.sampler if search.sampler != "tpe" else "TPE"
        return f"random search: {trials}, and {name} would start after {search.startup_trials}"


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
        deviations: In what its tasks knowingly differ from those of the papers.
        orders: The number of orders of its tasks.
        groups: The method variants.
        own: The metrics that the study adds to raycl's.
        named: As in `raycl.study.cells.Cell`.
    """

    benchmark: str
    tasks: int
    classes: tuple[int, ...]
    similar: bool | None
    subset: str
    deviations: tuple[str, ...]
    orders: int
    groups: tuple[Group, ...]
    own: tuple[Metric, ...] = ()
    named: str = ""

    @property
    def metrics(self) -> tuple[Metric, ...]:
        """All metrics of its final runs."""
        return all_metrics(self.own)

    @property
    def name(self) -> str:
        """The printed name, which shows whether the data are only a part of the benchmark."""
        return printed_name(self.named or self.benchmark, self.subset)

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
    def crowded(self) -> tuple[int, int]:
        """The number of final runs that had less than their share of a processor, and of all final runs."""
        shares = [final.cpu_share for group in self.groups for final in group.finals]
        return sum(share is not None and share < CROWDED for share in shares), len(shares)

    @property
    def untimed(self) -> int:
        """The number of final runs on a CPU whose processor time was not measured, as runs made earlier."""
        finals = [final for group in self.groups for final in group.finals]
        return sum(final.ct_cpu is None and final.ct_gpu is None for final in finals)

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

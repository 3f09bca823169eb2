"""Parameter sensitivity: the spread of accuracy over the trials of a search, and the cost of the search."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

from raycl import metrics
from raycl.results.rows import CellRow
from raycl.study.values import Search
from raycl.text import fraction

PERCENT = f"{metrics.LEVEL:.0%}"


DEFINITIONS = {
    "ps": "parameter sensitivity (PRM): standard deviation (ddof 0) of test acc over the completed trials of "
    "a search, which all have the same seed; the mean over orders where there are several. Trials that the "
    "search pruned have no accuracy after the last task and are left out",
    "ps interval": f"{PERCENT} bootstrap interval over the trials, for each order separately: percentiles of "
    f"{metrics.RESAMPLES} resamples; fewer than {metrics.FEWEST} trials give no interval. It assumes that "
    "trials are independent draws, which is not true of a search that learns from them, and it is too low if "
    "there are few trials",
    "trials": "finished trials; 4 at once means that four of them are proposed together without knowing "
    "each other's results, whereas the papers propose one after another",
    "search": "seconds of run time summed over all trials also those without a value, with data loading and "
    "evaluation; equal trials are one run",
}


@dataclass(frozen=True)
class Sensitivity:
    """The outcome of the searches of a method on a benchmark, one search per order.

    Attributes:
        ps: The parameter sensitivity, as the mean over orders; None without two completed trials.
        interval: The interval of `ps`, by bootstrap over the trials of each order; None if there are too few.
        trials, diverged, invalid, pruned: The number of finished trials, and of those among them that
            diverged, whose values no run accepts, or that were pruned.
        runs: The number of different runs, where equal trials are one run.
        seconds: The run time of all runs; None if there are none.
    """

    ps: float | None
    interval: tuple[float, float] | None
    trials: int
    diverged: int
    invalid: int
    runs: int
    seconds: float | None
    pruned: int = 0

    @property
    def low(self) -> float | None:
        """The lower end of the interval."""
        return self.interval[0] if self.interval else None

    @property
    def high(self) -> float | None:
        """The upper end of the interval."""
        return self.interval[1] if self.interval else None

    @property
    def per_trial(self) -> float | None:
        """The mean seconds of a run."""
        return None if self.seconds is None else self.seconds / self.runs

    @property
    def lost(self) -> float | None:
        """The share of the trials that diverged."""
        return self.diverged / self.trials if self.trials else None

    @property
    def completed(self) -> int:
        """The number of trials of which `ps` is the standard deviation."""
        return self.trials - self.diverged - self.invalid - self.pruned

    @property
    def printed_interval(self) -> str:
        """The interval as text, such as ``.007 to .014``, or ""."""
        return f"{fraction(self.low)} to {fraction(self.high)}" if self.interval else ""


def sensitivity(rows: Sequence[CellRow]) -> Sensitivity:
    """Compute the sensitivity of rows that differ only in the order of the tasks."""
    tried = [trial for row in rows for trial in row.trials]
    spread = [row for row in rows if row.ps is not None]
    took = {
        (row.cell.order, json.dumps(trial.params, sort_keys=True)): trial.seconds
        for row in rows
        for trial in row.trials
    }
    return Sensitivity(
        ps=metrics.mean([row.ps for row in spread]),
        interval=metrics.ps_interval(*(completed(row) for row in spread)),
        trials=len(tried),
        diverged=sum(trial.outcome == "diverged" for trial in tried),
        invalid=sum(trial.outcome == "invalid" for trial in tried),
        runs=len(took),
        seconds=sum(took.values()) if took else None,
        pruned=sum(trial.outcome == "pruned" for trial in tried),
    )


def counted_trials(rows: Sequence[CellRow]) -> str:
    """Return the number of trials, such as ``20``, or ``20, 4 at once`` if four run at once."""
    together = {row.cell.search.concurrency for row in rows if isinstance(row.cell.search, Search)} - {1}
    several = f", {' or '.join(map(str, sorted(together)))} at once" if together else ""
    return f"{sum(len(row.trials) for row in rows)}{several}"


def completed(row: CellRow) -> list[float]:
    """Return the test accuracies of the completed trials, of which `ps` is the standard deviation."""
    return [trial.acc for trial in row.trials if trial.acc is not None]

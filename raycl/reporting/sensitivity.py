"""Parameter sensitivity: how far accuracy spreads over the trials of a search, and what the search cost."""

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
    "a search, all of one seed; of several orders the mean",
    "ps interval": f"{PERCENT} bootstrap interval over the trials, each order by itself: percentiles of "
    f"{metrics.RESAMPLES} resamples; none under {metrics.FEWEST} trials. It takes trials for independent "
    "draws, which a search that learns from them does not make, and lies low where they are few",
    "trials": "finished ones; 4 at a time: four of them are proposed together, none knowing the others, "
    "where the papers propose one after another",
    "search": "seconds of run time summed over the trials, diverged ones too, with data loading and "
    "evaluation; equal trials are one run",
}


@dataclass(frozen=True)
class Sensitivity:
    """What the searches of a method on a benchmark came to, one per order.

    Attributes:
        ps: mean over orders; None without two completed trials.
        interval: of `ps`, by bootstrap over the trials of each order; None where these are too few.
        trials, diverged: finished trials, and those of them that diverged.
        runs: different ones: equal trials are one.
        seconds: run time of all runs; None without any.
    """

    ps: float | None
    interval: tuple[float, float] | None
    trials: int
    diverged: int
    runs: int
    seconds: float | None

    @property
    def low(self) -> float | None:
        return self.interval[0] if self.interval else None

    @property
    def high(self) -> float | None:
        return self.interval[1] if self.interval else None

    @property
    def per_trial(self) -> float | None:
        """Mean seconds of a run."""
        return None if self.seconds is None else self.seconds / self.runs

    @property
    def lost(self) -> float | None:
        """Share of the trials that diverged."""
        return self.diverged / self.trials if self.trials else None

    @property
    def printed_interval(self) -> str:
        """``.007 to .014``, or ""."""
        return f"{fraction(self.low)} to {fraction(self.high)}" if self.interval else ""


def sensitivity(rows: Sequence[CellRow]) -> Sensitivity:
    """Of rows that differ in the order of the tasks alone."""
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
        diverged=sum(trial.acc is None for trial in tried),
        runs=len(took),
        seconds=sum(took.values()) if took else None,
    )


def counted_trials(rows: Sequence[CellRow]) -> str:
    """Return ``20``, or ``20, 4 at a time`` where four are proposed at a time and not one after another."""
    together = {row.cell.search.concurrency for row in rows if isinstance(row.cell.search, Search)} - {1}
    several = f", {' or '.join(map(str, sorted(together)))} at a time" if together else ""
    return f"{sum(len(row.trials) for row in rows)}{several}"


def completed(row: CellRow) -> list[float]:
    """Test accuracies that `ps` is the spread of."""
    return [trial.acc for trial in row.trials if trial.acc is not None]

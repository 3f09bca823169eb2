"""The importance of each searched field for the objective of a search, with an interval.

The measure is permutation importance on trials that the model has not seen (L. Breiman, Random Forests,
Machine Learning 45, 2001). It is about zero for a field that does not matter, whereas a decomposition of
variance such as fANOVA attributes all variance, including noise, to the fields. Divided by twice the
variance, it is the share of the objective's variance that depends on a field, alone or with others
(B. Gregorutti, B. Michel, P. Saint-Pierre, Correlation and variable importance in random forests, Statistics
and Computing 27, 2017, arXiv 1310.5726).
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from raycl.results.rows import CellRow, Tried
from raycl.space import Choice, Domain
from raycl.study.values import Grid
from raycl.text import counted, fraction, plain_value

ENOUGH = 30  # Importances are estimated only from at least this many completed trials.
RESAMPLES = 200
FEWEST_RESAMPLES = 50
TOTAL = 2 * RESAMPLES  # The resamples of all searches of a benchmark together; each takes about 15 ms.
MOST = TOTAL // FEWEST_RESAMPLES  # Searches of a benchmark whose importances are estimated.
DRAWN = 300  # The largest number of trials that a resample draws, and of those that it is judged on.
TREES = 10
SHUFFLES = 5
LEVEL = 0.9  # The level of the interval.
EVALUATOR = "held-out permutation importance, extra-trees of scikit-learn"

Values: TypeAlias = NDArray[np.float64]


@dataclass(frozen=True)
class Importance:
    """The share of the objective's variance that depends on a field: mean and interval over resamples."""

    field: str
    mean: float
    low: float
    high: float


@dataclass(frozen=True)
class Importances:
    """The importances of all searched fields of a cell, the most important first.

    Attributes:
        fields: The importance of each field.
        trials: The number of completed trials with different values, from which they are estimated.
        lost: The number of trials that diverged or were invalid, which are left out.
        resamples: The number of bootstrap resamples.
        explained: The share of the variance of unseen trials that the trees explain; 0 or less means none.
    """

    fields: tuple[Importance, ...]
    trials: int
    lost: int
    resamples: int
    explained: float

    @property
    def title(self) -> str:
        """The evaluator and the interval, for the figure."""
        return (
            f"{EVALUATOR}; {LEVEL:.0%} interval over {self.resamples} bootstrap resamples of "
            f"{min(self.trials, DRAWN)} trials"
        )

    @property
    def note(self) -> str:
        """The text under the figure: what the numbers are, and how far they can be trusted."""
        lost = f"; {counted(self.lost, 'trial')} without a value left out" if self.lost else ""
        explained = fraction(self.explained) if self.explained > 0 else "none"
        drawn = f", of which each draws {DRAWN}" if self.trials > DRAWN else ""
        return (
            "The share of the variance of the objective that depends on each searched field, alone or with "
            f"others: half of what shuffling the field adds to the squared error of {TREES} extremely "
            "randomised trees (scikit-learn) on trials that they have not seen, divided by the variance. The "
            f"trees explain {explained} of the variance there. Mean and {LEVEL:.0%} interval over "
            f"{self.resamples} bootstrap resamples of {counted(self.trials, 'completed trial')}"
            f"{drawn}{lost}. An "
            "interval that reaches 0 shows no effect. Most trials lie where the search found good values, "
            "and a field is judged only there"
        )


def searched_fields(row: CellRow) -> dict[str, Domain]:
    """Return the fields that a search varies; those of a grid are choices among its values."""
    search = row.cell.search
    if isinstance(search, Grid):
        return {key: Choice(*values) for key, values in search.axes.items()}
    return row.cell.space


def completed(row: CellRow) -> list[Tried]:
    """Return the trials that have an objective; trials with equal values are one run and returned once."""
    done = {json.dumps(t.params, sort_keys=True): t for t in row.trials if t.objective is not None}
    return list(done.values())


def resamples_for(searches: int) -> int:
    """Return the number of resamples for each search, if that many searches share the time of a report."""
    return max(FEWEST_RESAMPLES, min(RESAMPLES, TOTAL // max(1, searches)))


def estimable(row: CellRow) -> bool:
    """Return whether a search has enough trials to estimate importances."""
    return bool(searched_fields(row)) and len(completed(row)) >= ENOUGH


def importances(row: CellRow, resamples: int | None = None) -> Importances | None:
    """Estimate the importance of a cell's searched fields for its objective.

    The result is None for fewer than `ENOUGH` trials, and if all have the same objective. The same trials
    give the same bits, because every draw comes from one seed.
    """
    if not estimable(row):
        return None
    fields, trials, resamples = searched_fields(row), completed(row), resamples or RESAMPLES
    x = np.array([[place_of(d, t.params[key]) for key, d in fields.items()] for t in trials])
    y = np.array([t.objective for t in trials])
    if not y.var():
        return None
    shares, explained = _resampled(x, y, resamples)
    edges = ((1 - LEVEL) / 2, (1 + LEVEL) / 2)
    lows, highs = np.quantile(shares, edges, axis=0)
    found = [
        Importance(key, float(mean), float(low), float(high))
        for key, mean, low, high in zip(fields, shares.mean(0), lows, highs, strict=True)
    ]
    lost = sum(t.objective is None for t in row.trials)
    order = sorted(found, key=lambda importance: -importance.mean)
    return Importances(tuple(order), len(trials), lost, resamples, explained)


def place_of(domain: Domain, value: Any) -> float:
    """Return the position of a value in its domain: its logarithm, itself, or its index among the options."""
    if isinstance(domain, Choice):
        return [_comparable(option) for option in domain.options].index(_comparable(value))
    return math.log(value) if domain.log else float(value)


def _comparable(value: Any) -> str:
    """Return a comparable form of an option; JSON stores tuples as lists, so lists become tuples again."""
    return plain_value(tuple(value) if isinstance(value, list) else value)


def _resampled(x: Values, y: Values, resamples: int) -> tuple[Values, float]:
    """Return the shares, [resamples, fields], and the mean share of the variance that the trees explain.

    Each resample is judged on the trials that it left out. `scipy.stats.bootstrap` is not used, because it
    passes only the resample to the statistic, and this statistic needs the other trials as well.
    """
    from sklearn.ensemble import ExtraTreesRegressor  # Imported here because it takes seconds to load.

    random = np.random.default_rng(0)
    shares, explained = [], []
    for n in range(resamples):
        drawn = random.integers(len(y), size=min(len(y), DRAWN))
        rest = np.setdiff1d(np.arange(len(y)), drawn)
        if len(rest) > DRAWN:
            rest = random.choice(rest, DRAWN, replace=False)
        trees = ExtraTreesRegressor(TREES, random_state=n).fit(x[drawn], y[drawn])
        tried = _shuffled(x[rest], random)  # [1 + fields * SHUFFLES, rest, fields]
        guesses = trees.predict(tried.reshape(-1, x.shape[1])).reshape(tried.shape[:2])
        errors = ((guesses - y[rest]) ** 2).mean(1)
        added = errors[1:].reshape(-1, SHUFFLES).mean(1) - errors[0]
        shares.append(added / (2 * y.var()))
        explained.append(1 - errors[0] / y.var())
    return np.array(shares), float(np.mean(explained))


def _shuffled(x: Values, random: np.random.Generator) -> Values:
    """Return `x` unchanged, followed by copies in which one field is shuffled, `SHUFFLES` for each field."""
    copies: list[Values] = [x]
    for field in range(x.shape[1]):
        for _ in range(SHUFFLES):
            copy = x.copy()
            copy[:, field] = random.permutation(copy[:, field])
            copies.append(copy)
    return np.stack(copies)

"""How much each searched field matters to the objective of a search, with an interval.

Permutation importance on trials that the model has not seen (L. Breiman, Random Forests, Machine Learning 45,
2001): it comes out around zero where nothing matters, while a decomposition of variance such as fANOVA shares
all of it out among the fields, noise too. Divided by twice the variance it is the share of the objective's
variance that goes through a field, alone or with others (B. Gregorutti, B. Michel, P. Saint-Pierre,
Correlation and variable importance in random forests, Statistics and Computing 27, 2017, arXiv 1310.5726).
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

ENOUGH = 30  # completed trials under which nothing is said about importance
RESAMPLES = 200
TREES = 10
SHUFFLES = 5
LEVEL = 0.9  # of the interval
EVALUATOR = "held-out permutation importance, extra-trees of scikit-learn"

Values: TypeAlias = NDArray[np.float64]


@dataclass(frozen=True)
class Importance:
    """Share of the objective's variance that goes through a field: mean and interval over resamples."""

    field: str
    mean: float
    low: float
    high: float


@dataclass(frozen=True)
class Importances:
    """Of all searched fields of a cell, the most important first.

    Attributes:
        trials: completed ones with different values, which it is made of.
        diverged: trials that are left out.
        explained: share of the variance of unseen trials that the trees explain; 0 or less: none.
    """

    fields: tuple[Importance, ...]
    trials: int
    diverged: int
    explained: float

    @property
    def title(self) -> str:
        """Evaluator and interval, for the figure."""
        return (
            f"{EVALUATOR}; {LEVEL:.0%} interval over {RESAMPLES} bootstrap resamples of {self.trials} trials"
        )

    @property
    def note(self) -> str:
        """What the numbers are and how far they carry, for the text under the figure."""
        lost = f"; {counted(self.diverged, 'diverged trial')} left out" if self.diverged else ""
        explained = fraction(self.explained) if self.explained > 0 else "none"
        return (
            "Share of the variance of the objective that goes through each searched field, alone or with "
            f"others: half of what shuffling the field adds to the squared error of {TREES} extremely "
            "randomised trees (scikit-learn) on trials that they have not seen, over the variance. The trees "
            f"explain {explained} of it there. Mean and {LEVEL:.0%} interval over {RESAMPLES} bootstrap "
            f"resamples of {counted(self.trials, 'completed trial')}{lost}. An interval that reaches 0 shows "
            "nothing; trials crowd where the search found them good, and only there is a field judged"
        )


def searched_fields(row: CellRow) -> dict[str, Domain]:
    """Fields that a search varies; those of a grid are choices among its values."""
    search = row.cell.search
    if isinstance(search, Grid):
        return {key: Choice(*values) for key, values in search.axes.items()}
    return row.cell.space


def completed(row: CellRow) -> list[Tried]:
    """Trials that did not diverge, equal ones (which are one run) once."""
    done = {json.dumps(t.params, sort_keys=True): t for t in row.trials if t.objective is not None}
    return list(done.values())


def importances(row: CellRow) -> Importances | None:
    """Of a cell's searched fields on its objective; None under `ENOUGH` trials or where all came out alike.

    The same trials give the same bits: every draw comes from one seed.
    """
    fields, trials = searched_fields(row), completed(row)
    if not fields or len(trials) < ENOUGH:
        return None
    x = np.array([[place_of(d, t.params[key]) for key, d in fields.items()] for t in trials])
    y = np.array([t.objective for t in trials])
    if not y.var():
        return None
    shares, explained = _resampled(x, y)
    edges = ((1 - LEVEL) / 2, (1 + LEVEL) / 2)
    lows, highs = np.quantile(shares, edges, axis=0)
    found = [
        Importance(key, float(mean), float(low), float(high))
        for key, mean, low, high in zip(fields, shares.mean(0), lows, highs, strict=True)
    ]
    diverged = sum(t.objective is None for t in row.trials)
    order = sorted(found, key=lambda importance: -importance.mean)
    return Importances(tuple(order), len(trials), diverged, explained)


def place_of(domain: Domain, value: Any) -> float:
    """A value on the axis of its domain: logarithm, number, or place among the options."""
    if isinstance(domain, Choice):
        return [_comparable(option) for option in domain.options].index(_comparable(value))
    return math.log(value) if domain.log else float(value)


def _comparable(value: Any) -> str:
    """What JSON made a list of was a tuple."""
    return plain_value(tuple(value) if isinstance(value, list) else value)


def _resampled(x: Values, y: Values) -> tuple[Values, float]:
    """[RESAMPLES, fields] shares, each on the trials that its resample left out; mean share explained.

    Not by scipy.stats.bootstrap, which hands a statistic its resample alone: this one needs the rest as well.
    """
    from sklearn.ensemble import ExtraTreesRegressor  # here, because it takes seconds to load

    random = np.random.default_rng(0)
    shares, explained = [], []
    for n in range(RESAMPLES):
        drawn = random.integers(len(y), size=len(y))
        rest = np.setdiff1d(np.arange(len(y)), drawn)
        trees = ExtraTreesRegressor(TREES, random_state=n).fit(x[drawn], y[drawn])
        tried = _shuffled(x[rest], random)  # [1 + fields * SHUFFLES, rest, fields]
        guesses = trees.predict(tried.reshape(-1, x.shape[1])).reshape(tried.shape[:2])
        errors = ((guesses - y[rest]) ** 2).mean(1)
        added = errors[1:].reshape(-1, SHUFFLES).mean(1) - errors[0]
        shares.append(added / (2 * y.var()))
        explained.append(1 - errors[0] / y.var())
    return np.array(shares), float(np.mean(explained))


def _shuffled(x: Values, random: np.random.Generator) -> Values:
    """`x` as it is, then with each field in turn shuffled, `SHUFFLES` times."""
    copies: list[Values] = [x]
    for field in range(x.shape[1]):
        for _ in range(SHUFFLES):
            copy = x.copy()
            copy[:, field] = random.permutation(copy[:, field])
            copies.append(copy)
    return np.stack(copies)

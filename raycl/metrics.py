"""Pure functions of the accuracy matrix A[learnt, tested]; names as in the catalogue.

An entry that was not measured is NaN, and a metric that needs it is None: absent, never zero. Accuracies
and transfers are fractions.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

Matrix: TypeAlias = NDArray[np.float64]

FEWEST = 5  # trials under which their spread has no interval
LEVEL = 0.9  # of that interval
RESAMPLES = 1000


def matrix(rows: Sequence[Mapping[int, float]], tasks: int | None = None) -> Matrix:
    """[T, T] from one mapping (tested task -> accuracy) per learnt task; NaN where nothing stands."""
    tasks = tasks or len(rows)
    a = np.full((tasks, tasks), np.nan)
    for learnt, row in enumerate(rows):
        for tested, value in row.items():
            a[learnt, tested] = value
    return a


def acc(a: ArrayLike) -> float | None:
    """Mean accuracy after the last task: mean_i A[T, i]."""
    return _mean(_square(a)[-1])


def acc_just(a: ArrayLike) -> float | None:
    """Mean accuracy on each task just learnt: mean_i A[i, i]."""
    return _mean(np.diagonal(_square(a)))


def fwt_vs_one(a: ArrayLike, one: ArrayLike) -> float | None:
    """Forward transfer: mean_i (A[i, i] - beta[i]), beta the accuracy of a network of the task's own."""
    return _mean(fwt_vs_one_task(a, one))


def fwt_vs_one_task(a: ArrayLike, one: ArrayLike) -> Matrix:
    """[T], A[t, t] - beta[t]."""
    diagonal, beta = np.diagonal(_square(a)), np.asarray(one, float)
    if diagonal.shape != beta.shape:
        raise ValueError(f"{len(diagonal)} tasks against {beta.shape} reference accuracies")
    difference: Matrix = diagonal - beta
    return difference


def bwt(a: ArrayLike) -> float | None:
    """Backward transfer, divisor T - 1 (SPG): sum_{i<T} (A[T, i] - A[i, i]) / (T - 1); None for T = 1."""
    a = _square(a)
    return _mean((a[-1] - np.diagonal(a))[:-1])


def bwt_T(a: ArrayLike) -> float | None:
    """Backward transfer, divisor T (PRM)."""
    a = _square(a)
    return _mean(a[-1] - np.diagonal(a))


def forgetting(a: ArrayLike, rows: str = "learnt") -> float | None:
    """mean_{i<T} (max_{i<=j<T} A[j, i] - A[T, i]); `rows="all"`: the maximum is over all j < T (FACIL)."""
    return _mean(forgetting_matrix(a, rows)[-1, :-1])


def forgetting_matrix(a: ArrayLike, rows: str = "learnt") -> Matrix:
    """[T, T]: best earlier accuracy on task u minus that after task t, for u < t; 0 elsewhere."""
    if rows not in ("learnt", "all"):
        raise ValueError(f"rows = {rows!r} is neither 'learnt' nor 'all'")
    a = _square(a)
    out = np.zeros_like(a)
    for t in range(len(a)):
        for u in range(t):
            out[t, u] = np.max(a[(u if rows == "learnt" else 0) : t, u]) - a[t, u]
    return out


def forgetting_ratio(a: ArrayLike, random: ArrayLike, joint: ArrayLike) -> float | None:
    """HAT's rho after the last task: mean over tasks of (A - A_random) / (A_joint - A_random) - 1."""
    last = _square(a)[-1]
    random, joint = np.asarray(random, float), np.asarray(joint, float)
    if np.any(joint == random):
        return None
    return _mean((last - random) / (joint - random) - 1)


def gain_over_ncl(a: ArrayLike, ncl: ArrayLike) -> float | None:
    """mean_i (A[T, i] - A_ncl[T, i]): what a method gains over sequential finetuning."""
    return _mean(_square(a)[-1] - _square(ncl)[-1])


def ps(accuracies: Sequence[float]) -> float | None:
    """Parameter sensitivity: standard deviation (ddof 0) of test `acc` over the completed trials (PRM)."""
    return float(np.std(accuracies)) if len(accuracies) > 1 else None


def ps_interval(*searches: Sequence[float]) -> tuple[float, float] | None:
    """Percentile bootstrap interval (B. Efron, Annals of Statistics 7, 1979) of the mean `ps` of searches.

    A resample draws each search's trials anew, from that search; every draw comes from one seed, and the
    order of the trials does not matter. None if there is no search, or one of fewer than `FEWEST` trials. Of
    few trials it lies low: a resample of n has (n - 1) / n of their variance.
    """
    if not searches or any(len(trials) < FEWEST for trials in searches):
        return None
    random = np.random.default_rng(0)
    spreads = [random.choice(np.sort(trials), (RESAMPLES, len(trials))).std(1) for trials in searches]
    low, high = np.quantile(np.mean(spreads, 0), ((1 - LEVEL) / 2, (1 + LEVEL) / 2))
    return float(low), float(high)


def std(values: Sequence[float]) -> float | None:
    """Standard deviation over seeds, ddof 1; None for fewer than two."""
    return float(np.std(values, ddof=1)) if len(values) > 1 else None


def mean(values: Sequence[float | None]) -> float | None:
    """Mean of values that are all there; None where there is none, or one is absent."""
    if not values or any(value is None for value in values):
        return None
    return float(np.mean([value for value in values if value is not None]))


def _mean(values: ArrayLike) -> float | None:
    values = np.asarray(values, float)
    return None if values.size == 0 or np.isnan(values).any() else float(np.mean(values))


def _square(a: ArrayLike) -> Matrix:
    out = np.asarray(a, float)
    if out.ndim != 2 or out.shape[0] != out.shape[1] or not len(out):
        raise ValueError(f"an accuracy matrix is [tasks, tasks], not {out.shape}")
    return out

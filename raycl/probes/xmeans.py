"""X-means: k-means that finds the number of its clusters (Pelleg and Moore, ICML 2000).

Starting from a few clusters, each is split in two where the Bayesian information criterion of its own rows
rises, until none is. For few rows in many dimensions, as PRM has them, much hangs on the form of `bic`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Rows = NDArray[np.float64]
Labels = NDArray[np.int64]
Criterion = Literal["spherical", "pelleg"]

MOST = 20  # clusters, unless the caller says
NOTHING = 1e-12  # a sum of squares up to this is one point; also the least variance


def xmeans(
    rows: Rows,
    k_init: int = 2,
    k_max: int | None = None,
    *,
    criterion: Criterion = "spherical",
    seed: int = 0,
) -> Labels:
    """Clusters of `rows` [rows, dimensions]: labels [rows] from 0 in the order in which they first occur.

    There are at least `k_init` of them, as far as there are so many different rows, and at most `k_max`
    (default: as many as rows, and 20).

    Raises:
        ValueError: there are no rows, or `k_init` is below 1.
    """
    if rows.ndim != 2 or not len(rows):
        raise ValueError(f"rows of shape {rows.shape} should be [rows, dimensions], one at least")
    if k_init < 1:
        raise ValueError(f"k_init = {k_init} must be at least 1")
    most = min(len(rows), MOST) if k_max is None else k_max
    start = min(k_init, len(np.unique(rows, axis=0)))  # equal rows can make no more
    labels = _fitted(rows, start, seed)
    for _ in range(start, most):  # each pass but the last makes one cluster more, or several
        centres = _improved(rows, labels, most, criterion, seed)
        if len(centres) == labels.max() + 1:
            break
        labels = _fitted(rows, len(centres), seed, np.stack(centres))
    return labels


def bic(rows: Rows, labels: Labels, criterion: Criterion = "spherical") -> float:
    """Bayesian information criterion of spherical Gaussians with one variance and hard assignment.

    Larger is better; -inf where the clusters are as many as the rows. "pelleg" is the criterion as the paper
    prints it, whose variance lacks the number of dimensions: it asks for groups farther apart. "spherical"
    splits three rows of nothing but noise in one draw of four at 2000 dimensions, in one of two at 500.
    """
    n, m = len(rows), int(rows.shape[1])
    sizes = np.bincount(labels)
    k = len(sizes)
    if n - k < 1:
        return -math.inf
    freedom = n - k if criterion == "pelleg" else m * (n - k)
    variance = max(_scatter(rows, labels) / freedom, NOTHING)
    members = float(np.sum(sizes * np.log(sizes / n)))
    likelihood = members - n * m / 2 * math.log(2 * math.pi * variance) - freedom / 2
    parameters = (k - 1) + k * m + 1  # shares, centres, the variance
    return likelihood - parameters / 2 * math.log(n)


def load() -> Any:
    """scikit-learn's KMeans; apart, because it takes seconds to load and is seldom needed."""
    from sklearn.cluster import KMeans

    return KMeans


def _improved(rows: Rows, labels: Labels, most: int, criterion: Criterion, seed: int) -> list[Rows]:
    """Centres after each cluster that is better as two has been split; the largest have their turn first."""
    centres: list[Rows] = []
    clusters = list(_clusters(labels))
    count = len(clusters)
    for members in sorted(clusters, key=lambda c: (-len(c), c[0])):
        mine = rows[members]
        halves = _halves(mine, criterion, seed) if count < most else None
        if halves is None:
            centres.append(mine.mean(0))
        else:
            centres += [mine[half].mean(0) for half in _clusters(halves)]
            count += 1
    return centres


def _halves(rows: Rows, criterion: Criterion, seed: int) -> Labels | None:
    """One cluster as two, if the criterion is for it."""
    whole = np.zeros(len(rows), np.int64)
    if len(rows) < 3 or _scatter(rows, whole) <= NOTHING:
        return None
    halves = _fitted(rows, 2, seed)
    return halves if bic(rows, halves, criterion) > bic(rows, whole, criterion) else None


def _fitted(rows: Rows, k: int, seed: int, centres: Rows | None = None) -> Labels:
    """k-means: the best of ten, or from given centres."""
    start: dict[str, Any] = {"n_init": 10} if centres is None else {"n_init": 1, "init": centres}
    found = load()(k, random_state=seed, **start).fit_predict(rows)
    _, first, labels = np.unique(found, return_index=True, return_inverse=True)
    order: Labels = np.argsort(np.argsort(first))
    return order[labels]


def _clusters(labels: Labels) -> Iterator[NDArray[np.intp]]:
    """The rows of each cluster, in order."""
    for label in range(int(labels.max()) + 1):
        yield np.flatnonzero(labels == label)


def _scatter(rows: Rows, labels: Labels) -> float:
    """Sum of squared distances from the means of the clusters."""
    return float(sum(np.square(rows[c] - rows[c].mean(0)).sum() for c in _clusters(labels)))

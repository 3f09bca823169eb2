"""X-means: k-means that determines the number of its clusters (Pelleg and Moore, ICML 2000).

Starting from a few clusters, each cluster is split in two if that increases the Bayesian information
criterion of its own rows, until none is split. For few rows in many dimensions, as in PRM, the result depends
much on the form of `bic`.
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

MOST = 20  # the default largest number of clusters
NOTHING = 1e-12  # rows with a sum of squares up to this count as a single point; also the smallest variance


def xmeans(
    rows: Rows,
    k_init: int = 2,
    k_max: int | None = None,
    *,
    criterion: Criterion = "spherical",
    seed: int = 0,
) -> Labels:
    """Cluster rows, and return their labels [rows], numbered from 0 in the order of first occurrence.

    Args:
        rows: Rows to cluster, [rows, dimensions].
        k_init: Initial and smallest number of clusters; it is reduced to the number of distinct rows.
        k_max: Largest number of clusters; by default the number of rows, but at most 20.
        criterion: Form of the criterion; see `bic`.
        seed: Seed of k-means.

    Raises:
        ValueError: There are no rows, or `k_init` is below 1.
    """
    if rows.ndim != 2 or not len(rows):
        raise ValueError(f"rows of shape {rows.shape} should be [rows, dimensions], with at least one row")
    if k_init < 1:
        raise ValueError(f"k_init = {k_init} must be at least 1")
    most = min(len(rows), MOST) if k_max is None else k_max
    start = min(k_init, len(np.unique(rows, axis=0)))  # equal rows belong to the same cluster
    labels = _fitted(rows, start, seed)
    for _ in range(start, most):  # each pass but the last adds at least one cluster
        centres = _improved(rows, labels, most, criterion, seed)
        if len(centres) == labels.max() + 1:
            break
        labels = _fitted(rows, len(centres), seed, np.stack(centres))
    return labels


def bic(rows: Rows, labels: Labels, criterion: Criterion = "spherical") -> float:
    """Return the Bayesian information criterion of spherical Gaussians with one variance and hard assignment.

    Larger values are better; the value is -inf if there are as many clusters as rows. "pelleg" is the
    criterion as printed in the paper, whose variance is not divided by the number of dimensions, so that only
    groups that are farther apart are split. "spherical" splits three rows of pure noise in one draw out of
    four at 2000 dimensions, and in one out of two at 500.
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
    parameters = (k - 1) + k * m + 1  # shares, centres and the variance
    return likelihood - parameters / 2 * math.log(n)


def load() -> Any:
    """Import and return scikit-learn's KMeans, which takes seconds to load and is seldom needed."""
    from sklearn.cluster import KMeans

    return KMeans


def _improved(rows: Rows, labels: Labels, most: int, criterion: Criterion, seed: int) -> list[Rows]:
    """Return the centres after splitting each cluster that is better as two, beginning with the largest."""
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
    """Split one cluster in two, or return None if the criterion does not improve."""
    whole = np.zeros(len(rows), np.int64)
    if len(rows) < 3 or _scatter(rows, whole) <= NOTHING:
        return None
    halves = _fitted(rows, 2, seed)
    return halves if bic(rows, halves, criterion) > bic(rows, whole, criterion) else None


def _fitted(rows: Rows, k: int, seed: int, centres: Rows | None = None) -> Labels:
    """Run k-means from given centres, or take the best of ten random initialisations."""
    start: dict[str, Any] = {"n_init": 10} if centres is None else {"n_init": 1, "init": centres}
    found = load()(k, random_state=seed, **start).fit_predict(rows)
    _, first, labels = np.unique(found, return_index=True, return_inverse=True)
    order: Labels = np.argsort(np.argsort(first))
    return order[labels]


def _clusters(labels: Labels) -> Iterator[NDArray[np.intp]]:
    """Yield the rows of each cluster, in order."""
    for label in range(int(labels.max()) + 1):
        yield np.flatnonzero(labels == label)


def _scatter(rows: Rows, labels: Labels) -> float:
    """Return the sum of squared distances from the means of the clusters."""
    return float(sum(np.square(rows[c] - rows[c].mean(0)).sum() for c in _clusters(labels)))

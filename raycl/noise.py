"""When a difference is more than noise: Student's t at the number of values that there are."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from typing import NamedTuple

from raycl.metrics import std

CONFIDENCE = 0.95  # of the interval that tells a difference from noise: 5 % of equal means seem to differ


class Spread(NamedTuple):
    """Standard deviation (ddof 1; None where it is unknown) and number of the values behind a mean."""

    std: float | None
    n: int


def mean_half_width(values: Sequence[float]) -> float | None:
    """Half-width of the 95 % confidence interval of a mean, in the unit of the values.

    t(n - 1) s / sqrt(n), where s is the standard deviation (ddof 1) and t(f) the 97.5 % quantile of Student's
    t with f degrees of freedom: 4.303 at n = 3. Of two samples that are paired, give the differences of the
    pairs. None for fewer than two values.
    """
    return welch_half_width(Spread(std(values), len(values)), Spread(0.0, 1))


def welch_half_width(first: Spread, second: Spread) -> float | None:
    """Half-width of the 95 % confidence interval of the difference of two independent means, in their unit.

    t(f) sqrt(v1 + v2), where v = s^2 / n and f = (v1 + v2)^2 / (v1^2 / (n1 - 1) + v2^2 / (n2 - 1)) degrees of
    freedom (B. L. Welch, Biometrika 34, 1947). A mean whose `std` is 0 is taken to be exact; where both are,
    so is the difference. None where a `std` is unknown, or is not 0 and of a single value.
    """
    if first.std is None or second.std is None:
        return None
    squares = [(s**2 / n, n - 1) for s, n in (first, second) if s is not None]
    uncertain = [(v, freedom) for v, freedom in squares if v > 0]
    if not uncertain:
        return 0.0
    if any(freedom < 1 for _, freedom in uncertain):
        return None
    variance = sum(v for v, _ in uncertain)
    # relative variances, because the fourth power of a small deviation is no number any more
    return _half_width(variance, 1 / sum((v / variance) ** 2 / freedom for v, freedom in uncertain))


def pooled_half_width(spreads: Sequence[Spread]) -> float | None:
    """Half-width of the 95 % confidence interval of the difference of any two of many means, in their unit.

    t(f) sqrt(2 s^2 / n), where s^2 is the variance, taken to be the same in all and pooled over them with
    f = sum_i (n_i - 1) degrees of freedom, and n the harmonic mean of their numbers of values. Means without
    a `std` are left out; None where none is left.
    """
    known = [(s, n) for s, n in spreads if s is not None and n > 1]
    if not known:
        return None
    freedom = sum(n - 1 for _, n in known)
    pooled = sum((n - 1) * s**2 for s, n in known) / freedom
    return _half_width(2 * pooled * sum(1 / n for _, n in known) / len(known), freedom)


def beyond_noise(difference: float, half_width: float | None) -> bool:
    """Whether a difference is larger, up or down, than the half-width of its confidence interval.

    Never where that is None. What is left of rounding does not count.
    """
    return half_width is not None and abs(difference) > half_width * (1 + 1e-9) + 1e-12


def _half_width(variance: float, freedom: float) -> float:
    return _t(freedom) * math.sqrt(variance)


@functools.lru_cache(maxsize=1024)
def _t(freedom: float) -> float:
    """The quantile of Student's t that leaves half of what `CONFIDENCE` does not cover above it."""
    from scipy import stats  # here, because it takes a second to load

    return float(stats.t.ppf((1 + CONFIDENCE) / 2, freedom))

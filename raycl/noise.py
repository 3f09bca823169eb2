"""The rule by which raycl decides whether a difference is more than noise.

A difference is more than noise if it exceeds the half-width of its 95 % confidence interval, which is
computed by Student's t for the number of values (seeds, orders). The half-width is None if nothing can be
said, as for a single value.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from typing import NamedTuple

from raycl.metrics import std

CONFIDENCE = 0.95  # the confidence level; of pairs of equal means, 5 % seem to differ


class Spread(NamedTuple):
    """Standard deviation (ddof 1; None if unknown) and number of the values of which a mean was taken."""

    std: float | None
    n: int


def mean_half_width(values: Sequence[float]) -> float | None:
    """Return the half-width of the 95 % confidence interval of a mean, in the unit of the values.

    It is t(n - 1) s / sqrt(n), where s is the standard deviation (ddof 1) and t(f) is the 97.5 % quantile of
    Student's t with f degrees of freedom: 4.303 at n = 3. It is None for fewer than two values. For two
    paired samples, pass the differences of the pairs.
    """
    return welch_half_width(Spread(std(values), len(values)), Spread(0.0, 1))


def welch_half_width(first: Spread, second: Spread) -> float | None:
    """Return the half-width of the 95 % confidence interval of the difference of two independent means.

    It is t(f) sqrt(v1 + v2), where v = s^2 / n, with f = (v1 + v2)^2 / (v1^2 / (n1 - 1) + v2^2 / (n2 - 1))
    degrees of freedom (B. L. Welch, Biometrika 34, 1947), in the unit of the means. A mean whose `std` is 0
    is taken to be exact; if both are exact, so is the difference. The half-width is None if a `std` is
    unknown, or if it is not 0 and comes from a single value.
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
    # Variances are taken relative to their sum, because the fourth power of a small deviation underflows.
    return _half_width(variance, 1 / sum((v / variance) ** 2 / freedom for v, freedom in uncertain))


def pooled_half_width(spreads: Sequence[Spread]) -> float | None:
    """Return the half-width of the 95 % confidence interval of the difference of any two of several means.

    It is t(f) sqrt(2 s^2 / n), in the unit of the means. The variance s^2 is assumed to be the same for all
    of them, and is pooled over them with f = sum_i (n_i - 1) degrees of freedom; n is the harmonic mean of
    their numbers of values. Means without a `std`, or of a single value, are left out. The half-width is None
    if none is left.
    """
    known = [(s, n) for s, n in spreads if s is not None and n > 1]
    if not known:
        return None
    freedom = sum(n - 1 for _, n in known)
    pooled = sum((n - 1) * s**2 for s, n in known) / freedom
    return _half_width(2 * pooled * sum(1 / n for _, n in known) / len(known), freedom)


def beyond_noise(difference: float, half_width: float | None) -> bool:
    """Return whether the absolute value of a difference exceeds the half-width of its confidence interval.

    It does not if the half-width is None. Excesses within rounding errors do not count.
    """
    return half_width is not None and abs(difference) > half_width * (1 + 1e-9) + 1e-12


def _half_width(variance: float, freedom: float) -> float:
    return _t(freedom) * math.sqrt(variance)


@functools.lru_cache(maxsize=1024)
def _t(freedom: float) -> float:
    """Return the (1 + `CONFIDENCE`) / 2 quantile of Student's t with `freedom` degrees of freedom."""
    from scipy import special  # imported here, because it takes a second to load, and `scipy.stats` two

    return float(special.stdtrit(freedom, (1 + CONFIDENCE) / 2))

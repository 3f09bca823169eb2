"""The verdict on paired numbers: by how much an inequality is met, and whether that is more than noise.

`raycl.noise` defines noise: a paired difference is more than noise where it exceeds the half-width of its
95 % confidence interval, by Student's t at the number of pairs. Fewer than three pairs give no verdict.
"""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from raycl.noise import beyond_noise, mean_half_width
from raycl.papers.claims import Claim

HOLDS, IN_THE_MEAN, UNDECIDED = "holds", "holds in the mean", "undecided"
REVERSED, NO_VERDICT, NOT_RUN = "reversed", "no verdict", "not run"
GRAVEST = (REVERSED, UNDECIDED, NO_VERDICT, IN_THE_MEAN, HOLDS, NOT_RUN)
ENOUGH = 3  # A verdict needs at least this many seeds, or orders.

Values: TypeAlias = NDArray[np.float64]


def judge(claim: Claim, left: Values, right: Values) -> tuple[str, float | None]:
    """Return the word on paired values, and the half-width of their difference's confidence interval.

    The half-width is None where there is only a single pair.
    """
    difference = left - right
    error = _half_width(difference)
    if claim.kind == "formula" or claim.direction == "equal":  # The deviation counts in both directions.
        return word_of(claim.margin - abs(float(difference.mean())), error, len(left)), error
    return _of(_slack(claim, left, right), _strict(claim)), error


def satisfied(claim: Claim, left: float, right: float) -> bool:
    """Return whether two exact numbers, which have no noise, satisfy the claim."""
    if claim.kind == "formula" or claim.direction == "equal":
        return _met(claim.margin - abs(left - right), strict=False)
    return _met(float(_slack(claim, np.array([left]), np.array([right]))[0]), _strict(claim))


def judge_trend(claim: Claim, units: Values) -> tuple[str, float, float | None]:
    """Return the word on a trend, its change along the axis, and the half-width of the change's interval.

    A flat trend compares its highest and its lowest level. A trend over tasks is the slope of a straight
    line through them, because tasks differ in difficulty. Any other trend compares the last level with the
    first, and no step may go back by more than the margin.

    Args:
        claim: The claim.
        units: The values, [levels, units].
    """
    sign = -1 if claim.direction == "down" else 1
    change = units[-1] - units[0]
    if claim.direction == "flat":
        means = units.mean(1)
        change = units[means.argmax()] - units[means.argmin()]
        words = [_of(claim.margin - change)]
    elif claim.axis is not None and claim.axis.name == "t":
        places = np.arange(len(units)) - (len(units) - 1) / 2
        change = places @ units / (places @ places) * (len(units) - 1)
        words = [_of(sign * change, strict=True)]
    else:
        steps = [sign * step + claim.margin for step in np.diff(units, axis=0)]
        words = [_of(sign * change, strict=True), *map(_of, steps)]
    return min(words, key=GRAVEST.index), float(change.mean()), _half_width(change)


def word_of(slack: float, error: float | None, n: int, strict: bool = False) -> str:
    """Return the word on an inequality.

    Args:
        slack: The amount by which the inequality is met; a negative amount means that it is not met.
        error: The half-width of the slack's confidence interval, or None where it is unknown.
        n: The number of seeds behind the slack.
        strict: Whether a slack of 0 is too little.
    """
    if n < ENOUGH or error is None:
        return NO_VERDICT
    clear = beyond_noise(slack, error)
    if _met(slack, strict):
        # An error of 0 means that the values are exact and have no noise.
        return HOLDS if clear or not beyond_noise(error, 0.0) else IN_THE_MEAN
    return REVERSED if clear else UNDECIDED


def _slack(claim: Claim, left: Values, right: Values) -> Values:
    """Return by how much each pair satisfies an inequality."""
    sign = -1 if claim.direction == "down" else 1
    if claim.kind == "ratio":
        return sign * (left - claim.margin * right)
    return sign * (left - right) + (-claim.margin if _strict(claim) else claim.margin)


def _strict(claim: Claim) -> bool:
    return claim.kind == "greater"


def _of(slack: Values, strict: bool = False) -> str:
    return word_of(float(slack.mean()), _half_width(slack), len(slack), strict)


def _met(slack: float, strict: bool) -> bool:
    slack = round(slack, 12)  # Without rounding, 0.85 - 0.80 - 0.05 would not be 0.
    return slack > 0 or (slack == 0 and not strict)


def _half_width(values: Values) -> float | None:
    return mean_half_width(values.tolist())

"""From paired numbers to a word: by how much an inequality is met, and whether that is more than noise.

What is more than noise, `raycl.metrics` says: more than the half-width of the 95 % confidence interval of the
paired difference, by Student's t at the number of pairs. Fewer than three pairs give no verdict.
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
ENOUGH = 3  # seeds, or orders

Values: TypeAlias = NDArray[np.float64]


def judge(claim: Claim, left: Values, right: Values) -> tuple[str, float | None]:
    """The word on paired values, and the half-width of their difference's confidence interval.

    That is None where there is a single pair.
    """
    difference = left - right
    error = _half_width(difference)
    if claim.kind == "formula" or claim.direction == "equal":  # the mean is off by so much, up or down
        return word_of(claim.margin - abs(float(difference.mean())), error, len(left)), error
    return _of(_slack(claim, left, right), _strict(claim)), error


def satisfied(claim: Claim, left: float, right: float) -> bool:
    """Whether numbers that have no noise satisfy the claim."""
    if claim.kind == "formula" or claim.direction == "equal":
        return _met(claim.margin - abs(left - right), strict=False)
    return _met(float(_slack(claim, np.array([left]), np.array([right]))[0]), _strict(claim))


def judge_trend(claim: Claim, units: Values) -> tuple[str, float, float | None]:
    """The word on values [levels, units], the change along the axis, and the half-width of its interval.

    A flat trend is about its highest and lowest level; one over tasks about a straight line through them, for
    tasks differ in difficulty; any other goes from first to last and never back by more than the margin.
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
    """The word on an inequality that is met by `slack`, with `n` seeds behind it.

    Args:
        error: half-width of the slack's confidence interval, None where nothing is known of it.
        strict: whether a slack of 0 is too little.
    """
    if n < ENOUGH or error is None:
        return NO_VERDICT
    clear = beyond_noise(slack, error)
    if _met(slack, strict):
        return HOLDS if clear or not beyond_noise(error, 0.0) else IN_THE_MEAN  # exact values have no noise
    return REVERSED if clear else UNDECIDED


def _slack(claim: Claim, left: Values, right: Values) -> Values:
    """By how much each pair satisfies an inequality."""
    sign = -1 if claim.direction == "down" else 1
    if claim.kind == "ratio":
        return sign * (left - claim.margin * right)
    return sign * (left - right) + (-claim.margin if _strict(claim) else claim.margin)


def _strict(claim: Claim) -> bool:
    return claim.kind == "greater"


def _of(slack: Values, strict: bool = False) -> str:
    return word_of(float(slack.mean()), _half_width(slack), len(slack), strict)


def _met(slack: float, strict: bool) -> bool:
    slack = round(slack, 12)  # what 0.85 - 0.80 - 0.05 leaves is 0
    return slack > 0 or (slack == 0 and not strict)


def _half_width(values: Values) -> float | None:
    return mean_half_width(values.tolist())

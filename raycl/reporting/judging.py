"""From paired numbers to a word: an inequality against two standard errors; under three seeds no verdict."""

from __future__ import annotations

import math
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from raycl.metrics import std
from raycl.reporting.claims import Claim

HOLDS, IN_THE_MEAN, UNDECIDED = "holds", "holds in the mean", "undecided"
REVERSED, NO_VERDICT, NOT_RUN = "reversed", "no verdict", "not run"
GRAVEST = (REVERSED, UNDECIDED, NO_VERDICT, IN_THE_MEAN, HOLDS, NOT_RUN)
ENOUGH = 3  # seeds, or orders

Values: TypeAlias = NDArray[np.float64]


def two_errors(values: Values) -> float:
    """Two standard errors of a mean; 0 of a single value."""
    return 2 * (std(values.tolist()) or 0.0) / math.sqrt(len(values))


def judge(claim: Claim, left: Values, right: Values) -> tuple[str, float]:
    """The word on paired values, and two standard errors of their difference."""
    difference = left - right
    error = two_errors(difference)
    sign = -1 if claim.direction == "down" else 1
    if claim.kind == "formula" or claim.direction == "equal":
        return word_of(claim.margin - abs(float(difference.mean())), error, len(left)), error
    if claim.kind == "ratio":
        return _of(sign * (left - claim.margin * right)), error
    strict = claim.kind == "greater"
    return _of(sign * difference + (-claim.margin if strict else claim.margin), strict), error


def judge_trend(claim: Claim, units: Values) -> tuple[str, float, float]:
    """The word on values [levels, units], the change along the axis, and two standard errors of that.

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
    return min(words, key=GRAVEST.index), float(change.mean()), two_errors(change)


def _of(slack: Values, strict: bool = False) -> str:
    return word_of(float(slack.mean()), two_errors(slack), len(slack), strict)


def word_of(slack: float, error: float, n: int, strict: bool = False) -> str:
    """By how much an inequality is met, against two standard errors of that; `n` seeds are behind it."""
    slack, error = round(slack, 12), round(error, 12)  # what 0.85 - 0.80 - 0.05 leaves is no reversal
    if n < ENOUGH:
        return NO_VERDICT
    if slack > 0 or (slack == 0 and not strict):
        return HOLDS if slack > error or error == 0 else IN_THE_MEAN
    return REVERSED if -slack > error else UNDECIDED

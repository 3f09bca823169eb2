"""The verdict on paired numbers: by how much an inequality is met, and whether that is more than noise.

`raycl.noise` defines noise: a paired difference is more than noise where it exceeds the half-width of its
95 % confidence interval, by Student's t at the number of pairs. An inequality holds, or is reversed, only if
it is met, or missed, by more than noise. Otherwise it is undecided. Fewer than three pairs give no verdict.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from raycl.noise import beyond_noise, mean_half_width
from raycl.papers.claims import Claim

HOLDS, UNDECIDED, REVERSED = "holds", "undecided", "reversed"
NO_VERDICT, NOT_RUN = "no verdict", "not run"
GRAVEST = (REVERSED, UNDECIDED, NO_VERDICT, HOLDS, NOT_RUN)
MET, MISSED = "met", "missed"  # To which side an undecided comparison leans.
ENOUGH = 3  # A verdict needs at least this many pairs of seeds, of orders or of settings.

Values: TypeAlias = NDArray[np.float64]


class Judgement(NamedTuple):
    """The outcome of a comparison.

    Attributes:
        word: One of `GRAVEST`.
        lean: Whether an undecided comparison is `MET` or `MISSED` in the mean; "" with every other word.
    """

    word: str
    lean: str = ""


class Step(NamedTuple):
    """A single step of a trend that is graver than the change along its whole axis.

    Attributes:
        place: The place of the level before it, from 0.
        change: Its mean.
        half_width: The half-width of its 95 % confidence interval, or None for a single pair.
    """

    place: int
    change: float
    half_width: float | None


def gravity(word: str, lean: str) -> tuple[int, bool]:
    """Return a number that is smaller for a graver outcome; a missed one is graver than a met one."""
    return GRAVEST.index(word), lean == MET


def gravest(found: Iterable[Judgement]) -> Judgement:
    """Return the gravest of several outcomes."""
    return min(found, key=lambda one: gravity(*one))


def judge(claim: Claim, left: Values, right: Values) -> tuple[Judgement, float | None]:
    """Return the outcome for paired values, and the half-width of their difference's confidence interval.

    The difference is left - right, and left - margin right for a ratio. The half-width is None where there is
    only a single pair.
    """
    difference = left - right
    error = _half_width(difference)
    if claim.kind == "formula" or claim.direction == "equal":  # The deviation counts in both directions.
        return judged(claim.margin - abs(float(difference.mean())), error, len(left)), error
    slack = _slack(claim, left, right)
    # A ratio is judged by left - margin right, the noise of which is another than that of left - right.
    return _of(slack, _strict(claim)), _half_width(slack) if claim.kind == "ratio" else error


def satisfied(claim: Claim, left: float, right: float) -> bool:
    """Return whether two exact numbers, which have no noise, satisfy the claim."""
    if claim.kind == "formula" or claim.direction == "equal":
        return _met(claim.margin - abs(left - right), strict=False)
    return _met(float(_slack(claim, np.array([left]), np.array([right]))[0]), _strict(claim))


def judge_trend(claim: Claim, units: Values) -> tuple[Judgement, float, float | None, Step | None]:
    """Return the outcome for a trend, its change along the axis, and the half-width of the change's interval.

    The last value is the step that decides, where a step is graver than the change.

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
        found = [_of(claim.margin - change)]
    elif claim.axis is not None and claim.axis.name == "t":
        places = np.arange(len(units)) - (len(units) - 1) / 2
        change = places @ units / (places @ places) * (len(units) - 1)
        found = [_of(sign * change, strict=True)]
    else:
        steps = np.diff(units, axis=0)
        found = [_of(sign * change, strict=True), *(_of(sign * step + claim.margin) for step in steps)]
        step = _deciding_step(found, sign * steps.mean(1), steps)
        return gravest(found), float(change.mean()), _half_width(change), step
    return gravest(found), float(change.mean()), _half_width(change), None


def _deciding_step(found: Sequence[Judgement], forward: Values, steps: Values) -> Step | None:
    """Return the step that decides about a trend; of several with the same outcome, the farthest back."""
    outcome, *of_steps = found
    if gravity(*gravest(found)) == gravity(*outcome):
        return None
    place = min((n for n, one in enumerate(of_steps) if one == gravest(found)), key=lambda n: forward[n])
    return Step(place, float(steps[place].mean()), _half_width(steps[place]))


def judged(slack: float, error: float | None, n: int, strict: bool = False) -> Judgement:
    """Return the outcome for an inequality.

    Args:
        slack: The amount by which the inequality is met; a negative amount means that it is not met.
        error: The half-width of the slack's confidence interval, or None where it is unknown.
        n: The number of pairs behind the slack.
        strict: Whether a slack of 0 is too little.
    """
    if n < ENOUGH or error is None:
        return Judgement(NO_VERDICT)
    met = _met(slack, strict)
    # An error of 0 means that the values are exact: without noise, a slack of 0 meets what is not strict.
    if beyond_noise(slack, error) or (met and not beyond_noise(error, 0.0)):
        return Judgement(HOLDS if met else REVERSED)
    return Judgement(UNDECIDED, MET if met else MISSED)


def _slack(claim: Claim, left: Values, right: Values) -> Values:
    """Return by how much each pair satisfies an inequality."""
    sign = -1 if claim.direction == "down" else 1
    if claim.kind == "ratio":
        return sign * (left - claim.margin * right)
    return sign * (left - right) + (-claim.margin if _strict(claim) else claim.margin)


def _strict(claim: Claim) -> bool:
    return claim.kind == "greater"


def _of(slack: Values, strict: bool = False) -> Judgement:
    return judged(float(slack.mean()), _half_width(slack), len(slack), strict)


def _met(slack: float, strict: bool) -> bool:
    slack = round(slack, 12)  # Without rounding, 0.85 - 0.80 - 0.05 would not be 0.
    return slack > 0 or (slack == 0 and not strict)


def _half_width(values: Values) -> float | None:
    return mean_half_width(values.tolist())

"""Claims of a paper that contradict each other unless they are about different benchmarks.

One stand-in cannot speak for the benchmarks of both. A claim demands that some methods lie above others by at
least an amount. Two claims contradict each other if one of them demands this of two methods, and the other
demands it of the same methods the other way round.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TypeAlias

from raycl.papers.claims import Claim
from raycl.results.grammar import Best, Item, Side

ZERO = (
    "0"  # Numbers are compared with zero, so that claims about different numbers can contradict each other.
)

Order: TypeAlias = tuple[str, str]
"""The two sides (above, below) of a demand, as they are written."""


@dataclass(frozen=True)
class Demand:
    """The demand that the difference above - below is at least an amount.

    Attributes:
        amount: The amount; negative where the side may lie below the other by a tolerance.
        strict: Whether the difference must be larger than the amount.
    """

    amount: float
    strict: bool = False

    def excludes(self, opposite: Demand) -> bool:
        """Return whether the opposite demand, on below - above, cannot be met at the same time."""
        both = round(self.amount + opposite.amount, 12)  # Without rounding, 0.3 - 0.1 - 0.2 would not be 0.
        return both > 0 or (both == 0 and (self.strict or opposite.strict))


def opposed(one: Claim, other: Claim) -> bool:
    """Return whether two claims of a paper would contradict each other on the same benchmark."""
    if one is other or (one.paper, one.metric) != (other.paper, other.metric):
        return False
    mine, theirs = demands(one), demands(other)
    return any(
        demand.excludes(theirs[below, above])
        for (above, below), demand in mine.items()
        if (below, above) in theirs
    )


@functools.lru_cache(maxsize=1024)
def demands(claim: Claim) -> dict[Order, Demand]:
    """Return what a claim demands on each of its benchmarks; {} for a claim about their mean."""
    return {} if claim.averaged else dict(_demands(claim))


def _demands(claim: Claim) -> Iterator[tuple[Order, Demand]]:
    down = claim.direction == "down"
    for left, right in claim.pairs:
        if claim.axis is not None:
            if claim.direction != "flat":
                change = f"{left} along {claim.axis.name}"
                yield (ZERO, change) if down else (change, ZERO), Demand(0.0, strict=True)
        elif right is None or isinstance(right, float):
            yield from _bounds(claim, str(left), right or 0.0)
        elif isinstance(left, Item) and isinstance(right, Item | Best):
            for item in _members(right):
                above, below = (str(item), str(left)) if down else (str(left), str(item))
                yield (above, below), _between(claim)


def _bounds(claim: Claim, left: str, number: float) -> Iterator[tuple[Order, Demand]]:
    """Yield what a claim demands of a side that it compares with a number."""
    strict = claim.kind == "greater"
    amount = claim.margin if strict else -claim.margin
    if claim.kind == "ratio":
        number, amount = number * claim.margin, 0.0
    if claim.direction in ("up", "equal"):
        yield (left, ZERO), Demand(amount + number, strict)
    if claim.direction in ("down", "equal"):
        yield (ZERO, left), Demand(amount - number, strict)


def _between(claim: Claim) -> Demand:
    if claim.kind == "ratio":  # It says that one side is larger if its factor does.
        says = claim.margin <= 1 if claim.direction == "down" else claim.margin >= 1
        return Demand(0.0, strict=claim.margin != 1) if says else Demand(float("-inf"))
    if claim.direction == "equal":
        return Demand(float("-inf"))
    return Demand(claim.margin, strict=True) if claim.kind == "greater" else Demand(-claim.margin)


def _members(side: Side) -> tuple[Item, ...]:
    """Return the methods of a side; against the best of several, a claim is about each of them."""
    return side.items if isinstance(side, Best) else (side,) if isinstance(side, Item) else ()

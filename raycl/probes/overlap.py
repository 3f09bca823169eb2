"""How much two masks of one layer share, against two drawn independently (ImpressLearn section 4.1).

Masks stay packed: a pair costs one AND and one count of bits per layer. Of two independent masks with k and l
ones among n weights the common ones are hypergeometric.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from raycl import streams
from raycl.errors import UserError

Bits: TypeAlias = Sequence[NDArray[np.uint8]]
"""A mask, packed layer by layer: `BasisMask.bits`."""


@dataclass(frozen=True)
class Overlap:
    """Two masks of a layer of n weights: how many each keeps, and how many both. None is undefined."""

    n: int
    first: int
    second: int
    both: int

    @property
    def over_n(self) -> float:
        """Share of all weights that both keep."""
        return self.both / self.n

    @property
    def over_ones(self) -> float | None:
        """Share of the ones that are common; of the mean number of ones where the masks differ in it."""
        return _ratio(2 * self.both, self.first + self.second)

    @property
    def jaccard(self) -> float | None:
        """Intersection over union."""
        return _ratio(self.both, self.first + self.second - self.both)

    @property
    def expected(self) -> float:
        """Mean of `both` for independent masks, k l / n."""
        return self.first * self.second / self.n

    @property
    def expected_jaccard(self) -> float | None:
        """That of the expected intersection: s / (2 - s) at density s."""
        return _ratio(self.expected, self.first + self.second - self.expected)

    @property
    def variance(self) -> float:
        """Of `both` for independent masks, k l (n - k) (n - l) / (n^2 (n - 1))."""
        n, k, j = self.n, self.first, self.second
        return k * j * (n - k) * (n - j) / (n * n * (n - 1)) if n > 1 else 0.0

    @property
    def ratio(self) -> float | None:
        """Measured over expected intersection: 1 for independent masks."""
        return _ratio(self.both, self.expected)

    @property
    def z(self) -> float | None:
        """(measured - expected) / standard deviation."""
        return _ratio(self.both - self.expected, math.sqrt(self.variance))


@dataclass(frozen=True)
class Pair:
    """Two masks by name, with their overlap in each layer; `kinds` such as "heterogeneous-homogeneous"."""

    kinds: str
    first: str
    second: str
    layers: tuple[Overlap, ...]


@dataclass(frozen=True)
class Summary:
    """Means over the pairs of one kind in one layer; None where undefined for a pair.

    Attributes:
        pairs: how many.
        worst_z: the z-score farthest from 0.
    """

    kinds: str
    layer: int
    pairs: int
    over_n: float | None
    over_ones: float | None
    jaccard: float | None
    expected_jaccard: float | None
    ratio: float | None
    z: float | None
    worst_z: float | None


def ones(bits: NDArray[np.uint8]) -> int:
    """Set bits; padding at the end is zero."""
    return int(np.bitwise_count(bits).sum(dtype=np.int64))


def overlap(first: Bits, second: Bits, sizes: Sequence[int]) -> tuple[Overlap, ...]:
    """Overlap of two masks, layer by layer; `sizes` are the weights of each.

    Raises:
        UserError: a mask does not belong to layers of these sizes.
    """
    for mask in (first, second):
        if [len(layer) for layer in mask] != [(n + 7) // 8 for n in sizes]:
            raise UserError(
                f"a mask of {[len(layer) for layer in mask]} bytes a layer does not fit layers of "
                f"{list(sizes)} weights: compare masks of one backbone"
            )
    return tuple(
        Overlap(n, ones(a), ones(b), ones(np.bitwise_and(a, b)))
        for n, a, b in zip(sizes, first, second, strict=True)
    )


def overlaps(
    banks: Mapping[str, Mapping[str, Bits]],
    sizes: Sequence[int],
    *,
    most: int | None = None,
    seed: int = 0,
) -> list[Pair]:
    """Overlaps of all pairs within each kind, and between each two kinds.

    A mask that stands in two kinds under one name (task 0's first mask is homogeneous and heterogeneous) is
    never paired with itself.

    Args:
        banks: kind -> name of a mask, its key for instance -> its bits.
        most: of each two kinds only so many pairs, a fixed sample drawn from `seed`.
    """
    found = []
    for first, second in itertools.combinations_with_replacement(banks, 2):
        named: Iterable[tuple[str, str]] = (
            itertools.combinations(banks[first], 2)
            if first == second
            else itertools.product(banks[first], banks[second])
        )
        pairs = [(a, b) for a, b in named if a != b]
        if most is not None and len(pairs) > most:
            rng = streams.numpy_generator(seed, "order", fit=f"overlap of {first} and {second}")
            pairs = [pairs[i] for i in sorted(rng.choice(len(pairs), most, replace=False))]
        found += [
            Pair(f"{first}-{second}", a, b, overlap(banks[first][a], banks[second][b], sizes))
            for a, b in pairs
        ]
    return found


def summary(pairs: Sequence[Pair]) -> list[Summary]:
    """One line per kind and layer."""
    lines = []
    for kinds in dict.fromkeys(pair.kinds for pair in pairs):
        mine = [pair for pair in pairs if pair.kinds == kinds]
        for layer, measured in enumerate(zip(*(pair.layers for pair in mine), strict=True)):
            scores = [o.z for o in measured if o.z is not None]
            lines.append(
                Summary(
                    kinds,
                    layer,
                    len(measured),
                    _mean(measured, lambda o: o.over_n),
                    _mean(measured, lambda o: o.over_ones),
                    _mean(measured, lambda o: o.jaccard),
                    _mean(measured, lambda o: o.expected_jaccard),
                    _mean(measured, lambda o: o.ratio),
                    _mean(measured, lambda o: o.z),
                    max(scores, key=abs, default=None),
                )
            )
    return lines


def _ratio(above: float, below: float) -> float | None:
    return above / below if below else None


def _mean(measured: Sequence[Overlap], value: Callable[[Overlap], float | None]) -> float | None:
    values = [value(o) for o in measured]
    defined = [v for v in values if v is not None]
    return sum(defined) / len(defined) if len(defined) == len(values) else None

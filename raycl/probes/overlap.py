"""Overlap of pairs of masks, compared with that of independent random masks (ImpressLearn section 3).

Masks stay packed, so that a pair costs one AND and one count of bits per layer. For two independent masks
with k and l ones among n weights, the number of common ones has a hypergeometric distribution.
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
"""A mask, packed layer by layer as in `BasisMask.bits`."""


@dataclass(frozen=True)
class Overlap:
    """Overlap of two masks in one layer; a property that is undefined is None.

    Attributes:
        n: Number of weights of the layer.
        first, second: Numbers of weights that each mask keeps.
        both: Number of weights that both masks keep.
    """

    n: int
    first: int
    second: int
    both: int

    @property
    def over_n(self) -> float:
        """Share of all weights that both masks keep."""
        return self.both / self.n

    @property
    def over_ones(self) -> float | None:
        """Number of common ones over the mean number of ones of the two masks."""
        return _ratio(2 * self.both, self.first + self.second)

    @property
    def jaccard(self) -> float | None:
        """Intersection over union."""
        return _ratio(self.both, self.first + self.second - self.both)

    @property
    def expected(self) -> float:
        """Expected value of `both` for independent masks, k l / n."""
        return self.first * self.second / self.n

    @property
    def expected_jaccard(self) -> float | None:
        """Intersection over union at the expected intersection; at density s it is s / (2 - s)."""
        return _ratio(self.expected, self.first + self.second - self.expected)

    @property
    def variance(self) -> float:
        """Variance of `both` for independent masks, k l (n - k) (n - l) / (n^2 (n - 1))."""
        n, k, j = self.n, self.first, self.second
        return k * j * (n - k) * (n - j) / (n * n * (n - 1)) if n > 1 else 0.0

    @property
    def ratio(self) -> float | None:
        """Measured over expected intersection; its mean is 1 for independent masks."""
        return _ratio(self.both, self.expected)

    @property
    def z(self) -> float | None:
        """z-score of the intersection: (measured - expected) / standard deviation."""
        return _ratio(self.both - self.expected, math.sqrt(self.variance))


@dataclass(frozen=True)
class Pair:
    """Overlap of two masks, named by `first` and `second`, in each layer.

    `kinds` joins the kinds of the two masks, as in "heterogeneous-homogeneous".
    """

    kinds: str
    first: str
    second: str
    layers: tuple[Overlap, ...]


@dataclass(frozen=True)
class Summary:
    """Means over the pairs of one kind in one layer; a mean is None if it is undefined for any pair.

    Attributes:
        pairs: Number of pairs.
        worst_z: The z-score that is farthest from 0.
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
    """Return the number of bits that are set; padding at the end is zero and so does not count."""
    return int(np.bitwise_count(bits).sum(dtype=np.int64))


def overlap(first: Bits, second: Bits, sizes: Sequence[int]) -> tuple[Overlap, ...]:
    """Return the overlap of two masks, layer by layer; `sizes` are the numbers of weights of the layers.

    Raises:
        UserError: A mask does not fit layers of these sizes.
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
    """Return the overlaps of all pairs of masks within each kind, and between any two kinds.

    A mask that has the same name in two kinds (the first mask of task 0 is homogeneous and heterogeneous) is
    never paired with itself.

    Args:
        banks: The masks of each kind, by name (for example by key).
        sizes: Numbers of weights of the layers.
        most: Largest number of pairs for each combination of kinds; beyond it, a fixed sample is drawn.
        seed: Seed of that sample.
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
    """Return one summary for each kind of pair and each layer."""
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

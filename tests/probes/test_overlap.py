"""Overlap: small sets by hand, exact moments by enumeration, random masks as calibration."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from raycl.errors import UserError
from raycl.probes.overlap import Overlap, overlap, overlaps, summary
from raycl.supermasks.bank import BasisMask, random_mask

LENET = (235_200, 30_000, 1_000)


def bits(*layers: list[int]) -> tuple[NDArray[np.uint8], ...]:
    return tuple(np.packbits(np.array(layer, bool)) for layer in layers)


def test_two_masks_by_hand() -> None:
    # ten weights, so that the second byte has padding: {0, 1, 2, 9} and {2, 3, 8, 9} share {2, 9}
    first = bits([1, 1, 1, 0, 0, 0, 0, 0, 0, 1], [1, 1, 0])
    second = bits([0, 0, 1, 1, 0, 0, 0, 0, 1, 1], [0, 0, 1])
    wide, narrow = overlap(first, second, (10, 3))
    assert wide == Overlap(n=10, first=4, second=4, both=2)
    assert wide.over_n == 0.2 and wide.over_ones == 0.5 and wide.jaccard == 2 / 6
    assert wide.expected == 1.6 and wide.ratio == pytest.approx(1.25)
    assert wide.variance == pytest.approx(16 * 36 / (100 * 9))  # k^2 (n - k)^2 / (n^2 (n - 1))
    assert wide.z == pytest.approx(0.4 / 0.8)
    assert narrow.jaccard == 0 and narrow.over_ones == 0 and narrow.ratio == 0
    assert narrow.expected == pytest.approx(2 / 3) and narrow.variance == pytest.approx(
        2 * 1 * 1 * 2 / (9 * 2)
    )


@pytest.mark.parametrize(("n", "k", "j"), [(6, 2, 2), (7, 3, 2), (5, 4, 1)])
def test_moments_are_those_of_all_pairs_of_sets(n: int, k: int, j: int) -> None:
    both = [len(set(a) & set(b)) for a in itertools.combinations(range(n), k)
            for b in itertools.combinations(range(n), j)]  # fmt: skip
    measured = Overlap(n, k, j, 0)
    assert measured.expected == pytest.approx(np.mean(both))
    assert measured.variance == pytest.approx(np.var(both))


@pytest.mark.parametrize(
    ("density", "jaccard"),
    [(0.05, 0.0256), (0.08, 0.0417), (0.10, 0.0526), (0.15, 0.0811), (0.20, 0.1111), (0.25, 0.1429),
     (0.30, 0.1765)],
)  # fmt: skip
def test_jaccard_of_independent_masks(density: float, jaccard: float) -> None:
    k = round(100_000 * density)
    assert Overlap(100_000, k, k, 0).expected_jaccard == pytest.approx(jaccard, abs=5e-5)
    assert Overlap(100_000, k, k, 0).expected_jaccard == pytest.approx(density / (2 - density))


def test_what_is_undefined_is_absent() -> None:
    nothing = Overlap(8, 0, 0, 0)
    assert nothing.jaccard is nothing.over_ones is nothing.ratio is nothing.z is None
    everything = Overlap(8, 8, 8, 8)
    assert everything.jaccard == everything.ratio == 1 and everything.z is None
    assert Overlap(1, 1, 1, 1).z is None


def test_against_unpacked_masks() -> None:
    sizes = (77, 1_000, 9)
    first, second = (random_mask(sizes, 0.3, seed) for seed in (1, 2))
    flat = [m.tensors([torch.zeros(n) for n in sizes]) for m in (first, second)]
    for found, a, b in zip(overlap(first.bits, second.bits, sizes), *flat, strict=True):
        assert (found.first, found.second, found.both) == (int(a.sum()), int(b.sum()), int((a * b).sum()))


def test_random_masks_are_independent() -> None:
    bank = {f"random {i}": random_mask(LENET, 0.1, i).bits for i in range(12)}
    pairs = overlaps({"random": bank}, LENET)
    assert len(pairs) == 66
    scores = np.array([[layer.z for layer in pair.layers] for pair in pairs], float)
    assert np.abs(scores).max() < 4
    assert np.abs(scores.mean()) < 0.25 and scores.std() == pytest.approx(1, abs=0.25)
    for line in summary(pairs)[:2]:
        assert line.ratio == pytest.approx(1, abs=0.02)


def test_masks_that_share_more_than_chance_are_seen() -> None:
    sizes = (10_000,)
    rng = np.random.default_rng(0)
    common = rng.random(10_000) < 0.02
    bank = {str(i): (np.packbits(common | (rng.random(10_000) < 0.05)),) for i in range(3)}
    for pair in overlaps({"homogeneous": bank}, sizes):
        (layer,) = pair.layers
        assert layer.z is not None and layer.z > 10
        assert layer.ratio is not None and layer.ratio > 3


def test_kinds_pair_within_and_across_but_no_mask_with_itself() -> None:
    sizes = (64,)
    one, two, three = (random_mask(sizes, 0.5, i).bits for i in range(3))
    banks = {"hom": {"a": one, "b": two}, "het": {"a": one, "c": three}}
    found = [(pair.kinds, pair.first, pair.second) for pair in overlaps(banks, sizes)]
    assert found == [("hom-hom", "a", "b"), ("hom-het", "a", "c"), ("hom-het", "b", "a"),
                     ("hom-het", "b", "c"), ("het-het", "a", "c")]  # fmt: skip
    lines = summary(overlaps(banks, sizes))
    assert [(line.kinds, line.layer, line.pairs) for line in lines] == [
        ("hom-hom", 0, 1), ("hom-het", 0, 3), ("het-het", 0, 1)]  # fmt: skip


def test_a_sample_of_pairs_is_fixed_by_its_seed() -> None:
    sizes = (64,)
    bank = {"random": {str(i): random_mask(sizes, 0.5, i).bits for i in range(20)}}
    first, again, other = (overlaps(bank, sizes, most=15, seed=seed) for seed in (1, 1, 2))
    assert len(first) == 15 and first == again and first != other
    assert len({(pair.first, pair.second) for pair in first}) == 15
    assert set(map(repr, first)) <= set(map(repr, overlaps(bank, sizes)))


def test_means_by_hand() -> None:
    sizes = (8,)
    bank = {"a": bits([1, 1, 0, 0, 0, 0, 0, 0]), "b": bits([1, 0, 1, 0, 0, 0, 0, 0]),
            "c": bits([1, 1, 0, 0, 0, 0, 0, 0])}  # fmt: skip
    (line,) = summary(overlaps({"x": bank}, sizes))  # a and b share 1 of 2, a and c 2, b and c 1
    assert line.over_n == pytest.approx(4 / 24) and line.over_ones == pytest.approx(2 / 3)
    assert line.jaccard == pytest.approx((1 / 3 + 1 + 1 / 3) / 3)
    assert line.ratio == pytest.approx((2 + 4 + 2) / 3)  # 0.5 are expected
    assert line.worst_z == pytest.approx(1.5 / (4 * 36 / (64 * 7)) ** 0.5)
    empty = {"a": bits([0] * 8), "b": bits([1] * 8)}
    (line,) = summary(overlaps({"x": empty}, sizes))
    assert line.ratio is line.z is line.worst_z is None and line.jaccard == 0


def test_masks_of_another_backbone_are_refused() -> None:
    mask: BasisMask = random_mask((64, 8), 0.5, 0)
    with pytest.raises(UserError, match="compare masks of one backbone"):
        overlap(mask.bits, mask.bits, (64, 16))

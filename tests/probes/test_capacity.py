"""Capacity: unions and reuse of three small masks by hand; random masks as chance."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from raycl.probes.capacity import capacity_used, kept_share, reuse, reuse_lift, unions
from raycl.supermasks.bank import random_mask


def bits(*layers: list[int]) -> tuple[NDArray[np.uint8], ...]:
    return tuple(np.packbits(np.array(layer, bool)) for layer in layers)


SIZES = (4, 2)
MASKS = [bits([1, 1, 0, 0], [1, 0]), bits([0, 1, 1, 0], [1, 0]), bits([0, 1, 0, 0], [0, 1])]


def test_by_hand() -> None:
    assert kept_share(MASKS[0], SIZES) == [1 / 2, 1 / 2, 1 / 2]
    assert kept_share(MASKS[2], SIZES) == [1 / 4, 1 / 2, 1 / 3]
    np.testing.assert_allclose(capacity_used(MASKS, SIZES), [[2 / 4, 1 / 2, 3 / 6], [3 / 4, 1 / 2, 4 / 6],
                                                             [3 / 4, 1, 5 / 6]])  # fmt: skip
    np.testing.assert_allclose(reuse(MASKS), [[1, 2 / 3, 1 / 2], [2 / 3, 1, 1 / 2], [1 / 3, 1 / 3, 1]])
    lift = reuse_lift(MASKS, SIZES)
    assert np.isnan(lift[0]).all()
    np.testing.assert_allclose(lift[1], [(1 / 2) / (2 / 4), 1 / (1 / 2), (2 / 3) / (3 / 6)])
    np.testing.assert_allclose(lift[2], [1 / (3 / 4), 0, (1 / 2) / (4 / 6)])


def test_capacity_never_shrinks_and_nothing_given_is_written() -> None:
    sizes = (500, 33)
    masks = [random_mask(sizes, 0.2, seed).bits for seed in range(8)]
    before = [layer.copy() for mask in masks for layer in mask]
    used = capacity_used(masks, sizes)
    assert (np.diff(used, axis=0) >= 0).all() and used.max() <= 1
    unions(masks)
    assert all((a == b).all() for a, b in zip(before, (layer for m in masks for layer in m), strict=True))


def test_random_masks_are_at_chance() -> None:
    sizes, density = (40_000, 10_000), 0.1
    masks = [random_mask(sizes, density, seed).bits for seed in range(10)]
    used = capacity_used(masks, sizes)
    for t in range(10):
        share = 1 - (1 - density) ** (t + 1)
        assert used[t, -1] == pytest.approx(share, abs=4 * np.sqrt(share * (1 - share) / 50_000))
    lift = reuse_lift(masks, sizes)
    np.testing.assert_allclose(lift[3:, -1], 1, atol=0.06)
    off = reuse(masks)[~np.eye(10, dtype=bool)]
    assert np.abs((off - density) / np.sqrt((1 - density) ** 2 / 50_000)).max() < 4


def test_an_empty_mask_reuses_nothing() -> None:
    masks = [bits([0, 0, 0, 0], [0, 0]), MASKS[0]]
    assert np.isnan(reuse(masks)[:, 0]).all() and reuse(masks)[0, 1] == 0
    assert np.isnan(reuse_lift(masks, SIZES)).all()

"""Gates: shares by hand, pictures of masks pixel by pixel."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from raycl.probes.gates import (
    SIDE,
    binarised,
    capacity_diagnostics,
    diagnostics_of,
    flip_share,
    gate_diagnostics,
    mask_images,
    picture,
    polarised_share,
)


@dataclass
class Drawn:
    masks: dict[int, Any]
    shapes: dict[str, tuple[int, ...]] = field(default_factory=dict)


def bits(*layers: list[int]) -> tuple[NDArray[np.uint8], ...]:
    return tuple(np.packbits(np.array(layer, bool)) for layer in layers)


def test_shares_by_hand() -> None:
    gates = [torch.tensor([0.0, 0.04, 0.05, 0.06, 0.5, 0.96]), torch.tensor([0.94, 1.0])]
    assert polarised_share(gates) == [2 / 6, 1 / 2, 3 / 8]
    assert [layer.tolist() for layer in binarised(gates)] == [
        [0b00000100],
        [0b11000000],
    ]  # one half is closed
    before, after = bits([1, 1, 0, 0], [1, 0]), bits([0, 1, 1, 0], [1, 0])
    assert flip_share(before, after, [4, 2]) == [2 / 4, 0, 2 / 6]
    found = gate_diagnostics(bits([1] * 6, [1, 1]), gates, ["a", "b"])
    assert found == {
        "flip_share": 5 / 8, "flip_share_layers": {"a": 5 / 6, "b": 0},
        "polarised_share": 3 / 8, "polarised_share_layers": {"a": 2 / 6, "b": 1 / 2},
    }  # fmt: skip


def test_figures_leave_out_what_is_undefined() -> None:
    nan = float("nan")
    found = diagnostics_of({"x": np.array([0.5, nan, 0.25]), "y": [nan, 1.0, nan]}, ["a", "b"])  # type: ignore[dict-item]
    assert found == {"x": 0.25, "x_layers": {"a": 0.5}}
    json.dumps(found, allow_nan=False)


def test_an_empty_mask_has_no_reuse() -> None:
    full, empty = bits([1, 1, 0, 0], [1, 0]), bits([0, 0, 0, 0], [0, 0])
    found = capacity_diagnostics([full, empty], [4, 2], ["a", "b"])
    assert "reuse" not in found and "reuse_lift" not in found
    assert found["kept_share"] == 0 and found["capacity_used"] == 3 / 6
    assert capacity_diagnostics([full, full], [4, 2], ["a", "b"])["reuse"] == [1.0]


def test_a_small_mask_is_its_own_picture() -> None:
    mask = np.array([[1, 0, 1], [0, 0, 1]], bool)
    drawn = picture(np.packbits([*mask.reshape(-1), 1, 1]), (2, 3))  # gates of biases come after
    assert drawn.dtype == np.uint8 and (drawn == 255 * mask).all()
    kernels = np.arange(2 * 3 * 2 * 2) % 5 == 0
    assert (picture(np.packbits(kernels), (2, 3, 2, 2)) == 255 * kernels.reshape(2, 12)).all()
    assert (picture(np.packbits([1, 0, 1]), (3,)) == [[255, 0, 255]]).all()


def test_a_large_mask_is_averaged_over_rectangles() -> None:
    rng = np.random.default_rng(0)
    mask = rng.random((2 * SIDE, 3 * SIDE)) < 0.3
    drawn = picture(np.packbits(mask), mask.shape)
    means = mask.reshape(SIDE, 2, SIDE, 3).mean((1, 3))
    assert drawn.shape == (SIDE, SIDE) and (drawn == np.rint(255 * means)).all()


@pytest.mark.parametrize("shape", [(257, 5), (3, 700), (300, 511), (2000, 1)])
def test_odd_sizes_leave_nothing_out(shape: tuple[int, int]) -> None:
    full = np.ones(shape, bool)
    assert (picture(np.packbits(full), shape) == 255).all()
    for row, column in ((0, 0), (shape[0] - 1, shape[1] - 1), (shape[0] // 2, shape[1] // 2)):
        one = np.zeros(shape, bool)
        one[row, column] = True
        drawn = picture(np.packbits(one), shape)
        assert drawn.shape == (min(shape[0], SIDE), min(shape[1], SIDE))
        assert (drawn > 0).sum() == 1


def test_a_picture_for_each_task_and_layer() -> None:
    method = Drawn({0: bits([1, 0, 0, 1, 1, 1], [1]), 2: bits([0] * 6, [0])}, {"fc1": (2, 2), "fc2": (1, 1)})
    images = mask_images(method)
    assert list(images) == [(0, "fc1"), (0, "fc2"), (2, "fc1"), (2, "fc2")]
    assert images[0, "fc1"].tolist() == [[255, 0], [0, 255]] and images[2, "fc2"].tolist() == [[0]]

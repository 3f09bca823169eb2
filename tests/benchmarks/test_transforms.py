from __future__ import annotations

import pickle

import numpy as np
import pytest
import torch

from raycl.benchmarks.families import hand
from raycl.benchmarks.pools import shuffled
from raycl.benchmarks.transforms import Channels, Permute, Rotate, Style
from raycl.tasks import Transform

PLAIN = ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0))
SOME: list[Transform] = [
    Permute(shuffled(48, 1)),
    Rotate(33),
    Style(PLAIN, 0.8, 0.1),
    hand(0, 3),
    Channels(3),
]


def batch(dtype: torch.dtype = torch.float64, height: int = 6, width: int = 8) -> torch.Tensor:
    return torch.rand(5, 1, height, width, generator=torch.manual_seed(0), dtype=torch.float64).to(dtype)


@pytest.mark.parametrize("change", SOME)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_type_stays_and_the_input_is_untouched(change: Transform, dtype: torch.dtype) -> None:
    x = batch(dtype)
    before = x.clone()
    out = change(x)
    out.add_(1)
    assert out.dtype == dtype
    assert torch.equal(x, before)


@pytest.mark.parametrize("change", SOME)
def test_samples_do_not_see_one_another(change: Transform) -> None:
    x = batch()
    assert torch.equal(change(x)[2:3], change(x[2:3]))
    assert len(change(x[:0])) == 0


@pytest.mark.parametrize("change", SOME)
def test_pickled_it_does_the_same(change: Transform) -> None:
    again = pickle.loads(pickle.dumps(change))
    assert torch.equal(again(batch()), change(batch()))


@pytest.mark.parametrize("quarter", [1, 2, 3])
@pytest.mark.parametrize("side", [7, 8])
def test_quarter_turns_are_exact(quarter: int, side: int) -> None:
    x = batch(height=side, width=side)
    assert torch.allclose(Rotate(90.0 * quarter)(x), torch.rot90(x, quarter, (2, 3)), atol=1e-12)


def test_a_turn_keeps_its_shape_on_an_oblong() -> None:
    x = torch.zeros(1, 1, 5, 9, dtype=torch.float64)
    x[0, 0, 2, 2:7] = 1  # a bar across the middle
    upright = torch.zeros_like(x)
    upright[0, 0, :, 4] = 1
    assert torch.allclose(Rotate(90)(x), upright, atol=1e-12)


def test_turning_there_and_back_restores_the_middle() -> None:
    x = torch.nn.functional.avg_pool2d(batch(height=36, width=36), 5, 1)
    back = Rotate(-20)(Rotate(20)(x))
    assert (back - x)[..., 12:20, 12:20].abs().max() < 0.1


def test_the_plain_style_changes_nothing() -> None:
    assert torch.allclose(Style(PLAIN)(batch()), batch(), atol=1e-12)


def test_contrast_turns_about_mid_grey_and_stays_a_pixel() -> None:
    x = torch.tensor([0.0, 0.25, 0.5, 1.0], dtype=torch.float64).view(1, 1, 2, 2)
    assert Style(PLAIN, contrast=2)(x).flatten().tolist() == pytest.approx([0, 0, 0.5, 1])
    assert Style(PLAIN, contrast=0.5, brightness=0.1)(x).flatten().tolist() == pytest.approx(
        [0.35, 0.475, 0.6, 0.85]
    )


def test_permute_says_where_each_pixel_comes_from() -> None:
    x = torch.arange(8.0).view(1, 2, 2, 2)
    out = Permute(np.array([3, 0, 1, 2]))(x)
    assert out.flatten().tolist() == [3, 0, 1, 2, 7, 4, 5, 6]

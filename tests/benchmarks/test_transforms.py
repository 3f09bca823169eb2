from __future__ import annotations

import pickle
from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch

from raycl.benchmarks.families import hand
from raycl.benchmarks.pools import shuffled
from raycl.benchmarks.transforms import (
    CenterCrop,
    Channels,
    CropFlip,
    Flip,
    Permute,
    RandomResizedCrop,
    Rotate,
    Scramble,
    Style,
)
from raycl.tasks import ArraySplit, Augment, Pooled, Transform, augments, training_samples

PLAIN = ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0))
SOME: list[Transform] = [
    Permute(shuffled(48, 1)),
    Rotate(33),
    Rotate(33, nearest=True),
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


def test_bytes_are_permuted_as_floats_are() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (5, 3, 6, 8), dtype=np.uint8)
    permute = Permute(shuffled(48, 2))
    assert (permute.on_bytes(pixels) == permute(torch.from_numpy(pixels)).numpy()).all()
    assert permute.on_bytes(pixels[:0]).shape == (0, 3, 6, 8)


def test_scramble_reads_planes_as_if_they_were_pixels() -> None:
    planes = torch.arange(12.0).view(1, 3, 2, 2)  # byte 3 * (2 * row + column) + channel is what comes out
    assert Scramble()(planes)[0].tolist() == [[[0, 3], [6, 9]], [[1, 4], [7, 10]], [[2, 5], [8, 11]]]


def test_the_middle_is_cut_out() -> None:
    x = torch.arange(30.0).view(1, 1, 5, 6)
    assert CenterCrop(3)(x)[0, 0].tolist() == [[7, 8, 9], [13, 14, 15], [19, 20, 21]]


AUGMENTS: list[Augment] = [CropFlip(pad=2), Flip(), RandomResizedCrop(5)]


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.Generator(np.random.PCG64(seed))


@pytest.mark.parametrize("change", AUGMENTS, ids=lambda change: type(change).__name__)
def test_a_draw_is_the_generators_and_the_input_is_untouched(change: Augment) -> None:
    x = torch.rand(40, 3, 6, 6, generator=torch.manual_seed(0))
    before = x.clone()
    out = change(x, rng())
    assert torch.equal(out, change(x, rng()))
    assert not torch.equal(out, change(x, rng(1)))
    assert torch.equal(pickle.loads(pickle.dumps(change))(x, rng()), out)
    assert out.dtype == x.dtype
    assert out.is_contiguous()
    out.add_(1)
    assert torch.equal(x, before)


def test_every_sample_is_cropped_and_mirrored_on_its_own() -> None:
    n, pad, side = 300, 2, 5
    x = torch.rand(n, 2, side, side, generator=torch.manual_seed(0))
    out = CropFlip(pad)(x, rng())
    padded = torch.nn.functional.pad(x, (pad,) * 4)
    seen = set()
    for before, after in zip(padded, out, strict=True):
        ways = {
            (top, left, mirrored)
            for top in range(2 * pad + 1)
            for left in range(2 * pad + 1)
            for mirrored in (False, True)
            if torch.equal(
                after.flip(2) if mirrored else after, before[:, top : top + side, left : left + side]
            )
        }
        assert len(ways) == 1
        seen |= ways
    assert len(seen) == 2 * (2 * pad + 1) ** 2  # all of them are drawn


def test_half_of_the_samples_are_mirrored() -> None:
    x = torch.rand(1000, 1, 3, 4, generator=torch.manual_seed(0))
    out = Flip()(x, rng())
    same, turned = ((out == y).flatten(1).all(1) for y in (x, x.flip(3)))
    assert bool((same ^ turned).all())
    assert 450 < int(turned.sum()) < 550


def test_a_random_part_of_the_whole_area_is_the_image() -> None:
    """Sides in another ratio do not fit, and the largest square is all of a square image."""
    x = torch.rand(30, 3, 8, 8, generator=torch.manual_seed(0), dtype=torch.float64)
    out = RandomResizedCrop(8, scale=(1.0, 1.0))(x, rng())
    same, mirrored = ((out - y).abs().flatten(1).amax(1) < 0.02 for y in (x, x.flip(3)))
    assert bool((same | mirrored).all())
    assert bool(same.any() and mirrored.any())


def test_a_random_part_keeps_to_its_area_and_ratio() -> None:
    ramp = torch.arange(64.0, dtype=torch.float64)
    x = torch.stack([ramp.expand(64, 64), ramp[:, None].expand(64, 64)])[None].repeat(200, 1, 1, 1)
    out = RandomResizedCrop(16, scale=(0.25, 0.5))(x, rng())
    wide = (out[:, 0, :, -1] - out[:, 0, :, 0]).abs().mean(1) * 16 / 15  # in pixels of the original
    high = (out[:, 1, -1] - out[:, 1, 0]).abs().mean(1) * 16 / 15
    area, ratio = wide * high / 64**2, wide / high
    assert 0.22 < area.min() < area.max() < 0.53
    assert 0.72 < ratio.min() < 0.85 < 1.18 < ratio.max() < 1.4


@dataclass(frozen=True)
class Doubled:
    """An augmentation that is easily told apart."""

    def __call__(self, x: torch.Tensor, rng: np.random.Generator) -> torch.Tensor:
        return x * 2


def test_augmentation_comes_before_transforms_and_only_in_training() -> None:
    images = np.arange(2 * 4, dtype=np.uint8).reshape(2, 1, 2, 2)
    rows = np.arange(2)
    plain = ArraySplit(images, rows, rows, (0.0,), (1.0,), (Permute(np.array([3, 2, 1, 0])),))
    split = replace(plain, augment=Doubled())
    assert torch.equal(split.take(rows), plain.take(rows))
    assert torch.equal(training_samples(split, rows, rng()), 2 * plain.take(rows))
    assert torch.equal(training_samples(plain, rows, rng()), plain.take(rows))
    assert augments(split) and not augments(plain)
    pooled = Pooled([(0, plain), (1, split)])
    assert augments(pooled)
    mixed = training_samples(pooled, np.array([3, 0]), rng())
    assert torch.equal(mixed, torch.cat([2 * plain.take(rows[1:]), plain.take(rows[:1])]))
    assert torch.equal(pooled.take(np.array([3, 0])), plain.take(np.array([1, 0])))


def test_a_transform_may_hand_out_what_is_not_its_own() -> None:
    """Normalising writes to no tensor that a change made: this one holds each number three times."""
    images = np.full((2, 1, 2, 2), 255, np.uint8)
    rows = np.arange(2)
    split = ArraySplit(images, rows, rows, (0.5,) * 3, (0.5,) * 3, (lambda x: x.expand(-1, 3, -1, -1),))
    assert split.take(rows).tolist() == torch.ones(2, 3, 2, 2).tolist()

"""Top-k against sorting, straight-through gradients, bits, names of layers."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from raycl.masks import (
    Held,
    Keep,
    TopK,
    _top_k_without_waiting,
    annealed,
    bits_of,
    bits_where,
    count_kept,
    keep_,
    layers_of,
    numbers,
    pack,
    top_k,
    unpack,
    weights_of,
)
from raycl.methods.piggyback import TAU
from raycl.registry import network
from tests.helpers import facts


@pytest.mark.parametrize("density", [0.0, 0.01, 0.05, 0.3, 0.5, 0.9, 0.99, 1.0])
@pytest.mark.parametrize("shape", [(1,), (7,), (30, 20), (6, 5, 3, 3)])
def test_top_k_is_what_sorting_gives(shape: tuple[int, ...], density: float) -> None:
    generator = torch.Generator().manual_seed(3)
    ranks = torch.rand(shape, generator=generator)
    n = ranks.numel()
    order = ranks.reshape(-1).argsort()
    wanted = torch.zeros(n)
    wanted[order[int((1 - density) * n) :]] = 1.0
    mask = top_k(ranks, density)
    assert torch.equal(mask.reshape(-1), wanted) and mask.shape == ranks.shape
    assert int(mask.sum()) == count_kept(n, density) == n - int((1 - density) * n)


def test_floating_point_of_the_papers_code() -> None:
    assert count_kept(10, 0.9) == 10 and count_kept(10, 0.8) == 9  # (1 - 0.9) * 10 is just below 1


def test_among_equals_the_later_is_kept() -> None:
    ranks = torch.tensor([0.5, 0.2, 0.5, 0.9, 0.5])
    assert top_k(ranks, 0.6).tolist() == [0, 0, 1, 1, 1]
    assert top_k(torch.zeros(8), 0.5).tolist() == [0, 0, 0, 0, 1, 1, 1, 1]


@pytest.mark.parametrize("levels", [1, 3, 50, 10**6])
@pytest.mark.parametrize("density", [0.01, 0.3, 0.5, 0.9, 0.99])
def test_the_form_that_does_not_wait_keeps_the_same_entries(levels: int, density: float) -> None:
    """An accelerator takes this form; with few levels most entries are equal to the threshold."""
    ranks = torch.randint(levels, (400,), generator=torch.Generator().manual_seed(levels)).float()
    wanted = top_k(ranks, density)
    assert torch.equal(_top_k_without_waiting(ranks, count_kept(400, density)), wanted.bool())


def test_dtype_is_that_of_the_ranks_and_nothing_is_written() -> None:
    ranks = torch.rand(20, dtype=torch.float64)
    copy = ranks.clone()
    assert top_k(ranks, 0.3).dtype == torch.float64 and torch.equal(ranks, copy)


def test_gradient_goes_straight_through() -> None:
    ranks = torch.rand(6, requires_grad=True)
    coefficients = torch.arange(6.0)
    (TopK.apply(ranks, 0.5) * coefficients).sum().backward()
    assert ranks.grad is not None and torch.equal(ranks.grad, coefficients)


@pytest.mark.parametrize("shape", [(1,), (8,), (9,), (3, 5), (4, 3, 3, 3)])
def test_bits_go_there_and_back(shape: tuple[int, ...]) -> None:
    mask = (torch.rand(shape) < 0.4).float()
    bits = pack(mask)
    assert len(bits) == -(-mask.numel() // 8)
    assert torch.equal(unpack(bits, shape), mask)


def test_annealing_is_linear_and_ends_exactly() -> None:
    values = [annealed(i, 101, 400.0) for i in range(101)]
    steps = [b - a for a, b in itertools.pairwise(values)]
    assert values[0] == 1 / 400 and values[-1] == 400.0
    assert steps == pytest.approx([steps[0]] * 100)


def test_layers_have_names_by_kind_and_place() -> None:
    net = network("alexnet")
    with torch.device("meta"):
        body = net((3, 32, 32), (2, 2), net.Config())  # type: ignore[call-arg]
    assert list(layers_of(body.body)) == ["conv1", "conv2", "conv3", "fc1", "fc2"]
    assert list(weights_of(body))[-2:] == ["heads.0.weight", "heads.1.weight"]
    assert list(weights_of(nn.Linear(2, 3))) == ["weight"]


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32, torch.float64])
def test_held_entries_are_put_back_bit_for_bit_and_no_other_changes(dtype: torch.dtype) -> None:
    generator = torch.Generator().manual_seed(3)
    before = torch.randn(7, 5, generator=generator).to(dtype)
    before[0, :3] = torch.tensor([-0.0, float("inf"), float("nan")])
    which = torch.rand(7, 5, generator=generator) < 0.5
    which[0, :3] = True
    held = Held.of(before, which)
    after = torch.randn(7, 5, generator=generator).to(dtype)
    after[1, 0] = float("nan")
    wanted = torch.where(which, before, after)
    held.put_back(after)
    assert facts.same_bits(after, wanted)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("comparison", [torch.gt, torch.ge, torch.lt, torch.ne], ids=lambda f: f.__name__)
@pytest.mark.parametrize("threshold", [0, TAU])
def test_numbers_and_bits_are_those_of_the_comparison(
    dtype: torch.dtype, comparison: Callable[..., Tensor], threshold: float
) -> None:
    places = [0.0, -0.0, TAU, -TAU, 0.5, float("inf"), float("-inf"), float("nan"), 1e-44]
    x = torch.tensor(places, dtype=dtype).repeat(9)[1:].view(8, 10).t().requires_grad_()
    x = torch.cat([x, x.nextafter(torch.tensor(1.0, dtype=dtype)), x.nextafter(-torch.ones((), dtype=dtype))])
    wanted = comparison(x, threshold)
    found = numbers(comparison, x, threshold)
    assert found.dtype == dtype and torch.equal(found, wanted.to(dtype)) and not found.requires_grad
    assert torch.equal(bits_where(comparison, x, threshold), bits_of(wanted, dtype))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_keeping_by_bits_is_where_bit_for_bit(dtype: torch.dtype) -> None:
    """Infinities, NaN and -0.0 among what is kept and what is not; the gradient too."""
    x = torch.tensor(
        [1.5, -0.0, float("inf"), float("nan"), -2.0, float("-inf"), float("nan"), 0.0], dtype=dtype
    )
    mask = torch.tensor([1, 1, 1, 1, 0, 0, 0, 0], dtype=torch.bool)
    bits = bits_of(mask, dtype)
    left, right = (x.clone().requires_grad_() for _ in range(2))
    found, wanted = Keep.apply(left, bits), torch.where(mask, right, 0.0)
    assert found.detach().numpy().tobytes() == wanted.detach().numpy().tobytes()
    found.backward(x)
    wanted.backward(x)
    assert left.grad is not None and right.grad is not None
    assert left.grad.numpy().tobytes() == right.grad.numpy().tobytes()
    inside = x.clone()
    keep_(inside, bits)
    assert inside.numpy().tobytes() == x.clone().masked_fill_(~mask, 0.0).numpy().tobytes()

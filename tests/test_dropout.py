"""Dropout from 16 random bits: its rate, its scale, its independence, and where it is torch's own."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F

from raycl.networks._dropout import dropout


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(3)


@pytest.mark.parametrize("rate", [0.2, 0.25, 0.5, 0.9])
def test_elements_are_dropped_at_the_rate_and_the_others_scaled(rate: float) -> None:
    x = torch.ones(1000, 401)  # not a multiple of four
    found = dropout(x, rate, True)
    kept = found != 0
    scale = 65536 / round((1 - rate) * 65536)
    assert torch.equal(found, kept * torch.tensor(scale))
    deviation = math.sqrt(rate * (1 - rate) / x.numel())
    assert abs(float((~kept).double().mean()) - rate) < 5 * deviation
    for part in (0, 1, 2, 3):  # each of the four slices of an integer, whose highest bit is random as well
        own = kept.reshape(-1)[part::4].double().mean()
        assert abs(float(1 - own) - rate) < 10 * deviation


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_an_element_is_kept_where_its_sixteen_bits_are_below_the_threshold(dtype: torch.dtype) -> None:
    x = torch.randn(8, 16, 64, 61, dtype=dtype).contiguous(memory_format=torch.channels_last)
    state = torch.get_rng_state()
    found = dropout(x, 0.5, True)
    torch.set_rng_state(state)
    words = torch.empty(math.ceil(x.numel() / 4), dtype=torch.int64).random_(-(2**63), None).numpy()
    drawn = torch.from_numpy(words.view("int16")[: x.numel()].reshape(x.shape).astype("int64"))
    assert (drawn == 0).any() and (drawn == -1).any()  # both sides of the threshold
    assert torch.equal(found, torch.where(drawn < 0, 2 * x, 0.0))


def test_neighbours_are_independent() -> None:
    kept = (dropout(torch.ones(400_000), 0.5, True) != 0).double() - 0.5
    for lag in (1, 2, 3, 4, 5, 8, 16):
        assert abs(float((kept[lag:] * kept[:-lag]).mean()) * 4) < 5 / math.sqrt(len(kept))


def test_the_gradient_has_the_same_mask() -> None:
    x = torch.randn(64, 30, requires_grad=True)
    found = dropout(x, 0.3, True)
    found.sum().backward()
    assert x.grad is not None
    assert torch.equal(x.detach() * x.grad, found.detach())


def test_nothing_is_drawn_without_a_rate_or_outside_of_training() -> None:
    x = torch.randn(5, 5)
    before = torch.get_rng_state()
    assert dropout(x, 0.5, False) is x and dropout(x, 0.0, True) is x
    assert dropout(x, 1e-6, True) is x  # rounds to 0
    assert torch.equal(torch.get_rng_state(), before)


def test_the_extreme_rates_keep_something() -> None:
    found = dropout(torch.ones(2_000_000), 1 - 1e-9, True)
    assert 0 < int((found != 0).sum()) < 200 and float(found.max()) == 65536.0


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
def test_the_type_of_the_input_stays(dtype: torch.dtype) -> None:
    assert dropout(torch.ones(9, dtype=dtype), 0.5, True).dtype == dtype
    assert dropout(torch.ones(0, 3, dtype=dtype), 0.5, True).shape == (0, 3)


def test_a_seed_gives_the_same_elements_whatever_the_number_of_threads() -> None:
    found, threads = [], torch.get_num_threads()
    for number in (1, 2):
        torch.set_num_threads(number)
        torch.manual_seed(7)
        found.append(dropout(torch.ones(300_001), 0.5, True))
    torch.set_num_threads(threads)
    assert torch.equal(*found)


def test_other_devices_use_the_dropout_of_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[float, bool]] = []
    monkeypatch.setattr(F, "dropout", lambda x, rate, training: (asked.append((rate, training)), x)[1])
    dropout(torch.ones(3, device="meta"), 0.5, True)
    assert asked == [(0.5, True)]

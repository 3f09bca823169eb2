"""Random streams: the same numbers for a name, everywhere and for ever; others for every other name."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
import torch

from raycl import streams


def test_a_name_means_the_same_numbers_for_ever() -> None:
    name = b"raycl/7/order/2/main/3"
    assert (
        streams.seed_of(7, "order", 2, "main", 3)
        == int.from_bytes(hashlib.sha256(name).digest()[:8], "big") >> 1
    )
    assert streams.seed_of(1, "init") == 8597969179021078817
    assert streams.numpy_generator(1, "order", 0, "main", 0).permutation(8).tolist() == [
        7,
        1,
        6,
        3,
        4,
        5,
        2,
        0,
    ]


def test_every_part_of_the_name_counts() -> None:
    base: tuple[int, streams.Purpose, int, str, int] = (1, "order", 2, "main", 3)
    others: list[tuple[int, streams.Purpose, int, str, int]] = [
        (2, "order", 2, "main", 3), (1, "dropout", 2, "main", 3), (1, "order", 3, "main", 3),
        (1, "order", 2, "prune", 3), (1, "order", 2, "main", 4), (1, "order", -1, "main", -1),
    ]  # fmt: skip
    seeds = {streams.seed_of(*name) for name in (base, *others)}
    assert len(seeds) == 7 and all(0 <= seed < 2**63 for seed in seeds)


def test_generators_do_not_touch_one_another() -> None:
    before = torch.get_rng_state()
    a = streams.numpy_generator(3, "memory")
    np.testing.assert_array_equal(a.random(5), streams.numpy_generator(3, "memory").random(5))
    assert torch.equal(before, torch.get_rng_state())


def test_torch_draws_from_the_stream_from_here_on() -> None:
    draws = []
    for disturb in (1, 2):
        torch.manual_seed(disturb)
        streams.reseed(4, "dropout", 1)
        draws.append(torch.rand(6))
    assert torch.equal(*draws)
    streams.reseed(4, "dropout", 2)
    assert not torch.equal(torch.rand(6), draws[0])


def test_an_unknown_purpose_is_our_mistake() -> None:
    with pytest.raises(AssertionError):
        streams.seed_of(1, "whatever")  # type: ignore[arg-type]

"""Masks as they are stored: bits and factors by hand, and back again bit for bit."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from raycl.probes.kernels import mask_diagnostics, packed


def test_binary_by_hand() -> None:
    mask = torch.tensor([[1.0, 0, 1], [0, 0, 1], [1, 1, 1]])
    found = packed(mask, mask)
    assert found.shape == (3, 3) and found.minus is None and found.rest is None
    assert found.kept.tolist() == [0b10100111, 0b10000000]  # row by row, the rest filled with 0
    assert (found.bits, found.nbytes) == (9, 2)
    assert torch.equal(found.tensor(mask), mask)


def test_ternary_by_hand() -> None:
    mask = torch.tensor([1.0, -1, 0, -1])
    found = packed(mask, mask, ternary=True)
    assert found.kept.tolist() == [0b10000000] and found.minus is not None
    assert found.minus.tolist() == [0b01010000] and (found.bits, found.nbytes) == (8, 2)
    assert torch.equal(found.tensor(mask), mask)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_soft_by_hand(dtype: torch.dtype) -> None:
    kept = torch.tensor([[1.0, 0], [0, 1], [0, 0]], dtype=dtype)
    mask = torch.tensor([[1.0, 1 / 3], [0, 1], [-0.0, 1]], dtype=dtype)  # a factor may be 1 or 0 too
    found = packed(kept, mask, soft=True)
    assert found.kept.tolist() == [0b10010000] and found.rest is not None
    assert found.rest.tolist() == mask[kept == 0].tolist() and found.rest.dtype == np.dtype(str(dtype)[6:])
    assert (found.bits, found.nbytes) == (6, 1 + 4 * dtype.itemsize)
    back = found.tensor(mask)
    assert back.dtype == dtype and back.numpy().tobytes() == mask.numpy().tobytes()


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_any_mask_comes_back(share: float) -> None:
    torch.manual_seed(0)
    kept = (torch.rand(7, 5, 1, 1) < share).float()
    mask = kept + (1 - kept) * 0.5 * torch.rand(kept.shape)
    found = packed(kept, mask, soft=True)
    assert torch.equal(found.tensor(torch.empty(0)), mask)
    assert found.nbytes == 5 + 4 * int((kept == 0).sum())


def test_shares_of_layers_and_of_all() -> None:
    first, second = torch.tensor([1.0, 0, 0, 0]), torch.tensor([[1.0, -1], [0, 1], [1, 1]])
    masks = [packed(first, first + 0.2 * (first == 0), soft=True), packed(second, second, ternary=True)]
    assert mask_diagnostics(masks, {"conv1": "body.0.weight", "fc1": "body.1.weight"}) == {
        "one_share": 5 / 10,
        "one_share_layers": {"conv1": 1 / 4, "fc1": 4 / 6},
        "soft_share": 5 / 10,
        "soft_share_layers": {"conv1": 3 / 4, "fc1": 1 - 4 / 6},
        "mask_bits": 4 + 2 * 6,
    }

"""Masks of scores by all rules and with all kinds of values, worked out by hand."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from raycl import streams
from raycl.supermasks.edge_popup import draw_scores, mask_of

SCORES = [0.5, -4.0, 0.0, 1.0, -2.0, 3.0]
CASES: dict[
    str, tuple[list[float], list[float]]
] = {  # half is kept; gradients of sum(w * mask), w = 1, 2, ..
    "binary": ([0, 1, 0, 0, 1, 1], [1, -2, 0, 4, -5, 6]),
    "signed": ([0, -1, 0, 0, -1, 1], [1, 2, 3, 4, 5, 6]),
    "soft": ([0, 1, 0, 0, 0.5, 0.75], [0.25, -0.5, 0, 1, -1.25, 1.5]),
    "signed_soft": ([0, -1, 0, 0, -0.5, 0.75], [0.25, 0.5, 0.75, 1, 1.25, 1.5]),
    "weight_norm": ([0.125, 1, 0, 0.25, 0.5, 0.75], [0.25, -0.5, 0, 1, -1.25, 1.5]),
    "signed_weight_norm": ([0.125, -1, 0, 0.25, -0.5, 0.75], [0.25, 0.5, 0.75, 1, 1.25, 1.5]),
}


def values_and_gradient(**rules: Any) -> tuple[list[float], list[float]]:
    scores = torch.tensor(SCORES, requires_grad=True)
    mask = mask_of(scores.view(2, 3), 0.5, **rules)
    assert mask.shape == (2, 3)
    (mask.view(-1) * torch.arange(1.0, 7.0)).sum().backward()
    assert scores.grad is not None
    return mask.detach().view(-1).tolist(), scores.grad.tolist()


@pytest.mark.parametrize("values", CASES)
def test_values_of_masks(values: str) -> None:
    assert values_and_gradient(values=values) == CASES[values]


def test_ranks() -> None:
    straight = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]
    assert values_and_gradient(rank="raw") == ([1, 0, 0, 1, 0, 1], straight)
    assert values_and_gradient(rule="threshold") == ([1, 0, 1, 1, 0, 1], straight)
    assert values_and_gradient(rank="raw", values="signed")[0] == [1, 0, 0, 1, 0, 1]


def test_the_density_does_not_matter_where_all_are_kept() -> None:
    scores = torch.tensor(SCORES)
    masks = [mask_of(scores, density, values="signed_weight_norm") for density in (0.0, 0.5, 1.0)]
    assert torch.equal(masks[0], masks[1]) and torch.equal(masks[1], masks[2])
    assert torch.equal(masks[0], scores / 4)


def test_scores_from_a_generator_leave_the_common_stream_alone() -> None:
    def drawn(seed: int) -> Tensor:
        return draw_scores(torch.zeros(20, 9), torch.Generator().manual_seed(seed))

    streams.reseed(0, "method")
    before = torch.get_rng_state()
    assert torch.equal(drawn(1), drawn(1)) and not torch.equal(drawn(1), drawn(2))
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(1)
    assert torch.equal(draw_scores(torch.zeros(20, 9)), drawn(1))
    assert float(drawn(1).abs().max()) <= 1 / math.sqrt(9)

"""Edge-popup: a fixed random weight, a score per weight, and the mask that keeps the best of them.

Ramanujan et al., CVPR 2020, arXiv 1911.13299; many tasks on one backbone: Wortsman et al., NeurIPS 2020,
arXiv 2006.14769.
"""

from __future__ import annotations

import math
from typing import Any, Literal, TypeAlias

import torch
from torch import Tensor

from raycl.masks import TopK

Backbone: TypeAlias = Literal["signed_constant", "kaiming_normal"]
Rank: TypeAlias = Literal["abs", "raw"]
Rule: TypeAlias = Literal["uniform", "er", "threshold"]


def fan_in(weight: Tensor) -> int:
    """Inputs of a unit of a linear or convolution weight."""
    return math.prod(weight.shape[1:])


def fixed_weight(initial: Tensor, kind: Backbone) -> Tensor:
    """A weight to freeze: the signs of the initial one at a constant size, or drawn anew from a normal.

    Both have the spread sqrt(2 / fan_in). Numbers are drawn on the CPU, the same for every device.
    """
    size = math.sqrt(2 / fan_in(initial))
    if kind == "signed_constant":
        return initial.detach().sign() * size
    drawn = torch.empty(initial.shape, dtype=initial.dtype, device="cpu").normal_(0, size)
    return drawn.to(initial.device)


def draw_scores(weight: Tensor) -> Tensor:
    """Initial scores, Kaiming uniform with a = sqrt(5): U(-b, b) with b = 1 / sqrt(fan_in)."""
    bound = 1 / math.sqrt(fan_in(weight))
    drawn = torch.empty(weight.shape, dtype=weight.dtype, device="cpu").uniform_(-bound, bound)
    return drawn.to(weight.device)


def density_of(weight: Tensor, density: float, rule: Rule) -> float:
    """Share of ones in a layer. Erdős–Rényi: min(0.5, c (out + in)/(out in area)) with c = 100 density.

    The budget c is in hundredths because the figures of ImpressLearn write {5, 8, .., 30}e-2 for what its
    code passes on as {5, 8, .., 30}.
    """
    if rule != "er":
        return density
    out, inputs = weight.shape[:2]
    return min(0.5, 100 * density * (out + inputs) / weight.numel())


def mask_of(scores: Tensor, density: float, rank: Rank = "abs", rule: Rule = "uniform") -> Tensor:
    """The layer's mask, 0.0 and 1.0; its gradient goes straight through to the ranks."""
    if rule == "threshold":
        mask: Tensor = Positive.apply(scores)
    else:
        ranks = scores.abs() if rank == "abs" else scores
        mask = TopK.apply(ranks, density)
    return mask


class Positive(torch.autograd.Function):
    """1.0 where a score is at least 0, the gradient straight through."""

    @staticmethod
    def forward(ctx: Any, scores: Tensor) -> Tensor:
        return (scores >= 0).to(scores.dtype)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        return gradients[0]

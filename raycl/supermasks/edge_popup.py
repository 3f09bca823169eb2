"""Edge-popup: a fixed random weight, a score per weight, and the mask that keeps the best of them.

Ramanujan et al., CVPR 2020, arXiv 1911.13299; many tasks on one backbone: Wortsman et al., NeurIPS 2020,
arXiv 2006.14769.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from raycl.masks import TopK
from raycl.specs import BackboneInit, DensityRule, MaskValues, ScoreRank


def fan_in(weight: Tensor) -> int:
    """Inputs of a unit of a linear or convolution weight."""
    return math.prod(weight.shape[1:])


def fixed_weight(initial: Tensor, kind: BackboneInit) -> Tensor:
    """A weight to freeze: the signs of the initial one at a constant size, or drawn anew from a normal.

    Both have the spread sqrt(2 / fan_in). Numbers are drawn on the CPU, the same for every device.
    """
    size = math.sqrt(2 / fan_in(initial))
    if kind == "signed_constant":
        return initial.detach().sign() * size
    drawn = torch.empty(initial.shape, dtype=initial.dtype, device="cpu").normal_(0, size)
    return drawn.to(initial.device)


def draw_scores(weight: Tensor, generator: torch.Generator | None = None) -> Tensor:
    """Initial scores, Kaiming uniform with a = sqrt(5): U(-b, b) with b = 1 / sqrt(fan_in).

    Args:
        generator: of the CPU; by default torch's own stream.
    """
    bound = 1 / math.sqrt(fan_in(weight))
    drawn = torch.empty(weight.shape, dtype=weight.dtype, device="cpu")
    return drawn.uniform_(-bound, bound, generator=generator).to(weight.device)


def density_of(weight: Tensor, density: float, rule: DensityRule) -> float:
    """Share of ones in a layer. Erdős–Rényi: min(0.5, c (out + in)/(out in area)) with c = 100 density.

    The budget c is in hundredths because the figures of ImpressLearn write {5, 8, .., 30}e-2 for what its
    code passes on as {5, 8, .., 30}.
    """
    if rule != "er":
        return density
    out, inputs = weight.shape[:2]
    return min(0.5, 100 * density * (out + inputs) / weight.numel())


def mask_of(
    scores: Tensor,
    density: float,
    rank: ScoreRank = "abs",
    rule: DensityRule = "uniform",
    values: MaskValues = "binary",
) -> Tensor:
    """The layer's mask in the shape of its scores.

    Binary masks are 0.0 and 1.0, and their gradient goes straight through to the ranks. The others are
    variants (ImpressLearn A.5): `signed` has the sign of each kept score, `soft` its |S| / max|S|, and
    `signed_soft` both; `weight_norm` and `signed_weight_norm` are the soft ones of all scores, whatever the
    density. Their gradient goes to dropped scores as well, and takes the maximum for a constant.
    """
    mask: Tensor
    if values in ("weight_norm", "signed_weight_norm"):
        mask = torch.ones_like(scores)
    elif rule == "threshold":
        mask = Positive.apply(scores)
    else:
        mask = TopK.apply(scores.abs() if rank == "abs" else scores, density)
    if values == "binary":
        return mask
    kept, bare = mask.detach(), scores.detach()
    if values == "signed":
        mask = Through.apply(scores, kept * bare.sign())
    else:
        shares = (scores if values.startswith("signed") else scores.abs()) / bare.abs().max()
        mask = Through.apply(shares, kept * shares.detach())
    return mask


class Through(torch.autograd.Function):
    """The second tensor forward, the gradient straight through to the first."""

    @staticmethod
    def forward(ctx: Any, scores: Tensor, mask: Tensor) -> Tensor:
        return mask

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        return gradients[0], None


class Positive(torch.autograd.Function):
    """1.0 where a score is at least 0, the gradient straight through."""

    @staticmethod
    def forward(ctx: Any, scores: Tensor) -> Tensor:
        return (scores >= 0).to(scores.dtype)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        return gradients[0]

"""Edge-popup: fixed random weights, a trained score per weight, and the mask of the weights with top scores.

Edge-popup is by Ramanujan et al., CVPR 2020, arXiv 1911.13299; its use for many tasks on one backbone is by
Wortsman et al., NeurIPS 2020, arXiv 2006.14769.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from raycl.masks import TopK, numbers
from raycl.specs import BackboneInit, DensityRule, MaskValues, ScoreRank


def fan_in(weight: Tensor) -> int:
    """Return the number of inputs of a unit, from the weight of a linear or convolutional layer."""
    return math.prod(weight.shape[1:])


def fixed_weight(initial: Tensor, kind: BackboneInit) -> Tensor:
    """Return a weight to freeze.

    It has either the signs of the initial weight and a constant magnitude ("signed_constant"), or is drawn
    from a normal distribution. In both cases the standard deviation is sqrt(2 / fan_in). Random numbers are
    drawn on the CPU, so that they are the same on every device.
    """
    size = math.sqrt(2 / fan_in(initial))
    if kind == "signed_constant":
        return initial.detach().sign() * size
    drawn = torch.empty(initial.shape, dtype=initial.dtype, device="cpu").normal_(0, size)
    return drawn.to(initial.device)


def draw_scores(weight: Tensor, generator: torch.Generator | None = None) -> Tensor:
    """Draw initial scores, Kaiming uniform with a = sqrt(5): U(-b, b) with b = 1 / sqrt(fan_in).

    Args:
        weight: Weight whose shape, dtype and device the scores take.
        generator: A generator on the CPU; by default PyTorch's global one.
    """
    bound = 1 / math.sqrt(fan_in(weight))
    drawn = torch.empty(weight.shape, dtype=weight.dtype, device="cpu")
    return drawn.uniform_(-bound, bound, generator=generator).to(weight.device)


def density_of(weight: Tensor, density: float, rule: DensityRule) -> float:
    """Return the share of ones in a layer.

    With the rule "er" (Erdős–Rényi) it is min(0.5, c (out + in) / (out in area)) with c = 100 density; with
    any other it is the density. The factor 100 is there because the plots of ImpressLearn write
    {5, 8, .., 30}e-2 for the values {5, 8, .., 30} that its code uses as c.
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
    """Return the mask of a layer in the shape of its scores.

    The entries of binary masks are 0.0 and 1.0, and their gradient is passed straight through to the ranks
    (the scores or their absolute values). The other kinds are variants (ImpressLearn section 5): `signed` has
    the sign of each kept score S, `soft` has |S| / max|S|, and `signed_soft` has S / max|S|; `weight_norm`
    and `signed_weight_norm` are like the two soft kinds, but keep all scores, whatever the density. Their
    gradient reaches dropped scores as well, and treats the maximum as a constant.
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
    """Straight-through estimator: the second tensor forwards; the gradient goes to the first unchanged."""

    @staticmethod
    def forward(ctx: Any, scores: Tensor, mask: Tensor) -> Tensor:
        return mask

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        return gradients[0], None


class Positive(torch.autograd.Function):
    """Straight-through step function: 1.0 where a score is at least 0; the gradient is passed unchanged."""

    @staticmethod
    def forward(ctx: Any, scores: Tensor) -> Tensor:
        return numbers(torch.ge, scores, 0)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        return gradients[0]

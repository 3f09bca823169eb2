"""Kernel-wise soft masks (KSM): Yang et al., CVPR 2021.

KSM differs from `piggyback` in that masks have a value per kernel instead of per weight, kernels below the
threshold are scaled instead of dropped, and the gradient is that of a sigmoid instead of a straight-through
gradient.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal

import torch
from torch import Tensor

from raycl.masks import numbers
from raycl.methods.piggyback import TAU, Piggyback
from raycl.space import Choice


class KSM(Piggyback):
    """Masks that keep kernels at or above the threshold unchanged and scale the others.

    Equations:
        V[l] = (B[l] + A[l]) W[l]                                 (eqs. 3 and 4)
        A = (r - min r) / (2 (max r - min r)) where r != 0, else 0       (eq. 5)
        r = (1 - B) R
        pi = sigmoid(slope (R - 0.005))                           (eqs. 6 and 8)
        B = 1 where pi >= 1/2, else 0
        dL/dR = slope pi (1 - pi) dL/dM                          (eqs. 9 and 10)

        M         B + A; no gradient flows through A
        R         a real value for each kernel, which all its weights share, and
                  for each weight of a linear layer
        min, max  over the layer, including the zeros of r; A = 0 if they agree
        slope     k/T of the paper
    """

    deviations: ClassVar[Sequence[str]] = (
        "kernels with large real values are kept, as in the released code; eq. 8 is printed with the other "
        "class",
        "slope 12 of the sigmoid is the code's k/T; the paper prints neither k nor T",
        "the normalisation of eq. 5 is that of the code, halved; a layer of equal values gets 0, not NaN",
        "each task has its own scales, shifts and statistics of batch normalisations, as in the code",
        "the softmax of eq. 8 draws no noise, as in the code; the text speaks of sampling",
        "hidden linear layers have masks as well, with a value per weight; the text speaks of convolutions",
    )
    deviations_lifted: ClassVar[Sequence[str]] = ("a weight is kept", "batch normalisations stay")

    @dataclass(frozen=True, kw_only=True)
    class Config(Piggyback.Config):
        granularity: Literal["element", "kernel"] = "kernel"
        soft: bool = True
        bn_mode: Literal["frozen", "stats", "affine_stats"] = "affine_stats"
        slope: Annotated[float, Choice(3.0, 12.0, 48.0)] = 12.0  # k/T of eq. 6 and 8

        def __post_init__(self) -> None:
            super().__post_init__()
            if self.slope <= 0:
                raise ValueError(f"slope = {self.slope} must be above 0")
            if self.values == "ternary":
                raise ValueError("values = 'ternary' is not possible with ksm's sigmoid: use piggyback")

    config: Config

    def kept(self, real: Tensor) -> Tensor:
        kept: Tensor = SigmoidThreshold.apply(real, self.config.slope)
        return kept


def kept_probability(real: Tensor, slope: float) -> Tensor:
    """Return pi = sigmoid(slope (R - tau)), of the shape of R.

    This is class 1 of eq. 8 applied to eq. 6: the logit of q is k (R - tau), divided by a temperature T.
    """
    return torch.sigmoid(slope * (real - TAU))


class SigmoidThreshold(torch.autograd.Function):
    """Threshold that is 1 where R >= tau (pi >= 0.5), with the gradient of pi (eq. 9, 10).

    That gradient is slope pi (1 - pi).
    """

    @staticmethod
    def forward(ctx: Any, real: Tensor, slope: float) -> Tensor:
        ctx.save_for_backward(real)
        ctx.slope = slope
        return numbers(torch.ge, real, TAU)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        (real,) = ctx.saved_tensors
        away = (real - TAU).abs_().mul_(-ctx.slope).sigmoid_()  # the smaller of pi and 1 - pi
        return (1 - away).mul_(away).mul_(gradients[0]).mul_(ctx.slope), None  # precise near pi = 1

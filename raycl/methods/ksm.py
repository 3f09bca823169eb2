"""Kernel-wise soft masks (KSM): Yang et al., CVPR 2021.

As `piggyback`, with a value per kernel instead of per weight, with factors for the kernels that are dropped,
and with the gradient of a sigmoid instead of one straight through.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal

import torch
from torch import Tensor

from raycl.methods.piggyback import TAU, Piggyback
from raycl.space import Choice


class KSM(Piggyback):
    """Kernels at or above the threshold are kept whole, the others are scaled."""

    deviations: ClassVar[Sequence[str]] = (
        "large real values are kept, as in the released code; eq. 8 is printed with the other class",
        "slope 12 of the sigmoid is the code's k/T; the paper prints neither",
        "the normalisation of eq. 5 is the code's, halved; a layer of equal values gets 0, not NaN",
        "scales, shifts and statistics of batch normalisations are a task's own, as in the code",
        "the presets keep the weights of the last epoch, the code those that are best on the test data",
    )

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
                raise ValueError("values = 'ternary' has no sigmoid: take piggyback for it")

    config: Config

    def kept(self, real: Tensor) -> Tensor:
        kept: Tensor = SigmoidThreshold.apply(real, self.config.slope)
        return kept


def kept_probability(real: Tensor, slope: float) -> Tensor:
    """pi = sigmoid(slope (R - tau)), of R's shape.

    That is class 1 of eq. 8 over eq. 6: the logit of q is k (R - tau), and a temperature T divides it.
    """
    return torch.sigmoid(slope * (real - TAU))


class SigmoidThreshold(torch.autograd.Function):
    """1 where R >= tau, that is pi >= 0.5; the gradient is that of pi, slope pi (1 - pi) (eq. 9, 10)."""

    @staticmethod
    def forward(ctx: Any, real: Tensor, slope: float) -> Tensor:
        ctx.save_for_backward(real)
        ctx.slope = slope
        return (real >= TAU).to(real)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        (real,) = ctx.saved_tensors
        away = torch.sigmoid((real - TAU).abs_().mul_(-ctx.slope))  # the smaller of pi and 1 - pi
        return (1 - away).mul_(away).mul_(gradients[0]).mul_(ctx.slope), None  # no digits lost near 1

"""Helpers of CPG: picks and their training, the pruning schedule of a stage, and snapshots of tensors."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor

from raycl.masks import Keep, bits_where, keep_
from raycl.methods.piggyback import TAU
from raycl.tasks import Batch
from raycl.training.fit import Fitted
from raycl.training.rules import Adam


class Picker:
    """Adam on real values, with a fifth of the rate from epoch `milestone` on and no steps from `stop` on."""

    def __init__(self, real: Sequence[Tensor], lr: float, milestone: float, stop: float) -> None:
        self.adam = Adam(real, lr=lr, weight_decay=0.0)
        self.lr, self.milestone, self.stop = lr, milestone, stop

    def step(self, epoch: int) -> None:
        """Update the real values by their gradients, and clear the gradients."""
        self.adam.param_groups[0]["lr"] = self.lr * (0.2 if epoch >= self.milestone else 1.0)
        if epoch < self.stop:
            self.adam.step()
        self.adam.zero_grad()


class Snapshot:
    """Copies of tensors from which their values can be restored."""

    def __init__(self, tensors: Iterable[Tensor]) -> None:
        self.pairs = [(tensor, tensor.detach().clone()) for tensor in tensors]

    @torch.no_grad()
    def restore(self) -> None:
        """Write the copies back into the tensors."""
        for tensor, copy in self.pairs:
            tensor.copy_(copy)


def due(batch: Batch, ramp: tuple[float, float], ramp_epochs: int, epochs: int, every: int) -> float | None:
    """Return the share that should be cut by this step of a stage, or None if no cut is made at this step.

    The share follows a cubic from the share before the stage to its target. The ramp ends after
    `ramp_epochs`, or at the last step of a shorter stage.

    Args:
        batch: Present batch, which tells the step.
        ramp: Shares cut before the stage and at its end.
        ramp_epochs: Epochs in which the share rises.
        epochs: Epochs of the stage.
        every: Number of steps between two cuts.
    """
    steps = min(ramp_epochs * batch.of, epochs * batch.of - 1)
    now = batch.epoch * batch.of + batch.index
    if now > steps or (now < steps and now % every):
        return None
    before, target = ramp
    left = 1 - now / steps if steps else 0.0
    return target + (before - target) * left**3


class Picked(torch.autograd.Function):
    """Weights while picks are trained: the task's own, and older ones whose real value R exceeds tau.

    ``Picked.apply(weight, real, own, older)`` sets all other weights to 0. `own` and `older` have the form of
    `raycl.masks.bits_of`. The gradient of R is that of the mask, straight through the threshold (Piggyback),
    where a weight is older, and 0 elsewhere.
    """

    @staticmethod
    def forward(ctx: Any, weight: Tensor, real: Tensor, own: Tensor, older: Tensor) -> Tensor:
        bits = bits_where(torch.gt, real, TAU).bitwise_and_(older).bitwise_or_(own)
        ctx.save_for_backward(weight, bits, older)
        return (weight.view(bits.dtype) & bits).view(weight.dtype)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, None, None]:
        weight, bits, older = ctx.saved_tensors
        of_mask = gradients[0] * weight
        keep_(of_mask, older)
        return Keep.apply(gradients[0], bits), of_mask, None, None


def judged(fitted: Fitted) -> float:
    """Return the accuracy that is compared with a goal: on validation images, else on training images."""
    return fitted.train_accuracy if math.isnan(fitted.val_accuracy) else fitted.val_accuracy

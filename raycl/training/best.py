"""The best epoch of a fit, whose weights are restored at the end of the fit."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn


@dataclass
class Best:
    """Best epoch so far, with copies of the tensors to restore.

    Attributes:
        tensors: The live tensors, which training changes in place.
        saved: Copies of these tensors at the best epoch; empty until `save` is called.
        val_loss: Validation loss of the best epoch.
    """

    tensors: list[Tensor]
    saved: list[Tensor] = field(default_factory=list)
    val_loss: float = math.inf

    def save(self, val_loss: float) -> None:
        self.val_loss = val_loss
        if not self.saved:
            self.saved = [t.detach().clone() for t in self.tensors]
        else:
            for copy, tensor in zip(self.saved, self.tensors, strict=True):
                copy.copy_(tensor.detach())

    def restore(self) -> None:
        with torch.no_grad():
            for copy, tensor in zip(self.saved, self.tensors, strict=True):
                tensor.copy_(copy)


def statistics(modules: Iterable[nn.Module]) -> list[Tensor]:
    """Return the running statistics of all batch and instance normalisations among the modules."""
    return [
        tensor
        for module in modules
        if isinstance(module, nn.modules.batchnorm._NormBase)
        for tensor in (module.running_mean, module.running_var, module.num_batches_tracked)
        if tensor is not None
    ]

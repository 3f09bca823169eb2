"""SPG with Fisher importance (SPG-FI), an ablation of SPG: Konishi et al., ICML 2023, arXiv 2306.14775.

The diagonal of the empirical Fisher of each task, brought into [0, 1] tensor by tensor, takes the place of
SPG's gradients; older heads have no part in it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from raycl.method import Method, Task
from raycl.methods._fisher import fisher
from raycl.methods.spg import SPG, standardised
from raycl.training.fit import Fit


class SPGFI(SPG):
    """SPG whose importance is the Fisher information, which is EWC's."""

    preset_overrides: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "spg": {"method.fisher_batch": 20, "method.fisher_mode": "train"}  # HAT's code, as for EWC
    }
    deviations: ClassVar[Sequence[str]] = (
        "the Fisher is brought into [0, 1] as SPG does with gradients; the paper does not say how",
    )

    @dataclass(frozen=True, kw_only=True)
    class Config(Method.Config):
        """Not SPG's, whose `chi` and `importance_mode` mean nothing here."""

        fi_norm: Literal["tanh_std", "max"] = "tanh_std"  # |tanh| of the standardised Fisher, or F / max F
        fisher_batch: int = 1  # gradients are squared per so many samples; 1 is exact, 20 is HAT's code
        fisher_mode: Literal["eval", "train"] = "eval"  # dropout off, or on, while it is measured
        importance_epoch: int | None = None  # as SPG's
        head_scale: Literal["mean", "none"] = "mean"  # as SPG's

        def __post_init__(self) -> None:
            if self.fisher_batch < 1:
                raise ValueError(f"fisher_batch = {self.fisher_batch} must be at least 1")
            if self.importance_epoch is not None and self.importance_epoch < 1:
                raise ValueError(f"importance_epoch = {self.importance_epoch} must be at least 1, or None")

    config: Config  # type: ignore[assignment]

    def importance(self, task: Task, fit: Fit) -> list[Tensor]:
        """gamma^t in [0, 1] for each parameter of the body, from the Fisher of the training split."""
        dropout = self.config.fisher_mode == "train"
        found = fisher(self.net, task, fit, self.config.fisher_batch, dropout=dropout)
        by_parameter = dict(zip(self.net.parameters(), found, strict=True))
        shares = [_share_of_largest(by_parameter[p]) for p in self.net.body.parameters()]
        if self.config.fi_norm == "max":
            return shares
        # Squares of small gradients are near the guard of the standard deviation; shares are not.
        return [standardised(share).tanh_().abs_() for share in shares]


def _share_of_largest(f: Tensor) -> Tensor:
    """f / max f, 0 where all are 0."""
    return f / f.max().clamp_min(torch.finfo(f.dtype).tiny)

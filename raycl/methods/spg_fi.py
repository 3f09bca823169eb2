"""SPG with Fisher importance (SPG-FI), an ablation of SPG: Konishi et al., ICML 2023, arXiv 2306.14775.

The importance is the diagonal of the empirical Fisher of each task, scaled to [0, 1] tensor by tensor,
instead of SPG's gradient-based importance. Older heads are not used.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from raycl.method import Method, Task
from raycl.methods._fisher import fisher
from raycl.methods.spg import BY_TENSOR, SPG, WITH_DROPOUT, standardised
from raycl.training.fit import Fit


class SPGFI(SPG):
    """SPG with the Fisher information, as in EWC, as importance.

    Equations:
        gamma^t = |tanh((F - mean F) / std F)|  instead of equations 1 to 3

        F  diagonal of the Fisher information of task t for one tensor of the
           body, measured as `ewc` does
    """

    capturable: ClassVar[bool] = True
    preset_overrides: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "spg": {"method.fisher_batch": 20, "method.fisher_mode": "train"}  # HAT's code, as for EWC
    }
    deviations: ClassVar[Sequence[str]] = (
        "the Fisher is scaled to [0, 1] tensor by tensor, as SPG does with gradients (fi_norm); the paper "
        "does not say how",
        "the Fisher is measured without dropout, or with it under the preset spg, as in HAT's code "
        "(fisher_mode); the paper does not say",
    )
    deviations_lifted: ClassVar[Sequence[str]] = (BY_TENSOR, WITH_DROPOUT)  # said of the Fisher above

    @dataclass(frozen=True, kw_only=True)
    class Config(Method.Config):
        """Hyperparameters; SPG's `chi` and `importance_mode` are left out, as they have no meaning here."""

        fi_norm: Literal["tanh_std", "max"] = "tanh_std"  # |tanh| of the standardised Fisher, or F / max F
        fisher_batch: int = 1  # samples averaged before gradients are squared; 1: exact, 20: HAT's code
        fisher_mode: Literal["eval", "train"] = "eval"  # measure the Fisher without or with dropout
        importance_epoch: int | None = None  # as in `spg`
        head_scale: Literal["mean", "none"] = "mean"  # as in `spg`

        def __post_init__(self) -> None:
            if self.fisher_batch < 1:
                raise ValueError(f"fisher_batch = {self.fisher_batch} must be at least 1")
            if self.importance_epoch is not None and self.importance_epoch < 1:
                raise ValueError(f"importance_epoch = {self.importance_epoch} must be at least 1, or None")

    config: Config  # type: ignore[assignment]

    def importance(self, task: Task, fit: Fit) -> list[Tensor]:
        """Return gamma^t in [0, 1] for each parameter of the body, from the Fisher of the training split."""
        dropout = self.config.fisher_mode == "train"
        found = fisher(self.net, task, fit, self.config.fisher_batch, dropout=dropout)
        by_parameter = dict(zip(self.net.parameters(), found, strict=True))
        shares = [_share_of_largest(by_parameter[p]) for p in self.net.body.parameters()]
        if self.config.fi_norm == "max":
            return shares
        # Squares of small gradients can be as small as the constant that `standardised` adds to the standard
        # deviation. Dividing by the largest first avoids this.
        return [standardised(share).tanh_().abs_() for share in shares]


def _share_of_largest(f: Tensor) -> Tensor:
    """Return f / max f, or 0 if all entries are 0."""
    return f / f.max().clamp_min(torch.finfo(f.dtype).tiny)

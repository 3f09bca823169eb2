"""EWC with the importance of SPG (EWC-GI): Konishi et al., ICML 2023, arXiv 2306.14775, section 4.

In the penalty of EWC, the gradient-based importance gamma in [0, 1] takes the place of the Fisher
information. It is the largest importance for any task learnt. The penalty does not act on heads, and
gradients are not masked.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

import torch

from raycl.method import Method, Task
from raycl.methods.ewc import EWC
from raycl.methods.spg import BY_TENSOR, WITH_DROPOUT, gradient_importance
from raycl.networks import Heads
from raycl.space import Float
from raycl.training.fit import Fit


class EWCGI(EWC):
    """EWC with gamma^{<=t} as `fisher`, which is 0 for the heads.

    Equations:
        L(theta) = CE + lamb/2 sum_i gamma[i] (theta[i] - theta*[i])^2
        gamma = max(gamma^1, ..., gamma^{t-1})                       (SPG eq. 4)

        i        parameters of the body
        gamma^k  importance for task k, measured right after the task by the
                 equations 1 to 3 of `spg`
    """

    capturable: ClassVar[bool] = True
    needs = (Heads,)
    splits = True
    preset_overrides: ClassVar[Mapping[str, Mapping[str, Any]]] = {  # EWC's other ones concern the Fisher
        "spg": {"method.val_penalty": True}
    }
    deviations: ClassVar[Sequence[str]] = (
        "gradients are clipped at norm 100, as EWC's are: lambda lr above 2 diverges without it",
        BY_TENSOR,
        WITH_DROPOUT,
    )
    deviations_lifted: ClassVar[Sequence[str]] = ("one anchor and the mean Fisher",)

    @dataclass(frozen=True, kw_only=True)
    class Config(Method.Config):
        lamb: Annotated[float, Float(1e-3, 1e3, log=True)] = 1.0  # lambda, strength of the penalty
        chi: bool = True  # cross-head importance: use the heads of older tasks as well
        val_penalty: bool = False  # whether the validation loss includes the penalty, as in `ewc`

        def __post_init__(self) -> None:
            if self.lamb < 0:
                raise ValueError(f"lamb = {self.lamb} must be at least 0")

    config: Config  # type: ignore[assignment]  # without EWC's fields on the Fisher

    def consolidate(self, task: Task, fit: Fit) -> None:
        own, cross = gradient_importance(self.net, task, fit, chi=self.config.chi)
        found = own if cross is None else map(torch.maximum, own, cross)
        gamma = dict(zip(self.net.body.parameters(), found, strict=True))
        with torch.no_grad():
            for total, anchor, p in zip(self.fisher, self.anchor, self.net.parameters(), strict=True):
                anchor.copy_(p)
                if p in gamma:
                    torch.maximum(total, gamma[p], out=total)  # SPG eq. 4
        self.learnt += 1

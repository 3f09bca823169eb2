"""EWC with the importance of SPG (EWC-GI): Konishi et al., ICML 2023, arXiv 2306.14775, section 4.

The penalty of EWC holds each weight of the body by its gradient-based importance, gamma in [0, 1], the
largest of the tasks learnt, where EWC has the Fisher information. Heads are not held, gradients not masked.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

import torch

from raycl.method import Method, Task
from raycl.methods.ewc import EWC
from raycl.methods.spg import gradient_importance
from raycl.networks import Heads
from raycl.space import Float
from raycl.training.fit import Fit


class EWCGI(EWC):
    """EWC whose `fisher` is gamma^{<=t}, 0 for the heads."""

    needs = (Heads,)
    splits = True
    preset_overrides: ClassVar[Mapping[str, Mapping[str, Any]]] = {}  # EWC's are about the Fisher
    deviations: ClassVar[Sequence[str]] = (
        "gradients are clipped at norm 100, as EWC's are: lambda lr above 2 diverges without it",
    )

    @dataclass(frozen=True, kw_only=True)
    class Config(Method.Config):
        lamb: Annotated[float, Float(1e-3, 1e3, log=True)] = 1.0  # lambda
        chi: bool = True  # cross-head importance: also through the heads of older tasks

        def __post_init__(self) -> None:
            if self.lamb < 0:
                raise ValueError(f"lamb = {self.lamb} must be at least 0")

    config: Config  # type: ignore[assignment]  # the fields of EWC's that are about the Fisher are gone

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

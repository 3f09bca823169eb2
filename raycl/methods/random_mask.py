"""Random masks, a control for PMASK: embeddings are drawn and never trained.

Each task uses a random half of the parameters. The difference to PMASK shows what PMASK gains by learning its
masks.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import nn

from raycl.methods.pmask import PMask


class RandomMask(PMask):
    """PMASK that trains parameters and heads but not the embeddings of its gates.

    Equations:
        e ~ N(0, 1), never trained

        e  embedding of the present task; HAT's equation 4 does not apply, and
           R depends on nothing that is trained
    """

    version: ClassVar[int] = 2
    capturable: ClassVar[bool] = True
    deviations_lifted: ClassVar[Sequence[str]] = ("",)  # the method is in no paper

    @dataclass(frozen=True, kw_only=True)
    class Config(PMask.Config):
        smax: float = 400.0  # declared again without a domain: gates are not trained, so nothing is searched
        lamb: float = 0.75
        emb_lr_mult: float = 1.0

    config: Config

    def draw(self) -> nn.ParameterList:
        return super().draw().requires_grad_(False)

    def groups(self, task: int, lr: float) -> list[dict[str, Any]]:
        return super().groups(task, lr)[:1]

    def count_parameters(self) -> int:
        return sum(p.numel() for p in self.net.parameters())

"""PMASK's control: masks as its embeddings are drawn, which never move.

Half of the parameters at random for each task; whatever PMASK is better by, it has learnt in its masks.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import nn

from raycl.methods.pmask import PMask


class RandomMask(PMask):
    """PMASK of which only the parameters under the gates and the heads are trained."""

    deviations: ClassVar[Sequence[str]] = ()  # it is no paper's

    @dataclass(frozen=True, kw_only=True)
    class Config(PMask.Config):
        smax: float = 400.0  # nothing of the gates is worth a search
        lamb: float = 0.75
        emb_lr_mult: float = 1.0

    config: Config

    def draw(self) -> nn.ParameterList:
        return super().draw().requires_grad_(False)

    def groups(self, task: int, lr: float) -> list[dict[str, Any]]:
        return super().groups(task, lr)[:1]

    def count_parameters(self) -> int:
        return sum(p.numel() for p in self.net.parameters())

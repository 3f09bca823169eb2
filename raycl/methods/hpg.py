"""SPG with a threshold (HPG), an ablation of SPG: Konishi et al., ICML 2023, arXiv 2306.14775.

A parameter is blocked if its importance for any earlier task exceeds the threshold; others move freely.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from torch import Tensor

from raycl.masks import Held
from raycl.method import Breaker, Task
from raycl.methods.spg import SPG
from raycl.space import Choice
from raycl.tasks import Batch, Update
from raycl.training.fit import Fit


class HPG(SPG):
    """SPG with gradients multiplied by 0 or 1; blocked parameters keep their values bit for bit.

    Equations:
        b = 1 where gamma^{<=t-1} > threshold, else 0
        g' = (1 - b) g                          for the body, instead of eq. 5
        g' = (1 - mean of b) g                  for the head of task t

        b        for each parameter of the body, over which its mean is taken
    """

    capturable: ClassVar[bool] = True
    # A gradient of 0 stays 0 in every optimiser, and `captured_step` undoes weight decay.
    broken_by: ClassVar[Mapping[Breaker, str]] = {}
    deviations: ClassVar[Sequence[str]] = (
        "the head's gradient is scaled by the share of the body that is free, as SPG's code does; "
        "the paper does not say",
    )
    deviations_lifted: ClassVar[Sequence[str]] = ("gradients of a task's head",)

    @dataclass(frozen=True, kw_only=True)
    class Config(SPG.Config):
        threshold: Annotated[float, Choice(0.1, 0.3, 0.5, 0.7, 0.9)] = 0.5  # above 1 nothing is blocked

    config: Config

    def make(self) -> None:
        super().make()
        self.held: list[Held] = []  # within a fit: blocked entries and their values

    def blocking(self) -> list[Tensor]:
        """Return 1 where the importance exceeds the threshold and 0 elsewhere."""
        return [(a > self.config.threshold).to(a.dtype) for a in self.accumulated]

    def learn(self, task: Task, fit: Fit) -> None:
        if self.learnt and fit.config.weight_decay:  # weight decay moves weights without gradient
            pairs = zip(self.net.body.parameters(), self.blocking(), strict=True)
            self.held = [Held.of(p, blocked > 0) for p, blocked in pairs]
        super().learn(task, fit)
        self.held = []

    def captured_step(self, batch: Batch, update: Update) -> Tensor:
        loss = super().captured_step(batch, update)
        if self.held:
            with torch.no_grad():
                for p, held in zip(self.net.body.parameters(), self.held, strict=True):
                    held.put_back(p)
        return loss

    def stored_bytes(self) -> int:
        """Return the bytes with one bit, instead of a number, for the importance of each body parameter."""
        numbers = sum(a.numel() for a in self.accumulated)
        floats = sum(a.numel() * a.element_size() for a in self.accumulated)
        return super().stored_bytes() - floats + (numbers + 7) // 8

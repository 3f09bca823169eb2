"""A trunk trained on the first task only, with a head trained per later task (SGD-F in HAT's comparison).

Serra et al., ICML 2018, arXiv 1801.01423.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Self

import torch
from torch import Tensor

from raycl.method import Method, Task
from raycl.networks import Heads
from raycl.networks._norms import freeze_statistics
from raycl.training.fit import Fit


class Frozen(Method):
    """Finetuning in which tasks after the first train only their heads.

    Dropout in the trunk stays active while a head is trained. Batch statistics that all tasks share are
    frozen with the trunk; those that each task has of its own are not.

    Equations:
        L(theta, w^1) = CE(w^1(h(x; theta)), y)     in task 1
        L(w^t) = CE(w^t(h(x; theta)), y)            in task t > 1

        CE     mean cross-entropy over a batch (x, y) of task t
        h      features of the trunk, whose weights theta are fixed after task 1
        w^t    head of task t
    """

    keeps_logits = True
    needs = (Heads,)
    splits = True

    def make(self) -> None:
        super().make()
        self.learnt = 0

    def learn(self, task: Task, fit: Fit) -> None:
        fit(self, task)
        self.learnt += 1
        self.train(self.training)

    @classmethod
    def statistics_rest(cls, config: Any) -> bool:
        return True

    @property
    def answers_stay(self) -> bool:
        return True  # shared statistics are frozen with the trunk

    def trainable(self, task: int) -> Iterable[Any]:
        return self.net.heads[task].parameters() if self.learnt else self.net.trainable(task)

    def forward(self, x: Tensor, task: int) -> Tensor:
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.learnt):
            h = self.net.features(x, task)
        return self.net.head(h, task)

    def train(self, mode: bool = True) -> Self:
        super().train(mode)
        if self.learnt:
            freeze_statistics(self.net.body)
        return self

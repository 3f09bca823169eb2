"""Elastic weight consolidation (EWC): Kirkpatrick et al., PNAS 2017, arXiv 1612.00796.

A quadratic penalty, weighted by the diagonal of the empirical Fisher information, keeps each weight near its
value after the previous task. There is one anchor and one Fisher, the running mean over the tasks learnt.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal

import torch
from torch import Tensor

from raycl.method import Buffers, Method, Task
from raycl.methods._fisher import fisher
from raycl.space import Float
from raycl.tasks import Batch
from raycl.training.fit import Fit


class EWC(Method):
    """Finetuning with a quadratic penalty on the change of important weights.

    The gradient of the penalty is computed in closed form, and its cost does not grow with the number of
    tasks. The reported loss is the cross-entropy alone, and so is the validation loss, unless `val_penalty`
    is set.

    Equations:
        L(theta) = CE + lamb/2 sum_i F[i] (theta[i] - theta*[i])^2       (eq. 3)
        F = mean of F^1, ..., F^{t-1}
        F^k[i] = 1/N sum_n (d CE[n] / d theta[i])^2

        t       task being learnt; there is no penalty in the first one
        CE      mean cross-entropy over a batch of task t
        theta   parameters of the network
        theta*  their values after task t - 1
        F^k     diagonal of the empirical Fisher information of task k, measured
                right after the task on its N training samples
        CE[n]   cross-entropy of sample n
    """

    capturable: ClassVar[bool] = True
    # The value of HAT's code; training with a large lamb diverges without clipping.
    fit_defaults: ClassVar[Mapping[str, Any]] = {"clip": 100.0}
    deviations: ClassVar[Sequence[str]] = (
        "one anchor and the mean Fisher of all tasks, gradients clipped at norm 100 (HAT's code); the paper "
        "keeps one penalty per task",
        "the validation loss, which decides when training stops, is the cross-entropy alone unless "
        "val_penalty is set, as in the spg preset; in HAT's code it includes the penalty",
    )
    preset_overrides: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "spg": {
            "method.lamb": Float(10.0, 1e5, log=True),
            "method.fisher_batch": 20,
            "method.fisher_mode": "train",
            "method.val_penalty": True,
        }
    }

    @dataclass(frozen=True, kw_only=True)
    class Config(Method.Config):
        lamb: Annotated[float, Float(50.0, 5e4, log=True)] = 5000.0  # lambda, strength of the penalty
        fisher_batch: int = 1  # samples averaged before gradients are squared; 1: exact, 20: HAT's code
        fisher_mode: Literal["eval", "train"] = "eval"  # measure the Fisher without or with dropout
        val_penalty: bool = False  # whether the validation loss includes the penalty, as in HAT's code

        def __post_init__(self) -> None:
            if self.lamb < 0:
                raise ValueError(f"lamb = {self.lamb} must be at least 0")
            if self.fisher_batch < 1:
                raise ValueError(f"fisher_batch = {self.fisher_batch} must be at least 1")

    config: Config

    def make(self) -> None:
        super().make()
        self.learnt = 0
        self.anchor, self.fisher = Buffers(), Buffers()  # theta*, F; for each parameter of the network
        for p in self.net.parameters():
            self.anchor.append(p.detach().clone())
            self.fisher.append(torch.zeros_like(p))

    def learn(self, task: Task, fit: Fit) -> None:
        fit(self, task)
        self.consolidate(task, fit)

    def consolidate(self, task: Task, fit: Fit) -> None:
        """Set the anchor to the present weights and add the task's Fisher to the running mean."""
        new = fisher(
            self.net, task, fit, self.config.fisher_batch, dropout=self.config.fisher_mode == "train"
        )
        with torch.no_grad():
            for old, found in zip(self.fisher, new, strict=True):
                old.mul_(self.learnt).add_(found).div_(self.learnt + 1)
            for anchor, p in zip(self.anchor, self.net.parameters(), strict=True):
                anchor.copy_(p)
        self.learnt += 1

    def validation_loss(self, batch: Batch) -> Tensor:
        loss = super().validation_loss(batch)
        return loss + self.penalty() if self.config.val_penalty else loss

    def penalty(self) -> Tensor | float:
        """Return lamb/2 sum F (theta - theta*)^2, which is 0.0 before the first task is learnt.

        Heads contribute nothing to it where they cannot move, or have no Fisher information yet.
        """
        if not self.learnt:
            return 0.0
        moved = torch._foreach_sub(list(self.net.parameters()), list(self.anchor))
        parts = torch._foreach_mul(torch._foreach_mul(moved, moved), list(self.fisher))
        return self.config.lamb / 2 * torch.stack([part.sum() for part in parts]).sum()

    def edit_gradients(self, batch: Batch) -> None:
        """Add lamb F (theta - theta*), the gradient of lamb/2 F (theta - theta*)^2."""
        if self.learnt:
            add_pull(self.net.parameters(), self.anchor, self.fisher, self.config.lamb)


@torch.no_grad()
def add_pull(
    parameters: Iterable[Tensor], anchors: Iterable[Tensor], strengths: Iterable[Tensor], lamb: float
) -> None:
    """Add ``lamb strength (parameter - anchor)`` to the gradient of each parameter that has one.

    Heads of other tasks have no gradient.
    """
    every = zip(parameters, anchors, strengths, strict=True)
    moving = [(p.grad, p, anchor, strength) for p, anchor, strength in every if p.grad is not None]
    if moving:
        gradients, values, there, weights = map(list, zip(*moving, strict=True))
        torch._foreach_addcmul_(gradients, weights, torch._foreach_sub(values, there), value=lamb)

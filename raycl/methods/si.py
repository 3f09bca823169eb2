"""Synaptic intelligence (SI): Zenke, Poole and Ganguli, ICML 2017, arXiv 1703.04200.

While a task is learnt, each weight adds up how much its own movement lowered the loss: the path integral of
the gradient. At the task's end that becomes its importance, and a quadratic penalty holds important weights
near their values. Only sums over the tasks are kept.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

import torch
from torch import Tensor

from raycl.method import Buffers, Method, Task
from raycl.space import Choice, Float
from raycl.tasks import Batch, Update
from raycl.training.fit import Fit


@dataclass(frozen=True)
class Tracked:
    """A parameter that the present task trains, and what belongs to it; all of its shape.

    Attributes:
        anchor: theta_ref, the value where the task began.
        omega: the importance that the tasks before gave it.
        path: w, the path integral so far.
        before: room for the value before a step.
        penalised: room for the gradient that the optimiser gets.
    """

    p: Tensor
    anchor: Tensor
    omega: Tensor
    path: Tensor
    before: Tensor
    penalised: Tensor


class SI(Method):
    """Finetuning with a penalty; its gradient is written down, so the cost does not grow with the tasks.

    The loss that is reported, and the validation loss, are the cross-entropy alone. A step costs the passes
    over the weights that the path integral takes, and no second backward pass.
    """

    fit_defaults: ClassVar[Mapping[str, Any]] = {
        "clip": 100.0
    }  # else a large part of the domain of c diverges
    deviations: ClassVar[Sequence[str]] = (
        "an importance below 0, which the paper's formula can give, counts as 0, as in its authors' code",
        "gradients are clipped at norm 100, as EWC's are: 2 c Omega lr above 2 diverges without it",
    )

    @dataclass(frozen=True, kw_only=True)
    class Config(Method.Config):
        c: Annotated[float, Float(1e-3, 10.0, log=True)] = 0.1  # strength, eq. 4
        xi: Annotated[float, Choice(1e-3, 1e-2, 1e-1)] = 1e-1  # damping, eq. 5

        def __post_init__(self) -> None:
            if self.c < 0:
                raise ValueError(f"c = {self.c} must be at least 0")
            if self.xi <= 0:
                raise ValueError(f"xi = {self.xi} must be above 0")

    config: Config

    def make(self) -> None:
        super().make()
        self.learnt = 0
        self.anchor = Buffers(p.detach().clone() for p in self.net.parameters())  # theta_ref
        self.omega = Buffers(torch.zeros_like(p) for p in self.net.parameters())
        self.tracked: list[Tracked] = []  # there only while a task is learnt

    def learn(self, task: Task, fit: Fit) -> None:
        trained = set(self.net.trainable(task.index))
        self.tracked = [
            Tracked(p, anchor, omega, *(torch.zeros_like(p) for _ in range(3)))
            for p, anchor, omega in zip(self.net.parameters(), self.anchor, self.omega, strict=True)
            if p in trained
        ]
        fit(self, task)
        self.consolidate()
        self.tracked = []

    def rewinds(self) -> Iterable[Tensor]:
        return [each.path for each in self.tracked]  # the path ends where the weights that are kept stand

    def consolidate(self) -> None:
        """Omega += max(0, w / ((theta - theta_ref)^2 + xi)), and the anchor moves here (eq. 5)."""
        with torch.no_grad():
            for each in self.tracked:
                moved = each.p - each.anchor
                each.omega.add_((each.path / (moved.square() + self.config.xi)).clamp_min_(0))
                each.anchor.copy_(each.p)
        self.learnt += 1

    def step(self, batch: Batch, update: Update) -> Tensor:
        loss = self.loss(batch)
        loss.backward()
        moving = [each for each in self.tracked if each.p.grad is not None]
        own = [each.p.grad for each in self.tracked if each.p.grad is not None]  # of cross-entropy alone
        self.edit_gradients(batch)
        with torch.no_grad():
            before, after = [each.before for each in moving], [each.p for each in moving]
            torch._foreach_copy_(before, after)
            update()
            torch._foreach_sub_(before, after)  # what the step really took away, momentum and clip included
            torch._foreach_addcmul_([each.path for each in moving], own, before)  # w -= g (new - old)
        return loss.detach()

    def edit_gradients(self, batch: Batch) -> None:
        """Hand on g + 2 c Omega (theta - theta_ref) in other tensors, which may be clipped in place."""
        with torch.no_grad():
            for each in self.tracked:
                if each.p.grad is None:
                    continue
                if self.learnt:
                    torch.sub(each.p, each.anchor, out=each.penalised)
                    torch.addcmul(
                        each.p.grad, each.omega, each.penalised, value=2 * self.config.c, out=each.penalised
                    )
                else:
                    each.penalised.copy_(each.p.grad)
                each.p.grad = each.penalised

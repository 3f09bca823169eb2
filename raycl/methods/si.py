"""Synaptic intelligence (SI): Zenke, Poole and Ganguli, ICML 2017, arXiv 1703.04200.

While a task is learnt, SI adds up for each weight how much its own movement lowered the loss, which is the
path integral of the gradient. At the end of the task, importances are computed from these integrals, and a
quadratic penalty keeps important weights near their values. Only sums over the tasks are stored.
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
    """A parameter that the present task trains, with further tensors of the same shape.

    Attributes:
        p: the parameter.
        anchor: theta_ref, the value at the start of the task.
        omega: importance for earlier tasks.
        path: w, the path integral so far.
        before: buffer for the value before a step.
    """

    p: Tensor
    anchor: Tensor
    omega: Tensor
    path: Tensor
    before: Tensor


class SI(Method):
    """Finetuning with a quadratic penalty on the change of important weights.

    The gradient of the penalty is computed in closed form, so that a step needs no second backward pass, and
    its cost does not grow with the number of tasks. The reported loss and the validation loss are the
    cross-entropy alone.

    Equations:
        L(theta) = CE + c sum_i Omega[i] (theta[i] - ref[i])^2           (eq. 4)
        w[i] = -sum over the steps of task t of g[i] Delta[i]            (eq. 3)
        Omega[i] += max(0, w[i] / ((theta[i] - ref[i])^2 + xi))          (eq. 5)

        t      task being learnt; at its end Omega is updated, which starts at 0
        CE     mean cross-entropy over a batch of task t
        theta  parameters of the network
        ref    their values at the start of task t
        g      gradient of CE alone, without the penalty and without clipping
        Delta  change of theta in the step, as the optimiser made it
    """

    # Without clipping, training diverges in a large part of the domain of c.
    fit_defaults: ClassVar[Mapping[str, Any]] = {"clip": 100.0}
    deviations: ClassVar[Sequence[str]] = (
        "an importance below 0, which the paper's formula can give, counts as 0, as in its authors' code",
        "gradients are clipped at norm 100, as for EWC; without clipping, 2 c Omega lr above 2 diverges",
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
        self.tracked: list[Tracked] = []  # not empty only while a task is learnt

    def learn(self, task: Task, fit: Fit) -> None:
        trained = set(self.net.trainable(task.index))
        self.tracked = [
            Tracked(p, anchor, omega, *(torch.zeros_like(p) for _ in range(2)))
            for p, anchor, omega in zip(self.net.parameters(), self.anchor, self.omega, strict=True)
            if p in trained
        ]
        fit(self, task)
        self.consolidate()
        self.tracked = []

    def rewinds(self) -> Iterable[Tensor]:
        return [each.path for each in self.tracked]  # the path must end at the restored weights

    def consolidate(self) -> None:
        """Add max(0, w / ((theta - theta_ref)^2 + xi)) to Omega, and set the anchor to theta (eq. 5)."""
        with torch.no_grad():
            for each in self.tracked:
                change = each.p - each.anchor
                each.omega.add_((each.path / (change.square() + self.config.xi)).clamp_min_(0))
                each.anchor.copy_(each.p)
        self.learnt += 1

    def step(self, batch: Batch, update: Update) -> Tensor:
        loss = self.loss(batch)
        loss.backward()
        moving = [each for each in self.tracked if each.p.grad is not None]
        own = [each.p.grad for each in self.tracked if each.p.grad is not None]  # no penalty yet
        self.edit_gradients(batch)
        with torch.no_grad():
            before, after = [each.before for each in moving], [each.p for each in moving]
            torch._foreach_copy_(before, after)
            update()
            torch._foreach_sub_(before, after)  # old - new, with momentum and clipping
            torch._foreach_addcmul_([each.path for each in moving], own, before)  # w -= g (new - old)
        return loss.detach()

    def edit_gradients(self, batch: Batch) -> None:
        """Replace gradients g by g + 2 c Omega (theta - theta_ref).

        The result is in other tensors, because gradients may be clipped in place, and `step` still needs g.
        """
        moving = [each for each in self.tracked if each.p.grad is not None]
        if not moving:
            return
        gradients = [each.p.grad for each in moving if each.p.grad is not None]
        with torch.no_grad():
            if self.learnt:
                values, anchors = [each.p for each in moving], [each.anchor for each in moving]
                change, omegas = torch._foreach_sub(values, anchors), [each.omega for each in moving]
                penalised = torch._foreach_addcmul(gradients, omegas, change, value=2 * self.config.c)
            else:
                penalised = tuple(gradient.clone() for gradient in gradients)
        for each, gradient in zip(moving, penalised, strict=True):
            each.p.grad = gradient

"""Task-based accumulated gradients (TAG): Malviya, Ravindran and Chandar, CoLLAs 2022, arXiv 2105.05155.

TAG is RMSProp with a denominator that depends on all tasks. The second moments of the gradients of finished
tasks are added to those of the present task, with a weight that is the larger, the more the present gradient
points away from theirs.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

import torch
from torch import Tensor, nn

from raycl.method import Method, Task
from raycl.space import Choice, Float
from raycl.tasks import Batch, Update
from raycl.training.fit import Fit

FIRST, SECOND = 0.9, 0.99  # decay rates of the first and second moments
EPSILON = 1e-8


class TAG(Method):
    """Finetuning with its own update rule, in the RMSProp form of the paper.

    The learning rate and its schedule are those of the training settings; optimiser, momentum, weight decay
    and clipping do not apply. Restoring the best weights does not restore the moments.

    Equations:
        m <- 0.9 m + 0.1 g,  v <- 0.99 v + 0.01 g^2
        a^k = exp(-b cos(m, m^k)) for k < t,  a^t = exp(-b)
        theta <- theta - lr g / (sqrt(a^t v + sum_{k<t} a^k v^k) + 1e-8)

        t         task being learnt; m and v start at 0 in each task
        g         gradient of the mean cross-entropy, for one tensor theta
        m^k, v^k  values of m and v at the end of task k
        a^t       1 for a tensor that no earlier task has trained
    """

    ignores: ClassVar[Mapping[str, str]] = dict.fromkeys(
        ("optimiser", "momentum", "nesterov", "weight_decay", "clip"), "TAG has its own update rule"
    )
    fit_defaults: ClassVar[Mapping[str, Any]] = {"lr": 1e-3, "lr_span": 250.0}
    preset_overrides: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "spg": {"fit.lr": Float(1e-5, 5e-3, log=True)}
    }
    deviations: ClassVar[Sequence[str]] = (
        "a tensor that no earlier task moved, such as a new head, takes plain RMSProp steps; "
        "the authors' code divides 0 by 0 there",
        "the best weights of a task are restored, while the moments remain those of its last step; "
        "the authors' code keeps the last weights",
        "the learning rate falls to 1/250 of its initial value, the ratio in SPG, instead of to SPG's 0.001",
    )

    @dataclass(frozen=True, kw_only=True)
    class Config(Method.Config):
        b: Annotated[int, Choice(1, 3, 5, 7)] = 5  # sharpness of the weights of earlier tasks

        def __post_init__(self) -> None:
            if self.b < 0:
                raise ValueError(f"b = {self.b} must be at least 0")

    config: Config

    def make(self) -> None:
        super().make()
        self.histories = nn.ModuleList(History(p) for p in self.net.parameters())
        self.rule: Rule | None = None  # only inside `learn`

    def learn(self, task: Task, fit: Fit) -> None:
        tensors = self.net.trainable(task.index)
        pairs = zip(self.net.parameters(), self.histories, strict=True)
        histories = {p: history for p, history in pairs if isinstance(history, History)}
        self.rule = rule = Rule(tensors, [histories[p] for p in tensors], self.config.b)
        fit(self, task)
        self.rule = None
        others = {p for t in range(self.world.tasks) if t != task.index for p in self.net.trainable(t)}
        for p, m, v in zip(tensors, rule.m, rule.v, strict=True):
            if p in others:  # no later task trains a head that belongs to this task alone
                histories[p].append(m, v)

    def step(self, batch: Batch, update: Update) -> Tensor:
        assert self.rule is not None, "`step` of TAG can be called inside `learn` only"
        loss = self.loss(batch)
        loss.backward()
        self.edit_gradients(batch)
        self.rule.step(update.lr)
        return loss.detach()


class History(nn.Module):
    """Moments of the gradients of one tensor of n elements at the end of each finished task.

    Attributes:
        directions: first moments [tasks, n], scaled to norm 1.
        squares: second moments [tasks, n].
    """

    directions: Tensor
    squares: Tensor

    def __init__(self, tensor: Tensor) -> None:
        super().__init__()
        self.register_buffer("directions", tensor.new_zeros(0, tensor.numel()))
        self.register_buffer("squares", tensor.new_zeros(0, tensor.numel()))

    def __len__(self) -> int:
        return len(self.squares)

    def append(self, m: Tensor, v: Tensor) -> None:
        """Add the moments of a finished task, unless its gradients were all zero and have no direction."""
        norm = m.norm()
        if norm > 0:
            self.directions = torch.cat([self.directions, (m / norm).reshape(1, -1)])
            self.squares = torch.cat([self.squares, v.reshape(1, -1)])

    def weights(self, m: Tensor, norm: Tensor, b: float) -> Tensor:
        """Return exp(-b cosine) for the angle of `m` and each finished task's direction, [tasks]."""
        cosines = torch.mv(self.directions, m.reshape(-1)) / norm.clamp_min(torch.finfo(m.dtype).tiny)
        return torch.exp(-b * cosines.clamp_(-1, 1))

    def joined(self, m: Tensor, norm: Tensor, v: Tensor, b: float) -> Tensor:
        """Return exp(-b) v + the sum of weights times squares over finished tasks, or v if there are none."""
        if not len(self):
            return v.clone()
        flat = torch.addmv(v.reshape(-1), self.squares.T, self.weights(m, norm, b), beta=math.exp(-b))
        return flat.view_as(v)


class Rule:
    """Update rule of TAG with its state for one task.

    Attributes:
        tensors: tensors to update by the gradients in their `grad`; those without a gradient do not change.
        histories: history of each tensor.
        b: hyperparameter b.
        m, v: first and second moments of each tensor within this task.
    """

    def __init__(self, tensors: Sequence[Tensor], histories: Sequence[History], b: float) -> None:
        self.tensors, self.histories, self.b = tensors, histories, b
        self.m = [torch.zeros_like(p, requires_grad=False) for p in tensors]
        self.v = [torch.zeros_like(p, requires_grad=False) for p in tensors]

    @torch.no_grad()
    def step(self, lr: float) -> None:
        """Subtract lr g / (sqrt(sum over tasks of a_tau v_tau) + epsilon), without bias correction."""
        live = [i for i, p in enumerate(self.tensors) if p.grad is not None]
        p, m, v = ([tensors[i] for i in live] for tensors in (self.tensors, self.m, self.v))
        g = [tensor.grad for tensor in p if tensor.grad is not None]
        torch._foreach_mul_(m, FIRST)
        torch._foreach_add_(m, g, alpha=1 - FIRST)
        torch._foreach_mul_(v, SECOND)
        torch._foreach_addcmul_(v, g, g, value=1 - SECOND)
        moments = zip(live, m, torch._foreach_norm(m), v, strict=True)
        divisors = [self.histories[i].joined(m_i, norm, v_i, self.b) for i, m_i, norm, v_i in moments]
        torch._foreach_sqrt_(divisors)
        torch._foreach_add_(divisors, EPSILON)
        torch._foreach_addcdiv_(p, g, divisors, value=-lr)

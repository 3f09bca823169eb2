"""Adversarial continual learning (ACL): Ebrahimi et al., ECCV 2020, arXiv 2003.09553, without replay.

A shared encoder learns features that a discriminator cannot tell from noise, a private encoder per task
learns the rest, and a difference loss keeps the two apart. Only the shared encoder is trained by all tasks,
so only what it has learnt can be forgotten.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call

from raycl.method import Method, Task, measuring, one_task
from raycl.networks import Network
from raycl.networks._checks import check_heads
from raycl.space import Choice, Float
from raycl.tasks import Batch, Update
from raycl.training.fit import Fit

MOST = 10_000  # largest number of units of a layer
NORM = 1e-6  # added to norms before division


class ACL(Method):
    """Shared and private latent vectors that are concatenated and classified by a small head per task.

    The validation loss is the cross-entropy alone. Both learning rates follow the schedule in proportion:
    they start at `e_lr` and `d_lr` when the schedule starts at `Fit.lr`.

    Equations:
        L = CE(head([P(x), S(x)]), y) + lam_adv L_adv + lam_diff L_diff
        L_adv = CE(D(S(x)), t)                  S gets its negative gradient
        L_diff = mean over i, j of (s[i] . p[j])^2
        L_D = CE(D(S(x)), t) + CE(D(z), 0),  z ~ N(0, 1)

        S, P    shared encoder, and private encoder of task t
        head    head of task t
        D       discriminator between noise, label 0, and the tasks 1, ..., t
        s, p    S(x) and P(x) of the samples of a batch, divided by their norms
        CE      mean cross-entropy over a batch (x, y)

        On each batch, S, P and the head make e_steps updates by L with D fixed,
        then D makes d_steps updates by L_D with the rest fixed.
    """

    splits = True
    ignores: ClassVar[Mapping[str, str]] = {
        "lr": "ACL uses method.e_lr and method.d_lr, which the schedule lowers in the same proportion"
    }
    fit_defaults: ClassVar[Mapping[str, Any]] = {"momentum": 0.9, "weight_decay": 0.01}
    deviations: ClassVar[Sequence[str]] = (
        "the shared encoder is the study's network followed by a linear layer to the latent space",
        "no images are replayed: the discriminator sees the present task and noise, but no earlier task",
        "the difference loss is a mean over pairs of samples, as in the authors' code; the paper's is over "
        "pairs of features",
        "weight decay does not act on the encoders and heads of other tasks",
    )

    @dataclass(frozen=True, kw_only=True)
    class Config(Method.Config):
        lam_adv: Annotated[float, Float(0.005, 0.5, log=True)] = 0.05  # weight of the adversarial loss
        lam_diff: Annotated[float, Float(0.01, 1.0, log=True)] = 0.1  # weight of the difference loss
        latent: Annotated[int, Choice(64, 128, 256)] = 64  # size of each encoder's latent vector
        e_lr: Annotated[float, Float(1e-3, 0.05, log=True)] = 0.01  # learning rate of encoders and head
        d_lr: float = 0.001  # learning rate of the discriminator
        e_steps: int = 5  # updates of encoders and head on each batch
        d_steps: int = 1  # updates of the discriminator after them
        units: int = 175  # units of the discriminator's hidden layers
        head_units: int = 32  # units of the head's hidden layer

        def __post_init__(self) -> None:
            for name in ("lam_adv", "lam_diff", "d_steps"):
                if not getattr(self, name) >= 0:
                    raise ValueError(f"{name} = {getattr(self, name)} must be at least 0")
            for name in ("e_lr", "d_lr"):
                if not getattr(self, name) > 0:
                    raise ValueError(f"{name} = {getattr(self, name)} must be above 0")
            for name in ("latent", "e_steps", "units", "head_units"):
                if getattr(self, name) < 1:
                    raise ValueError(f"{name} = {getattr(self, name)} must be at least 1")
                if name != "e_steps" and getattr(self, name) > MOST:
                    raise ValueError(f"{name} = {getattr(self, name)} is too many: at most {MOST} units")

    config: Config

    @classmethod
    def check_network(cls, net: Network, tasks: int) -> None:
        super().check_network(net, tasks)
        check_heads(net, cls.__name__)

    def make(self) -> None:
        super().make()
        latent, units, inputs = self.config.latent, self.config.head_units, math.prod(self.world.input_shape)
        head = self.net.heads[0]
        assert isinstance(head, nn.Linear)
        with torch.device("cpu"):  # makes the draws the same on every device
            to_latent = nn.Linear(head.in_features, latent)
            private = nn.ModuleList(
                nn.Sequential(nn.Flatten(), nn.Linear(inputs, latent), nn.ReLU()) for _ in self.world.classes
            )
            heads = nn.ModuleList(
                nn.Sequential(nn.Linear(2 * latent, units), nn.ReLU(), nn.Linear(units, n))
                for n in self.world.classes
            )
        device = torch.get_default_device()
        self.net.heads = nn.ModuleList()
        self.to_latent, self.private, self.heads = to_latent.to(device), private.to(device), heads.to(device)
        self.discriminator: nn.Module | None = None  # not None only while a task is learnt
        self.learnt = 0

    def learn(self, task: Task, fit: Fit) -> None:
        latent, units = self.config.latent, self.config.units
        with torch.device("cpu"):
            fresh = nn.Sequential(
                nn.Linear(latent, units),
                nn.LeakyReLU(),
                nn.Linear(units, units),
                nn.Linear(units, task.index + 2),  # noise, then the tasks so far
            )
        self.discriminator = fresh.to(torch.get_default_device())
        fit(self, task)
        self.discriminator = None
        self.learnt += 1

    def trainable(self, task: int) -> Iterable[Any]:
        groups = [{"params": self._learners(task), "lr": self.config.e_lr}]
        if self.discriminator is not None:
            groups.append({"params": list(self.discriminator.parameters()), "lr": self.config.d_lr})
        return groups

    def _learners(self, task: int) -> list[nn.Parameter]:
        """Return the parameters of both encoders and the head."""
        parts = (self.net, self.to_latent, self.private[task], self.heads[task])
        return [p for part in parts for p in part.parameters()]

    def shared(self, x: Tensor, task: int) -> Tensor:
        """Return S(x) [batch, latent]; `task` only selects batch statistics."""
        z: Tensor = self.to_latent(self.net.features(x, task))
        return z

    def forward(self, x: Tensor, task: int) -> Tensor:
        return self.answer(self.private[task](x), self.shared(x, task), task)

    def answer(self, private: Tensor, shared: Tensor, task: int) -> Tensor:
        """Return the logits for a private and a shared latent vector per sample."""
        logits: Tensor = self.heads[task](torch.cat([private, shared], 1))
        return logits

    def loss(self, batch: Batch) -> Tensor:
        """Return the loss of encoders and head; it trains the shared encoder against the discriminator."""
        task = one_task(batch)
        private, shared = self.private[task](batch.x), self.shared(batch.x, task)
        cross_entropy = F.cross_entropy(self.answer(private, shared, task), batch.y)
        against = self.adversarial_loss(reversed_gradient(shared), task)
        return (
            cross_entropy
            + self.config.lam_adv * against
            + self.config.lam_diff * difference_loss(shared, private)
        )

    def adversarial_loss(self, shared: Tensor, task: int) -> Tensor:
        """Return the discriminator's cross-entropy on S(x), with the discriminator's weights as constants."""
        assert self.discriminator is not None
        fixed = {name: p.detach() for name, p in self.discriminator.named_parameters()}
        return labelled(functional_call(self.discriminator, fixed, (shared,)), task + 1)

    def step(self, batch: Batch, update: Update) -> Tensor:
        """Update the encoders and the head `e_steps` times, then the discriminator `d_steps` times.

        An update has gradients of one of the two groups only, so that the other does not move.
        """
        for _ in range(self.config.e_steps):
            self.zero_grad()
            loss = super().step(batch, update)
        for _ in range(self.config.d_steps):
            self.zero_grad()
            self.discriminator_loss(batch).backward()
            update()
        return loss

    def discriminator_loss(self, batch: Batch) -> Tensor:
        """Return the cross-entropy on S(x), labelled with the task's number from 1, plus that on noise.

        Noise has label 0.
        """
        assert self.discriminator is not None
        task = one_task(batch)
        with measuring(self.net, dropout=True), torch.no_grad():
            shared = self.shared(batch.x, task)
        noise = torch.randn_like(shared)
        return labelled(self.discriminator(shared), task + 1) + labelled(self.discriminator(noise), 0)

    def stored_bytes(self) -> int:
        later = [
            p
            for part in (self.private, self.heads)
            for each in part[self.learnt :]
            for p in each.parameters()
        ]
        return super().stored_bytes() - sum(p.numel() * p.element_size() for p in later)


def reversed_gradient(z: Tensor) -> Tensor:
    """Return the same values, bit for bit, with the gradient negated in the backward pass."""
    reversed_: Tensor = _Reversed.apply(z)
    return reversed_


class _Reversed(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, z: Tensor) -> Tensor:
        return z.view_as(z)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        return -gradients[0]


def labelled(logits: Tensor, label: int) -> Tensor:
    """Return the mean cross-entropy of rows that all have the same label."""
    return -F.log_softmax(logits, 1)[:, label].mean()


def difference_loss(shared: Tensor, private: Tensor) -> Tensor:
    """Return the mean, over all pairs of samples, of the squared inner product of shared and private vectors.

    The shared vector is of one sample, the private vector of the other. Both tensors are [batch, ...] and are
    divided by their norms, which are constants for the gradient.
    """
    s, p = (
        z / (z.detach().norm(dim=1, keepdim=True) + NORM) for z in (shared.flatten(1), private.flatten(1))
    )
    pairs: Tensor = s @ p.T  # [batch, batch]
    return pairs.square().mean()

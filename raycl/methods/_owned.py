"""Weights that belong to tasks: what PackNet and CPG have in common (see there).

Every weight of the body has an owner, a task's number from 1, or is free (0) and then 0 itself. A task trains
what it owns, its head and its batch normalisation; all else below the heads stays from the first task on.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import replace
from typing import Any, Literal, Self

import torch
from torch import Tensor
from torch.func import functional_call

from raycl.masks import Keep, bits_of, keep_, layers_of, weights_below_heads
from raycl.method import Buffers, Task
from raycl.methods._first import BuiltOnFirstTask
from raycl.networks import Network
from raycl.networks._checks import check_maskable
from raycl.probes.owners import bytes_of, owner_diagnostics
from raycl.tasks import Batch
from raycl.training.fit import Fit, Fitted


class Owned(BuiltOnFirstTask):
    """Sequential training of one network whose weights are handed out to tasks, in their order.

    A task that is not learnt yet is answered by all weights. A new task's batch normalisation starts from the
    first task's, whose own is the network's.
    """

    @classmethod
    def check_network(cls, net: Network, tasks: int) -> None:
        super().check_network(net, tasks)
        check_maskable(net, cls.__name__)

    def make(self) -> None:
        super().make()
        if self.world.tasks > 255:
            raise ValueError(f"{self.world.tasks} tasks are too many: owners are numbered up to 255")
        weights = weights_below_heads(self.net)
        self.layers = dict(zip(layers_of(self.net.body), weights, strict=True))  # by their names in figures
        self.owners = Buffers(torch.zeros_like(w, dtype=torch.uint8) for w in self.weights)
        self.learnt: list[int] = []
        self.current: int | None = None  # the task being learnt
        self.decay = 0.0  # weight decay of what that task owns
        self._evaluated: tuple[int, dict[str, Tensor]] | None = None
        self._known_bits: tuple[tuple[str, int, int], list[Tensor]] | None = None

    @property
    def weights(self) -> list[Tensor]:
        """Of the convolutions and linear layers below the heads."""
        return [self.net.get_parameter(name) for name in self.layers.values()]

    def begin(self, task: int) -> None:
        """Give a task all that is free, and a batch normalisation."""
        assert task == len(self.learnt), "tasks take what earlier ones left: learn them in their order"
        self.current = task
        if task:
            self.norms.begin(task, self.net)
        for owner in self.owners:
            owner.masked_fill_(owner == 0, task + 1)

    def dense(self, task: Task, fit: Fit) -> None:
        """Train all that the task was given: the first task by its preset, others as the run says."""
        if task.index == 0:
            self.first.learn(self, task, fit)
        else:
            self.fit_owned(task, fit, fit.config)

    def fit_owned(self, task: Task, fit: Fit, config: Fit.Config, **how: Any) -> Fitted:
        """Train by `config`, with its weight decay on weights that the task owns, and on nothing else."""
        self.decay = config.weight_decay  # an optimiser's would move what belongs to others
        fitted = fit(self, task, config=replace(config, weight_decay=0.0), account="main", **how)
        self.decay = 0.0
        return fitted

    @torch.no_grad()
    def cut(self, task: int, share: float, over_free: bool) -> None:
        """Of each layer free the task's weights of least magnitude, and set them to 0.

        Args:
            share: of the task's weights, or with `over_free` of these and the free ones together.
        """
        for weight, owner in zip(self.weights, self.owners, strict=True):
            own = owner == task + 1
            gone = own & lowest(weight, own | (owner == 0) if over_free else own, share)
            weight.masked_fill_(gone, 0.0)
            owner.masked_fill_(gone, 0)

    def finish(self) -> None:
        """The task is learnt; with the first one, biases and the network's own batch normalisation stay."""
        assert self.current is not None
        self.learnt.append(self.current)
        self.current = None
        shared = {id(weight) for weight in self.weights}
        for p in self.net.body.parameters():
            p.requires_grad_(id(p) in shared)
        self.train(self.training)

    def trainable(self, task: int) -> Iterable[Any]:
        if task == 0:
            return self.net.trainable(task)
        return [*self.weights, *self.net.heads[task].parameters(), *self.norms.trainable(task)]

    def edit_gradients(self, batch: Batch) -> None:
        """Only what the task owns may move; masked, not multiplied, since 0 times infinity is no number."""
        assert self.current is not None
        for weight, bits in zip(self.weights, self._bits("own", self.current), strict=True):
            if weight.grad is not None:
                if self.decay:
                    weight.grad.add_(weight.detach(), alpha=self.decay)
                keep_(weight.grad, bits)

    def masks(self, task: int) -> list[Tensor]:
        """Which weights answer a task that is learnt, one per layer: those it could see when it was."""
        return [(owner > 0) & (owner <= task + 1) for owner in self.owners]

    def effective(self, task: int) -> dict[str, Tensor]:
        """Weights of `task` by name; none where it uses the network as it stands: free weights are 0."""
        return self.masked(task) if task in self.learnt else {}

    def masked(self, task: int) -> dict[str, Tensor]:
        """Weights under the masks of `task`, by name."""
        parts = zip(self.layers.values(), self.weights, self._bits("seen", task), strict=True)
        return {name: Keep.apply(weight, bits) for name, weight, bits in parts}

    def _bits(self, which: Literal["own", "seen"], task: int) -> list[Tensor]:
        """Return for `Keep` the masks of what a task owns or sees; they are made once while owners stay."""
        key = which, task, sum(owner._version for owner in self.owners)
        if self._known_bits is None or self._known_bits[0] != key:
            masks = self.masks(task) if which == "seen" else [owner == task + 1 for owner in self.owners]
            parts = zip(masks, self.weights, strict=True)
            self._known_bits = key, [bits_of(mask, weight.dtype) for mask, weight in parts]
        return self._known_bits[1]

    def at_hand(self, task: int) -> dict[str, Tensor]:
        """Weights of `task` by name; made once for a pass of evaluation."""
        if self.training or torch.is_grad_enabled():
            return self.effective(task)
        if self._evaluated is None or self._evaluated[0] != task:
            self._evaluated = task, self.effective(task)
        return self._evaluated[1]

    def forward(self, x: Tensor, task: int) -> Tensor:
        tensors = self.at_hand(task) | self.norms.named(task)
        logits: Tensor = functional_call(self.net, tensors, (x, task), tie_weights=False)
        return logits

    def train(self, mode: bool = True) -> Self:
        super().train(mode)
        self._evaluated = None  # weights may have moved since
        self._known_bits = None  # no checkpoint need hold them
        if self.learnt:
            self.norms.still(self.net)
        return self

    def rewinds(self) -> Iterable[Tensor]:
        return () if self.current is None else self.norms.statistics(self.current)

    def diagnostics(self, task: int) -> dict[str, Any]:
        """What was free after a task, what it kept of its room, and what it adds to what is stored."""
        return owner_diagnostics(list(self.owners), list(self.layers), task) | {
            "task_bytes": self.task_bytes(task)
        }

    def task_bytes(self, task: int) -> int:
        """Bytes of a task's head and, but for the first, batch normalisation."""
        return bytes_of([*self.net.heads[task].parameters(), *self.norms.named(task).values()])

    def count_parameters(self) -> int:
        """The network, and what later tasks train of batch normalisations, as if all were there already."""
        norms = [p for layer in self.norms.layers for p in self.net.get_submodule(layer).parameters()]
        later = sum(p.numel() for p in norms) if self.config.bn_mode == "affine_stats" else 0
        return sum(p.numel() for p in self.net.parameters()) + (self.world.tasks - 1) * later

    def stored_bytes(self) -> int:
        """The body, an owner for each weight in as few bits as count up to all tasks, and what tasks add."""
        bits = self.world.tasks.bit_length() * sum(owner.numel() for owner in self.owners)
        network = bytes_of([*self.net.body.parameters(), *self.net.buffers()])
        return network + math.ceil(bits / 8) + sum(self.task_bytes(task) for task in self.learnt)


def again(config: Fit.Config, epochs: int, lr: float, **more: Any) -> Fit.Config:
    """Settings of a further fit of the same task: the run's, but so many epochs at a constant rate."""
    fields: dict[str, Any] = {"epochs": epochs, "lr": lr, "schedule": "constant", "stop": "never"}
    return replace(config, **fields | more)


def lowest(weight: Tensor, ranked: Tensor, share: float) -> Tensor:
    """Where |weight| is at most the round(share * count)-th smallest of what is `ranked`: ties go together.

    Args:
        ranked: booleans of the weight's shape. A rank of 0 is below everything.
    """
    magnitudes = weight.detach().abs()
    among = magnitudes[ranked]
    rank = round(share * among.numel())
    if rank < 1:
        return torch.zeros_like(ranked)
    return magnitudes <= among.kthvalue(rank).values

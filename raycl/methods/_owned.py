"""Weights that belong to tasks, the common base of PackNet and CPG.

A weight of the body is either free or owned by one task. Owners are task numbers, counted from 1; a free
weight has owner 0 and value 0. A task trains the weights that it owns, its head and its batch normalisation.
Everything else below the heads is fixed after the first task.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import replace
from typing import Any, Literal, Self

import torch
from torch import Tensor
from torch.func import functional_call

from raycl import devices
from raycl.masks import Keep, bits_of, keep_, layers_of, weights_below_heads
from raycl.method import Buffers, Task
from raycl.methods._first import BuiltOnFirstTask
from raycl.networks import Network
from raycl.networks._checks import check_maskable
from raycl.probes.owners import bytes_of, owner_diagnostics
from raycl.tasks import Batch
from raycl.training.fit import Fit, Fitted


class Owned(BuiltOnFirstTask):
    """Sequential training of one network whose weights are assigned to the tasks in order.

    A task that is not learnt yet is evaluated with all weights. The batch normalisation of a new task starts
    from that of the first task, which is the network's own.
    """

    @classmethod
    def check_network(cls, net: Network, tasks: int) -> None:
        super().check_network(net, tasks)
        check_maskable(net, cls.__name__)

    def make(self) -> None:
        super().make()
        if self.world.tasks > 255:
            raise ValueError(f"{self.world.tasks} tasks are too many: at most 255 can own weights")
        weights = weights_below_heads(self.net)
        self.layers = dict(zip(layers_of(self.net.body), weights, strict=True))  # by names in diagnostics
        self.owners = Buffers(torch.zeros_like(w, dtype=torch.uint8) for w in self.weights)
        self.learnt: list[int] = []
        self.current: int | None = None  # the task being learnt
        self.decay = 0.0  # weight decay of the weights that this task owns
        self._evaluated: tuple[int, dict[str, Tensor]] | None = None
        self._known_bits: dict[tuple[str, int], tuple[int, list[Tensor]]] = {}

    @property
    def weights(self) -> list[Tensor]:
        """Weights of the convolution and linear layers below the heads."""
        return [self.net.get_parameter(name) for name in self.layers.values()]

    def begin(self, task: int) -> None:
        """Assign all free weights, and a batch normalisation, to a task."""
        assert task == len(self.learnt), "tasks use weights that earlier tasks left: learn them in order"
        self.current = task
        if task:
            self.norms.begin(task, self.net)
        for owner in self.owners:
            owner.masked_fill_(owner == 0, task + 1)

    def dense(self, task: Task, fit: Fit) -> None:
        """Train everything assigned to the task.

        The first task has the settings of its preset, and later tasks have the settings of the run.
        """
        if task.index == 0:
            self.first.learn(self, task, fit)
        else:
            self.fit_owned(task, fit, fit.config)

    def fit_owned(self, task: Task, fit: Fit, config: Fit.Config, **how: Any) -> Fitted:
        """Train by `config`, with its weight decay applied only to weights that the task owns.

        The optimiser has no weight decay, because it would change weights of other tasks.
        """
        self.decay = config.weight_decay
        fitted = fit(self, task, config=replace(config, weight_decay=0.0), account="main", **how)
        self.decay = 0.0
        return fitted

    @torch.no_grad()
    def cut(self, task: int, share: float, over_free: bool) -> None:
        """Free the task's weights of smallest magnitude in each layer, and set them to 0.

        Args:
            task: Task whose weights are cut.
            share: Share of the ranked weights that is cut.
            over_free: Whether free weights are ranked together with the task's own.
        """
        for weight, owner in zip(self.weights, self.owners, strict=True):
            own = owner == task + 1
            gone = own & lowest(weight, own | (owner == 0) if over_free else own, share)
            weight.masked_fill_(gone, 0.0)
            owner.masked_fill_(gone, 0)

    def finish(self) -> None:
        """Record that the task is learnt, and freeze the biases and the network's batch normalisation.

        From then on only weights are trained below the heads.
        """
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
        """Apply weight decay to the task's own weights, and set the gradients of all others to 0.

        They are masked rather than multiplied by 0, because 0 times infinity is NaN.
        """
        assert self.current is not None
        for weight, bits in zip(self.weights, self._bits("own", self.current), strict=True):
            if weight.grad is not None:
                if self.decay:
                    weight.grad.add_(weight.detach(), alpha=self.decay)
                keep_(weight.grad, bits)

    def masks(self, task: int) -> list[Tensor]:
        """Return one mask per layer: the weights owned by this task or an earlier one, which evaluate it."""
        return [(owner > 0) & (owner <= task + 1) for owner in self.owners]

    def effective(self, task: int) -> dict[str, Tensor]:
        """Return the weights of `task` by name.

        The result is empty for a task that uses the whole network, i.e. one that is not learnt yet.
        """
        return self.masked(task) if task in self.learnt else {}

    def masked(self, task: int) -> dict[str, Tensor]:
        """Return the weights under the masks of `task`, by name."""
        parts = zip(self.layers.values(), self.weights, self._bits("seen", task), strict=True)
        return {name: Keep.apply(weight, bits) for name, weight, bits in parts}

    def _bits(self, which: Literal["own", "older", "seen", "taken"], task: int) -> list[Tensor]:
        """Return the masks of what a task owns, earlier tasks own, the task sees, or any task owns.

        They have the form that `Keep` takes, and are cached while owners stay.
        """
        version = sum(owner._version for owner in self.owners)
        known = self._known_bits.get((which, task))
        if known is None or known[0] != version:
            if which == "seen":
                masks = self.masks(task)
            elif which == "older":
                masks = [(owner > 0) & (owner <= task) for owner in self.owners]
            elif which == "taken":
                masks = [owner > 0 for owner in self.owners]
            else:
                masks = [owner == task + 1 for owner in self.owners]
            parts = zip(masks, self.weights, strict=True)
            known = version, [bits_of(mask, weight.dtype) for mask, weight in parts]
            self._known_bits[which, task] = known
        return known[1]

    def at_hand(self, task: int) -> dict[str, Tensor]:
        """Return the weights of `task` by name; evaluation computes them once and caches them."""
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
        self._evaluated = None  # weights may have changed
        self._known_bits = {}  # a checkpoint need not contain them
        if self.learnt:
            self.norms.still(self.net)
        return self

    def rewinds(self) -> Iterable[Tensor]:
        return () if self.current is None else self.norms.statistics(self.current)

    def diagnostics(self, task: int) -> dict[str, Any]:
        """Return the share of weights free after a task, the share that it owns, and the bytes it adds."""
        return owner_diagnostics(list(self.owners), list(self.layers), task) | {
            "task_bytes": self.task_bytes(task)
        }

    def task_bytes(self, task: int) -> int:
        """Return the bytes of a task's head and, except for the first task, batch normalisation."""
        return bytes_of([*self.net.heads[task].parameters(), *self.norms.named(task).values()])

    def count_parameters(self) -> int:
        """Return the parameters of the network and of the batch normalisations that later tasks train.

        All tasks are counted, including those not learnt yet.
        """
        norms = [p for layer in self.norms.layers for p in self.net.get_submodule(layer).parameters()]
        later = sum(p.numel() for p in norms) if self.config.bn_mode == "affine_stats" else 0
        return sum(p.numel() for p in self.net.parameters()) + (self.world.tasks - 1) * later

    def stored_bytes(self) -> int:
        """Return the bytes of the body, the owners and what each learnt task adds.

        An owner takes as few bits as are needed to count all tasks.
        """
        bits = self.world.tasks.bit_length() * sum(owner.numel() for owner in self.owners)
        network = bytes_of([*self.net.body.parameters(), *self.net.buffers()])
        return network + math.ceil(bits / 8) + sum(self.task_bytes(task) for task in self.learnt)


def again(config: Fit.Config, epochs: int, lr: float, **more: Any) -> Fit.Config:
    """Return settings of a further fit of the same task: the run's, with `epochs` at a constant rate `lr`."""
    fields: dict[str, Any] = {"epochs": epochs, "lr": lr, "schedule": "constant", "stop": "never"}
    return replace(config, **fields | more)


def lowest(weight: Tensor, ranked: Tensor, share: float) -> Tensor:
    """Return a boolean mask of the entries with |weight| at most the k-th smallest of the ranked entries.

    Here k = round(share * number of ranked entries). Ties are included together. With k = 0 the mask is
    False everywhere.

    Args:
        weight: Weight tensor.
        ranked: Boolean tensor of the weight's shape; True for entries that are ranked.
        share: Share of the ranked entries.
    """
    magnitudes = weight.detach().abs()
    if not devices.on_cpu(weight):
        return _lowest_without_waiting(magnitudes, ranked, share)
    among = magnitudes[ranked]
    rank = round(share * among.numel())
    if rank < 1:
        return torch.zeros_like(ranked)
    return magnitudes <= among.kthvalue(rank).values


def _lowest_without_waiting(magnitudes: Tensor, ranked: Tensor, share: float) -> Tensor:
    """Return what `lowest` does by operations whose shapes do not depend on values.

    The number of ranked entries, and with it k, stays on the device, so that all entries have to be sorted.
    """
    inside = magnitudes.masked_fill(~ranked, math.inf).reshape(-1).sort().values
    rank = (share * ranked.sum().to(devices.widest(ranked.device))).round().long()
    threshold = inside.gather(0, (rank - 1).clamp(min=0).view(1))
    return (magnitudes <= threshold) & (rank >= 1)

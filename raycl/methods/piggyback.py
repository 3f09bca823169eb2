"""Masks on a trained backbone (Piggyback): Mallya et al., ECCV 2018, arXiv 1801.06519; soft and kernel-wise
masks are those that KSM (CVPR 2021) compares with: see `ksm`.

The network is trained on the first task and then frozen. Each later task trains a real value per weight or
per kernel, and what lies above a threshold is kept. What stays of a task is bits and a head.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Self

import torch
from torch import Tensor, nn
from torch.func import functional_call

from raycl.masks import layers_of, weights_below_heads
from raycl.method import Task
from raycl.methods._first import BuiltOnFirstTask
from raycl.networks import Network
from raycl.networks._checks import check_maskable
from raycl.probes.kernels import LayerMask, mask_diagnostics, packed
from raycl.probes.owners import bytes_of
from raycl.space import Choice
from raycl.training.fit import Fit

TAU = 5e-3  # threshold of the real values
START = 1e-2  # where they start: everything is kept
SoftNorm = Literal["minmax05", "minmax", "absmax", "none"]
_LR = {"fit.lr": Choice(1e-4, 2e-4, 5e-4, 1e-3)}


class Piggyback(BuiltOnFirstTask):
    """A mask per task on the network of the first task; heads are not masked, biases stay.

    Every later task hangs on that network alone, and is answered by it, with the task's own untrained head,
    until it is learnt. Stored are the network with the first head, and of each later task, once it is learnt,
    its bits, factors, batch normalisation and head.
    """

    independent: ClassVar[bool] = True
    preset_overrides: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "ksm_mask_paper": _LR,
        "ksm_mask_code": _LR,
    }

    @dataclass(frozen=True, kw_only=True)
    class Config(BuiltOnFirstTask.Config):
        granularity: Literal["element", "kernel"] = "element"  # one value per weight, or per kernel
        soft: bool = False  # what is dropped is scaled by its normalised real value, instead of 0 (KSM eq. 5)
        values: Literal["binary", "ternary"] = "binary"  # ternary: -1 where the real value is below 0
        start: Literal["constant", "uniform"] = "constant"  # at 1e-2, or in [0, 2e-2): a quarter is dropped
        mask_linear: Literal["element", "none"] = "element"  # none: linear layers stay as they are
        bn_mode: Literal["frozen", "stats", "affine_stats"] = "frozen"  # what of it is a task's own
        soft_norm: SoftNorm = "minmax05"

        def __post_init__(self) -> None:
            super().__post_init__()
            if self.soft and self.values == "ternary":
                raise ValueError("soft = True has no factors for values = 'ternary': choose one of them")
            if self.soft_norm != "minmax05" and not self.soft:
                raise ValueError(f"soft_norm = {self.soft_norm!r} needs soft = True")

    config: Config

    @classmethod
    def check_network(cls, net: Network, tasks: int) -> None:
        super().check_network(net, tasks)
        check_maskable(net, cls.__name__)

    def make(self) -> None:
        super().make()
        weights = weights_below_heads(self.net)
        linear = self.config.mask_linear == "element"
        self.layers = {  # by their names in figures, the weights' names in the network
            layer: name
            for (layer, module), name in zip(layers_of(self.net.body).items(), weights, strict=True)
            if linear or isinstance(module, nn.Conv2d)
        }
        if not self.layers:
            raise ValueError(f"mask_linear = 'none' leaves nothing to mask in {type(self.net).__name__}")
        self.real = nn.ParameterList()  # R of the task being learnt, layer by layer
        self.current: int | None = None  # that task
        self.done: dict[int, tuple[LayerMask, ...]] = {}  # masks of finished tasks
        self.frozen = False
        self._evaluated: tuple[int, dict[str, Tensor]] | None = None
        if self.first.took is not None:
            self.freeze()

    def freeze(self) -> None:
        """From here on the network below the heads stays as it is."""
        self.net.body.requires_grad_(False)
        self.frozen = True
        self.train(self.training)

    def learn(self, task: Task, fit: Fit) -> None:
        if task.index == 0:
            self.first.learn(self, task, fit)
            self.freeze()
            return
        self.begin(task.index)
        fit(self, task)
        self.finish()

    def begin(self, task: int) -> None:
        """Real values and a batch normalisation for a task."""
        assert self.frozen, "there is no network yet: learn the first task before, or hand over a backbone"
        self.current, self._evaluated = task, None
        self.norms.begin(task, self.net)
        shapes = [self.shape(weight) for weight in self.weights()]
        drawn = [torch.full(shape, START, device="cpu") for shape in shapes]
        if self.config.start == "uniform":
            drawn = [2 * START * torch.rand(shape, device="cpu") for shape in shapes]
        self.real = nn.ParameterList(r.to(self.weights()[0]) for r in drawn)

    def finish(self) -> None:
        """Keep bits, and factors where there are any; drop the real values."""
        assert self.current is not None
        ternary, soft = self.config.values == "ternary", self.config.soft
        with torch.no_grad():
            masks = [packed(self.kept(r), self.mask(r), ternary=ternary, soft=soft) for r in self.real]
        self.done[self.current] = tuple(masks)
        self.current, self.real = None, nn.ParameterList()
        self.train(self.training)

    def weights(self) -> list[Tensor]:
        """Weights under the masks, fixed: no gradient is computed for them."""
        return [self.net.get_parameter(name).detach() for name in self.layers.values()]

    def shape(self, weight: Tensor) -> tuple[int, ...]:
        """Of a layer's mask; a linear layer's kernels have one weight."""
        if self.config.granularity == "kernel" and weight.dim() == 4:
            return (*weight.shape[:2], 1, 1)
        return tuple(weight.shape)

    def kept(self, real: Tensor) -> Tensor:
        """B, whose gradient goes to R."""
        kept: Tensor = Threshold.apply(real, self.config.values == "ternary")
        return kept

    def mask(self, real: Tensor) -> Tensor:
        """M = B + A (KSM eq. 4), of R's shape; nothing flows through A."""
        kept = self.kept(real)
        return kept + soft_part(real, kept, self.config.soft_norm) if self.config.soft else kept

    def masks(self, task: int) -> list[Tensor]:
        """One per masked layer, of a finished task from its bits; none of a task that is not begun."""
        if task in self.done:
            return [mask.tensor(weight) for mask, weight in zip(self.done[task], self.weights(), strict=True)]
        return [self.mask(real) for real in self.real] if task == self.current else []

    def masked(self, task: int) -> dict[str, Tensor]:
        """Masked weights (KSM eq. 3) by name; made once for a pass of evaluation."""
        if self._evaluated is not None and self._evaluated[0] == task and not torch.is_grad_enabled():
            return self._evaluated[1]
        named = zip(self.layers.values(), self.weights(), self.masks(task), strict=False)
        found = {name: weight * mask for name, weight, mask in named}
        if not (self.training or torch.is_grad_enabled()):
            self._evaluated = task, found
        return found

    def forward(self, x: Tensor, task: int) -> Tensor:
        tensors = self.masked(task) | self.norms.named(task)
        logits: Tensor = functional_call(self.net, tensors, (x, task), tie_weights=False)
        return logits

    def train(self, mode: bool = True) -> Self:
        super().train(mode)
        self._evaluated = None  # real values may move
        if self.frozen:
            self.norms.still(self.net)
        return self

    def trainable(self, task: int) -> Iterable[Any]:
        if task == 0:
            return self.net.trainable(task)
        real = list(self.real) if task == self.current else []
        return [*real, *self.net.heads[task].parameters(), *self.norms.trainable(task)]

    def rewinds(self) -> Iterable[Tensor]:
        return () if self.current is None else self.norms.statistics(self.current)

    def diagnostics(self, task: int) -> dict[str, Any]:
        """Of a task's mask: shares kept whole, bits, and bytes with its head and batch normalisation."""
        if task not in self.done:
            return {}
        return mask_diagnostics(self.done[task], self.layers) | {"task_bytes": self.task_bytes(task)}

    def task_bytes(self, task: int) -> int:
        """What a finished task adds to what is stored."""
        own = [*self.net.heads[task].parameters(), *self.norms.named(task).values()]
        return sum(mask.nbytes for mask in self.done[task]) + bytes_of(own)

    def count_parameters(self) -> int:
        """The network, and of all later tasks the real values and what is trained of batch normalisations."""
        later = sum(math.prod(self.shape(weight)) for weight in self.weights())
        if self.config.bn_mode == "affine_stats":
            norms = [self.net.get_submodule(layer) for layer in self.norms.layers]
            later += sum(p.numel() for norm in norms for p in norm.parameters())
        return sum(p.numel() for p in self.net.parameters()) + (self.world.tasks - 1) * later

    def stored_bytes(self) -> int:
        network = [*self.net.body.parameters(), *self.net.buffers(), *self.net.heads[0].parameters()]
        return bytes_of(network) + sum(self.task_bytes(task) for task in self.done)


class Threshold(torch.autograd.Function):
    """1 where R > tau (KSM eq. 1), -1 in a ternary mask where R < 0; gradient straight through (eq. 2)."""

    @staticmethod
    def forward(ctx: Any, real: Tensor, ternary: bool) -> Tensor:
        kept = (real > TAU).to(real)
        return kept - (real < 0).to(real) if ternary else kept

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        return gradients[0], None


@torch.no_grad()
def soft_part(real: Tensor, kept: Tensor, norm: SoftNorm) -> Tensor:
    """A (KSM eq. 5): factors of what is dropped, 0 where `kept` is 1; both of a layer's mask, [same shape].

    KSM's text leaves its normalisation open. Its code takes, of a = (1 - B) R over the whole layer with the
    zeros of what is kept, (a - min a) / (max a - min a) / 2 where a is not 0 ("minmax05"). "minmax" does not
    halve, "absmax" is a / max |a|, "none" is a itself. A is 0 where this would divide by 0.
    """
    a = (1 - kept) * real
    if norm == "none":
        return a
    low, high = torch.aminmax(a)
    if norm == "absmax":
        low, high = torch.zeros_like(low), torch.maximum(-low, high)
    span = torch.where(high > low, (high - low) * (2.0 if norm == "minmax05" else 1.0), math.inf)
    return (a - low).div_(span).masked_fill_(a == 0, 0.0)

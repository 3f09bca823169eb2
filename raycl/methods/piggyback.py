"""Masks on a trained backbone (Piggyback): Mallya et al., ECCV 2018, arXiv 1801.06519.

The network is trained on the first task and then frozen. Each later task trains a real value per weight or
per kernel, and weights whose value is above a threshold are kept. Bits and a head are stored for each task.
Soft and kernel-wise masks are the variants that KSM (CVPR 2021) compares with; see `ksm`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Self

import torch
from torch import Tensor, nn
from torch.func import functional_call

from raycl.masks import layers_of, numbers, weights_below_heads
from raycl.method import Task
from raycl.methods._first import BuiltOnFirstTask
from raycl.networks import Network
from raycl.networks._checks import check_maskable
from raycl.probes.kernels import LayerMask, mask_diagnostics, packed
from raycl.probes.owners import bytes_of
from raycl.space import Choice
from raycl.training.fit import Fit

TAU = 5e-3  # threshold of the real values
START = 1e-2  # initial real value, above the threshold so that everything is kept
SoftNorm = Literal["minmax05", "minmax", "absmax", "none"]
_LR = {"fit.lr": Choice(1e-4, 2e-4, 5e-4, 1e-3)}


class Piggyback(BuiltOnFirstTask):
    """A mask per task on the network of the first task; heads are not masked, and biases are fixed.

    Every later task depends only on that network. Until a task is learnt, it is answered by that network with
    the task's own untrained head. The network is stored with the first head; each later task that is learnt
    adds its bits, factors, batch normalisation and head.

    Equations:
        V[l] = M[l] W[l]                                             (KSM eq. 3)
        M[l] = 1 where R[l] > 0.005, else 0                          (KSM eq. 1)
        dL/dR[l] = dL/dM[l]                     straight through M   (KSM eq. 2)
        R[l] = 0.01                             at the start of a task

        V[l]  weights of layer l with which a task after the first is answered
        W[l]  weights of layer l after the first task, which are fixed
        R[l]  real values of the present task
        L     mean cross-entropy over a batch
    """

    independent: ClassVar[bool] = True
    deviations: ClassVar[Sequence[str]] = (
        "a weight is kept where its real value is above the threshold, as in the released code; the equation "
        "is printed with 'at least'",
        "batch normalisations stay as the first task left them, as in the released code (bn_mode=frozen); "
        "the size in KSM's Table 2 implies a set for each task",
        "the presets keep the weights of the last epoch; the code keeps those that are best on the test data",
    )
    preset_overrides: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "ksm_mask_paper": _LR,
        "ksm_mask_code": _LR,
    }

    @dataclass(frozen=True, kw_only=True)
    class Config(BuiltOnFirstTask.Config):
        granularity: Literal["element", "kernel"] = "element"  # one value per weight, or per kernel
        soft: bool = False  # scale dropped weights by their normalised real value, not by 0 (KSM eq. 5)
        values: Literal["binary", "ternary"] = "binary"  # ternary: -1 where the real value is below 0
        start: Literal["constant", "uniform"] = "constant"  # 1e-2, or in [0, 2e-2) so that 1/4 is dropped
        mask_linear: Literal["element", "none"] = "element"  # none: linear layers are not masked
        bn_mode: Literal["frozen", "stats", "affine_stats"] = "frozen"  # separate for each task
        soft_norm: SoftNorm = "minmax05"  # normalisation of the real values, see `soft_part`

        def __post_init__(self) -> None:
            super().__post_init__()
            if self.soft and self.values == "ternary":
                raise ValueError("soft = True cannot be combined with values = 'ternary': choose one of them")
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
        self.layers = {  # names of layers in diagnostics -> names of their weights in the network
            layer: name
            for (layer, module), name in zip(layers_of(self.net.body).items(), weights, strict=True)
            if linear or isinstance(module, nn.Conv2d)
        }
        if not self.layers:
            raise ValueError(f"mask_linear = 'none' leaves nothing to mask in {type(self.net).__name__}")
        self.real = nn.ParameterList()  # real values R of the task being learnt, layer by layer
        self.current: int | None = None  # that task
        self.done: dict[int, tuple[LayerMask, ...]] = {}  # masks of finished tasks
        self.frozen = False
        self._evaluated: tuple[int, dict[str, Tensor]] | None = None
        if self.first.took is not None:
            self.freeze()

    def freeze(self) -> None:
        """Fix the network below the heads from now on."""
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
        """Make real values and a batch normalisation for a task."""
        assert self.frozen, "there is no trained network yet: learn the first task or provide a backbone"
        self.current, self._evaluated = task, None
        self.norms.begin(task, self.net)
        shapes = [self.shape(weight) for weight in self.weights()]
        drawn = [torch.full(shape, START, device="cpu") for shape in shapes]
        if self.config.start == "uniform":
            drawn = [2 * START * torch.rand(shape, device="cpu") for shape in shapes]
        self.real = nn.ParameterList(r.to(self.weights()[0]) for r in drawn)

    def finish(self) -> None:
        """Store the bits of the masks, and factors if there are any; discard the real values."""
        assert self.current is not None
        ternary, soft = self.config.values == "ternary", self.config.soft
        with torch.no_grad():
            masks = [packed(self.kept(r), self.mask(r), ternary=ternary, soft=soft) for r in self.real]
        self.done[self.current] = tuple(masks)
        self.current, self.real = None, nn.ParameterList()
        self.train(self.training)

    def weights(self) -> list[Tensor]:
        """Return the masked weights, detached because no gradient is needed for them."""
        return [self.net.get_parameter(name).detach() for name in self.layers.values()]

    def shape(self, weight: Tensor) -> tuple[int, ...]:
        """Return the shape of a layer's mask; each kernel of a linear layer is a single weight."""
        if self.config.granularity == "kernel" and weight.dim() == 4:
            return (*weight.shape[:2], 1, 1)
        return tuple(weight.shape)

    def kept(self, real: Tensor) -> Tensor:
        """Return B, whose gradient is passed on to R."""
        kept: Tensor = Threshold.apply(real, self.config.values == "ternary")
        return kept

    def mask(self, real: Tensor) -> Tensor:
        """Return M = B + A (KSM eq. 4), of the shape of R; no gradient flows through A."""
        kept = self.kept(real)
        if self.config.soft:
            kept.addcmul_(*_soft_factors(real, kept, self.config.soft_norm))
        return kept

    def masks(self, task: int) -> list[Tensor]:
        """Return one mask per masked layer, or none for a task that has not been started.

        The masks of a finished task are made from its bits.
        """
        if task in self.done:
            return [mask.tensor(weight) for mask, weight in zip(self.done[task], self.weights(), strict=True)]
        return [self.mask(real) for real in self.real] if task == self.current else []

    def masked(self, task: int) -> dict[str, Tensor]:
        """Return the masked weights (KSM eq. 3) by name; evaluation computes them once and caches them."""
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
        self._evaluated = None  # real values may have changed
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
        """Return numbers on a task's mask, and the bytes of the task including head and normalisation."""
        if task not in self.done:
            return {}
        return mask_diagnostics(self.done[task], self.layers) | {"task_bytes": self.task_bytes(task)}

    def task_bytes(self, task: int) -> int:
        """Return the bytes that a finished task adds to the stored bytes."""
        own = [*self.net.heads[task].parameters(), *self.norms.named(task).values()]
        return sum(mask.nbytes for mask in self.done[task]) + bytes_of(own)

    def count_parameters(self) -> int:
        """Return the parameters of the network plus those that all later tasks train.

        These are their real values and, with mode "affine_stats", scales and shifts.
        """
        later = sum(math.prod(self.shape(weight)) for weight in self.weights())
        if self.config.bn_mode == "affine_stats":
            norms = [self.net.get_submodule(layer) for layer in self.norms.layers]
            later += sum(p.numel() for norm in norms for p in norm.parameters())
        return sum(p.numel() for p in self.net.parameters()) + (self.world.tasks - 1) * later

    def stored_bytes(self) -> int:
        network = [*self.net.body.parameters(), *self.net.buffers(), *self.net.heads[0].parameters()]
        return bytes_of(network) + sum(self.task_bytes(task) for task in self.done)


class Threshold(torch.autograd.Function):
    """Threshold that is 1 where R > tau (KSM eq. 1), with a straight-through gradient (eq. 2).

    In a ternary mask it is also -1 where R < 0.
    """

    @staticmethod
    def forward(ctx: Any, real: Tensor, ternary: bool) -> Tensor:
        kept = numbers(torch.gt, real, TAU)
        return kept.sub_(numbers(torch.lt, real, 0)) if ternary else kept

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        return gradients[0], None


def soft_part(real: Tensor, kept: Tensor, norm: SoftNorm) -> Tensor:
    """Return A (KSM eq. 5), the factors of dropped weights or kernels; A is 0 where `kept` is 1.

    KSM's text does not define its normalisation. With a = (1 - B) R over the whole layer, including the zeros
    of what is kept, its code uses (a - min a) / (max a - min a) / 2 where a is not 0 ("minmax05"). "minmax"
    does not halve, "absmax" is a / max |a|, and "none" is a itself. A is 0 where this would divide by 0.

    Args:
        real: Real values R of a layer.
        kept: B, of the same shape.
        norm: Kind of normalisation.
    """
    scaled, where = _soft_factors(real, kept, norm)
    return scaled * where


@torch.no_grad()
def _soft_factors(real: Tensor, kept: Tensor, norm: SoftNorm) -> tuple[Tensor, Tensor]:
    """Return two tensors whose product is A; see `soft_part`.

    The second is 1 where a is not 0, and 0 elsewhere. A product is cheaper than `masked_fill`, because a CPU
    mispredicts the branches of a random mask.
    """
    a = (1 - kept).mul_(real)
    where = numbers(torch.ne, a, 0)
    if norm == "none":
        return a, where
    low, high = torch.aminmax(a)
    if norm == "absmax":
        low, high = torch.zeros_like(low), torch.maximum(-low, high)
    span = (high - low).mul_(2.0 if norm == "minmax05" else 1.0)
    span.masked_fill_(span == 0, math.inf)
    return a.sub_(low).div_(span), where

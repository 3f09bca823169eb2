"""Supermasks in superposition (SupSup): Wortsman et al., NeurIPS 2020, arXiv 2006.14769.

The network's weights are random and never trained. Each task trains a score per weight, and its mask keeps
the highest of each layer. What stays of a task is its masks, one bit per weight, and its batch statistics.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.func import functional_call

from raycl.masks import layers_of, pack, unpack, weights_of
from raycl.method import Method, Task
from raycl.networks import Heads
from raycl.space import Float
from raycl.supermasks.edge_popup import density_of, draw_scores, fixed_weight, mask_of
from raycl.training import Fit

_IMPRESSLEARN = {"method.backbone_init": "kaiming_normal", "method.head": "shared"}


class SupSup(Method):
    """A mask per task on one frozen backbone, heads included; biases are zero.

    Networks with one head for all tasks mask that one. A task that is not learnt yet is answered by the whole
    backbone.
    """

    keeps_logits = True
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "spg": {"method.density": Float(0.05, 0.9), "fit.lr": Float(1e-3, 1.0, log=True)},
        "prm": {"method.density": Float(0.01, 0.8, log=True), "fit.lr": Float(1e-4, 1e-1, log=True)},
        "impresslearn_basis_mnist": _IMPRESSLEARN,
        "impresslearn_basis_cifar": _IMPRESSLEARN,
        "impresslearn_basis_imagenet": _IMPRESSLEARN,
    }

    @dataclass(frozen=True, kw_only=True)
    class Config(Method.Config):
        density: Annotated[float, Float(0.01, 0.9, log=True)] = 0.3  # share of ones in each layer
        backbone_init: Literal["signed_constant", "kaiming_normal"] = "signed_constant"
        score_rank: Literal["abs", "raw"] = "abs"  # what the highest is: of |score|, or of the score
        density_rule: Literal["uniform", "er", "threshold"] = "uniform"  # threshold: score >= 0, no density
        head: Literal["own", "shared"] = (
            "own"  # weights under the head's mask: the task's own, or one for all
        )

        def __post_init__(self) -> None:
            if not 0 < self.density <= 1:
                raise ValueError(f"density = {self.density} lies outside 0..1")

    config: Config

    def make(self) -> None:
        super().make()
        if self._one_head and len(set(self.world.classes)) > 1:
            raise ValueError(f"head = 'shared' needs tasks of equally many classes, not {self.world.classes}")
        with torch.no_grad():
            for layer in layers_of(self.net).values():
                layer.weight.copy_(fixed_weight(layer.weight, self.config.backbone_init))
                if layer.bias is not None:
                    layer.bias.zero_()
        self.net.requires_grad_(False)
        self.scores = nn.ParameterList()  # of the task being learnt, layer by layer
        self.current: int | None = None  # that task
        self.bits: dict[int, list[NDArray[np.uint8]]] = {}  # masks of finished tasks
        self._evaluated: tuple[int, dict[str, Tensor]] | None = None

    @property
    def _one_head(self) -> bool:
        return self.config.head == "shared" and isinstance(self.net, Heads)

    def layers(self, task: int) -> dict[str, Tensor]:
        """Fixed weights under the masks of `task`, by the name under which the network looks them up."""
        weights = weights_of(self.net)
        found = {name: weight for name, weight in weights.items() if not name.startswith("heads.")}
        head = f"heads.{task if len(self.net.heads) > 1 else 0}.weight"
        found[head] = weights["heads.0.weight" if self._one_head else head]
        return found

    def learn(self, task: Task, fit: Fit) -> None:
        self.start(task.index)
        fit(self, task)
        self.finish()

    def start(self, task: int) -> None:
        """Draw scores for a task."""
        self.current = task
        self.scores = nn.ParameterList(draw_scores(weight) for weight in self.layers(task).values())

    def finish(self) -> None:
        """Keep the bits of the masks, drop the scores."""
        assert self.current is not None
        with torch.no_grad():
            self.bits[self.current] = [pack(mask) for mask in self.masks(self.current)]
        self.current, self.scores = None, nn.ParameterList()

    def trainable(self, task: int) -> Iterable[Any]:
        return list(self.scores) if task == self.current else []

    def masks(self, task: int) -> list[Tensor]:
        """One per layer, of the weight's shape; of a finished task from its bits."""
        weights = list(self.layers(task).values())
        if task in self.bits:
            kept = zip(self.bits[task], weights, strict=True)
            return [unpack(bits, weight.shape).to(weight) for bits, weight in kept]
        if task != self.current:
            return [torch.ones_like(weight) for weight in weights]
        config = self.config
        return [
            mask_of(
                scores,
                density_of(scores, config.density, config.density_rule),
                config.score_rank,
                config.density_rule,
            )
            for scores in self.scores
        ]

    def masked(self, task: int) -> dict[str, Tensor]:
        """Weights times masks by name; made once for a pass of evaluation."""
        evaluating = not self.training and not torch.is_grad_enabled()
        if evaluating and self._evaluated is not None and self._evaluated[0] == task:
            return self._evaluated[1]
        layers = self.layers(task)
        weights = {name: w * mask for (name, w), mask in zip(layers.items(), self.masks(task), strict=True)}
        if evaluating:
            self._evaluated = task, weights
        return weights

    def train(self, mode: bool = True) -> Self:
        self._evaluated = None  # scores may have moved since
        return super().train(mode)

    def forward(self, x: Tensor, task: int) -> Tensor:
        logits: Tensor = functional_call(self.net, self.masked(task), (x, task), tie_weights=False)
        return logits

    def figures(self, task: int) -> dict[str, Any]:
        """Share of ones in the task's masks."""
        masks = self.masks(task)
        return {"density": float(sum(mask.sum() for mask in masks)) / sum(mask.numel() for mask in masks)}

    def count_parameters(self) -> int:
        return sum(w.numel() for task in range(self.world.tasks) for w in self.layers(task).values())

    def stored_bytes(self) -> int:
        """The backbone once, and of each task its bits; batch statistics of all tasks."""
        backbone = {w for task in range(self.world.tasks) for w in self.layers(task).values()}
        tensors = [*backbone, *self.net.buffers()]
        bits = sum(len(layer) for masks in self.bits.values() for layer in masks)
        return bits + sum(t.numel() * t.element_size() for t in tensors)

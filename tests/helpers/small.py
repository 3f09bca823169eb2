"""Backbones of a few weights, and masks on them."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from raycl import calls, registry
from raycl.networks import Start
from raycl.space import make_config
from raycl.supermasks.bank import Backbone, backbone_of
from raycl.tasks import Benchmark, Task


def backbone(
    network: str = "lenet_300_100",
    shape: tuple[int, int, int] = (1, 4, 4),
    classes: int = 3,
    width: float = 0.05,
) -> Backbone:
    kind = registry.network(network)
    settings = calls.parse(network, "network").settings(kind.Config, "network")
    start = Start(kind, make_config(kind.Config, settings, "network"), shape, (classes,), 0)
    return backbone_of(start(width), 0, "kaiming_normal")


def effective(weights: Sequence[Tensor], masks: Sequence[Tensor]) -> Callable[[Tensor], list[Tensor]]:
    """Coefficients [K, d] to effective weights, from masks [K, *shape of the weight] of each layer."""

    def mixed(coefficients: Tensor) -> list[Tensor]:
        return [
            weight * torch.tensordot(coefficients[:, layer], mask, 1)
            for layer, (weight, mask) in enumerate(zip(weights, masks, strict=True))
        ]

    return mixed


def random_masks(weights: Sequence[Tensor], count: int, density: float, seed: int) -> list[Tensor]:
    """[count, *shape] of 0.0 and 1.0 for each layer, every entry on its own."""
    torch.manual_seed(seed)
    return [(torch.rand(count, *weight.shape) < density).to(weight) for weight in weights]


def alike(on: Benchmark, count: int) -> list[Task]:
    """The first task again and again: a stream that does not drift."""
    first = on.tasks[0]
    return [Task(i, f"step {i}", first.classes, first.train, first.val, first.test) for i in range(count)]

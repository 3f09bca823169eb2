"""A method that masks weights, on a single layer whose weights are given."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from raycl.networks import Heads
from tests.helpers import toys


class Single(Heads):
    """A single layer, whose output is the answer."""

    @dataclass(frozen=True, kw_only=True)
    class Config(Heads.Config):
        outputs: int = 4
        kernel: int = 0  # 0: a linear layer

    def __init__(
        self, input_shape: tuple[int, int, int], classes: Sequence[int], config: Config, width: float = 1.0
    ) -> None:
        super().__init__(input_shape, classes, config, width)
        inputs, kernel = input_shape[0], config.kernel
        self.body = (
            nn.Conv2d(inputs, config.outputs, kernel, padding=1)
            if kernel
            else nn.Linear(inputs, config.outputs)
        )
        self.heads = nn.ModuleList(nn.Identity() for _ in classes)

    def features(self, x: Tensor, task: int = 0) -> Tensor:
        y: Tensor = self.body(x if isinstance(self.body, nn.Conv2d) else x.flatten(1))
        return y


def begun(
    name: str, drawn: Mapping[str, Tensor], of: str, real: Tensor | None, **config: Any
) -> tuple[Any, Any]:
    """A method whose one layer has the weights of a case, at its second task, and the benchmark."""
    weight, x = drawn[f"{of}:weight"], drawn[f"{of}:x"]
    x = x if x.dim() == 4 else x.reshape(*x.shape, 1, 1)
    y = torch.zeros(len(x), dtype=torch.long)
    on = toys.given([(x, y), (x, y)], (1, 1), val="none")
    kernel = weight.shape[-1] if weight.dim() == 4 else 0
    method: Any = toys.method(
        name, on, f"{__name__}:Single(outputs={len(weight)}, kernel={kernel})", **config
    )
    with torch.no_grad():
        method.net.body.weight.copy_(weight)
        method.net.body.bias.copy_(drawn.get(f"{of}:bias", torch.zeros(len(weight))))
    method.freeze()
    method.begin(1)
    if real is not None:
        with torch.no_grad():
            method.real[0].copy_(real)
    return method, on


def train(method: Any, on: Any, c: Tensor, lr: float, steps: int) -> Tensor:
    """Adam steps on all samples at once, by the method's own loop; the losses."""
    losses: list[Tensor] = []
    step = method.step

    def loss(batch: Any) -> Tensor:
        y: Tensor = method(batch.x, batch.task)
        return (y * c).sum() / 10 + (y**2).mean()

    def stepping(batch: Any, update: Any) -> Tensor:
        losses.append(step(batch, update))
        return losses[-1]

    method.loss, method.step = loss, stepping
    loop = toys.fit(optimiser="adam", lr=lr, epochs=steps, batch=len(c), shuffle=False)
    loop(method, on.tasks[1])
    return torch.stack(losses)

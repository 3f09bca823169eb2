"""What all networks share: features, heads, and blocks whose outputs can be gated."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from raycl import streams


class Network(nn.Module):
    """``net(x, task)`` gives logits: ``head(features(x), task)``.

    Attributes:
        body: everything below the heads.
        heads: one linear layer per task, or a single one that all tasks share.
    """

    version: ClassVar[int] = 1
    pretrained = False  # its weights, the first head's among them, were given and are not trained

    @dataclass(frozen=True, kw_only=True)
    class Config:
        """Settings of the network, dropout rates among them."""

    @classmethod
    def variant(cls, config: Config) -> type[Network]:
        """The class that these settings make, for a network that comes with heads of several kinds."""
        return cls

    body: nn.Module
    heads: nn.ModuleList

    def __init__(
        self, input_shape: tuple[int, int, int], classes: Sequence[int], config: Config, width: float = 1.0
    ) -> None:
        super().__init__()

    def features(self, x: Tensor, task: int = 0) -> Tensor:
        """[batch, features]; `task` matters only to layers with state per task."""
        h: Tensor = self.body(x)
        return h

    def head(self, h: Tensor, task: int) -> Tensor:
        """Logits [batch, classes of `task`] of features [batch, features]."""
        logits: Tensor = self.heads[task if len(self.heads) > 1 else 0](h)
        return logits

    def forward(self, x: Tensor, task: int) -> Tensor:
        return self.head(self.features(x, task), task)

    def trainable(self, task: int) -> list[nn.Parameter]:
        """The body and the head of `task`; heads of other tasks would only decay."""
        return self._body_and(self.heads[task if len(self.heads) > 1 else 0])

    def _body_and(self, head: nn.Module) -> list[nn.Parameter]:
        """Each parameter once, also where the head shares some with the body."""
        return list(dict.fromkeys([*self.body.parameters(), *head.parameters()]))


class Heads(Network):
    """A network with a head of its own for every task."""

    def make_heads(self, features: int, classes: Sequence[int]) -> None:
        """One linear layer with bias per task."""
        self.heads = nn.ModuleList(nn.Linear(features, n) for n in classes)

    def head(self, h: Tensor, task: int) -> Tensor:
        logits: Tensor = self.heads[task](h)
        return logits

    def trainable(self, task: int) -> list[nn.Parameter]:
        return self._body_and(self.heads[task])


class Block(nn.Module):
    """Layer, ReLU, dropout, pool, in that order; a gate multiplies what comes out.

    Attributes:
        layer: Conv2d or Linear.
        units: channels or neurons.
    """

    def __init__(
        self,
        layer: nn.Conv2d | nn.Linear,
        drop: float = 0.0,
        pool: int = 0,
        flatten: bool = False,
        drop_in: float = 0.0,
    ) -> None:
        super().__init__()
        self.layer, self.drop, self.pool, self.flatten, self.drop_in = layer, drop, pool, flatten, drop_in
        self.units = layer.weight.shape[0]

    def forward(self, x: Tensor, gate: Tensor | None = None) -> Tensor:
        """`gate` [units] multiplies each output unit."""
        if self.flatten:
            x = x.flatten(1)
        x = F.dropout(x, self.drop_in, self.training)
        x = F.dropout(F.relu(self.layer(x)), self.drop, self.training)
        if self.pool:
            x = F.max_pool2d(x, self.pool)
        if gate is not None:
            x = x * (gate.view(1, -1, 1, 1) if x.dim() == 4 else gate)
        return x


class Blocks(Network):
    """A network that is a chain of blocks; ``features(x, gates=[...])`` gates each block's output."""

    body: nn.ModuleList

    def features(self, x: Tensor, task: int = 0, gates: Sequence[Tensor] | None = None) -> Tensor:
        """[batch, features]; `gates[i]` [units of block i] multiplies the output of block i."""
        for i, block in enumerate(self.body):
            x = block(x, None if gates is None else gates[i])
        return x

    @property
    def units(self) -> list[int]:
        """Gated units of each block."""
        return [block.units for block in self.blocks]

    @property
    def blocks(self) -> list[Block]:
        """The blocks, in order."""
        return [block for block in self.body if isinstance(block, Block)]


class PerTaskBatchNorm(nn.Module):
    """Batch normalisation without affine parameters and with running statistics of each task's own."""

    per_task = True

    def __init__(self, channels: int, tasks: int) -> None:
        super().__init__()
        self.norms = nn.ModuleList(nn.BatchNorm2d(channels, affine=False) for _ in range(tasks))

    def forward(self, x: Tensor, task: int) -> Tensor:
        y: Tensor = self.norms[task](x)
        return y


@dataclass(frozen=True)
class Start:
    """Builds a network with the initial weights that belong to a seed: `World.build`.

    Weights are drawn on the CPU, so that they are the same on every device, then moved to torch's default
    device; torch's generator is left as it was.
    """

    kind: type[Network]
    config: Network.Config
    input_shape: tuple[int, int, int]
    classes: tuple[int, ...]
    seed: int

    def __call__(self, width: float = 1.0, start: int = 0) -> Network:
        target = torch.get_default_device()
        with torch.random.fork_rng(devices=[]), torch.device("cpu"):
            streams.reseed(self.seed, "init", epoch=start)
            kind = self.kind.variant(self.config)
            net = kind(self.input_shape, self.classes, self.config, width)
        return net.to(target)


def check_rates(**rates: float) -> None:
    """Check dropout rates.

    Raises:
        ValueError: one is no share, or leaves nothing.
    """
    for name, rate in rates.items():
        if not 0 <= rate < 1:
            raise ValueError(f"{name} = {rate} must lie in [0, 1): the share that is dropped")


def scaled(units: int, width: float) -> int:
    """`units` times `width`, at least one."""
    return max(1, int(units * width))


def xavier(layers: Iterable[nn.Module]) -> None:
    """Xavier-uniform weights and zero biases."""
    for layer in layers:
        if isinstance(layer, nn.Conv2d | nn.Linear):
            nn.init.xavier_uniform_(layer.weight)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)

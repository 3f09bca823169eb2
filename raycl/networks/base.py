"""Base classes of all networks, and blocks whose outputs can be gated."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from raycl import streams
from raycl.networks._dropout import dropout


class Network(nn.Module):
    """Base class of networks; ``net(x, task)`` returns the logits ``head(features(x), task)``.

    Attributes:
        body: module that contains everything below the heads.
        heads: one linear layer per task, or a single one that all tasks share.
    """

    version: ClassVar[int] = 1
    pretrained = False  # weights, including the first head's, were loaded, so the first task is not trained

    @dataclass(frozen=True, kw_only=True)
    class Config:
        """Settings of the network, including dropout rates."""

    @classmethod
    def variant(cls, config: Config) -> type[Network]:
        """Return the class to build for these settings.

        A network whose settings decide what kind of heads it has returns a different class for each kind.
        """
        return cls

    body: nn.Module
    heads: nn.ModuleList

    def __init__(
        self, input_shape: tuple[int, int, int], classes: Sequence[int], config: Config, width: float = 1.0
    ) -> None:
        super().__init__()

    def features(self, x: Tensor, task: int = 0) -> Tensor:
        """Return features [batch, features]; only layers with state per task use `task`."""
        h: Tensor = self.body(x)
        return h

    def head(self, h: Tensor, task: int) -> Tensor:
        """Return logits [batch, classes of `task`] for features [batch, features]."""
        logits: Tensor = self.heads[task if len(self.heads) > 1 else 0](h)
        return logits

    def forward(self, x: Tensor, task: int) -> Tensor:
        return self.head(self.features(x, task), task)

    def trainable(self, task: int) -> list[nn.Parameter]:
        """Return the parameters of the body and of the head of `task`.

        Heads of other tasks are left out, because weight decay would change them.
        """
        return self._body_and(self.heads[task if len(self.heads) > 1 else 0])

    def _body_and(self, head: nn.Module) -> list[nn.Parameter]:
        """Return each parameter once, even if the head shares some with the body."""
        return list(dict.fromkeys([*self.body.parameters(), *head.parameters()]))


class Heads(Network):
    """A network with a separate head for every task."""

    def make_heads(self, features: int, classes: Sequence[int]) -> None:
        """Make one linear layer with bias per task."""
        self.heads = nn.ModuleList(nn.Linear(features, n) for n in classes)

    def head(self, h: Tensor, task: int) -> Tensor:
        logits: Tensor = self.heads[task](h)
        return logits

    def trainable(self, task: int) -> list[nn.Parameter]:
        return self._body_and(self.heads[task])


class Block(nn.Module):
    """A layer followed by ReLU, dropout and pooling, in that order; a gate multiplies the output.

    Attributes:
        layer: Conv2d or Linear.
        units: number of output channels or neurons.
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
        """Return the output of the block, each unit multiplied by its entry of `gate` [units], if given."""
        if self.flatten:
            x = x.flatten(1)
        x = dropout(x, self.drop_in, self.training)
        x = dropout(F.relu(self.layer(x)), self.drop, self.training)
        if self.pool:
            x = F.max_pool2d(x, self.pool)
        if gate is not None:
            x = x * (gate.view(1, -1, 1, 1) if x.dim() == 4 else gate)
        return x


class Blocks(Network):
    """A network that is a chain of blocks; ``features(x, gates=[...])`` gates the output of each block."""

    body: nn.ModuleList

    def features(self, x: Tensor, task: int = 0, gates: Sequence[Tensor] | None = None) -> Tensor:
        """Return features [batch, features]; `gates[i]` [units of block i] multiplies block i's output."""
        for i, block in enumerate(self.body):
            x = block(x, None if gates is None else gates[i])
        return x

    @property
    def units(self) -> list[int]:
        """Number of units of each block that a gate multiplies."""
        return [block.units for block in self.blocks]

    @property
    def blocks(self) -> list[Block]:
        """Blocks in order."""
        return [block for block in self.body if isinstance(block, Block)]


class PerTaskBatchNorm(nn.Module):
    """Batch normalisation without affine parameters and with separate running statistics for each task."""

    per_task = True

    def __init__(self, channels: int, tasks: int) -> None:
        super().__init__()
        self.norms = nn.ModuleList(nn.BatchNorm2d(channels, affine=False) for _ in range(tasks))

    def forward(self, x: Tensor, task: int) -> Tensor:
        y: Tensor = self.norms[task](x)
        return y


@dataclass(frozen=True)
class Start:
    """Builder of networks with the initial weights that belong to a seed; it is used as `World.build`.

    Weights are drawn on the CPU, so that they are the same on every device, and then moved to torch's default
    device. The state of torch's generator does not change.
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
        ValueError: If a rate is not in [0, 1).
    """
    for name, rate in rates.items():
        if not 0 <= rate < 1:
            raise ValueError(f"{name} = {rate} must lie in [0, 1): it is the share of units that is dropped")


def every_nth_pixel(x: Tensor, n: int) -> Tensor:
    """Return every n-th row and column of images [batch, channels, height, width], from the first on.

    A 1x1 convolution with stride n equals one with stride 1 of these pixels; torch 2.15 can crash in the
    backward pass of the former on a CPU. Single pixels are pooled, because the gradient of indexing does not
    keep the memory format channels_last.
    """
    return x if n == 1 else F.avg_pool2d(x, 1, n)


def scaled(units: int, width: float) -> int:
    """Return `units` times `width`, rounded down, but at least one."""
    return max(1, int(units * width))


def xavier(layers: Iterable[nn.Module]) -> None:
    """Draw the weights of linear and convolution layers Xavier-uniformly and set their biases to zero."""
    for layer in layers:
        if isinstance(layer, nn.Conv2d | nn.Linear):
            nn.init.xavier_uniform_(layer.weight)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)

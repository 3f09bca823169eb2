"""Progressive neural networks (PNN): Rusu et al., 2016, arXiv 1606.04671, in the form of HAT's code.

Every task has its own narrow column, and lateral connections through which the column reads the inputs of the
layers of earlier columns. Columns of finished tasks never change, so nothing is forgotten.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from raycl.method import Method, Task
from raycl.networks import Blocks, Heads, Network
from raycl.networks._checks import check_walked
from raycl.networks._dropout import dropout
from raycl.space import Float
from raycl.training.fit import Fit


class PNN(Method):
    """A column per task, all built at the start; column t, which reads all earlier ones, answers task t.

    Equations:
        h[l] = relu(W[l] h[l-1] + U[l] relu(V[l] c[l-1]))                (eq. 2)
        c[l] = [alpha[l,1] h^1[l], ..., alpha[l,t-1] h^{t-1}[l]]
        logits = W[L] h[L-1] + U[L] V[L] c[L-1]
        width of a column = max(1, floor(expansion / T times the network's))

        h[l]      output of layer l of the column of task t, after dropout and
                  pooling; h[0] is the input, and layer 1 has no lateral term
        h^k       the same in the frozen column of task k < t
        W[l]      layer l of the column, with its bias; L is the head
        c[l]      outputs of the earlier columns, scaled and concatenated
        alpha     a learnt scalar for each layer and earlier column
        V[l]      learnt linear map or 1 x 1 convolution to one column's width
        U[l]      learnt layer of the shape of W[l]
        T         number of tasks
    """

    keeps_logits = True
    needs = (Blocks, Heads)
    preset_overrides: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "pmask": {"method.expansion": 1.117, "fit.lr": Float(0.01, 0.1, log=True)}
    }
    deviations: ClassVar[Sequence[str]] = (
        "all columns have a width of expansion/T times the network's, fixed in advance (HAT); the paper adds "
        "columns of full width",
        "a layer of a column has at least one unit; the formula gives none for many tasks",
        "an earlier column is read with its own lateral connections (paper), which matters from the third "
        "task on",
        "the head's lateral connection contributes to a task's logits (paper); HAT's code leaves it out",
    )

    @dataclass(frozen=True, kw_only=True)
    class Config(Method.Config):
        expansion: Annotated[float, Float(0.8, 1.5)] = 1.117  # width of a column times tasks

        def __post_init__(self) -> None:
            if not 0 < self.expansion <= 1_000:
                raise ValueError(f"expansion = {self.expansion} must be above 0, and at most 1000")

    config: Config

    @classmethod
    def check_network(cls, net: Network, tasks: int) -> None:
        super().check_network(net, tasks)
        check_walked(net, cls.__name__)

    def make(self) -> None:
        tasks = self.world.tasks
        width = self.config.expansion / tasks * (1 + 2**-50)  # the factor keeps rounding from losing a unit
        device = torch.get_default_device()
        self.columns: Any = nn.ModuleList()  # [column][block]
        self.laterals: Any = nn.ModuleList()  # [column][blocks from the second on, then the head]
        self.heads = nn.ModuleList()
        for task in range(tasks):
            column, across = self.world.build(width, task), self.world.build(width, tasks + task)
            assert isinstance(column, Blocks) and isinstance(across, Blocks)
            self.check_network(column, tasks)
            layers = [*(block.layer for block in across.blocks[1:]), across.heads[task]] if task else []
            with torch.device("cpu"):  # makes the draws the same on every device
                laterals = nn.ModuleList(Lateral(layer, task) for layer in layers)
            self.columns.append(nn.ModuleList(column.blocks))
            self.laterals.append(laterals.to(device))
            self.heads.append(column.heads[task])
        self.learnt = 0

    def learn(self, task: Task, fit: Fit) -> None:
        fit(self, task)
        self.learnt += 1

    def trainable(self, task: int) -> Iterable[Any]:
        return [p for part in self._parts(task) for p in part.parameters()]

    def _parts(self, task: int) -> Sequence[nn.Module]:
        return self.columns[task], self.laterals[task], self.heads[task]

    def forward(self, x: Tensor, task: int) -> Tensor:
        earlier: list[list[Tensor]] = []  # by column
        with torch.no_grad():
            for column in range(task):
                earlier.append(self.received(x, column, earlier))
        h = self.received(x, task, earlier)[-1]
        logits: Tensor = self.heads[task](h)
        if earlier:
            logits = logits + self.laterals[task][-1]([column[-1] for column in earlier], rectify=False)
        return logits

    def received(self, x: Tensor, column: int, earlier: Sequence[Sequence[Tensor]]) -> list[Tensor]:
        """Return the inputs of the blocks of a column, and last the input of its head.

        The steps are those of `Block.forward`, with the lateral connections added before the ReLU. Dropout is
        also active in frozen columns, as in HAT's code.

        Args:
            x: Input of the network.
            column: Index of the column.
            earlier: The result of this method for all earlier columns.
        """
        found = []
        for index, block in enumerate(self.columns[column]):
            if block.flatten:
                x = x.flatten(1)
            x = dropout(x, block.drop_in, self.training)
            found.append(x)
            x = block.layer(x)
            if index and earlier:
                x = x + self.laterals[column][index - 1]([inputs[index] for inputs in earlier])
            x = dropout(F.relu(x), block.drop, self.training)
            if block.pool:
                x = F.max_pool2d(x, block.pool)
        return [*found, x]

    def stored_bytes(self) -> int:
        """Return the bytes of the learnt columns; later ones can be drawn again and need not be stored."""
        learnt = [p for task in range(self.learnt) for p in self.trainable(task)]
        return sum(p.numel() * p.element_size() for p in learnt)


class Lateral(nn.Module):
    """Lateral connection from the inputs of a layer in `columns` earlier columns to that layer in a new one.

    Each input is multiplied by its own scalar. The results are concatenated and projected to the width of one
    column. The layer `onward`, which is like the layer of the new column, maps them to the layer's outputs.
    """

    def __init__(self, onward: nn.Module, columns: int) -> None:
        super().__init__()
        self.scales = nn.Parameter(torch.randn(columns))
        if isinstance(onward, nn.Conv2d):
            inputs = onward.in_channels
            self.project: nn.Module = nn.Conv2d(columns * inputs, inputs, 1)
        else:
            assert isinstance(onward, nn.Linear)
            inputs = onward.in_features
            self.project = nn.Linear(columns * inputs, inputs)
        self.onward = onward

    def forward(self, received: Sequence[Tensor], rectify: bool = True) -> Tensor:
        """Return what is added to the layer's outputs.

        Args:
            received: Input [batch, inputs, ...] of the layer in each earlier column.
            rectify: Whether to apply a ReLU after the projection; the head's connection has none.
        """
        joined = torch.cat([scale * h for scale, h in zip(self.scales, received, strict=True)], 1)
        h = self.project(joined)
        y: Tensor = self.onward(F.relu(h) if rectify else h)
        return y

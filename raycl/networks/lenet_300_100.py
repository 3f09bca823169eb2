"""LeNet-300-100 without biases and with one head for all tasks (ImpressLearn section 3, MNIST)."""

from __future__ import annotations

import math
from collections.abc import Sequence

from torch import nn

from raycl.networks.base import Block, Blocks, Network, scaled


class LeNet300100(Blocks):
    """Two hidden layers of 300 and 100 units and a shared head, without biases and dropout."""

    def __init__(
        self,
        input_shape: tuple[int, int, int],
        classes: Sequence[int],
        config: Network.Config,
        width: float = 1.0,
    ) -> None:
        super().__init__(input_shape, classes, config, width)
        first, second = scaled(300, width), scaled(100, width)
        self.body = nn.ModuleList(
            [
                Block(nn.Linear(math.prod(input_shape), first, bias=False), flatten=True),
                Block(nn.Linear(first, second, bias=False)),
            ]
        )
        self.heads = nn.ModuleList([nn.Linear(second, max(classes), bias=False)])

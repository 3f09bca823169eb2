"""MLP with two hidden layers (PRM section 4.1); 2000 units is the default of HAT's and CAT's code."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

from torch import nn

from raycl.networks.base import Block, Blocks, Heads, check_rates, scaled
from raycl.space import Float


class MLP(Blocks, Heads):
    """Dropout on the flattened input, two hidden layers (linear, ReLU, dropout), and a head per task."""

    @dataclass(frozen=True, kw_only=True)
    class Config(Heads.Config):
        hidden: int = 2000
        drop1: Annotated[float, Float(0.0, 0.6)] = 0.2  # on the input
        drop2: Annotated[float, Float(0.0, 0.6)] = 0.5  # after each hidden layer

        def __post_init__(self) -> None:
            if self.hidden < 1:
                raise ValueError(f"hidden = {self.hidden} must be at least 1")
            check_rates(drop1=self.drop1, drop2=self.drop2)

    def __init__(
        self, input_shape: tuple[int, int, int], classes: Sequence[int], config: Config, width: float = 1.0
    ) -> None:
        super().__init__(input_shape, classes, config, width)
        hidden = scaled(config.hidden, width)
        self.body = nn.ModuleList(
            [
                Block(
                    nn.Linear(math.prod(input_shape), hidden),
                    config.drop2,
                    flatten=True,
                    drop_in=config.drop1,
                ),
                Block(nn.Linear(hidden, hidden), config.drop2),
            ]
        )
        self.make_heads(hidden, classes)

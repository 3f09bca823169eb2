"""The small AlexNet of HAT's code, used by SPG and PMASK (SPG section 4.1; PMASK section 4.3)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

from torch import nn

from raycl.networks.base import Block, Blocks, Heads, check_rates, scaled, xavier
from raycl.space import Float


class AlexNet(Blocks, Heads):
    """Three convolutions (64, 128, 256) with pooling, two layers of 2048 units, and a head per task."""

    @dataclass(frozen=True, kw_only=True)
    class Config(Heads.Config):
        width: float = 1.0  # scales all five layers
        drop1: Annotated[float, Float(0.0, 0.6)] = 0.2  # after the first two convolutions
        drop2: Annotated[float, Float(0.0, 0.6)] = 0.5  # after the last three layers
        init: Literal["torch", "xavier"] = "torch"

        def __post_init__(self) -> None:
            if not 0 < self.width <= 16:
                raise ValueError(f"width = {self.width} must be above 0 and at most 16")
            check_rates(drop1=self.drop1, drop2=self.drop2)

    def __init__(
        self, input_shape: tuple[int, int, int], classes: Sequence[int], config: Config, width: float = 1.0
    ) -> None:
        super().__init__(input_shape, classes, config, width)
        channels, side, other = input_shape
        if side != other or side < 20:
            raise ValueError(
                f"alexnet needs square inputs of at least 20 pixels, not {side}x{other}; "
                "digits benchmarks take size=28 or size=32"
            )
        a, b, c, full = (scaled(units, config.width * width) for units in (64, 128, 256, 2048))
        kernels = (side // 8, side // 10, 2)
        for kernel in kernels:
            side = (side - kernel + 1) // 2
        p1, p2 = config.drop1, config.drop2
        self.body = nn.ModuleList(
            [
                Block(nn.Conv2d(channels, a, kernels[0]), p1, pool=2),
                Block(nn.Conv2d(a, b, kernels[1]), p1, pool=2),
                Block(nn.Conv2d(b, c, kernels[2]), p2, pool=2),
                Block(nn.Linear(c * side * side, full), p2, flatten=True),
                Block(nn.Linear(full, full), p2),
            ]
        )
        self.make_heads(full, classes)
        if config.init == "xavier":
            xavier(self.modules())

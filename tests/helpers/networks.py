"""Networks with batch normalisation, for methods that mask what they were trained to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import nn

from raycl.networks import Heads

ONE_NORMED, TWO_NORMED = f"{__name__}:OneNormed", f"{__name__}:TwoNormed"


class OneNormed(Heads):
    """A convolution with batch normalisation, and a linear layer with a bias."""

    def __init__(
        self,
        input_shape: tuple[int, int, int],
        classes: Sequence[int],
        config: Heads.Config,
        width: float = 1.0,
    ) -> None:
        super().__init__(input_shape, classes, config, width)
        self.body = nn.Sequential(
            nn.Conv2d(input_shape[0], 4, 3, padding=1),
            nn.BatchNorm2d(4),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(4 * input_shape[1] * input_shape[2], 8),
            nn.ReLU(),
        )
        self.make_heads(8, classes)


class TwoNormed(Heads):
    """Two convolutions with batch normalisation, a linear layer with bias, and a head per task."""

    @dataclass(frozen=True, kw_only=True)
    class Config(Heads.Config):
        kernel: int = 3

    def __init__(
        self, input_shape: tuple[int, int, int], classes: Sequence[int], config: Config, width: float = 1.0
    ) -> None:
        super().__init__(input_shape, classes, config, width)
        k = config.kernel
        self.body = nn.Sequential(
            nn.Conv2d(input_shape[0], 4, k, padding=k // 2, bias=False),
            nn.BatchNorm2d(4),
            nn.ReLU(),
            nn.Conv2d(4, 6, k, 2, padding=k // 2, bias=False),
            nn.BatchNorm2d(6),
            nn.ReLU(),
            nn.AdaptiveAvgPool2d(2),
            nn.Flatten(),
            nn.Linear(24, 8),
            nn.ReLU(),
        )
        self.make_heads(8, classes)

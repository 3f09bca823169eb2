"""VGG-16 with batch normalisation for small images, after CPG, as KSM uses it for CIFAR-100."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import nn

from raycl.networks.base import Heads, scaled

_STAGES = ((64, 64), (128, 128), (256,) * 3, (512,) * 3, (512,) * 3)  # a max-pool follows each stage
_HIDDEN = (4096, 4096)


class VGG16BN(Heads):
    """Thirteen 3x3 convolutions in five pooled stages, two hidden layers of 4096 units, and a head per task.

    Convolutions have no bias, all tasks share the batch normalisations, and there is no dropout.
    """

    @dataclass(frozen=True, kw_only=True)
    class Config(Heads.Config):
        width: float = 1.0  # multiplies the numbers of channels and hidden units

        def __post_init__(self) -> None:
            if not 0 < self.width <= 4:
                raise ValueError(
                    f"width = {self.width:g} must be above 0 and at most 4; 1 is the paper's network"
                )

    body: nn.Sequential

    def __init__(
        self, input_shape: tuple[int, int, int], classes: Sequence[int], config: Config, width: float = 1.0
    ) -> None:
        super().__init__(input_shape, classes, config, width)
        inputs, side, other = input_shape
        if side != other or side < 32:
            raise ValueError(
                f"vgg16_bn needs square inputs of at least 32 pixels, not {side}x{other}; "
                "digits benchmarks take size=32"
            )
        width *= config.width
        layers: list[nn.Module] = []
        for stage in _STAGES:
            for channels in stage:
                outputs = scaled(channels, width)
                conv = nn.Conv2d(inputs, outputs, 3, padding=1, bias=False, device="meta")
                layers += [_undrawn(conv), nn.BatchNorm2d(outputs), nn.ReLU()]
                inputs = outputs
            layers.append(nn.MaxPool2d(2))
        layers.append(nn.Flatten())
        inputs *= (side // 2 ** len(_STAGES)) ** 2
        for units in _HIDDEN:
            outputs = scaled(units, width)
            layers += [_undrawn(nn.Linear(inputs, outputs, device="meta")), nn.ReLU()]
            inputs = outputs
        self.body = nn.Sequential(*layers)
        _draw(self.body, width)
        self.make_heads(inputs, classes)  # drawn last, so that the body does not depend on the tasks


def _undrawn(layer: nn.Module) -> nn.Module:
    """Give memory to a layer made on the meta device, and return it.

    This saves the time to draw PyTorch's own initial weights, which `_draw` would overwrite.
    """
    for name, parameter in list(layer.named_parameters()):
        setattr(layer, name, nn.Parameter(torch.empty(parameter.shape)))
    return layer


def _draw(body: nn.Sequential, width: float) -> None:
    """Draw the initial weights of the body.

    They are Kaiming normal by fan-out for convolutions and N(0, .01^2 / width) for hidden layers.
    """
    for layer in body:
        if any(parameter.is_meta for parameter in layer.parameters()):
            continue  # there is nothing to draw, and `normal_` would spend seconds on importing PyTorch code
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
        elif isinstance(layer, nn.Linear):
            # At width 1 the standard deviation is CPG's .01, which KSM uses too. A narrower layer sums over
            # fewer inputs; dividing by sqrt(width) keeps its signal at the same level.
            nn.init.normal_(layer.weight, 0.0, 0.01 / math.sqrt(width))
            nn.init.zeros_(layer.bias)

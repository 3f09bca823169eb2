"""ResNet-50 in torchvision's shape with batch statistics per task (ImpressLearn section 3, ImageNet)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor, nn

from raycl.networks.base import Network, PerTaskBatchNorm, scaled


class _Bottleneck(nn.Module):
    """1x1, 3x3 (which carries the stride), 1x1 to four times as many channels."""

    def __init__(self, inputs: int, middle: int, stride: int, tasks: int) -> None:
        super().__init__()
        outputs = 4 * middle
        self.conv1 = nn.Conv2d(inputs, middle, 1, bias=False)
        self.norm1 = PerTaskBatchNorm(middle, tasks)
        self.conv2 = nn.Conv2d(middle, middle, 3, stride, padding=1, bias=False)
        self.norm2 = PerTaskBatchNorm(middle, tasks)
        self.conv3 = nn.Conv2d(middle, outputs, 1, bias=False)
        self.norm3 = PerTaskBatchNorm(outputs, tasks)
        self.stride = stride
        self.shortcut: nn.Conv2d | None = None
        if stride != 1 or inputs != outputs:
            self.shortcut = nn.Conv2d(inputs, outputs, 1, bias=False)
            self.norm4 = PerTaskBatchNorm(outputs, tasks)

    def forward(self, x: Tensor, task: int) -> Tensor:
        y = F.relu(self.norm1(self.conv1(x), task))
        y = F.relu(self.norm2(self.conv2(y), task))
        y = self.norm3(self.conv3(y), task)
        if self.shortcut is None:
            return F.relu(y + x)
        # Strided by hand, as in `resnet18`.
        past = self.shortcut(x[:, :, :: self.stride, :: self.stride])
        return F.relu(y + self.norm4(past, task))


class ResNet50(Network):
    """Stem with pooling, stages of 3, 4, 6 and 3 bottlenecks, average pool, one head for all tasks."""

    @dataclass(frozen=True, kw_only=True)
    class Config(Network.Config):
        width: float = 1.0  # multiplies the channels of every layer

        def __post_init__(self) -> None:
            if not 0 < self.width <= 4:
                raise ValueError(f"width = {self.width:g} is outside 0..4")

    def __init__(
        self, input_shape: tuple[int, int, int], classes: Sequence[int], config: Config, width: float = 1.0
    ) -> None:
        super().__init__(input_shape, classes, config, width)
        base, tasks = scaled(64, width * config.width), len(classes)
        stem = nn.ModuleList(
            [
                nn.Conv2d(input_shape[0], base, 7, 2, padding=3, bias=False),
                PerTaskBatchNorm(base, tasks),
            ]
        )
        stages, inputs = nn.ModuleList(), base
        for stage, blocks in enumerate((3, 4, 6, 3)):
            middle = base * 2**stage
            for block in range(blocks):
                stages.append(_Bottleneck(inputs, middle, 2 if stage and not block else 1, tasks))
                inputs = 4 * middle
        self.body = nn.ModuleDict({"stem": stem, "stages": stages})
        self.heads = nn.ModuleList([nn.Linear(inputs, max(classes), bias=False)])

    def features(self, x: Tensor, task: int = 0) -> Tensor:
        assert isinstance(self.body, nn.ModuleDict)
        stem, stages = self.body["stem"], self.body["stages"]
        assert isinstance(stem, nn.ModuleList) and isinstance(stages, nn.ModuleList)
        x = F.max_pool2d(F.relu(stem[1](stem[0](x), task)), 3, 2, padding=1)
        for block in stages:
            x = block(x, task)
        return F.adaptive_avg_pool2d(x, 1).flatten(1)

"""ResNet-18 for 32-pixel images with batch statistics for each task (ImpressLearn section 3, CIFAR-100)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor, nn

from raycl.networks.base import Network, PerTaskBatchNorm, every_nth_pixel, scaled


class _Residual(nn.Module):
    def __init__(self, inputs: int, outputs: int, stride: int, tasks: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False)
        self.norm1 = PerTaskBatchNorm(outputs, tasks)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.norm2 = PerTaskBatchNorm(outputs, tasks)
        self.stride = stride
        self.shortcut: nn.Conv2d | None = None
        if stride != 1 or inputs != outputs:
            self.shortcut = nn.Conv2d(inputs, outputs, 1, bias=False)
            self.norm3 = PerTaskBatchNorm(outputs, tasks)

    def forward(self, x: Tensor, task: int) -> Tensor:
        y = F.relu(self.norm1(self.conv1(x), task))
        y = self.norm2(self.conv2(y), task)
        if self.shortcut is None:
            return F.relu(y + x)
        past = self.shortcut(every_nth_pixel(x, self.stride))
        return F.relu(y + self.norm3(past, task))


class ResNet18(Network):
    """A stem, four stages of two blocks (nf, 2nf, 4nf, 8nf channels), average pooling and a shared head."""

    @dataclass(frozen=True, kw_only=True)
    class Config(Network.Config):
        nf: int = 20  # number of channels of the first stage

        def __post_init__(self) -> None:
            if self.nf < 1:
                raise ValueError(f"nf = {self.nf} must be at least 1")

    def __init__(
        self, input_shape: tuple[int, int, int], classes: Sequence[int], config: Config, width: float = 1.0
    ) -> None:
        super().__init__(input_shape, classes, config, width)
        nf, tasks = scaled(config.nf, width), len(classes)
        stem = nn.ModuleList(
            [nn.Conv2d(input_shape[0], nf, 3, padding=1, bias=False), PerTaskBatchNorm(nf, tasks)]
        )
        stages, inputs = nn.ModuleList(), nf
        for stage in range(4):
            for block in range(2):
                outputs = nf * 2**stage
                stages.append(_Residual(inputs, outputs, 2 if stage and not block else 1, tasks))
                inputs = outputs
        self.body = nn.ModuleDict({"stem": stem, "stages": stages})
        self.heads = nn.ModuleList([nn.Linear(8 * nf, max(classes), bias=False)])

    def features(self, x: Tensor, task: int = 0) -> Tensor:
        assert isinstance(self.body, nn.ModuleDict)
        stem, stages = self.body["stem"], self.body["stages"]
        assert isinstance(stem, nn.ModuleList) and isinstance(stages, nn.ModuleList)
        x = F.relu(stem[1](stem[0](x), task))
        for block in stages:
            x = block(x, task)
        return F.adaptive_avg_pool2d(x, 1).flatten(1)

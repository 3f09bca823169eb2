"""ResNet-50 as in torchvision (ImpressLearn section 3, ImageNet; KSM's ImageNet-to-Sketch)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

import torch.nn.functional as F
from torch import Tensor, nn

from raycl.networks import _weights
from raycl.networks.base import Heads, Network, PerTaskBatchNorm, every_nth_pixel, scaled

Norm: TypeAlias = Callable[[int], nn.Module]  # channels -> batch normalisation
_STAGES = (3, 4, 6, 3)


def _normed(norm: nn.Module, x: Tensor, task: int) -> Tensor:
    y: Tensor = norm(x, task) if isinstance(norm, PerTaskBatchNorm) else norm(x)
    return y


class _Bottleneck(nn.Module):
    """Convolutions 1x1, 3x3 with the stride, and 1x1 to four times as many channels."""

    def __init__(self, inputs: int, middle: int, stride: int, norm: Norm) -> None:
        super().__init__()
        outputs = 4 * middle
        self.conv1 = nn.Conv2d(inputs, middle, 1, bias=False)
        self.norm1 = norm(middle)
        self.conv2 = nn.Conv2d(middle, middle, 3, stride, padding=1, bias=False)
        self.norm2 = norm(middle)
        self.conv3 = nn.Conv2d(middle, outputs, 1, bias=False)
        self.norm3 = norm(outputs)
        self.stride = stride
        self.shortcut: nn.Conv2d | None = None
        if stride != 1 or inputs != outputs:
            self.shortcut = nn.Conv2d(inputs, outputs, 1, bias=False)
            self.norm4 = norm(outputs)

    def forward(self, x: Tensor, task: int) -> Tensor:
        y = F.relu(_normed(self.norm1, self.conv1(x), task))
        y = F.relu(_normed(self.norm2, self.conv2(y), task))
        y = _normed(self.norm3, self.conv3(y), task)
        if self.shortcut is None:
            return F.relu(y + x)
        past = self.shortcut(every_nth_pixel(x, self.stride))
        return F.relu(y + _normed(self.norm4, past, task))


class _Residual(nn.Module):
    """The part below the heads, with any normalisation; a class inherits it together with `Network`."""

    body: nn.Module

    def make_body(self, channels: int, base: int, norm: Norm) -> int:
        """Make the stem, with `base` channels, and the stages; return the number of features."""
        stem = nn.ModuleList([nn.Conv2d(channels, base, 7, 2, padding=3, bias=False), norm(base)])
        stages, inputs = nn.ModuleList(), base
        for stage, blocks in enumerate(_STAGES):
            middle = base * 2**stage
            for block in range(blocks):
                stages.append(_Bottleneck(inputs, middle, 2 if stage and not block else 1, norm))
                inputs = 4 * middle
        self.body = nn.ModuleDict({"stem": stem, "stages": stages})
        return inputs

    def features(self, x: Tensor, task: int = 0) -> Tensor:
        assert isinstance(self.body, nn.ModuleDict)
        stem, stages = self.body["stem"], self.body["stages"]
        assert isinstance(stem, nn.ModuleList) and isinstance(stages, nn.ModuleList)
        x = F.max_pool2d(F.relu(_normed(stem[1], stem[0](x), task)), 3, 2, padding=1)
        for block in stages:
            x = block(x, task)
        return F.adaptive_avg_pool2d(x, 1).flatten(1)


class ResNet50(_Residual, Network):
    """A stem with pooling, stages of 3, 4, 6 and 3 bottlenecks, average pooling and a shared head.

    With ``norm="affine"`` it is torchvision's network with a separate head for each task; see `variant`.
    """

    @dataclass(frozen=True, kw_only=True)
    class Config(Network.Config):
        width: float = 1.0  # multiplies the channels of every layer
        norm: Literal["per_task", "affine"] = "per_task"  # affine: scaled, shifted, shared by all tasks
        weights: Literal["none", "imagenet"] = "none"  # imagenet: pretrained weights from torchvision's file

        def __post_init__(self) -> None:
            if not 0 < self.width <= 4:
                raise ValueError(f"width = {self.width:g} must be above 0 and at most 4")
            if self.weights == "imagenet" and self.norm != "affine":
                raise ValueError(f"weights = 'imagenet' needs norm = 'affine', not {self.norm!r}")
            if self.weights == "imagenet" and self.width != 1:
                raise ValueError(f"weights = 'imagenet' needs width = 1, not {self.width:g}")

    @classmethod
    def variant(cls, config: Network.Config) -> type[Network]:
        """Return a `Heads` class for ``norm="affine"``, where tasks share everything below their heads."""
        assert isinstance(config, cls.Config)
        return cls._Affine if config.norm == "affine" else cls

    def __init__(
        self, input_shape: tuple[int, int, int], classes: Sequence[int], config: Config, width: float = 1.0
    ) -> None:
        super().__init__(input_shape, classes, config, width)
        assert config.norm == "per_task", "build the class that `variant` returns"
        base = scaled(64, width * config.width)
        features = self.make_body(input_shape[0], base, lambda n: PerTaskBatchNorm(n, len(classes)))
        self.heads = nn.ModuleList([nn.Linear(features, max(classes), bias=False)])

    # The class is nested because a file must define exactly one network, and pickle can still find it here.
    class _Affine(_Residual, Heads):
        """ResNet-50 with normalisations that all tasks share and a head with bias for each task."""

        def __init__(
            self,
            input_shape: tuple[int, int, int],
            classes: Sequence[int],
            config: ResNet50.Config,
            width: float = 1.0,
        ) -> None:
            super().__init__(input_shape, classes, config, width)
            if config.weights == "imagenet":
                self._check(input_shape[0], width)
            features = self.make_body(input_shape[0], scaled(64, width * config.width), nn.BatchNorm2d)
            self.make_heads(features, classes)
            if config.weights == "imagenet":
                self._load()

        def _check(self, channels: int, width: float) -> None:
            if channels != 3:
                raise ValueError(
                    f"weights = 'imagenet' needs inputs of 3 channels, not {channels}; "
                    "digits benchmarks accept channels=3"
                )
            if width != 1:
                raise ValueError(
                    f"weights = 'imagenet' needs the whole width, but the method requests {width:g} of it; "
                    "write weights = 'none'"
                )
            # Plans build the network on the meta device, where nothing is loaded, so this call makes a
            # missing file an error at once.
            _weights.resnet50_file()

        def _load(self) -> None:
            """Load torchvision's body, and its head if the first task has ImageNet's 1000 classes."""
            head = self.heads[0]
            assert isinstance(head, nn.Linear)
            self.pretrained = head.out_features == _weights.RESNET50_CLASSES
            if head.weight.is_meta:
                return
            body, last = _weights.resnet50_tensors(_STAGES)
            self.body.load_state_dict(body)
            if self.pretrained:
                head.load_state_dict(last)

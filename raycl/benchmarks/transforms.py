"""Fixed changes to a batch of pixels in [0, 1], [batch, channels, height, width].

They work on its device and in its float type, pickle, never write to their input, and are the same for
every sample: what is drawn is drawn when the task is made.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

Affine: TypeAlias = tuple[tuple[float, float, float], tuple[float, float, float]]
"""From a place in the output to the one in the input it is read from; (0, 0) is the middle, 1 half a side."""


@dataclass(frozen=True, eq=False)
class Permute:
    """Pixels in another order, the same one in every channel.

    Attributes:
        order: int64 [height * width]; output pixel i is input pixel order[i].
    """

    order: NDArray[np.int64]

    def __call__(self, x: Tensor) -> Tensor:
        index = torch.from_numpy(self.order).to(x.device)
        return x.flatten(2).index_select(2, index).view(x.shape)


@dataclass(frozen=True)
class Rotate:
    """Turned anticlockwise about the middle; bilinear, black outside."""

    degrees: float

    def __call__(self, x: Tensor) -> Tensor:
        return warp(x, turned(self.degrees))


@dataclass(frozen=True)
class Style:
    """A hand's slant and pen: an affine change of shape, then contrast about mid-grey and brightness."""

    affine: Affine
    contrast: float = 1.0
    brightness: float = 0.0

    def __call__(self, x: Tensor) -> Tensor:
        drawn = warp(x, self.affine)
        return drawn.sub(0.5).mul_(self.contrast).add_(0.5 + self.brightness).clamp_(0, 1)


@dataclass(frozen=True)
class Channels:
    """A grey image as `count` equal channels, for networks that expect colour."""

    count: int

    def __call__(self, x: Tensor) -> Tensor:
        return x.repeat(1, self.count, 1, 1)


def turned(degrees: float) -> Affine:
    """The affine map of an anticlockwise turn."""
    cos, sin = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    return ((cos, -sin, 0.0), (sin, cos, 0.0))


def warp(x: Tensor, affine: Affine) -> Tensor:
    """`x` drawn anew through the map; bilinear, zero outside. Half types are computed in float32."""
    height, width = x.shape[-2:]
    wide = x if x.dtype in (torch.float32, torch.float64) else x.float()
    theta = torch.tensor(affine, dtype=wide.dtype, device=x.device)
    theta[0, 1] *= height / width  # torch measures each side in its own halves: keep right angles right
    theta[1, 0] *= width / height
    grid = F.affine_grid(theta[None], [1, x.shape[1], height, width], align_corners=False)
    grid = grid.expand(len(x), -1, -1, -1)
    drawn = F.grid_sample(wide, grid, mode="bilinear", padding_mode="zeros", align_corners=False)
    return drawn.to(x.dtype)

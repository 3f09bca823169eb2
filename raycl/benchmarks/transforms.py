"""Changes to a batch of pixels in [0, 1], [batch, channels, height, width].

They work on its device and in its float type, pickle, and never write to their input. Transforms are the
same for every sample: what is drawn is drawn when the task is made. Augmentations draw for each sample, on
the CPU, so that a seed means the same on every device.
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
        return x.reshape(-1, len(self.order)).index_select(1, index).view(x.shape)

    def on_bytes(self, pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """The same for images [batch, channels, height, width] as they are stored."""
        return np.take(pixels.reshape(-1, len(self.order)), self.order, axis=1).reshape(pixels.shape)


@dataclass(frozen=True)
class Rotate:
    """Turned anticlockwise about the middle; bilinear or the nearest pixel, black outside."""

    degrees: float
    nearest: bool = False

    def __call__(self, x: Tensor) -> Tensor:
        return warp(x, turned(self.degrees), "nearest" if self.nearest else "bilinear")


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


@dataclass(frozen=True)
class CropFlip:
    """A crop of the same size after zero padding, and a mirror image half of the time.

    Attributes:
        pad: pixels on each side.
    """

    pad: int = 4

    def __call__(self, x: Tensor, rng: np.random.Generator) -> Tensor:
        n, _, height, width = x.shape
        corner = rng.integers(0, 2 * self.pad + 1, (2, n))
        mirrored = rng.random(n) < 0.5
        padded = F.pad(x, (self.pad,) * 4)
        rows = corner[0][:, None] + np.arange(height)
        columns = corner[1][:, None] + np.arange(width)
        columns[mirrored] = columns[mirrored, ::-1]
        sample, row, column = (
            torch.from_numpy(i).to(x.device)
            for i in (np.arange(n)[:, None, None], rows[:, :, None], columns[:, None])
        )
        # Indexing puts the channels last.
        return padded[sample, :, row, column].permute(0, 3, 1, 2).contiguous()


@dataclass(frozen=True)
class Scramble:
    """Colour images whose bytes, stored plane by plane, are read as if stored pixel by pixel.

    What SPG's code does to downsampled ImageNet; kept to compare with its numbers.
    """

    def __call__(self, x: Tensor) -> Tensor:
        n, channels, height, width = x.shape
        return x.reshape(n, height, width, channels).permute(0, 3, 1, 2).contiguous()


@dataclass(frozen=True)
class CenterCrop:
    """The middle `side` pixels of each side."""

    side: int

    def __call__(self, x: Tensor) -> Tensor:
        top, left = ((size - self.side) // 2 for size in x.shape[-2:])
        return x[..., top : top + self.side, left : left + self.side]


@dataclass(frozen=True)
class RandomResizedCrop:
    """A random part of each image, `side` pixels square afterwards, and a mirror image half of the time.

    Area in [0.08, 1] of the image, sides in a ratio of 3:4 to 4:3 (Szegedy et al. 2015); bilinear. A part
    that sticks out is drawn again up to ten times, and is then the largest square.
    """

    side: int
    scale: tuple[float, float] = (0.08, 1.0)

    def __call__(self, x: Tensor, rng: np.random.Generator) -> Tensor:
        n, channels, height, width = x.shape
        theta = np.stack([self._part(height, width, rng) for _ in range(n)])
        grid = F.affine_grid(
            torch.from_numpy(theta).to(x), [n, channels, self.side, self.side], align_corners=False
        )
        return F.grid_sample(x, grid, mode="bilinear", padding_mode="border", align_corners=False)

    def _part(self, height: int, width: int, rng: np.random.Generator) -> NDArray[np.float64]:
        side = min(height, width)
        high, wide, top, left = side, side, (height - side) // 2, (width - side) // 2
        for _ in range(10):
            area = height * width * rng.uniform(*self.scale)
            ratio = math.exp(rng.uniform(math.log(3 / 4), math.log(4 / 3)))
            h, w = round(math.sqrt(area / ratio)), round(math.sqrt(area * ratio))
            if 0 < h <= height and 0 < w <= width:
                high, wide = h, w
                top, left = int(rng.integers(0, height - h + 1)), int(rng.integers(0, width - w + 1))
                break
        mirror = -1.0 if rng.random() < 0.5 else 1.0
        return np.array(
            [
                [mirror * wide / width, 0.0, (2 * left + wide) / width - 1],
                [0.0, high / height, (2 * top + high) / height - 1],
            ]
        )


@dataclass(frozen=True)
class Flip:
    """A mirror image half of the time."""

    def __call__(self, x: Tensor, rng: np.random.Generator) -> Tensor:
        mirrored = torch.from_numpy(rng.random(len(x)) < 0.5).to(x.device)
        return torch.where(mirrored.view(-1, 1, 1, 1), x.flip(3), x)


def turned(degrees: float) -> Affine:
    """The affine map of an anticlockwise turn."""
    cos, sin = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    return ((cos, -sin, 0.0), (sin, cos, 0.0))


def warp(x: Tensor, affine: Affine, mode: str = "bilinear") -> Tensor:
    """`x` drawn anew through the map, zero outside. Half types are computed in float32."""
    height, width = x.shape[-2:]
    wide = x if x.dtype in (torch.float32, torch.float64) else x.float()
    theta = torch.tensor(affine, dtype=wide.dtype, device=x.device)
    theta[0, 1] *= height / width  # torch measures each side in its own halves: keep right angles right
    theta[1, 0] *= width / height
    grid = F.affine_grid(theta[None], [1, x.shape[1], height, width], align_corners=False)
    grid = grid.expand(len(x), -1, -1, -1)
    drawn = F.grid_sample(wide, grid, mode=mode, padding_mode="zeros", align_corners=False)
    return drawn.to(x.dtype)

"""This module defines transforms and augmentations of batches of pixels.

A batch is a float tensor [batch, channels, height, width] of pixels in [0, 1]. The functions work on the
device and in the float type of their input, can be pickled, and never write to their input. A transform is
the same for every sample: its random parts are drawn when the task is made. An augmentation draws for each
sample; it draws on the CPU, so that a seed gives the same result on every device.
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

from raycl import devices

Affine: TypeAlias = tuple[tuple[float, float, float], tuple[float, float, float]]
"""A map from each output position to the input position that is read; (0, 0) is the centre, 1 half a side."""


@dataclass(frozen=True, eq=False)
class Permute:
    """A permutation of the pixels, the same one in every channel.

    Attributes:
        order: int64 [height * width]; output pixel i is input pixel order[i].
    """

    order: NDArray[np.int64]

    def __call__(self, x: Tensor) -> Tensor:
        index = devices.sent(torch.from_numpy(self.order), x.device)
        return x.reshape(-1, len(self.order)).index_select(1, index).view(x.shape)

    def on_bytes(self, pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Apply the same permutation to stored images [batch, channels, height, width]."""
        return np.take(pixels.reshape(-1, len(self.order)), self.order, axis=1).reshape(pixels.shape)


@dataclass(frozen=True)
class Rotate:
    """An anticlockwise rotation about the centre, with black outside.

    Attributes:
        degrees: The angle.
        nearest: Whether to sample the nearest pixel instead of bilinearly.
    """

    degrees: float
    nearest: bool = False

    def __call__(self, x: Tensor) -> Tensor:
        return warp(x, turned(self.degrees), "nearest" if self.nearest else "bilinear")


@dataclass(frozen=True)
class Style:
    """The style of a pseudo-writer: a change of shape by an affine map, of contrast and of brightness.

    The contrast is changed about mid-grey.
    """

    affine: Affine
    contrast: float = 1.0
    brightness: float = 0.0

    def __call__(self, x: Tensor) -> Tensor:
        drawn = warp(x, self.affine)
        return drawn.sub(0.5).mul_(self.contrast).add_(0.5 + self.brightness).clamp_(0, 1)


@dataclass(frozen=True)
class Channels:
    """A copy of a grey image in `count` equal channels, for networks that expect colour."""

    count: int

    def __call__(self, x: Tensor) -> Tensor:
        return x.repeat(1, self.count, 1, 1)


@dataclass(frozen=True)
class CropFlip:
    """A random crop of the same size after zero padding, mirrored half of the time.

    Attributes:
        pad: The number of padding pixels on each side.
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
            devices.sent(torch.from_numpy(i), x.device)
            for i in (np.arange(n)[:, None, None], rows[:, :, None], columns[:, None])
        )
        # Indexing moves the channels to the end, so they are moved back.
        return padded[sample, :, row, column].permute(0, 3, 1, 2).contiguous()


@dataclass(frozen=True)
class Scramble:
    """A change of colour images whose bytes, stored plane by plane, are read as if stored pixel by pixel.

    SPG's code does this to downsampled ImageNet; the transform exists for comparison with its numbers.
    """

    def __call__(self, x: Tensor) -> Tensor:
        n, channels, height, width = x.shape
        return x.reshape(n, height, width, channels).permute(0, 3, 1, 2).contiguous()


@dataclass(frozen=True)
class CenterCrop:
    """The central square of `side` x `side` pixels."""

    side: int

    def __call__(self, x: Tensor) -> Tensor:
        top, left = ((size - self.side) // 2 for size in x.shape[-2:])
        return x[..., top : top + self.side, left : left + self.side]


@dataclass(frozen=True)
class RandomResizedCrop:
    """A random part of each image, resized to `side` x `side` pixels and mirrored half of the time.

    The area is in [0.08, 1] of the image and the aspect ratio between 3:4 and 4:3 (Szegedy et al. 2015);
    sampling is bilinear. A part that does not fit into the image is drawn again; after that
    the largest central square is used.
    """

    side: int
    scale: tuple[float, float] = (0.08, 1.0)

    def __call__(self, x: Tensor, rng: np.random.Generator) -> Tensor:
        n, channels, height, width = x.shape
        theta = np.stack([self._part(height, width, rng) for _ in range(n)])
        grid = F.affine_grid(
            devices.sent(torch.from_numpy(theta).to(x.dtype), x.device),
            [n, channels, self.side, self.side],
            align_corners=False,
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
    """A horizontal flip of half of the images, drawn at random."""

    def __call__(self, x: Tensor, rng: np.random.Generator) -> Tensor:
        mirrored = devices.sent(torch.from_numpy(rng.random(len(x)) < 0.5), x.device)
        return torch.where(mirrored.view(-1, 1, 1, 1), x.flip(3), x)


def turned(degrees: float) -> Affine:
    """Return the affine map of an anticlockwise rotation."""
    cos, sin = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    return ((cos, -sin, 0.0), (sin, cos, 0.0))


def warp(x: Tensor, affine: Affine, mode: str = "bilinear") -> Tensor:
    """Return `x` resampled through the map, zero outside; half-precision types are computed in float32."""
    height, width = x.shape[-2:]
    wide = x if x.dtype in (torch.float32, torch.float64) else x.float()
    theta = torch.tensor(affine, dtype=wide.dtype, device="cpu")
    theta[0, 1] *= height / width  # torch measures each side in its own halves; this keeps right angles
    theta[1, 0] *= width / height
    theta = devices.sent(theta, x.device)
    grid = F.affine_grid(theta[None], [1, x.shape[1], height, width], align_corners=False)
    grid = grid.expand(len(x), -1, -1, -1)
    drawn = F.grid_sample(wide, grid, mode=mode, padding_mode="zeros", align_corners=False)
    return drawn.to(x.dtype)

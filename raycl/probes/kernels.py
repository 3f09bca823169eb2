"""Stored form of masks of kernels or weights, and the share of a layer that they keep (KSM, Fig. 6)."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from raycl.masks import pack, unpack
from raycl.probes.gates import diagnostics_of
from raycl.probes.overlap import ones


@dataclass(frozen=True, eq=False)
class LayerMask:
    """Mask of one layer of a finished task.

    Attributes:
        shape: Shape of the mask: that of the weight, or (out, in, 1, 1) if there is one value per kernel.
        kept: Packed bits of the entries that are 1.
        minus: Packed bits of the entries that are -1, in a ternary mask.
        rest: In a soft mask, the factors of all entries that are not in `kept`, in C order.
    """

    shape: tuple[int, ...]
    kept: NDArray[np.uint8]
    minus: NDArray[np.uint8] | None = None
    rest: NDArray[Any] | None = None

    @property
    def bits(self) -> int:
        """Number of bits: one for each entry, or two in a ternary mask."""
        return math.prod(self.shape) * (1 if self.minus is None else 2)

    @property
    def nbytes(self) -> int:
        """Number of bytes of bits and factors."""
        return sum(part.nbytes for part in (self.kept, self.minus, self.rest) if part is not None)

    def tensor(self, like: Tensor) -> Tensor:
        """Return the mask as a tensor [shape], with the dtype and device of `like`."""
        mask = unpack(self.kept, self.shape).to(like)
        if self.minus is not None:
            mask -= unpack(self.minus, self.shape).to(like)
        if self.rest is not None:
            mask[mask == 0] = torch.from_numpy(self.rest).to(like)
        return mask


def packed(kept: Tensor, mask: Tensor, *, ternary: bool = False, soft: bool = False) -> LayerMask:
    """Return the stored form of a mask.

    Args:
        kept: Binary part B: 1 where an entry is kept whole, and 0 elsewhere; in a ternary mask also -1.
        mask: Mask M of the same shape: B, and for soft masks the factors of all entries that are not 1.
        ternary: Whether entries may be -1.
        soft: Whether the mask has factors.
    """
    return LayerMask(
        tuple(mask.shape),
        pack(kept == 1),
        pack(kept == -1) if ternary else None,
        mask[kept != 1].numpy(force=True) if soft else None,
    )


def mask_diagnostics(masks: Sequence[LayerMask], layers: Iterable[str]) -> dict[str, Any]:
    """Return the share of entries that are 1, that of all others, and the number of bits, as plain JSON."""
    kept, sizes = [ones(mask.kept) for mask in masks], [math.prod(mask.shape) for mask in masks]
    one = [k / n for k, n in zip([*kept, sum(kept)], [*sizes, sum(sizes)], strict=True)]
    found = diagnostics_of({"one_share": one, "soft_share": [1 - share for share in one]}, list(layers))
    return found | {"mask_bits": sum(mask.bits for mask in masks)}

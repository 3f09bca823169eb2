"""Masks of kernels or of weights as they are stored, and what share of a layer they keep (KSM, Fig. 6)."""

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
    """The mask of one layer of a finished task.

    Attributes:
        shape: of the mask: the weight's, or with a value per kernel (out, in, 1, 1).
        kept: bits of the entries that are kept whole, which are 1.
        minus: bits of the entries that are -1, in a ternary mask.
        rest: of a soft mask the factors of all other entries, in C order; `kept` says where they belong.
    """

    shape: tuple[int, ...]
    kept: NDArray[np.uint8]
    minus: NDArray[np.uint8] | None = None
    rest: NDArray[Any] | None = None

    @property
    def bits(self) -> int:
        """One for each entry, two if an entry may also be -1."""
        return math.prod(self.shape) * (1 if self.minus is None else 2)

    @property
    def nbytes(self) -> int:
        """Bytes of bits and factors."""
        return sum(part.nbytes for part in (self.kept, self.minus, self.rest) if part is not None)

    def tensor(self, like: Tensor) -> Tensor:
        """The mask again, [shape], of the type and on the device of `like`."""
        mask = unpack(self.kept, self.shape).to(like)
        if self.minus is not None:
            mask -= unpack(self.minus, self.shape).to(like)
        if self.rest is not None:
            mask[mask == 0] = torch.from_numpy(self.rest).to(like)
        return mask


def packed(kept: Tensor, mask: Tensor, *, ternary: bool = False, soft: bool = False) -> LayerMask:
    """A mask as it is stored.

    Args:
        kept: B: 1 where an entry is kept whole, 0 elsewhere, or -1 in a ternary mask.
        mask: M, of the same shape: that and, with `soft`, the factors of all other entries.
    """
    return LayerMask(
        tuple(mask.shape),
        pack(kept == 1),
        pack(kept == -1) if ternary else None,
        mask[kept != 1].numpy(force=True) if soft else None,
    )


def mask_diagnostics(masks: Sequence[LayerMask], layers: Iterable[str]) -> dict[str, Any]:
    """Share of entries that are 1 and of those that are not, of all layers and by layer; bits. Plain JSON."""
    kept, sizes = [ones(mask.kept) for mask in masks], [math.prod(mask.shape) for mask in masks]
    one = [k / n for k, n in zip([*kept, sum(kept)], [*sizes, sum(sizes)], strict=True)]
    found = diagnostics_of({"one_share": one, "soft_share": [1 - share for share in one]}, list(layers))
    return found | {"mask_bits": sum(mask.bits for mask in masks)}

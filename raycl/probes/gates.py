"""Measures of trained gates, and images of the masks that they become (PMASK, Fig. 5 and section 7).

Gates are soft values in [0, 1]. A mask keeps those above 0.5, and is packed layer by layer.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from raycl.masks import pack
from raycl.probes.capacity import capacity_used, kept_share, reuse, reuse_lift
from raycl.probes.overlap import Bits, ones

SIDE = 256  # the largest height and width of an image, in pixels


class Masked(Protocol):
    """Method with a mask per finished task; `shapes` holds the shape of each layer's gates by layer name."""

    masks: Mapping[int, Bits]

    @property
    def shapes(self) -> Mapping[str, Sequence[int]]: ...


def binarised(gates: Sequence[Tensor]) -> tuple[NDArray[np.uint8], ...]:
    """Return packed bits that mark the gates above 0.5."""
    return tuple(pack(gate > 0.5) for gate in gates)


def polarised_share(gates: Sequence[Tensor]) -> list[float]:
    """Return the share of gates in (0.05, 0.95) for each layer and finally for all layers.

    The name is that of the catalogue, although the share is small if training has polarised the gates: 0
    means that every gate is nearly open or nearly closed.
    """
    between = [int(((gate > 0.05) & (gate < 0.95)).sum()) for gate in gates]
    return _shares(between, [gate.numel() for gate in gates])


def flip_share(before: Bits, after: Bits, sizes: Sequence[int]) -> list[float]:
    """Return the share of gates that differ between two masks, for each layer and finally for all layers."""
    return _shares([ones(a ^ b) for a, b in zip(before, after, strict=True)], sizes)


def diagnostics_of(shares: Mapping[str, Sequence[float]], layers: Iterable[str]) -> dict[str, Any]:
    """Convert shares [layers + 1] to plain JSON: the last one as ``<name>``, the rest as ``<name>_layers``.

    Undefined shares (NaN) are left out. If the overall share is undefined, those of the layers are left out
    as well.
    """
    found: dict[str, Any] = {}
    for name, (*parts, whole) in shares.items():
        named = {layer: float(v) for layer, v in zip(layers, parts, strict=True) if not math.isnan(v)}
        if not math.isnan(whole):
            found |= {name: float(whole), f"{name}_layers": named}
    return found


def gate_diagnostics(start: Bits, gates: Sequence[Tensor], layers: Iterable[str]) -> dict[str, Any]:
    """Return `flip_share` and `polarised_share` of gates that initially gave the mask `start`."""
    sizes = [gate.numel() for gate in gates]
    shares = {
        "flip_share": flip_share(start, binarised(gates), sizes),
        "polarised_share": polarised_share(gates),
    }
    return diagnostics_of(shares, layers)


def capacity_diagnostics(
    masks: Sequence[Bits], sizes: Sequence[int], layers: Iterable[str]
) -> dict[str, Any]:
    """Return `capacity_used`, `kept_share` and `reuse_lift` after the last of these masks.

    `reuse` is, for each earlier mask, the share of the last mask's weights that it keeps as well. It is left
    out if the last mask is empty.
    """
    last = masks[-1]
    shares = {
        "capacity_used": capacity_used(masks, sizes)[-1].tolist(),
        "kept_share": kept_share(last, sizes),
        "reuse_lift": reuse_lift(masks, sizes)[-1].tolist(),
    }
    found = diagnostics_of(shares, layers)
    if found["kept_share"]:
        found["reuse"] = [float(reuse([mask, last])[0, 1]) for mask in masks[:-1]]
    return found


def mask_images(method: Masked) -> dict[tuple[int, str], NDArray[np.uint8]]:
    """Return an image of the mask for each task and layer, as uint8 of at most 256 by 256 pixels.

    A row stands for an output unit, and a column for an input (in a convolution, for an entry of the kernel);
    a mask of units is a single row. In larger layers a pixel is the mean over a rectangle of the mask. White
    (255) means that all weights are kept.
    """
    return {
        (task, layer): picture(bits, shape)
        for task, mask in method.masks.items()
        for bits, (layer, shape) in zip(mask, method.shapes.items(), strict=True)
    }


def picture(bits: NDArray[np.uint8], shape: Sequence[int]) -> NDArray[np.uint8]:
    """Return an image of a packed mask of this shape, with at most `SIDE` pixels per side."""
    mask = np.unpackbits(bits, count=math.prod(shape))
    return np.rint(255 * _shrunk(_shrunk(mask.reshape(shape[0] if len(shape) > 1 else 1, -1)).T).T).astype(
        np.uint8
    )


def _shrunk(values: NDArray[Any]) -> NDArray[np.float64]:
    """Average neighbouring rows so that at most `SIDE` are left; group sizes differ by at most one."""
    rows = len(values)
    starts = np.arange(min(rows, SIDE)) * rows // min(rows, SIDE)
    counts = np.diff(starts, append=rows)
    sums: NDArray[np.float64] = np.add.reduceat(values, starts, axis=0, dtype=np.float64)
    return sums / counts[:, None]


def _shares(counts: Sequence[int], sizes: Sequence[int]) -> list[float]:
    return [*(k / n for k, n in zip(counts, sizes, strict=True)), sum(counts) / sum(sizes)]

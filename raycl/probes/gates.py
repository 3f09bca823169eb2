"""What training makes of gates, and pictures of the masks that come of them (PMASK section 4.6 and Fig. 5).

Gates are soft, in [0, 1]; a mask keeps those above one half, packed layer by layer.
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

SIDE = 256  # pixels, at most


class Masked(Protocol):
    """A method with a mask per finished task; `shapes` is that of each layer's gates, by the layer's name."""

    masks: Mapping[int, Bits]

    @property
    def shapes(self) -> Mapping[str, Sequence[int]]: ...


def binarised(gates: Sequence[Tensor]) -> tuple[NDArray[np.uint8], ...]:
    """Bits of the gates above one half."""
    return tuple(pack(gate > 0.5) for gate in gates)


def polarised_share(gates: Sequence[Tensor]) -> list[float]:
    """Share of gates in (0.05, 0.95), of each layer and last of all: small where training has polarised them.

    The name is the catalogue's; 0 means that every gate is nearly open or nearly closed.
    """
    between = [int(((gate > 0.05) & (gate < 0.95)).sum()) for gate in gates]
    return _shares(between, [gate.numel() for gate in gates])


def flip_share(before: Bits, after: Bits, sizes: Sequence[int]) -> list[float]:
    """Share of gates that open or close between two masks, of each layer and last of all."""
    return _shares([ones(a ^ b) for a, b in zip(before, after, strict=True)], sizes)


def diagnostics_of(shares: Mapping[str, Sequence[float]], layers: Iterable[str]) -> dict[str, Any]:
    """Shares [layers + 1] as plain JSON: the last under its name, the others under ``<name>_layers``.

    What is undefined (NaN) is left out.
    """
    found: dict[str, Any] = {}
    for name, (*parts, whole) in shares.items():
        named = {layer: float(v) for layer, v in zip(layers, parts, strict=True) if not math.isnan(v)}
        if not math.isnan(whole):
            found |= {name: float(whole), f"{name}_layers": named}
    return found


def gate_diagnostics(start: Bits, gates: Sequence[Tensor], layers: Iterable[str]) -> dict[str, Any]:
    """`flip_share` and `polarised_share` of gates that began on the right side of one half for `start`."""
    sizes = [gate.numel() for gate in gates]
    shares = {
        "flip_share": flip_share(start, binarised(gates), sizes),
        "polarised_share": polarised_share(gates),
    }
    return diagnostics_of(shares, layers)


def capacity_diagnostics(
    masks: Sequence[Bits], sizes: Sequence[int], layers: Iterable[str]
) -> dict[str, Any]:
    """`capacity_used`, `kept_share` and `reuse_lift` after the last of these masks.

    `reuse` says for each earlier mask what share of the last one it has too, unless that is empty.
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
    """For each task and layer a picture of the mask of the weights, [at most 256, at most 256].

    A row is an output unit, a column an input (of a convolution: one entry of its kernel); a mask of units is
    a single row. Where a layer is larger, a pixel is the mean over its rectangle: 255 where all is kept.
    """
    return {
        (task, layer): picture(bits, shape)
        for task, mask in method.masks.items()
        for bits, (layer, shape) in zip(mask, method.shapes.items(), strict=True)
    }


def picture(bits: NDArray[np.uint8], shape: Sequence[int]) -> NDArray[np.uint8]:
    """The first entries of a packed mask, as many as `shape` has, as a picture of at most `SIDE` a side."""
    mask = np.unpackbits(bits, count=math.prod(shape))
    return np.rint(255 * _shrunk(_shrunk(mask.reshape(shape[0] if len(shape) > 1 else 1, -1)).T).T).astype(
        np.uint8
    )


def _shrunk(values: NDArray[Any]) -> NDArray[np.float64]:
    """At most `SIDE` rows, each the mean of neighbouring ones; their numbers differ by one at most."""
    rows = len(values)
    starts = np.arange(min(rows, SIDE)) * rows // min(rows, SIDE)
    counts = np.diff(starts, append=rows)
    sums: NDArray[np.float64] = np.add.reduceat(values, starts, axis=0, dtype=np.float64)
    return sums / counts[:, None]


def _shares(counts: Sequence[int], sizes: Sequence[int]) -> list[float]:
    return [*(k / n for k, n in zip(counts, sizes, strict=True)), sum(counts) / sum(sizes)]

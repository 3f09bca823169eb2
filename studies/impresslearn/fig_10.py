"""Figure 10: hybrid and plain ImpressLearn on Split CIFAR-100. Left: heterogeneous bases. Right: homogeneous.

A hybrid trains a mask for the last layer, and coefficients for the other layers. The small form is that of
Figure 4.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from raycl import Boxes, BoxFigure

from .common import (
    CIFAR,
    CIFAR_GRID,
    CIFAR_MASKS,
    CIFAR_SHORT,
    DENSITIES,
    NEW,
    NOTHING,
    RESNET,
    TRAINED,
    Grid,
    Methods,
    bases,
    own,
)

HYBRID = [replace(kind, name=f"hybrid {kind.name}", rows=f"hybrid-{kind.rows}") for kind in TRAINED]
VIEWS = [
    BoxFigure(
        "Figure 10: hybrid and plain ImpressLearn, Split CIFAR-100",
        [
            Boxes(f"New tasks, {plain.name} bases", kinds=[NEW[0], plain, hybrid])
            for plain, hybrid in zip(TRAINED, HYBRID, strict=True)
        ],
    )
]


def methods(
    grid: Grid, densities: Sequence[float], masks: Mapping[str, Any], keys: Mapping[str, Any] = NOTHING
) -> Methods:
    """Return plain and hybrid methods for every basis, and own masks."""
    hybrid = bases(grid, densities, {"method.hybrid": True, **keys})
    return (
        bases(grid, densities, keys)
        | {f"hybrid-{label}": found for label, found in hybrid.items()}
        | own(densities, keys={**masks, **keys})
    )


STUDY = RESNET.full.with_(
    methods=methods(CIFAR_GRID.full, DENSITIES.full, CIFAR_MASKS),
    benchmarks=[CIFAR.full.new_tasks],
    views=VIEWS,
)
SMALL = RESNET.small.with_(
    methods=methods(CIFAR_GRID.small, DENSITIES.small, CIFAR_MASKS, CIFAR_SHORT),
    benchmarks=[CIFAR.small.new_tasks],
    views=VIEWS,
)

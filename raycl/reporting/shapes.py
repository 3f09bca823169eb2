"""What views draw: boxes, curves and panels, as plain values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from raycl.metrics import Matrix


@dataclass(frozen=True)
class Box:
    """The points of a kind at a place of the axis.

    Attributes:
        place: the setting `x`; a name where the rows have no such setting.
        values: one per point, in a fixed order.
        band: to be drawn across all places.
    """

    kind: str
    place: Any
    values: tuple[float, ...]
    band: bool = False

    @property
    def quartiles(self) -> tuple[float, float, float]:
        low, middle, high = np.quantile(self.values, (0.25, 0.5, 0.75))
        return float(low), float(middle), float(high)


@dataclass(frozen=True)
class Curve:
    """What a label came to along the axis.

    Attributes:
        levels: tasks counted from 1, or names of layers, which all of its runs have.
        values: [runs, levels].
    """

    label: str
    levels: tuple[Any, ...]
    values: Matrix


def levels_of(curves: Sequence[Curve]) -> list[Any]:
    """Of all curves together: numbers in ascending order, names in that of the network."""
    found = dict.fromkeys(level for curve in curves for level in curve.levels)
    return list(found) if any(isinstance(level, str) for level in found) else sorted(found)


ALL = "all layers"


@dataclass(frozen=True)
class Panel:
    """What a label came to in every layer.

    Attributes:
        layers: in the order of the network, and last all of them together where a method says that.
        tasks: counted from 1; those after which some run has the number.
        values: [layers, tasks], means over the runs that have it; NaN where none has.
        runs: how many have any.
    """

    label: str
    layers: tuple[str, ...]
    tasks: tuple[int, ...]
    values: Matrix
    runs: int


@dataclass(frozen=True)
class Style:
    """How a method is drawn everywhere in a report; marker and stroke tell it apart without colour."""

    colour: str
    stroke: str
    marker: str


Styles = Mapping[str, Style]

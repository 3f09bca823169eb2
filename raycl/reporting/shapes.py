"""The shapes that views draw (boxes, curves and panels) and their styles, as plain values."""

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
        kind: The name of the kind.
        place: The value of the setting `x`, or a name where the rows do not have that setting.
        values: The values of the points, in a fixed order.
        band: Whether the box is drawn as a band across all places.
    """

    kind: str
    place: Any
    values: tuple[float, ...]
    band: bool = False

    @property
    def quartiles(self) -> tuple[float, float, float]:
        """The lower quartile, the median and the upper quartile."""
        low, middle, high = np.quantile(self.values, (0.25, 0.5, 0.75))
        return float(low), float(middle), float(high)


@dataclass(frozen=True)
class BoxPanel:
    """Boxes that share two axes.

    Attributes:
        title: The title of the panel, or "".
        xlabel, ylabel: The labels of the axes.
        boxes: The boxes.
    """

    title: str
    xlabel: str
    ylabel: str
    boxes: Sequence[Box]


@dataclass(frozen=True)
class Curve:
    """The values of a label along the axis.

    Attributes:
        label: The label.
        levels: Tasks counted from 1, or names of layers, which all runs of the label have.
        values: The values, [runs, levels].
    """

    label: str
    levels: tuple[Any, ...]
    values: Matrix


def levels_of(curves: Sequence[Curve]) -> list[Any]:
    """Return the levels of all curves: numbers in ascending order, names in the order of the network."""
    found = dict.fromkeys(level for curve in curves for level in curve.levels)
    return list(found) if any(isinstance(level, str) for level in found) else sorted(found)


ALL = "all layers"


@dataclass(frozen=True)
class Panel:
    """The values of a label in every layer after every task, or over two other axes.

    Attributes:
        label: The label.
        layers: The layers in the order of the network; the last entry is `ALL` if the method reports that.
        tasks: The tasks, counted from 1, after which any run has a value; or the values of another axis.
        values: The means over the runs that have a value, [layers, tasks]; NaN where none has.
        runs: The number of runs that have any value.
    """

    label: str
    layers: tuple[str, ...]
    tasks: tuple[int | str, ...]
    values: Matrix
    runs: int


@dataclass(frozen=True)
class Style:
    """The style of a method in all figures of a report.

    Marker and stroke distinguish methods for readers who do not see the colours.
    """

    colour: str
    stroke: str
    marker: str


Styles = Mapping[str, Style]

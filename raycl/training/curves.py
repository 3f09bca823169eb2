"""Points of training curves: losses, learning rate and a method's own numbers by epoch, bounded in number."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

MOST = 200  # points of a fit's account in a task; of more epochs, evenly spaced ones are kept
ACCOUNTS = 8  # accounts of a task that have curves; a method may name any number of them
NAMES = 16  # numbers by epoch, of which three are raycl's
_EPOCH = "epoch"


class EpochCurve:
    """Points by epoch of the fits of one account of a task.

    When there are more than `MOST`, every other one is dropped, so that the points stay evenly spaced and
    their number bounded, however long the training is.
    """

    def __init__(self, points: list[dict[str, float]] | None = None, every: int = 1, epochs: int = 0) -> None:
        self.points, self.every, self.epochs = points or [], every, epochs

    def add(self, values: Mapping[str, Any]) -> None:
        """Add the numbers of the next epoch; those that are not finite are left out."""
        if self.epochs % self.every == 0:
            found = {name: _short(value) for name, value in [*values.items()][:NAMES] if _finite(value)}
            self.points.append({_EPOCH: self.epochs + 1, **found})
            self._thin()
        self.epochs += 1

    def extend(self, other: EpochCurve) -> None:
        """Add the points of a later fit, whose epochs are counted on."""
        self.points += [point | {_EPOCH: self.epochs + point[_EPOCH]} for point in other.points]
        self.every = max(self.every, other.every)
        self.epochs += other.epochs
        self._thin()

    def _thin(self) -> None:
        while len(self.points) > MOST:
            self.points, self.every = self.points[::2], 2 * self.every

    def columns(self) -> dict[str, list[float | None]]:
        """Return the points by name, with None where an epoch does not have a number; [] for no points."""
        names = dict.fromkeys(name for point in self.points for name in point)
        return {name: [point.get(name) for point in self.points] for name in names}

    def state(self) -> dict[str, Any]:
        """Return the arguments that make an equal object, as plain values."""
        return {"points": [dict(point) for point in self.points], "every": self.every, "epochs": self.epochs}


def _finite(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _short(value: float) -> float:
    """Round to five significant digits, which no figure can show more of."""
    return float(f"{value:.5g}")

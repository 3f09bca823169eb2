"""The figures of a report as SVG; each method has one colour, and the same numbers give the same bytes."""

from __future__ import annotations

from raycl.reporting.importances import ENOUGH
from raycl.reporting.plots.fronts import fronts
from raycl.reporting.plots.learning import by_task, capacity, curves, heat_maps, stacked
from raycl.reporting.plots.look import styles_of
from raycl.reporting.plots.searches import (
    PANELS,
    enough_trials,
    importances,
    progress,
    searched,
    sensitivity,
    slices,
)
from raycl.reporting.plots.shrink import shrunk
from raycl.reporting.plots.tradeoff import tradeoff
from raycl.reporting.plots.training import training
from raycl.reporting.plots.views import boxes, layers, lines
from raycl.reporting.shapes import Style, Styles

__all__ = [
    "ENOUGH",
    "PANELS",
    "Style",
    "Styles",
    "boxes",
    "by_task",
    "capacity",
    "curves",
    "enough_trials",
    "fronts",
    "heat_maps",
    "importances",
    "layers",
    "lines",
    "progress",
    "searched",
    "sensitivity",
    "shrunk",
    "slices",
    "stacked",
    "styles_of",
    "tradeoff",
    "training",
]

"""Figures of a study's views: box plots, lines along tasks or layers, and heat maps of layers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from raycl.reporting.plots.learning import ANNOTATED, cell_numbers
from raycl.reporting.plots.look import (
    LEGEND_COLUMNS,
    WIDTH,
    band,
    grid,
    legend,
    legend_room,
    log_if_wide,
    look,
    safe,
    styles_of,
    svg,
)
from raycl.reporting.shapes import ALL, Box, BoxPanel, Curve, Panel, Style, Styles, levels_of
from raycl.text import clip, plain_value


def boxes(panels: Sequence[BoxPanel], about: str, name: str) -> str:
    """Draw panels side by side: a box for each kind and place with its points on top, and bands.

    Panels with the same label of the y axis share it. Places with names are left of the numbers.

    Args:
        panels: The panels.
        about: A description of the figure.
        name: The prefix of the ids of the SVG element.
    """
    kinds = list(dict.fromkeys(box.kind for panel in panels for box in panel.boxes))
    styles = styles_of(kinds)
    columns = [_columns(panel.boxes) for panel in panels]
    shared = len({panel.ylabel for panel in panels}) == 1
    with look():
        figure = Figure(figsize=(WIDTH, 3.2 if len(panels) == 1 else 3.4), layout="constrained")
        axes = figure.subplots(
            1,
            len(panels),
            squeeze=False,
            sharey=shared,
            width_ratios=[max(len(places), 2) for places in columns],
        )[0]
        for n, (ax, panel, places) in enumerate(zip(axes, panels, columns, strict=True)):
            _panel(ax, panel, places, styles)
            ax.set_ylabel(panel.ylabel if n == 0 or not shared else "")
            if panel.title:
                ax.set_title(safe(clip(panel.title, 60 // len(panels) + 10)))
        swatches = [
            Line2D([], [], color=styles[k].colour, marker=styles[k].marker, lw=4, alpha=0.7) for k in kinds
        ]
        labels = [safe(clip(kind, 24)) for kind in kinds]
        figure.legend(
            swatches, labels, loc="outside upper left", ncols=LEGEND_COLUMNS, frameon=False, handlelength=2
        )
        return svg(figure, name, about)


def _columns(found: Sequence[Box]) -> list[Any]:
    """Return the places of boxes from left to right: names, then numbers in ascending order."""
    places = dict.fromkeys(box.place for box in found if not box.band)
    numbers = sorted(place for place in places if isinstance(place, int | float))
    return [*(place for place in places if place not in numbers), *numbers]


def _panel(ax: Axes, panel: BoxPanel, columns: Sequence[Any], styles: Styles) -> None:
    """Draw the boxes of a panel side by side at their places, and its bands across them."""
    for box in panel.boxes:
        if box.band:
            _crossing(ax, box, styles[box.kind])
    for column, place in enumerate(columns):
        here = [box for box in panel.boxes if box.place == place and not box.band]
        wide = 0.8 / max(len(here), 3)  # A single box would otherwise be too wide.
        for n, box in enumerate(here):
            _box(ax, column + (n - (len(here) - 1) / 2) * wide, 0.85 * wide, box, styles[box.kind])
    ax.set_xticks(range(len(columns)), [clip(plain_value(place), 14) for place in columns])
    ax.set_xlim(-0.6, max(len(columns), 1) - 0.4)
    ax.grid(False, axis="x")
    numbers = any(isinstance(place, int | float) for place in columns)
    ax.set_xlabel(panel.xlabel if numbers else "")


def _box(ax: Axes, middle: float, width: float, box: Box, style: Style) -> None:
    """Draw quartiles, whiskers to the last point within 1.5 times their distance, and the points on top."""
    line: dict[str, Any] = {"color": style.colour, "lw": 1}
    filled = {"facecolor": to_rgba(style.colour, 0.25), "edgecolor": style.colour}
    ax.boxplot(
        [box.values],
        positions=[middle],
        widths=width,
        showfliers=False,
        manage_ticks=False,
        patch_artist=True,
        boxprops=filled,
        medianprops=line | {"lw": 1.8},
        whiskerprops=line,
        capprops=line,
    )
    spread = np.linspace(-0.3, 0.3, len(box.values)) * width if len(box.values) > 1 else [0.0]
    places = [middle + shift for shift in spread]
    ax.scatter(places, box.values, s=8, color=style.colour, marker=style.marker, lw=0, alpha=0.8, zorder=3)


def _crossing(ax: Axes, box: Box, style: Style) -> None:
    """Draw a reference: its median as a line and its quartiles as a band over all places."""
    low, middle, high = box.quartiles
    ax.axhspan(low, high, color=style.colour, alpha=0.15, lw=0)
    ax.axhline(middle, color=style.colour, lw=1.3, ls=style.stroke)


def lines(
    found: Sequence[Curve],
    styles: Styles,
    xlabel: str,
    ylabel: str,
    about: str,
    name: str,
    signed: bool = False,
    wide: bool = False,
) -> str:
    """Draw a line for each label along numbers or names, with one standard deviation over runs as a band.

    Args:
        found: The curves.
        styles: The style of each label.
        xlabel, ylabel: The labels of the axes.
        about: A description of the figure.
        name: The prefix of the ids of the SVG element.
        signed: Whether to draw a line at zero.
        wide: Whether to make the y axis logarithmic if the range of values is wide.
    """
    levels = levels_of(found)
    share = ylabel.endswith("(fraction)") and not signed and ", summed" not in ylabel
    named = any(isinstance(level, str) for level in levels)
    places = {level: n if named else level for n, level in enumerate(levels)}
    labels = [curve.label for curve in found]
    with look():
        figure = Figure(figsize=(WIDTH, 2.9 + legend_room(labels)), layout="constrained")
        ax = figure.subplots()
        for curve in found:
            at = [places[level] for level in curve.levels]
            band(ax, at, curve.values, styles[curve.label], (0, 1) if share else (-np.inf, np.inf))
        if signed:
            ax.axhline(0, color="#888888", lw=0.8, zorder=0.5)
        if wide:
            log_if_wide(ax, [float(value) for curve in found for value in curve.values.flat])
        if named:
            ax.set_xticks(range(len(levels)), [clip(str(level), 14) for level in levels])
        else:
            ax.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=10, min_n_ticks=1))
        ax.set(xlabel=xlabel, ylabel=ylabel)
        legend(figure, labels, styles)
        return svg(figure, name, about)


NAMED = 24  # A panel has room for the names of this many layers.
ROW = 0.145  # Inches, the height of a layer with its name.


def layers(
    found: Sequence[Panel], value: str, about: str, name: str, axes_named: tuple[str, str] = ("task", "")
) -> str:
    """Draw a heat map for each label, with layers from top to bottom and tasks from left to right.

    Cells without a number are white. Colours start at zero, so that figures can be compared. `axes_named`
    names the horizontal and the vertical axis.
    """
    known = np.concatenate([panel.values[~np.isnan(panel.values)] for panel in found])
    high = max(math.ceil(float(known.max()) * 10 - 1e-9) / 10, 0.1)
    most = max(len(panel.layers) for panel in found)
    with look():
        columns = 2 if max(len(panel.tasks) for panel in found) > 5 else 3
        height = min(max(0.7 + ROW * most, 1.9), 0.7 + ROW * NAMED * 1.5)
        figure, axes = grid(len(found), columns, height, 0.2)
        image = None
        for ax, panel in zip(axes, found, strict=True):
            image = ax.imshow(panel.values, cmap="cividis", vmin=0.0, vmax=high, aspect="auto")
            ax.set_title(safe(clip(panel.label, 24)))
            _layer_ticks(ax, panel)
            if panel.layers[-1] == ALL:
                ax.axhline(len(panel.layers) - 1.5, color="white", lw=1.5)
            if len(panel.tasks) <= ANNOTATED and len(panel.layers) <= NAMED:
                cell_numbers(ax, panel.values, 0.0, high)
        assert image is not None
        figure.colorbar(image, ax=axes, label=f"{value} (fraction)", shrink=0.8, aspect=30, pad=0.01)
        for label, put in zip(axes_named, (figure.supxlabel, figure.supylabel), strict=True):
            if label:
                put(safe(label), fontsize=8)
        return svg(figure, name, about)


def _layer_ticks(ax: Axes, panel: Panel) -> None:
    """Label the last layer and as many others as there is room for, and the tasks by their numbers."""
    step = -(-len(panel.layers) // NAMED)
    shown = list(range(len(panel.layers) - 1, -1, -step))
    ax.set_yticks(shown, [clip(panel.layers[n], 14) for n in shown])
    step = -(-len(panel.tasks) // 10)
    shown = list(range(0, len(panel.tasks), step))
    ax.set_xticks(shown, [str(panel.tasks[n]) for n in shown])
    ax.grid(False)
    ax.tick_params(length=0)

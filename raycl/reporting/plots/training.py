"""Figures of training: losses, learning rates and the methods' own numbers by epoch."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.axes import Axes

from raycl.reporting.plots.look import grid, legend, legend_room, log_if_wide, look, safe, svg
from raycl.reporting.shapes import Styles
from raycl.reporting.training import Trained
from raycl.text import clip

PANELS = 24  # A figure has a panel of losses for at most this many methods.
OWN = 8  # A figure has a panel for at most this many of the methods' own numbers.


def training(found: Sequence[Trained], styles: Styles, about: str, name: str) -> str:
    """Draw the losses of each method in a panel, and the learning rates and each own number in one more.

    Thin vertical lines separate the tasks. The result is "" if there are no curves.

    Args:
        found: The curves.
        styles: The style of each label.
        about: A description of the figure.
        name: The prefix of the ids of the SVG element.
    """
    found = found[:PANELS]
    if not found:
        return ""
    shared = ["lr", *list(dict.fromkeys(own for each in found for own in each.own))[:OWN]]
    labels = [each.label for each in found]
    with look():
        figure, axes = grid(len(found) + len(shared), 3, 1.6, 0.5 + legend_room(labels))
        for ax, each in zip(axes, found, strict=False):
            _losses(ax, each, styles)
        for ax, series in zip(axes[len(found) :], shared, strict=True):
            ax.set_title(safe(clip("learning rate" if series == "lr" else series, 30)))
            for each in found:
                if points := each.series.get(series):
                    ax.plot(*zip(*points, strict=True), color=styles[each.label].colour, lw=1)
            values = [value for each in found for _, value in each.series.get(series, [])]
            if series == "lr":
                log_if_wide(ax, values)
        figure.supxlabel("epochs over all tasks", fontsize=8)
        legend(figure, labels, styles)
        return svg(figure, name, about)


def _losses(ax: Axes, each: Trained, styles: Styles) -> None:
    """Draw the training loss as a line and the validation loss as dots."""
    colour = styles[each.label].colour
    for end in each.ends[:-1]:
        ax.axvline(end + 0.5, color="#bbbbbb", lw=0.6, zorder=0.5)
    for series, look_of in (("train_loss", {"lw": 1.0}), ("val_loss", {"ls": "", "marker": ".", "ms": 2.5})):
        if points := each.series.get(series):
            ax.plot(*zip(*points, strict=True), color=colour, alpha=0.9, **look_of)
    ax.set_title(safe(f"{clip(each.label, 20)}: loss, seed {each.seed}"))
    log_if_wide(ax, [value for name in ("train_loss", "val_loss") for _, value in each.series.get(name, [])])

"""The first figure of a benchmark: accuracy against compute time and against stored bytes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, MaxNLocator

from raycl.reporting.plots.look import grid, legend, legend_room, log_x, look, svg
from raycl.reporting.shapes import Style, Styles
from raycl.results.rows import Group, Section, Stat
from raycl.text import quantity

AXES = (("ct", "compute time (s)", ""), ("bytes_total", "stored after the last task", "B"))


def tradeoff(section: Section, styles: Styles, name: str) -> str:
    """Draw the mean accuracy of each method against its compute time, and against its stored bytes.

    Bars show one standard deviation over runs to both sides. The result is "" without finished runs.
    """
    groups = [group for group in section.groups if group.stat("acc").mean is not None]
    if not groups:
        return ""
    labels = [group.label for group in groups]
    with look():
        figure, axes = grid(len(AXES), 2, 2.2, 0.4 + legend_room(labels), sharey=True)
        for ax, (number, label, unit) in zip(axes, AXES, strict=True):
            for group in groups:
                _point(ax, group.stat(number), group.stat("acc"), styles[group.label])
            _cost_axis(ax, groups, number, unit)
            ax.set_xlabel(label)
        axes[0].set_ylabel("acc (fraction)")
        legend(figure, labels, styles)
        return svg(figure, name, f"accuracy against compute time and stored bytes on {section.name}")


def _point(ax: Axes, cost: Stat, acc: Stat, style: Style) -> None:
    """Draw a method as a point with bars, which end at accuracies of 0 and 1."""
    if cost.mean is None or acc.mean is None:
        return
    spread, wide = acc.std or 0.0, cost.std or 0.0
    bars: dict[str, Any] = {
        "xerr": [[min(wide, 0.9 * cost.mean)], [wide]],  # an axis with a logarithmic scale has no zero
        "yerr": [[min(spread, acc.mean)], [min(spread, 1.0 - acc.mean)]],
    }
    ax.errorbar([cost.mean], [acc.mean], color=style.colour, marker=style.marker, ms=5, lw=0.8, ls="", **bars)


def _cost_axis(ax: Axes, groups: Sequence[Group], number: str, unit: str) -> None:
    """Make the axis of a cost logarithmic if the costs differ much, with room on both sides."""
    found = [mean for group in groups if (mean := group.stat(number).mean) is not None and mean > 0]
    if found and max(found) > 5 * min(found):
        log_x(ax, min(found) / 1.5, max(found) * 1.5, lambda value: quantity(value, unit))
        return
    ax.set_xlim(left=0)
    ax.xaxis.set_major_locator(MaxNLocator(nbins=4))
    if unit:
        ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: quantity(value, unit)))

"""The figure of Pareto fronts: all trials of a search in the plane of two of its objectives."""

from __future__ import annotations

from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.ticker import FuncFormatter, MaxNLocator

from raycl.reporting.plots.look import grid, look, svg
from raycl.reporting.shapes import Style, Styles
from raycl.results.rows import CellRow, Section, Tried
from raycl.study.objectives import Objective
from raycl.text import clip

PANELS = 24  # A figure shows at most this many planes.
COLUMNS = 3


def fronts(section: Section, styles: Styles, name: str) -> str:
    """Draw the first objective of each search against each other one; "" if no search has several."""
    planes = [
        (row, place)
        for group in section.groups
        for row in group.rows
        if row.front
        for place in range(1, len(row.cell.objectives))
    ][:PANELS]
    if not planes:
        return ""
    with look():
        # A single plane does not fill the width.
        figure, axes = grid(max(COLUMNS, len(planes)), COLUMNS, 2.1)
        for ax in axes[len(planes) :]:
            ax.set_axis_off()
        for ax, (row, place) in zip(axes, planes, strict=False):
            _plane(ax, row, place, styles[row.cell.label])
        return svg(figure, name, f"Pareto fronts on {section.name}")


def _plane(ax: Axes, row: CellRow, place: int, style: Style) -> None:
    first, other = row.cell.objectives[0], row.cell.objectives[place]
    everyone = [point for trial in row.trials if (point := _point(trial, place))]
    ax.plot(*_columns(everyone), ls="", marker=style.marker, ms=3.5, mfc="none", mec=style.colour, alpha=0.5)
    found = sorted(point for member in row.front if (point := _point(member.trial, place)))
    if len(row.cell.objectives) == 2:  # Of more objectives, the front is no line in a plane.
        # The best value of the first objective that is to be had at a value of the other one.
        steps = "steps-post" if other.smaller else "steps-pre"
        ax.plot(*_columns(found), drawstyle=steps, color=style.colour, lw=1)
    ax.plot(*_columns(found), ls="", marker=style.marker, color=style.colour, ms=4)
    ringed = [point for member in row.front if member.best and (point := _point(member.trial, place))]
    ax.plot(*_columns(ringed), ls="", marker="o", ms=8, mfc="none", mec="black", mew=0.9)
    ax.margins(0.12)  # The ring needs this room.
    order = f", order {row.cell.order}" if row.cell.orders > 1 else ""
    ax.set_title(f"{clip(row.cell.label, 24)}{order}")
    ax.set_xlabel(other.label(row.cell.split))
    ax.set_ylabel(first.label(row.cell.split))
    _ticks(ax.xaxis, other)
    _ticks(ax.yaxis, first)


def _point(trial: Tried, place: int) -> tuple[float, float] | None:
    """Return a trial's place in the plane; None if it has no values."""
    if not trial.values:
        return None
    x, y = trial.values[place], trial.values[0]
    return None if x is None or y is None else (x, y)


def _columns(points: list[tuple[float, float]]) -> tuple[list[float], list[float]]:
    return [x for x, _ in points], [y for _, y in points]


def _ticks(axis: Axis, objective: Objective) -> None:
    """Write the ticks of a cost as tables do."""
    if not objective.is_accuracy:
        axis.set_major_locator(MaxNLocator(nbins=4))
        axis.set_major_formatter(FuncFormatter(lambda value, _: objective.text(value)))

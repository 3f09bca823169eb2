"""Figures of searches: objective over trials, sensitivity, slices, and how much each field matters."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from raycl.reporting.collect import Row, Section
from raycl.reporting.importances import ENOUGH, Importances, completed, place_of, searched_fields
from raycl.reporting.plots.look import WIDTH, Style, Styles, grid, look, plain_ticks, svg
from raycl.reporting.text import clip, fraction, plain_value
from raycl.space import Choice, Domain


def _searched(section: Section) -> list[Row]:
    return [row for group in section.groups for row in group.rows if row.trials]


def _objective(row: Row) -> str:
    return "test accuracy" if row.cell.protocol == "paper" else "validation accuracy"


def _row_name(row: Row) -> str:
    order = f", order {row.cell.order}" if row.cell.orders > 1 else ""
    return f"{clip(row.cell.label, 24)}{order}"


def progress(section: Section, styles: Styles, name: str) -> str:
    """Objective over the trials of each search, with the best so far; crosses on the floor diverged."""
    rows = _searched(section)
    if not rows:
        return ""
    with look():
        figure, axes = grid(len(rows), 4, 1.5, 0.3, sharey=True)
        for ax, row in zip(axes, rows, strict=True):
            style = styles[row.cell.label]
            done = [(t.n, t.objective) for t in row.trials if t.objective is not None]
            ax.plot(*_columns(done), ls="", marker=style.marker, color=style.colour, ms=4)
            best = list(itertools.accumulate((value for _, value in done), max))
            ax.step([n for n, _ in done], best, where="post", color=style.colour, lw=1)
            _crosses(ax, [t.n for t in row.trials if t.objective is None])
            ax.set_title(f"{_row_name(row)}: n = {len(row.trials)}")
            ax.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=5, min_n_ticks=1))
        figure.supxlabel("trial", fontsize=8)
        figure.supylabel(f"{_objective(rows[0])} (fraction)", fontsize=8)
        return svg(figure, name, f"objective over trials on {section.name}")


def _columns(points: Sequence[tuple[float, Any]]) -> tuple[list[float], list[Any]]:
    return [x for x, _ in points], [y for _, y in points]


def _crosses(ax: Axes, places: Sequence[float]) -> None:
    """Diverged trials have no height: they stand on the lower edge."""
    if places:
        ax.plot(places, np.zeros(len(places)), ls="", marker="x", color="#666666", ms=5,
                transform=ax.get_xaxis_transform(), clip_on=False)  # fmt: skip


def sensitivity(section: Section, styles: Styles, name: str) -> str:
    """Test accuracy of all completed trials, a line of dots per search: the wider, the more it needs care."""
    rows = [row for row in _searched(section) if any(t.acc is not None for t in row.trials)]
    if not rows:
        return ""
    with look():
        figure = Figure(figsize=(WIDTH, 0.5 + 0.28 * len(rows)), layout="constrained")
        ax = figure.subplots()
        for place, row in enumerate(rows):
            style = styles[row.cell.label]
            values = np.array([t.acc for t in row.trials if t.acc is not None])
            heights = np.full(len(values), place)
            ax.plot(values, heights, ls="", marker=style.marker, color=style.colour, alpha=0.7, ms=5, mew=0)
            bar: dict[str, Any] = {"fmt": "|", "color": "black", "ms": 9, "lw": 1, "capsize": 2}
            ax.errorbar([values.mean()], [place + 0.3], xerr=[values.std()], **bar)
            said, at = f"ps {fraction(row.ps)}, n = {len(values)}", (1.01, place)
            ax.annotate(said, at, xycoords=("axes fraction", "data"), va="center", fontsize=7)
        ax.set_yticks(range(len(rows)), [_row_name(row) for row in rows])
        ax.set_ylim(len(rows) - 0.5, -0.5)
        ax.set_xlabel("test accuracy of a trial (fraction)")
        return svg(figure, name, f"distribution of test accuracy over trials on {section.name}")


def slices(row: Row, style: Style, name: str) -> str:
    """Objective against each searched field; darker dots are later trials, the ringed one is the best."""
    space = searched_fields(row)
    if not space or not any(t.objective is not None for t in row.trials):
        return ""
    with look():
        columns = 4
        figure, axes = grid(len(space), columns, 1.45, 0.15, fixed=True, sharey=True)
        for ax, (key, domain) in zip(axes, space.items(), strict=True):
            _slice(ax, row, key, domain, style)
        for ax in axes[::columns]:
            ax.set_ylabel(_objective(row))
        return svg(figure, name, f"slices of the search of {row.cell.name}")


def _slice(ax: Axes, row: Row, key: str, domain: Domain, style: Style) -> None:
    done = [t for t in row.trials if t.objective is not None and key in t.params]
    xs: list[float]
    if isinstance(domain, Choice):
        options = [clip(plain_value(option), 10) for option in domain.options]
        xs = [place_of(domain, t.params[key]) for t in done]
        ax.set_xticks(range(len(options)), options)
        ax.set_xlim(-0.5, len(options) - 0.5)
    else:
        xs = [float(t.params[key]) for t in done]
        _domain_axis(ax, domain.low, domain.high, domain.log)
    ax.margins(y=0.12)  # room for the ring
    last = max((t.n for t in done), default=0) or 1
    shades = [to_rgba(style.colour, 0.4 + 0.55 * t.n / last) for t in done]
    ys = [t.objective if t.objective is not None else math.nan for t in done]
    ax.scatter(xs, ys, s=16, c=shades, marker=style.marker, lw=0)
    ringed = [(x, y) for x, y, t in zip(xs, ys, done, strict=True) if row.best and t.params == row.best]
    for x, y in ringed[:1]:
        ax.plot([x], [y], marker="o", ms=8, mfc="none", mec="black", mew=0.9, ls="")
    ax.set_xlabel(clip(key, 26))


def _domain_axis(ax: Axes, low: float, high: float, log: bool) -> None:
    """The axis spans the domain, so that a best value at its edge is seen to lie there."""
    if log:
        ax.set_xscale("log")
        plain_ticks(ax.xaxis)
        margin = (high / low) ** 0.05 if high > low else 1.1
        ax.set_xlim(low / margin, high * margin)
        if high / low < 100:
            middle = math.sqrt(low * high)
            ax.set_xticks([low, middle, high], [f"{value:.3g}" for value in (low, middle, high)])
    else:
        margin = 0.05 * (high - low) or 0.5
        ax.set_xlim(low - margin, high + margin)
        ax.xaxis.set_major_locator(MaxNLocator(nbins=4))


def importances(found: Importances, style: Style, name: str) -> str:
    """A line per searched field: mean and interval of its share of the objective's variance."""
    fields = found.fields
    with look():
        figure = Figure(figsize=(WIDTH, 0.75 + 0.22 * len(fields)), layout="constrained")
        ax = figure.subplots()
        for place, field in enumerate(fields):
            ax.plot([field.low, field.high], [place, place], color=style.colour, lw=1.3)
            ax.plot([field.mean], [place], ls="", marker=style.marker, color=style.colour, ms=5)
        ax.axvline(0, color="#888888", lw=0.8, zorder=0.5)
        ax.set_yticks(range(len(fields)), [clip(field.field, 32) for field in fields])
        ax.set_ylim(len(fields) - 0.5, -0.5)
        ax.set_xlim(left=min(-0.05, *(field.low for field in fields)))
        ax.set_xlabel("share of the objective's variance (fraction)")
        ax.set_title(found.title, loc="right")
        return svg(figure, name, f"importance of the searched fields by {found.title}")


def enough_trials(row: Row) -> bool:
    """Whether a search has completed trials to judge a field's importance by."""
    return len(completed(row)) >= ENOUGH

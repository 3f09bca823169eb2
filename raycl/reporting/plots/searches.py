"""Figures of searches: objective over trials, sensitivity, slices, and importances of fields."""

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

from raycl.metrics import Matrix
from raycl.reporting.importances import ENOUGH, Importances, completed, place_of, searched_fields
from raycl.reporting.plots.look import WIDTH, grid, log_x, look, svg
from raycl.reporting.sensitivity import sensitivity as sensitivity_of
from raycl.reporting.shapes import Style, Styles
from raycl.results.rows import CellRow, Section, Tried
from raycl.space import Choice, Domain
from raycl.text import clip, fraction, plain_value

PANELS = 40  # A figure shows at most this many searches.
DENSE = 30  # A density of fewer trials would suggest more than is known.
POINTS = 1000  # A panel shows at most this many trials.


def searched(section: Section) -> list[CellRow]:
    """Return the rows with trials, in the order of the tables."""
    return [row for group in section.groups for row in group.rows if row.trials]


def _drawn(trials: Sequence[Tried], smaller: bool = False) -> list[Tried]:
    """Return the trials that a panel shows: all, or evenly spaced ones and the best.

    Args:
        trials: The trials.
        smaller: Whether a smaller objective is better.
    """
    if len(trials) <= POINTS:
        return list(trials)
    places = {round(place) for place in np.linspace(0, len(trials) - 1, POINTS - 1)}
    found = [(t.objective, n) for n, t in enumerate(trials) if t.objective is not None]
    if found:
        best = (min if smaller else max)(value for value, _ in found)
        places.add(next(n for value, n in found if value == best))
    return [trials[place] for place in sorted(places)]


def _shown_of(row: CellRow) -> str:
    """Return the number of trials as a title shows it, such as ``1000 of n = 4000``."""
    shown = len(_drawn(row.trials))
    return f"n = {len(row.trials)}" if shown == len(row.trials) else f"{shown} of n = {len(row.trials)}"


def _objective(rows: Sequence[CellRow]) -> str:
    """Return the name of the objective with its unit, or a general one if the rows have different ones."""
    names = {row.cell.objectives[0].label(row.cell.split) for row in rows}
    return names.pop() if len(names) == 1 else "objective"


def _row_name(row: CellRow) -> str:
    order = f", order {row.cell.order}" if row.cell.orders > 1 else ""
    return f"{clip(row.cell.label, 24)}{order}"


def progress(section: Section, styles: Styles, name: str) -> str:
    """Draw the objective over the trials of each search and the best so far.

    A cross marks a trial without an objective, and an open triangle one that was pruned.
    """
    rows = searched(section)[:PANELS]
    if not rows:
        return ""
    with look():
        one = len({row.cell.objectives[0] for row in rows}) == 1
        figure, axes = grid(len(rows), 4, 1.5, 0.3, sharey=one)
        for ax, row in zip(axes, rows, strict=True):
            style, smaller = styles[row.cell.label], row.cell.objectives[0].smaller
            shown = _drawn(row.trials, smaller)
            done = [(t.n, t.objective) for t in shown if t.objective is not None]
            ax.plot(*_columns(done), ls="", marker=style.marker, color=style.colour, ms=4)
            best = list(itertools.accumulate((value for _, value in done), min if smaller else max))
            ax.step([n for n, _ in done], best, where="post", color=style.colour, lw=1)
            _below(ax, [t.n for t in shown if t.objective is None and t.outcome != "pruned"], "x")
            _below(ax, [t.n for t in shown if t.outcome == "pruned"], "^")
            ax.set_title(f"{_row_name(row)}: {_shown_of(row)}")
            ax.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=5, min_n_ticks=1))
        figure.supxlabel("trial", fontsize=8)
        figure.supylabel(_objective(rows), fontsize=8)
        return svg(figure, name, f"objective over trials on {section.name}")


def _columns(points: Sequence[tuple[float, Any]]) -> tuple[list[float], list[Any]]:
    return [x for x, _ in points], [y for _, y in points]


def _below(ax: Axes, places: Sequence[float], marker: str) -> None:
    """Mark trials that have no objective on the lower edge."""
    if places:
        ax.plot(
            places,
            np.zeros(len(places)),
            ls="",
            marker=marker,
            color="#666666",
            mfc="none",
            ms=5,
            transform=ax.get_xaxis_transform(),
            clip_on=False,
        )


def sensitivity(section: Section, styles: Styles, name: str) -> str:
    """Draw the test accuracies of all completed trials of each search, and next to them `ps`."""
    rows = [row for row in searched(section) if any(t.acc is not None for t in row.trials)][:PANELS]
    if not rows:
        return ""
    with look():
        figure = Figure(figsize=(WIDTH, 0.55 + 0.42 * len(rows)), layout="constrained")
        ax, right = figure.subplots(1, 2, sharey=True, width_ratios=(5, 2))
        for place, row in enumerate(rows):
            _cloud(ax, row, place, styles[row.cell.label])
            _spread(right, row, place, styles[row.cell.label])
        ax.set_yticks(range(len(rows)), [_row_name(row) for row in rows])
        ax.set_ylim(len(rows) - 0.5, -0.5)
        ax.set_xlabel("test accuracy of a trial (fraction)")
        right.set_xlim(left=0)
        right.xaxis.set_major_locator(MaxNLocator(nbins=4))
        right.set_xlabel("ps (fraction)")
        right.tick_params(left=False)
        return svg(figure, name, f"distribution of test accuracy over trials on {section.name}")


def _cloud(ax: Axes, row: CellRow, place: int, style: Style) -> None:
    """Draw mean and standard deviation, the single trials below, and the density above if they are many."""
    done = [(t, t.acc) for t in row.trials if t.acc is not None]
    values = np.array([acc for _, acc in done])
    if len(values) >= DENSE and np.ptp(values):
        at, density = _density(values)
        ax.fill_between(at, place - 0.1, place - 0.1 - 0.34 * density, color=style.colour, alpha=0.25, lw=0)
    bar: dict[str, Any] = {"fmt": "|", "color": "black", "ms": 7, "lw": 1, "capsize": 2}
    ax.errorbar([values.mean()], [place - 0.02], xerr=[values.std()], **bar)
    # Multiples of the golden ratio keep neighbours apart without forming a visible pattern.
    shown = _drawn([t for t, _ in done])
    done = [(t, t.acc) for t in shown if t.acc is not None]
    heights = [place + 0.12 + 0.26 * (t.n * 0.618034 % 1) for t, _ in done]
    ax.plot(
        [acc for _, acc in done],
        heights,
        ls="",
        marker=style.marker,
        color=style.colour,
        alpha=0.7,
        ms=4,
        mew=0,
    )
    ringed = [
        (acc, y) for (t, acc), y in zip(done, heights, strict=True) if row.best and t.params == row.best
    ]
    for x, y in ringed[:1]:
        ax.plot([x], [y], marker="o", ms=7, mfc="none", mec="black", mew=0.9, ls="")


def _density(values: Matrix) -> tuple[Matrix, Matrix]:
    """Return places from the lowest to the highest value, and the density there, whose maximum is 1.

    The density uses Gaussian kernels of half Silverman's width, because his rule is meant for one cluster of
    values, whereas many trials of a search may lie at chance and form a second one.
    """
    low, high = np.quantile(values, (0.25, 0.75))
    width = 0.45 * min(w for w in (values.std(), (high - low) / 1.34) if w > 0) * len(values) ** -0.2
    at = np.linspace(values.min(), values.max(), 200)
    density = np.exp(-(((at[:, None] - values) / width) ** 2) / 2).sum(1)
    return at, density / density.max()


def _spread(ax: Axes, row: CellRow, place: int, style: Style) -> None:
    """Draw `ps` and its interval, and write the numbers next to them."""
    found = sensitivity_of([row])
    if found.interval:
        ax.plot(found.interval, [place, place], color=style.colour, lw=1.3, marker="|", ms=6)
    if found.ps is not None:
        ax.plot([found.ps], [place], ls="", marker=style.marker, color=style.colour, ms=3, clip_on=False)
    lost = f"\n{found.diverged} diverged" if found.diverged else ""
    lost += f"\n{found.invalid} invalid" if found.invalid else ""
    lost += f"\n{found.pruned} pruned" if found.pruned else ""
    text = f"ps {fraction(found.ps)}, n = {found.completed}{lost}"
    ax.annotate(text, (1.03, place), xycoords=("axes fraction", "data"), va="center", fontsize=7)


def slices(row: CellRow, style: Style, name: str) -> str:
    """Draw the objective against each searched field; darker dots are later trials, a ring marks the best."""
    space = searched_fields(row)
    if not space or not any(t.objective is not None for t in row.trials):
        return ""
    with look():
        columns = 4
        figure, axes = grid(len(space), columns, 1.45, 0.15, fixed=True, sharey=True)
        for ax, (key, domain) in zip(axes, space.items(), strict=True):
            _slice(ax, row, key, domain, style)
        for ax in axes[::columns]:
            ax.set_ylabel(_objective([row]).removesuffix(" (fraction)"))
        return svg(figure, name, f"slices of the search of {row.cell.name}")


def _slice(ax: Axes, row: CellRow, key: str, domain: Domain, style: Style) -> None:
    tried = [t for t in row.trials if t.objective is not None and key in t.params]
    done = _drawn(tried, row.cell.objectives[0].smaller)
    xs: list[float]
    if isinstance(domain, Choice):
        options = [clip(plain_value(option), 10) for option in domain.options]
        xs = [place_of(domain, t.params[key]) for t in done]
        ax.set_xticks(range(len(options)), options)
        ax.set_xlim(-0.5, len(options) - 0.5)
    else:
        xs = [float(t.params[key]) for t in done]
        _domain_axis(ax, domain.low, domain.high, domain.log)
    ax.margins(y=0.12)  # The ring needs this room.
    last = max((t.n for t in done), default=0) or 1
    shades = [to_rgba(style.colour, 0.4 + 0.55 * t.n / last) for t in done]
    ys = [t.objective if t.objective is not None else math.nan for t in done]
    ax.scatter(xs, ys, s=16, c=shades, marker=style.marker, lw=0)
    ringed = [(x, y) for x, y, t in zip(xs, ys, done, strict=True) if row.best and t.params == row.best]
    for x, y in ringed[:1]:
        ax.plot([x], [y], marker="o", ms=8, mfc="none", mec="black", mew=0.9, ls="")
    ax.set_xlabel(clip(key, 26))


def _domain_axis(ax: Axes, low: float, high: float, log: bool) -> None:
    """Let the axis span the domain, so that the reader sees if the best value lies at its edge."""
    if log:
        margin = (high / low) ** 0.05 if high > low else 1.1
        log_x(ax, low / margin, high * margin)
    else:
        margin = 0.05 * (high - low) or 0.5
        ax.set_xlim(low - margin, high + margin)
        ax.xaxis.set_major_locator(MaxNLocator(nbins=4))


def importances(found: Importances, style: Style, name: str) -> str:
    """Draw for each searched field the mean and interval of its share of the objective's variance."""
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


def enough_trials(row: CellRow) -> bool:
    """Return whether a search has enough completed trials to estimate the importance of fields."""
    return len(completed(row)) >= ENOUGH

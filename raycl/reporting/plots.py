"""Figures of a report as SVG text: one look, one colour per method, the same bytes for the same numbers."""

from __future__ import annotations

import io
import itertools
import math
import re
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

from raycl.metrics import Matrix
from raycl.reporting.collect import Group, Row, Section
from raycl.reporting.text import clip, fraction, one_line, plain_value
from raycl.space import Choice, Domain

if TYPE_CHECKING:
    from raycl.reporting.boxes import Box

# Okabe and Ito's colours without the yellow, which paper does not show; then again with other strokes.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
STROKES = ("-", "--", ":", "-.")
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
WIDTH = 7.1  # inches: the text of an A4 page
ANNOTATED = 10  # tasks up to which a heat map has room for numbers
PANELS = 8  # of the curves: the mean, and so many tasks less one
ENOUGH = 30  # trials under which nothing is said about importance

_LOOK: Any = {
    "svg.fonttype": "none",
    "svg.hashsalt": "raycl",
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans", "Arial", "Helvetica", "sans-serif"],
    "font.size": 8,
    "axes.titlesize": 8,
    "axes.labelsize": 8,
    "legend.fontsize": 8,
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#dddddd",
    "grid.linewidth": 0.5,
    "axes.axisbelow": True,
    "lines.linewidth": 1.3,
    "lines.markersize": 3.5,
    "text.parse_math": False,  # labels are a user's: a dollar is a dollar
    "axes.formatter.use_mathtext": False,
    "axes.unicode_minus": False,
}


@dataclass(frozen=True)
class Style:
    """How a method is drawn everywhere in a report; marker and stroke tell it apart without colour."""

    colour: str
    stroke: str
    marker: str


def styles_of(labels: Sequence[str]) -> dict[str, Style]:
    """A style per label, by the study's order."""
    found = {}
    for n, label in enumerate(labels):
        turn = n // len(COLOURS)
        marker = MARKERS[(n + turn) % len(MARKERS)]
        found[label] = Style(COLOURS[n % len(COLOURS)], STROKES[turn % len(STROKES)], marker)
    return found


Styles = Mapping[str, Style]


@contextmanager
def _look() -> Iterator[None]:
    with matplotlib.rc_context(), warnings.catch_warnings():
        defaults = matplotlib.rcParamsDefault.items()  # a user's matplotlibrc is not for reports
        matplotlib.rcParams.update({key: value for key, value in defaults if key != "backend"})
        matplotlib.rcParams.update(_LOOK)
        warnings.filterwarnings("ignore", message="Glyph .* missing")  # the reader's browser has it
        yield


def _svg(figure: Figure, name: str, about: str) -> str:
    """The figure as an SVG element whose ids are its own within a page."""
    out = io.StringIO()
    FigureCanvasSVG(figure)  # no window system is asked for
    nothing = dict.fromkeys(("Creator", "Date", "Format", "Type"))  # no dates, no addresses
    figure.savefig(out, format="svg", metadata=nothing)
    text = out.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<!--.*?-->\s*|<metadata>.*?</metadata>\s*", "", text, flags=re.DOTALL)
    text = re.sub(r'(\bid="|url\(#|href="#)', rf"\g<1>{name}-", text)
    seen: set[str] = set()

    def once(found: re.Match[str]) -> str:  # equal paths are written twice under one id
        again = found[0] in seen
        seen.add(found[0])
        return "" if again else found[0]

    text = re.sub(r' id="[^"]*"', once, text)
    label = one_line(about).replace("&", "&amp;").replace("<", "&lt;").replace('"', "&quot;")
    return text.replace("<svg ", f'<svg role="img" aria-label="{label}" ', 1)


def _grid(
    panels: int, columns: int, height: float, extra: float = 0.0, fixed: bool = False, **options: Any
) -> tuple[Figure, list[Axes]]:
    """A figure of `panels` axes in rows of `columns`, each row `height` inches; unused axes are off.

    Args:
        extra: inches for legend and labels.
        fixed: keep room for all columns at margins that are given, so that panels look alike throughout.
    """
    columns = columns if fixed else max(1, min(columns, panels))
    rows = -(-panels // columns)
    high = rows * height + extra
    figure = Figure(figsize=(WIDTH, high), layout=None if fixed else "constrained")
    if fixed:  # three times as fast, where all labels are short
        space = {"left": 0.085, "right": 0.99, "wspace": 0.12, "hspace": 0.55}
        figure.subplots_adjust(top=1 - 0.08 / high, bottom=0.42 / high, **space)
    made = figure.subplots(rows, columns, squeeze=False, **options)
    axes: list[Axes] = list(made.flat)
    for place in range(panels, len(axes)):
        axes[place].set_axis_off()
        if place >= columns:
            axes[place - columns].tick_params(labelbottom=True)  # nothing stands under it to say it
    return figure, axes[:panels]


LEGEND_COLUMNS = 4


def _legend_room(groups: Sequence[Group]) -> float:
    """Inches that a legend needs beyond its first two rows."""
    return 0.2 * max(0, -(-len(groups) // LEGEND_COLUMNS) - 2)


def _legend(figure: Figure, groups: Sequence[Group], styles: Styles) -> None:
    """Methods above the panels."""
    handles = [
        Line2D([], [], color=styles[g.label].colour, ls=styles[g.label].stroke, marker=styles[g.label].marker)
        for g in groups
    ]
    labels = [_safe(clip(group.label, 24)) for group in groups]
    place: dict[str, Any] = {"loc": "outside upper left", "ncols": LEGEND_COLUMNS}
    figure.legend(handles, labels, frameon=False, handlelength=3, **place)


def _safe(label: str) -> str:
    """Matplotlib leaves labels out that begin with an underscore."""
    return f" {label}" if label.startswith("_") else label


def _kwargs(style: Style) -> dict[str, Any]:
    return {"color": style.colour, "ls": style.stroke, "marker": style.marker}


def stacked(group: Group) -> Matrix:
    """[runs, T, T] test accuracies of all final runs that went through all tasks."""
    finals = [final.a for final in group.finals]
    tasks = max((len(a) for a in finals), default=0)
    return np.array([a for a in finals if len(a) == tasks])


def _mean_std(values: Matrix) -> tuple[Matrix, Matrix]:
    """Over the first axis, where every run has the number; the deviation is 0 for a single run."""
    mean = values.mean(0)
    std = values.std(0, ddof=1) if len(values) > 1 else np.zeros_like(mean)
    return mean, std


def _band(ax: Axes, x: Any, values: Matrix, style: Style) -> None:
    """Mean over runs as a line, one standard deviation to both sides as a band."""
    mean, std = _mean_std(values)
    ax.plot(x, mean, **_kwargs(style))
    if len(values) > 1:
        ax.fill_between(x, mean - std, mean + std, color=style.colour, alpha=0.12, lw=0)


def _played(section: Section) -> list[Group]:
    return [group for group in section.groups if group.finals]


def curves(section: Section, styles: Styles, name: str) -> str:
    """Accuracy of task i after task t; "" where no method has the numbers in between."""
    groups = [g for g in _played(section) if not _gaps(stacked(g))]
    tasks = section.tasks
    if not groups or tasks < 2:
        return ""
    chosen = sorted({round(i) for i in np.linspace(0, tasks - 2, min(PANELS - 1, tasks - 1))})
    with _look():
        figure, axes = _grid(
            len(chosen) + 1,
            3 if len(chosen) < 6 else 4,
            1.55,
            0.5 + _legend_room(groups),
            sharex=True,
            sharey=True,
        )
        after = np.arange(1, tasks + 1)
        for group in groups:
            a, style = stacked(group), styles[group.label]
            if a.shape[1] != tasks:
                continue
            so_far = np.stack([a[:, t, : t + 1].mean(1) for t in range(tasks)], 1)
            _band(axes[0], after, so_far, style)
            for ax, i in zip(axes[1:], chosen, strict=True):
                _band(ax, after[i:], a[:, i:, i], style)
        axes[0].set_title("mean of the tasks learnt so far")
        for ax, i in zip(axes[1:], chosen, strict=True):
            ax.set_title(f"task {i + 1}")
        for ax in axes:
            ax.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=6, min_n_ticks=1))
        figure.supxlabel("tasks learnt", fontsize=8)
        figure.supylabel("test accuracy (fraction)", fontsize=8)
        _legend(figure, groups, styles)
        return _svg(figure, name, f"accuracy of each task after each task on {section.name}")


def _gaps(a: Matrix) -> bool:
    """Whether an entry on or under the diagonal was not measured."""
    lower = np.tril(np.ones(a.shape[1:], bool))
    return bool(np.isnan(a[:, lower]).any())


def by_task(section: Section, styles: Styles, name: str) -> str:
    """What each task came to: just learnt, at the end, transfer, and seconds to learn it."""
    groups = _played(section)
    if not groups or not section.tasks:
        return ""
    panels: list[tuple[str, str, Callable[[Group], Matrix]]] = [
        ("just learnt", "test accuracy (fraction)", lambda g: np.diagonal(stacked(g), axis1=1, axis2=2)),
        ("after the last task", "test accuracy (fraction)", lambda g: stacked(g)[:, -1]),
    ]
    if any(final.transfer_task is not None for group in groups for final in group.finals):
        panels.append(("forward transfer", "fwt_vs_one (fraction)", _transfers))
    panels.append(("time to learn it", "seconds", _times))
    with _look():
        figure, axes = _grid(len(panels), 2, 1.9, 0.4 + _legend_room(groups))
        for ax, (title, unit, values) in zip(axes, panels, strict=True):
            for group in groups:
                drawn = values(group)
                if len(drawn) and (title == "time to learn it" or not np.isnan(drawn).any()):
                    _band(ax, np.arange(1, drawn.shape[1] + 1), drawn, styles[group.label])
            if title == "forward transfer":
                ax.axhline(0, color="#888888", lw=0.8, zorder=0.5)
            ax.set(title=title, ylabel=unit, xlabel="task")
            ax.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=8, min_n_ticks=1))
        _log_if_wide(axes[-1], [value for g in groups for value in _times(g).flat])
        _legend(figure, groups, styles)
        return _svg(figure, name, f"accuracy, transfer and time by task on {section.name}")


def _transfers(group: Group) -> Matrix:
    return np.array([final.transfer_task for final in group.finals if final.transfer_task is not None])


def _times(group: Group) -> Matrix:
    """[runs, T] seconds; NaN under a millisecond, where a method put the task by for later."""
    seconds = np.array([final.ct_task for final in group.finals])
    return np.where(seconds < 1e-3, np.nan, seconds)


def _log_if_wide(ax: Axes, values: Sequence[float]) -> None:
    """A logarithmic axis where small values would lie on the floor of a linear one; else from zero."""
    positive = [value for value in values if value > 0]
    if positive and max(positive) > 20 * min(positive):
        ax.set_yscale("log")
        _plain_ticks(ax.yaxis)
    else:
        ax.set_ylim(bottom=0)


def _plain_ticks(axis: Axis) -> None:
    """0.01 and 100 at a few powers of ten of a logarithmic axis, nothing in between."""
    axis.set_major_locator(LogLocator(numticks=5))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_formatter(NullFormatter())


def heat_maps(section: Section, name: str) -> str:
    """The accuracy matrix of each method, mean over runs; white where nothing was measured."""
    groups = _played(section)
    means = {g.label: stacked(g).mean(0) for g in groups}
    known = np.concatenate([m[~np.isnan(m)] for m in means.values()]) if means else np.array([])
    if not len(known):
        return ""
    tasks = max(len(m) for m in means.values())
    low = math.floor(float(known.min()) * 10 - 1e-9) / 10
    with _look():
        columns = 4 if tasks <= 5 or tasks > ANNOTATED else 3
        figure, axes = _grid(len(groups), columns, 1.9 if columns == 4 else 2.4)
        image = None
        for ax, group in zip(axes, groups, strict=True):
            image = ax.imshow(means[group.label], cmap="cividis", vmin=max(0.0, low), vmax=1.0)
            acc = fraction(group.stat("acc").mean)
            ax.set_title(f"{clip(group.label, 24)}  {acc}")
            _task_ticks(ax, len(means[group.label]))
            if tasks <= ANNOTATED:
                _numbers(ax, means[group.label], max(0.0, low))
        assert image is not None
        figure.colorbar(image, ax=axes, label="test accuracy (fraction)", shrink=0.8, aspect=30, pad=0.01)
        figure.supxlabel("tested on task", fontsize=8)
        figure.supylabel("after task", fontsize=8)
        return _svg(figure, name, f"accuracy matrices on {section.name}")


def boxes(found: Sequence[Box], xlabel: str, ylabel: str, about: str, name: str) -> str:
    """A box per kind and place with every point over it; bands cross the figure at their quartiles."""
    kinds = list(dict.fromkeys(box.kind for box in found))
    styles = styles_of(kinds)
    drawn = [box for box in found if not box.band]
    numbers = {box.place for box in drawn if isinstance(box.place, int | float)}
    names = [box.place for box in drawn if box.place not in numbers]
    columns = [*sorted(numbers), *dict.fromkeys(names)]
    with _look():
        figure = Figure(figsize=(WIDTH, 3.2), layout="constrained")
        ax = figure.subplots()
        for box in found:
            if box.band:
                _crossing(ax, box, styles[box.kind])
        for column, place in enumerate(columns):
            beside = [box for box in drawn if box.place == place]
            wide = 0.8 / max(len(beside), 3)  # a lone box is no wall
            for n, box in enumerate(beside):
                _box(ax, column + (n - (len(beside) - 1) / 2) * wide, 0.85 * wide, box, styles[box.kind])
        ax.set_xticks(range(len(columns)), [clip(plain_value(place), 14) for place in columns])
        ax.set_xlim(-0.6, max(len(columns), 1) - 0.4)
        ax.grid(False, axis="x")
        ax.set(xlabel=xlabel if numbers else "", ylabel=ylabel)
        swatches = [
            Line2D([], [], color=styles[k].colour, marker=styles[k].marker, lw=4, alpha=0.7) for k in kinds
        ]
        labels = [_safe(clip(kind, 24)) for kind in kinds]
        figure.legend(
            swatches, labels, loc="outside upper left", ncols=LEGEND_COLUMNS, frameon=False, handlelength=2
        )
        return _svg(figure, name, about)


def _box(ax: Axes, middle: float, width: float, box: Box, style: Style) -> None:
    """Quartiles and whiskers to the last point within one and a half of their distance, points on top."""
    line: dict[str, Any] = {"color": style.colour, "lw": 1}
    filled = {"facecolor": to_rgba(style.colour, 0.25), "edgecolor": style.colour}
    ax.boxplot([box.values], positions=[middle], widths=width, showfliers=False, manage_ticks=False,
               patch_artist=True, boxprops=filled, medianprops=line | {"lw": 1.8}, whiskerprops=line,
               capprops=line)  # fmt: skip
    spread = np.linspace(-0.3, 0.3, len(box.values)) * width if len(box.values) > 1 else [0.0]
    places = [middle + shift for shift in spread]
    ax.scatter(places, box.values, s=8, color=style.colour, marker=style.marker, lw=0, alpha=0.8, zorder=3)


def _crossing(ax: Axes, box: Box, style: Style) -> None:
    """A reference: its median as a line and its quartiles as a band over all places."""
    low, middle, high = box.quartiles
    ax.axhspan(low, high, color=style.colour, alpha=0.15, lw=0)
    ax.axhline(middle, color=style.colour, lw=1.3, ls=style.stroke)


def _task_ticks(ax: Axes, tasks: int) -> None:
    step = max(1, -(-tasks // 10))
    places = list(range(0, tasks, step))
    ax.set_xticks(places, [str(place + 1) for place in places])
    ax.set_yticks(places, [str(place + 1) for place in places])
    ax.grid(False)
    ax.tick_params(length=0)


def _numbers(ax: Axes, values: Matrix, low: float) -> None:
    """Two decimals in each cell, dark on light and light on dark."""
    for (row, column), value in np.ndenumerate(values):
        if not math.isnan(value):
            dark = value < low + 0.55 * (1 - low)
            text = f"{value:.2f}".removeprefix("0") if value < 0.995 else "1"
            ax.text(
                column, row, text, ha="center", va="center", fontsize=6, color="white" if dark else "black"
            )


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
    with _look():
        figure, axes = _grid(len(rows), 4, 1.5, 0.3, sharey=True)
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
        return _svg(figure, name, f"objective over trials on {section.name}")


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
    with _look():
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
        return _svg(figure, name, f"distribution of test accuracy over trials on {section.name}")


def slices(row: Row, style: Style, name: str) -> str:
    """Objective against each searched field; darker dots are later trials, the ringed one is the best."""
    space = row.cell.space
    done = [t for t in row.trials if t.objective is not None]
    if not space or not done:
        return ""
    with _look():
        columns = 4
        figure, axes = _grid(len(space), columns, 1.45, 0.15, fixed=True, sharey=True)
        for ax, (key, domain) in zip(axes, space.items(), strict=True):
            _slice(ax, row, key, domain, style)
        for ax in axes[::columns]:
            ax.set_ylabel(_objective(row))
        return _svg(figure, name, f"slices of the search of {row.cell.name}")


def _slice(ax: Axes, row: Row, key: str, domain: Domain, style: Style) -> None:
    done = [t for t in row.trials if t.objective is not None and key in t.params]
    xs: list[float]
    if isinstance(domain, Choice):
        options = [plain_value(option) for option in domain.options]
        xs = [options.index(plain_value(_tupled(t.params[key]))) for t in done]
        ax.set_xticks(range(len(options)), [clip(option, 10) for option in options])
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
        _plain_ticks(ax.xaxis)
        margin = (high / low) ** 0.05 if high > low else 1.1
        ax.set_xlim(low / margin, high * margin)
        if high / low < 100:
            middle = math.sqrt(low * high)
            ax.set_xticks([low, middle, high], [f"{value:.3g}" for value in (low, middle, high)])
    else:
        margin = 0.05 * (high - low) or 0.5
        ax.set_xlim(low - margin, high + margin)
        ax.xaxis.set_major_locator(MaxNLocator(nbins=4))


def _tupled(value: Any) -> Any:
    """What JSON made a list of was a tuple."""
    return tuple(value) if isinstance(value, list) else value


def enough_trials(row: Row) -> bool:
    """Whether a search has trials to judge a hyperparameter's importance by."""
    return len(row.trials) >= ENOUGH

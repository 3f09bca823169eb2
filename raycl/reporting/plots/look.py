"""The common look of all figures (colours, strokes, sizes, legends), and their conversion to SVG."""

from __future__ import annotations

import io
import math
import re
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import (
    FixedFormatter,
    FixedLocator,
    FuncFormatter,
    LogLocator,
    NullFormatter,
    NullLocator,
)

from raycl.metrics import Matrix
from raycl.reporting.shapes import Style, Styles
from raycl.text import clip, one_line

# These are Okabe and Ito's colours without yellow, which is hard to see on paper. When they are used up, they
# are repeated with other strokes.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")


STROKES = ("-", "--", ":", "-.")


MARKERS = ("o", "s", "^", "D", "v", "P", "X")


WIDTH = 7.1  # Inches, the width of the text on an A4 page.


LEGEND_COLUMNS = 4


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
    "text.parse_math": False,  # Users write the labels, so a dollar sign must not start a formula.
    "axes.formatter.use_mathtext": False,
    "axes.unicode_minus": False,
}


def styles_of(labels: Sequence[str]) -> dict[str, Style]:
    """Return a style for each label, by the study's order."""
    found = {}
    for n, label in enumerate(labels):
        turn = n // len(COLOURS)
        marker = MARKERS[(n + turn) % len(MARKERS)]
        found[label] = Style(COLOURS[n % len(COLOURS)], STROKES[turn % len(STROKES)], marker)
    return found


@contextmanager
def look() -> Iterator[None]:
    """Apply the common look inside a ``with`` block."""
    with matplotlib.rc_context(), warnings.catch_warnings():
        defaults = matplotlib.rcParamsDefault.items()  # A user's matplotlibrc must not change reports.
        matplotlib.rcParams.update({key: value for key, value in defaults if key != "backend"})
        matplotlib.rcParams.update(_LOOK)
        # The browser that shows the report draws the text with its own fonts.
        warnings.filterwarnings("ignore", message="Glyph .* missing")
        yield


_KEPT: ContextVar[list[Figure] | None] = ContextVar("kept figures", default=None)


@contextmanager
def kept_figures() -> Iterator[list[Figure]]:
    """Collect the figures that are drawn inside a ``with`` block, instead of converting them to SVG."""
    made: list[Figure] = []
    before = _KEPT.set(made)
    try:
        yield made
    finally:
        _KEPT.reset(before)


def svg(figure: Figure, name: str, about: str) -> str:
    """Return the figure as an SVG element.

    Args:
        figure: The figure.
        name: A prefix that makes the ids of the element unique within a page. It may be "" in a file that
            contains nothing else.
        about: A description of the figure for readers who cannot see it.
    """
    if (made := _KEPT.get()) is not None:
        made.append(figure)
        return "<svg></svg>"
    out = io.StringIO()
    FigureCanvasSVG(figure)  # This canvas does not need a window system.
    # Metadata such as the date would make the bytes differ each time.
    nothing = dict.fromkeys(("Creator", "Date", "Format", "Type"))
    figure.savefig(out, format="svg", metadata=nothing)
    text = out.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<!--.*?-->\s*|<metadata>.*?</metadata>\s*", "", text, flags=re.DOTALL)
    text = _without_unused_ids(text)
    prefix = f"{name}-" if name else ""
    text = re.sub(r'(\bid="|url\(#|href="#)', rf"\g<1>{prefix}", text)
    # A hundredth of a point is enough for coordinates, and makes files much smaller. Only tags contain these.
    text = re.sub(r"<[^>]*>", lambda tag: re.sub(r"(\.\d\d)\d+", r"\1", tag[0]), text)
    seen: set[str] = set()

    def once(found: re.Match[str]) -> str:  # Matplotlib writes equal paths twice under one id.
        again = found[0] in seen
        seen.add(found[0])
        return "" if again else found[0]

    text = re.sub(r' id="[^"]*"', once, text)
    label = one_line(about).replace("&", "&amp;").replace("<", "&lt;").replace('"', "&quot;")
    return text.replace("<svg ", f'<svg role="img" aria-label="{label}" ', 1)


def _without_unused_ids(text: str) -> str:
    """Remove the ids to which nothing refers, which Matplotlib gives to each group."""
    used = set(re.findall(r'(?:url\(#|href="#)([^)"]+)', text))
    return re.sub(r' id="([^"]*)"', lambda found: found[0] if found[1] in used else "", text)


def grid(
    panels: int, columns: int, height: float, extra: float = 0.0, fixed: bool = False, **options: Any
) -> tuple[Figure, list[Axes]]:
    """Create a figure with a grid of axes; unused axes are switched off.

    Args:
        panels: The number of axes.
        columns: The number of axes in a row.
        height: The height of a row in inches.
        extra: The height for legend and labels in inches.
        fixed: Whether to use fixed margins and room for all columns, so that panels of different figures have
            the same size.
        **options: Options of `Figure.subplots`.
    """
    columns = columns if fixed else max(1, min(columns, panels))
    rows = -(-panels // columns)
    high = rows * height + extra
    figure = Figure(figsize=(WIDTH, high), layout=None if fixed else "constrained")
    if fixed:  # Fixed margins are three times as fast as a computed layout, but need short labels.
        space = {"left": 0.085, "right": 0.99, "wspace": 0.12, "hspace": 0.55}
        figure.subplots_adjust(top=1 - 0.08 / high, bottom=0.42 / high, **space)
    made = figure.subplots(rows, columns, squeeze=False, **options)
    axes: list[Axes] = list(made.flat)
    for place in range(panels, len(axes)):
        axes[place].set_axis_off()
        if place >= columns:
            # The axes below are off, so these axes have to show the tick labels.
            axes[place - columns].tick_params(labelbottom=True)
    return figure, axes[:panels]


def legend_room(labels: Sequence[str]) -> float:
    """Return the inches that a legend needs beyond its first two rows."""
    return 0.2 * max(0, -(-len(labels) // LEGEND_COLUMNS) - 2)


def legend(figure: Figure, labels: Sequence[str], styles: Styles) -> None:
    """Draw a legend of the methods above the panels."""
    handles = [Line2D([], [], **kwargs(styles[label])) for label in labels]
    shown = [safe(clip(label, 24)) for label in labels]
    place: dict[str, Any] = {"loc": "outside upper left", "ncols": LEGEND_COLUMNS}
    figure.legend(handles, shown, frameon=False, handlelength=3, **place)


def safe(label: str) -> str:
    """Return a label that matplotlib shows; it leaves out labels that begin with an underscore."""
    return f" {label}" if label.startswith("_") else label


def kwargs(style: Style) -> dict[str, Any]:
    """Return the arguments of `Axes.plot` for a style."""
    return {"color": style.colour, "ls": style.stroke, "marker": style.marker}


def mean_std(values: Matrix) -> tuple[Matrix, Matrix]:
    """Return mean and standard deviation over the first axis; the deviation is 0 for a single run."""
    mean = values.mean(0)
    std = values.std(0, ddof=1) if len(values) > 1 else np.zeros_like(mean)
    return mean, std


def band(
    ax: Axes, x: Any, values: Matrix, style: Style, limits: tuple[float, float] = (-np.inf, np.inf)
) -> None:
    """Draw the mean over runs as a line, and one standard deviation to both sides as a band.

    The band ends at `limits`, which are 0 and 1 for an accuracy or a share.
    """
    mean, std = mean_std(values)
    ax.plot(x, mean, **kwargs(style))
    if len(values) > 1:
        low, high = np.clip([mean - std, mean + std], *limits)
        ax.fill_between(x, low, high, color=style.colour, alpha=0.12, lw=0)


def log_if_wide(ax: Axes, values: Sequence[float]) -> None:
    """Make the axis logarithmic if the range of values is wide; otherwise start it at zero."""
    positive = [value for value in values if value > 0]
    if positive and max(positive) > 20 * min(positive):
        ax.set_yscale("log")
        plain_ticks(ax.yaxis)
    else:
        ax.set_ylim(bottom=0)


def plain_ticks(axis: Axis) -> None:
    """Label only a few powers of ten on a logarithmic axis, as plain numbers such as 0.01 and 100."""
    axis.set_major_locator(LogLocator(numticks=5))
    axis.set_major_formatter(FuncFormatter(lambda value, _: short_number(value)))
    axis.set_minor_formatter(NullFormatter())


def log_x(ax: Axes, low: float, high: float, shown: Callable[[float], str] | None = None) -> None:
    """Make the x axis logarithmic from `low` to `high`, with so few ticks that their labels do not touch."""
    ticks = log_ticks(low, high)
    ax.set_xscale("log")
    ax.set_xlim(low, high)
    ax.xaxis.set_major_locator(FixedLocator(ticks))
    ax.xaxis.set_major_formatter(FixedFormatter([(shown or short_number)(tick) for tick in ticks]))
    ax.xaxis.set_minor_locator(NullLocator())


def log_ticks(low: float, high: float, most: int = 4) -> list[float]:
    """Return at most `most` round numbers from `low` to `high`, evenly spaced on a logarithmic axis.

    They are powers of ten if there are at least two, else multiples of them by 1, 2 and 5. If even of these
    there are fewer than two, they are the two ends.
    """
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    for steps in ((1,), (1, 2, 5), (1, 1.5, 2, 3, 4, 5, 6, 7, 8, 9)):
        found = [
            tick
            for power in range(first, last + 1)
            for step in steps
            if low * (1 - 1e-9) <= (tick := float(f"{step}e{power}")) <= high * (1 + 1e-9)
        ]
        if len(found) > 1:
            every = -(-len(found) // most)
            return found[::every]
    return [low, high]


def short_number(value: float) -> str:
    """Write a tick in few characters: ``0.01``, ``100``, ``1e-5``, ``2e4``."""
    if 0 < abs(value) < 1e-3 or abs(value) >= 1e4:
        digits, _, power = f"{value:.2e}".partition("e")
        return f"{float(digits):g}e{int(power)}"
    return f"{value:.4g}"

"""Figures of final runs: accuracy while learning and by task, accuracy matrices, and used capacity."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from raycl.metrics import Matrix
from raycl.reporting.plots.look import band, grid, legend, legend_room, log_if_wide, look, svg
from raycl.reporting.shapes import Styles
from raycl.results.numbers import by_layer, measured
from raycl.results.rows import Group, Section
from raycl.text import clip, fraction

ANNOTATED = 10  # Heat maps of at most this many tasks have room for numbers.
PANELS = 8  # A figure has at most this many panels; the first shows all tasks or layers together.


def stacked(group: Group) -> Matrix:
    """Return the test accuracies of all final runs that finished all tasks, [runs, T, T]."""
    finals = [final.a for final in group.finals]
    tasks = max((len(a) for a in finals), default=0)
    return np.array([a for a in finals if len(a) == tasks])


def _with_runs(section: Section) -> list[Group]:
    return [group for group in section.groups if group.finals]


def curves(section: Section, styles: Styles, name: str) -> str:
    """Draw the accuracy on each task after each later task.

    The result is "" where no method was evaluated after every task.
    """
    groups = [g for g in _with_runs(section) if not _gaps(stacked(g))]
    tasks = section.tasks
    if not groups or tasks < 2:
        return ""
    chosen = _spread(tasks - 1)
    with look():
        figure, axes = grid(
            len(chosen) + 1,
            _columns(len(chosen)),
            1.55,
            0.5 + legend_room(_labels(groups)),
            sharex=True,
            sharey=True,
        )
        after = np.arange(1, tasks + 1)
        for group in groups:
            a, style = stacked(group), styles[group.label]
            if a.shape[1] != tasks:
                continue
            so_far = np.stack([a[:, t, : t + 1].mean(1) for t in range(tasks)], 1)
            band(axes[0], after, so_far, style, (0, 1))
            for ax, i in zip(axes[1:], chosen, strict=True):
                band(ax, after[i:], a[:, i:, i], style, (0, 1))
        axes[0].set_title("mean of the tasks learnt so far")
        for ax, i in zip(axes[1:], chosen, strict=True):
            ax.set_title(f"task {i + 1}")
        for ax in axes:
            ax.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=6, min_n_ticks=1))
        figure.supxlabel("tasks learnt", fontsize=8)
        figure.supylabel("test accuracy (fraction)", fontsize=8)
        legend(figure, _labels(groups), styles)
        return svg(figure, name, f"accuracy of each task after each task on {section.name}")


def _labels(groups: Sequence[Group]) -> list[str]:
    return [group.label for group in groups]


def _gaps(a: Matrix) -> bool:
    """Return whether any entry on or below the diagonal was not measured."""
    lower = np.tril(np.ones(a.shape[1:], bool))
    return bool(np.isnan(a[:, lower]).any())


def by_task(section: Section, styles: Styles, name: str) -> str:
    """Draw for each task its accuracy just after learning and at the end, its transfer and its time."""
    groups = _with_runs(section)
    if not groups or not section.tasks:
        return ""
    panels: list[tuple[str, str, Callable[[Group], Matrix]]] = [
        ("just learnt", "test accuracy (fraction)", lambda g: np.diagonal(stacked(g), axis1=1, axis2=2)),
        ("after the last task", "test accuracy (fraction)", lambda g: stacked(g)[:, -1]),
    ]
    if any(final.transfer_task is not None for group in groups for final in group.finals):
        panels.append(("forward transfer", "fwt_vs_one (fraction)", _transfers))
    panels.append(("time to learn it", "seconds", _times))
    with look():
        figure, axes = grid(len(panels), 2, 1.9, 0.4 + legend_room(_labels(groups)))
        for ax, (title, unit, values) in zip(axes, panels, strict=True):
            for group in groups:
                drawn = values(group)
                if len(drawn) and (title == "time to learn it" or not np.isnan(drawn).any()):
                    limits = (0.0, 1.0) if unit.startswith("test") else (-np.inf, np.inf)
                    band(ax, np.arange(1, drawn.shape[1] + 1), drawn, styles[group.label], limits)
            if title == "forward transfer":
                ax.axhline(0, color="#888888", lw=0.8, zorder=0.5)
            ax.set(title=title, ylabel=unit, xlabel="task")
            ax.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=8, min_n_ticks=1))
        log_if_wide(axes[-1], [value for g in groups for value in _times(g).flat])
        legend(figure, _labels(groups), styles)
        return svg(figure, name, f"accuracy, transfer and time by task on {section.name}")


def _transfers(group: Group) -> Matrix:
    return np.array([final.transfer_task for final in group.finals if final.transfer_task is not None])


def _times(group: Group) -> Matrix:
    """Return the seconds by run and task, [runs, T].

    Less than a millisecond becomes NaN, because the method then only stored the task to learn it later.
    """
    seconds = np.array([final.ct_task for final in group.finals])
    return np.where(seconds < 1e-3, np.nan, seconds)


def heat_maps(section: Section, name: str) -> str:
    """Draw the accuracy matrix of each method as the mean over runs; cells without a number are white."""
    groups = _with_runs(section)
    means = {g.label: stacked(g).mean(0) for g in groups}
    known = np.concatenate([m[~np.isnan(m)] for m in means.values()]) if means else np.array([])
    if not len(known):
        return ""
    tasks = max(len(m) for m in means.values())
    low = math.floor(float(known.min()) * 10 - 1e-9) / 10
    with look():
        columns = 4 if tasks <= 5 or tasks > ANNOTATED else 3
        figure, axes = grid(len(groups), columns, 1.9 if columns == 4 else 2.4)
        image = None
        for ax, group in zip(axes, groups, strict=True):
            image = ax.imshow(means[group.label], cmap="cividis", vmin=max(0.0, low), vmax=1.0)
            acc = fraction(group.stat("acc").mean)
            ax.set_title(f"{clip(group.label, 24)}  {acc}")
            _task_ticks(ax, len(means[group.label]))
            if tasks <= ANNOTATED:
                cell_numbers(ax, means[group.label], max(0.0, low))
        assert image is not None
        figure.colorbar(image, ax=axes, label="test accuracy (fraction)", shrink=0.8, aspect=30, pad=0.01)
        figure.supxlabel("tested on task", fontsize=8)
        figure.supylabel("after task", fontsize=8)
        return svg(figure, name, f"accuracy matrices on {section.name}")


def _task_ticks(ax: Axes, tasks: int) -> None:
    step = max(1, -(-tasks // 10))
    places = list(range(0, tasks, step))
    ax.set_xticks(places, [str(place + 1) for place in places])
    ax.set_yticks(places, [str(place + 1) for place in places])
    ax.grid(False)
    ax.tick_params(length=0)


def cell_numbers(ax: Axes, values: Matrix, low: float, high: float = 1.0) -> None:
    """Write numbers with two decimals into the cells, dark on light and light on dark.

    Args:
        ax: The axes of the heat map.
        values: The numbers of the cells.
        low, high: The range of the colour map.
    """
    for (row, column), value in np.ndenumerate(values):
        if not math.isnan(value):
            dark = value < low + 0.55 * (high - low)
            text = f"{value:.2f}".removeprefix("0") if value < 0.995 else "1"
            ax.text(
                column, row, text, ha="center", va="center", fontsize=6, color="white" if dark else "black"
            )


def capacity(section: Section, styles: Styles, name: str) -> str:
    """Draw the blocked share of the network after each task, of all layers together and by layer.

    The result is "" if no run measured it.
    """
    groups = [g for g in _with_runs(section) if len(_blocked(g, None))]
    if not groups:
        return ""
    every = [f for g in groups for final in g.finals for f in final.diagnostics]
    layers = list(dict.fromkeys(layer for f in every for layer in by_layer(f, "blocked_layers")))
    panels: list[str | None] = [None, *(layers[i] for i in _spread(len(layers)))]
    with look():
        figure, axes = grid(
            len(panels),
            _columns(len(panels) - 1),
            1.55,
            0.5 + legend_room(_labels(groups)),
            sharex=True,
            sharey=True,
        )
        for ax, layer in zip(axes, panels, strict=True):
            ax.set_title("all layers" if layer is None else clip(layer, 24))
            for group in groups:
                shares = _blocked(group, layer)
                if len(shares):
                    band(ax, np.arange(1, shares.shape[1] + 1), shares, styles[group.label], (0, 1))
            ax.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=6, min_n_ticks=1))
        # The limit holds for all panels. It comes last because it switches automatic limits off.
        axes[0].set_ylim(bottom=0)
        figure.supxlabel("tasks learnt", fontsize=8)
        figure.supylabel("blocked (fraction)", fontsize=8)
        legend(figure, _labels(groups), styles)
        return svg(figure, name, f"blocked share of the parameters after each task on {section.name}")


def _blocked(group: Group, layer: str | None) -> Matrix:
    """Return the shares after each task of the runs that measured any, [runs, T]; gaps are NaN."""

    def share(diagnostics: Mapping[str, Any]) -> float:
        whole, layers = measured(diagnostics.get("blocked")), by_layer(diagnostics, "blocked_layers")
        found = whole if layer is None else layers.get(layer)
        return math.nan if found is None else found

    shares: Matrix = np.array(
        [[share(diagnostics) for diagnostics in final.diagnostics] for final in group.finals]
    )
    known: Matrix = shares[~np.isnan(shares).all(1)] if group.finals else shares
    return known


def _spread(n: int) -> list[int]:
    """Return the indices of as many of `n` places as there are panels for, evenly spaced."""
    return sorted({round(i) for i in np.linspace(0, n - 1, min(PANELS - 1, n))}) if n else []


def _columns(panels: int) -> int:
    return 3 if panels < 6 else 4

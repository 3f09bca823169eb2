"""A view with heat maps of a number by layer and task, as in KSM's Figure 6."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from raycl.errors import UserError
from raycl.reporting.shapes import ALL, Panel, Styles
from raycl.reporting.view import View, groups_meant
from raycl.results.grammar import Metric, parse_metric
from raycl.results.numbers import along, by_task, format_metric
from raycl.results.rows import FinalRun, Group, Section
from raycl.text import clip, one_line

SHOWN = 8  # A table has columns for this many tasks.


LINES = 16  # A table has lines for this many layers of each label.


@dataclass(frozen=True)
class Layers(View):
    """A heat map of layers by tasks for each label, in one figure and one table per benchmark.

    Attributes:
        title: The title of the figure and of the table.
        value: A diagnostic that methods report by layer, such as ``"soft_share"``, ``"one_share"`` or
            ``"blocked"``.
        rows: Patterns of the labels to show, separated by commas.
        notes: Notes that are printed under the table and the figure.
    """

    title: str
    value: str = "soft_share"
    rows: str = "*"
    notes: Sequence[str] = ()

    def __post_init__(self) -> None:
        place = f"Layers({self.title!r})"
        if isinstance(self.notes, str):
            raise UserError(f"{place}: notes should be a list; write [{self.notes!r}]")
        metric = parse_metric(self.value)
        if metric is None or metric.picks:
            raise UserError(
                f"{place}: value {self.value!r} should be only the name of a diagnostic, such as "
                "'soft_share'; all its layers and tasks are shown"
            )

    @property
    def caption(self) -> str:
        """The text under the figure, without a full stop."""
        return f"{self.value} of each layer (from top to bottom) after each task, as means over runs"

    def panels(self, section: Section) -> list[Panel]:
        """Return a panel for each label that has the numbers, in the study's order."""
        found = [self._panel(group) for group in groups_meant(self.rows, section)]
        return [panel for panel in found if panel.runs]

    def _panel(self, group: Group) -> Panel:
        runs = [numbers for final in group.finals if (numbers := self._numbers(final))]
        layers = list(dict.fromkeys(layer for run in runs for layer, _ in run if layer != ALL))
        layers += [ALL] if any(layer == ALL for run in runs for layer, _ in run) else []
        tasks = sorted({task for run in runs for _, task in run})
        values = np.full((len(layers), len(tasks)), np.nan)
        for row, layer in enumerate(layers):
            for column, task in enumerate(tasks):
                known = [run[layer, task] for run in runs if (layer, task) in run]
                values[row, column] = sum(known) / len(known) if known else np.nan
        return Panel(group.label, tuple(layers), tuple(tasks), values, len(runs))

    def _numbers(self, final: FinalRun) -> dict[tuple[str, int], float]:
        """Return the numbers of a run by layer and task, and those of all layers together where reported.

        The result is empty where the diagnostic is not reported by layer.
        """
        found: dict[tuple[str, int], float] = {}
        for task in range(1, len(final.diagnostics) + 1):
            by_layer = along(final, Metric(self.value, (("t", str(task)),)), "layer")
            found |= {(layer, task): v for layer, v in by_layer.items() if isinstance(layer, str)}
        if not found:
            return {}
        whole = {(ALL, task): value for task, value in by_task(final, Metric(self.value)).items()}
        return found | whole

    def lines(self, section: Section) -> tuple[list[str], list[list[str]]]:
        """Return a table of means; if there are many layers or tasks, it shows some, evenly spaced."""
        found = self.panels(section)
        tasks = sorted({task for panel in found for task in panel.tasks})
        tasks = [tasks[place] for place in _spread(len(tasks), SHOWN)]
        rows = []
        for panel in found:
            named = [n for n, layer in enumerate(panel.layers) if layer != ALL]
            last = [n for n, layer in enumerate(panel.layers) if layer == ALL]
            for n in [*(named[place] for place in _spread(len(named), LINES)), *last]:
                means = dict(zip(panel.tasks, panel.values[n].tolist(), strict=True))
                numbers = [format_metric(self.value, means.get(task)) for task in tasks]
                rows.append([one_line(panel.label), clip(one_line(panel.layers[n]), 12), *numbers])
        return ["mean after task", "layer", *map(str, tasks)], rows

    def figure(self, section: Section, name: str, styles: Styles | None = None) -> str:
        """Return the figure as SVG; each method has a panel of its own, so that `styles` is not used."""
        from raycl.reporting import plots  # Imported here because matplotlib takes a second to load.

        found = self.panels(section)
        return plots.layers(found, self.value, f"{self.title} on {section.name}", name) if found else ""

    def points(self, section: Section) -> list[dict[str, Any]]:
        """Return a line for each run, layer and task."""
        about = {"view": self.title, "benchmark": section.benchmark, "subset": section.subset}
        return [
            {
                **about,
                "label": group.label,
                "seed": final.seed,
                "order": row.cell.order,
                "layer": layer,
                "t": task,
                self.value: value,
            }
            for group in groups_meant(self.rows, section)
            for row in group.rows
            for final in row.finals
            for (layer, task), value in self._numbers(final).items()
        ]


def _spread(n: int, most: int) -> list[int]:
    """Return the indices of at most `most` of `n` places, evenly spaced from the first to the last."""
    return sorted({round(i) for i in np.linspace(0, n - 1, min(most, n))}) if n else []

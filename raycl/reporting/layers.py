"""A number of every layer and task as a heat map, as KSM's Figure 6: a panel per label."""

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

SHOWN = 8  # tasks that a table has columns for


LINES = 16  # layers that it has lines for, of each label


@dataclass(frozen=True)
class Layers(View):
    """Layers by tasks in colours; a figure and a table per benchmark.

    Attributes:
        value: a figure that methods report by layer: ``"soft_share"``, ``"one_share"``, ``"blocked"``.
        rows: patterns over labels, joined by commas.
        notes: printed under the table and the figure.
    """

    title: str
    value: str = "soft_share"
    rows: str = "*"
    notes: Sequence[str] = ()

    def __post_init__(self) -> None:
        place = f"Layers({self.title!r})"
        if isinstance(self.notes, str):
            raise UserError(f"{place}: notes is a list; write [{self.notes!r}]")
        metric = parse_metric(self.value)
        if metric is None or metric.picks:
            raise UserError(
                f"{place}: value {self.value!r} should be a figure by its name alone, such as 'soft_share': "
                "all its layers and tasks are shown"
            )

    @property
    def caption(self) -> str:
        """What the figure shows, for the text under it."""
        return f"{self.value} of each layer (from top to bottom) after each task: means over runs"

    def panels(self, section: Section) -> list[Panel]:
        """One for each label that has the numbers, in the study's order."""
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
        """By layer and task, and of all layers where there is any; nothing where there are no layers."""
        found: dict[tuple[str, int], float] = {}
        for task in range(1, len(final.diagnostics) + 1):
            by_layer = along(final, Metric(self.value, (("t", str(task)),)), "layer")
            found |= {(layer, task): v for layer, v in by_layer.items() if isinstance(layer, str)}
        if not found:
            return {}
        whole = {(ALL, task): value for task, value in by_task(final, Metric(self.value)).items()}
        return found | whole

    def lines(self, section: Section) -> tuple[list[str], list[list[str]]]:
        """Means; of many layers and of many tasks some, evenly from the first to the last."""
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
        """SVG; methods have panels of their own and need no colours."""
        from raycl.reporting import plots  # here, because matplotlib takes a second to load

        found = self.panels(section)
        return plots.layers(found, self.value, f"{self.title} on {section.name}", name) if found else ""

    def points(self, section: Section) -> list[dict[str, Any]]:
        """A line per run, layer and task."""
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
    """All of `n` places, or `most` of them, evenly from first to last."""
    return sorted({round(i) for i in np.linspace(0, n - 1, min(most, n))}) if n else []

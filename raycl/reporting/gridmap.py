"""A view with heat maps of the trials of a grid over two of its fields."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from raycl.errors import UserError
from raycl.reporting.shapes import Panel, Styles
from raycl.reporting.view import View, groups_meant
from raycl.results.rows import Group, Section, Tried
from raycl.study.values import Grid
from raycl.text import fraction, one_line, plain_value


@dataclass(frozen=True)
class GridMap(View):
    """A heat map of test accuracy over two fields of a grid for each label, in one figure and one table.

    A cell is the mean over the completed trials that have both values, in all orders of the tasks. Labels
    whose search is not a `Grid` are left out, because hardly two of their trials share a value. Searches do
    not use these accuracies, unless the protocol of the study says so.

    Attributes:
        title: The title of the figure and of the table.
        vertical: The searched field whose values are the lines, such as ``"method.smax"``.
        horizontal: The searched field whose values are the columns.
        rows: Patterns of the labels to show, separated by commas.
        notes: Notes that are printed under the table and the figure.
    """

    title: str
    vertical: str
    horizontal: str
    rows: str = "*"
    notes: Sequence[str] = ()

    def __post_init__(self) -> None:
        place = f"GridMap({self.title!r})"
        if isinstance(self.notes, str):
            raise UserError(f"{place}: notes should be a list; write [{self.notes!r}]")
        if self.vertical == self.horizontal:
            raise UserError(f"{place}: vertical and horizontal are both {self.vertical!r}; name two fields")

    @property
    def settings(self) -> Sequence[str]:
        return (self.vertical, self.horizontal)

    @property
    def caption(self) -> str:
        """The text under the figure, without a full stop."""
        return (
            f"Test accuracy of the completed trials, with {_short(self.vertical)} from top to bottom and "
            f"{_short(self.horizontal)} from left to right"
        )

    def panels(self, section: Section) -> list[Panel]:
        """Return a panel for each label whose trials have both fields, in the study's order."""
        found = [self._panel(group) for group in groups_meant(self.rows, section)]
        return [panel for panel in found if panel.runs]

    def _panel(self, group: Group) -> Panel:
        trials = [(trial, acc) for _, trial, acc in self._trials(group)]
        lines, columns = (
            sorted({trial.params[key] for trial, _ in trials}, key=_place) for key in self.settings
        )
        values = np.full((len(lines), len(columns)), np.nan)
        for row, line in enumerate(lines):
            for place, column in enumerate(columns):
                known = [
                    acc
                    for trial, acc in trials
                    if trial.params[self.vertical] == line and trial.params[self.horizontal] == column
                ]
                values[row, place] = sum(known) / len(known) if known else np.nan
        return Panel(
            group.label, tuple(map(_written, lines)), tuple(map(_written, columns)), values, len(trials)
        )

    def _trials(self, group: Group) -> Iterator[tuple[int, Tried, float]]:
        """Yield the completed trials of a grid that has both fields, each with its order and accuracy."""
        for row in group.rows:
            for trial in row.trials if isinstance(row.cell.search, Grid) else ():
                complete = trial.outcome == "done" and all(key in trial.params for key in self.settings)
                if complete and trial.acc is not None:
                    yield row.cell.order, trial, trial.acc

    def lines(self, section: Section) -> tuple[list[str], list[list[str]]]:
        """Return a line for each label and value of `vertical`, with a column for each of `horizontal`."""
        found = self.panels(section)
        columns = list(dict.fromkeys(column for panel in found for column in panel.tasks))
        rows = []
        for panel in found:
            for line, values in zip(panel.layers, panel.values.tolist(), strict=True):
                means = dict(zip(panel.tasks, values, strict=True))
                rows.append([one_line(panel.label), line, *(_number(means.get(c)) for c in columns)])
        first = f"{_short(self.horizontal)} = {columns[0]}" if columns else ""
        return [
            "test acc",
            _short(self.vertical),
            *([first, *map(str, columns[1:])] if columns else []),
        ], rows

    def figure(self, section: Section, name: str, styles: Styles | None = None) -> str:
        """Return the figure as SVG; each method has a panel of its own, so that `styles` is not used."""
        from raycl.reporting import plots  # Imported here because matplotlib takes a second to load.

        found, about = self.panels(section), f"{self.title} on {section.name}"
        axes = _short(self.horizontal), _short(self.vertical)
        return plots.layers(found, "test acc", about, name, axes) if found else ""

    def points(self, section: Section) -> list[dict[str, Any]]:
        """Return a line for each completed trial."""
        about = {"view": self.title, "benchmark": section.benchmark, "subset": section.subset}
        return [
            {
                **about,
                "label": group.label,
                "order": order,
                "trial": trial.n,
                **{key: trial.params[key] for key in self.settings},
                "acc": acc,
            }
            for group in groups_meant(self.rows, section)
            for order, trial, acc in self._trials(group)
        ]


def _short(key: str) -> str:
    return key.rpartition(".")[2]


def _place(value: Any) -> tuple[bool, Any]:
    """Return where a value stands on an axis: numbers in their order, and then everything else."""
    return (False, value) if isinstance(value, int | float) else (True, str(value))


def _written(value: Any) -> str:
    return one_line(plain_value(value))


def _number(value: float | None) -> str:
    return fraction(None if value is None or np.isnan(value) else value)

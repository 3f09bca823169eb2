"""A view with lines along tasks or layers, as in SPG's Figures 2 and 3 and PRM's Figure 3."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from raycl.errors import UserError, quoted
from raycl.reporting.shapes import Curve, Styles, levels_of
from raycl.reporting.view import View, groups_meant
from raycl.results.grammar import RUNNING, Metric, parse_metric
from raycl.results.numbers import BY_TASK, along, format_metric, is_signed, of_every_run
from raycl.results.rows import FinalRun, Group, Section
from raycl.study.values import Study
from raycl.text import clip, one_line

SHOWN = 8  # A table has columns for this many places of the axis.


TIMES = ("ct", "seconds")  # The names of times begin with these.


FRACTIONS = ("acc", "fwt", "blocked", "f_")  # The names of fractions begin with these.


UNITS = dict.fromkeys(FRACTIONS, "fraction") | dict.fromkeys(TIMES, "s") | {"bytes": "B"}


def one_per_run(place: str, name: str) -> UserError:
    """Return the error of a view along tasks that asks for a metric which single tasks do not have."""
    return UserError(
        f"{place}: {name} is one number per run; a line needs a metric that each task has, such as "
        f"{', '.join(BY_TASK)}"
    )


@dataclass(frozen=True)
class Curves(View):
    """A line for each label with one standard deviation over runs as a band.

    There is one figure and one table per benchmark.

    Attributes:
        title: The title of the figure and of the table.
        value: The metric, as claims write it. Its entry without a key is the axis, such as
            ``"fwt_vs_one[t]"`` or ``"blocked[layer,t=T]"``; the default axis is t.
        rows: Patterns of the labels to show, separated by commas.
        cumulative: Whether to sum along the axis, for example seconds from the first task on.
        unit: The unit on the axis of the figure, if the name of the metric does not determine it.
        notes: Notes that are printed under the table and the figure.
    """

    title: str
    value: str = "fwt_vs_one[t]"
    rows: str = "*"
    cumulative: bool = False
    unit: str = ""
    notes: Sequence[str] = ()

    def __post_init__(self) -> None:
        place = f"Curves({self.title!r})"
        if isinstance(self.notes, str):
            raise UserError(f"{place}: notes should be a list; write [{self.notes!r}]")
        metric = parse_metric(self.value)
        if metric is None:
            raise UserError(f"{place}: value {self.value!r} is not a valid metric such as 'fwt_vs_one[t]'")
        axes = [value for key, value in metric.picks if not key and value in RUNNING]
        if len(axes) > 1:
            raise UserError(f"{place}: value {self.value!r} has several axes; keep one of {', '.join(axes)}")
        if metric.name in of_every_run() and metric.name not in BY_TASK:
            raise one_per_run(place, metric.name)

    def check(self, study: Study, place: str) -> None:
        super().check(study, place)
        if self.metric.name in [metric.name for metric in study.metrics]:
            raise one_per_run(f"{place}: views: {quoted(self.title)}", self.metric.name)

    @property
    def metric(self) -> Metric:
        """The metric, parsed."""
        metric = parse_metric(self.value)
        assert metric is not None
        return metric

    @property
    def axis(self) -> str:
        """The axis: "t", "layer" or "steps"."""
        return next((value for key, value in self.metric.picks if not key and value in RUNNING), "t")

    @property
    def caption(self) -> str:
        """The text under the figure, without a full stop."""
        summed = f", summed along {self.axis}" if self.cumulative else ""
        return (
            f"{self.metric}{summed}: lines are means over runs, and bands show one standard deviation to "
            "both sides"
        )

    def curves(self, section: Section) -> list[Curve]:
        """Return a curve for each label that has the numbers, in the study's order."""
        found = [self._curve(group) for group in groups_meant(self.rows, section)]
        return [curve for curve in found if curve.levels]

    def _curve(self, group: Group) -> Curve:
        """Return the curve over the runs that measured the metric, at the places that all of them have."""
        runs = [numbers for final in group.finals if (numbers := self._numbers(final))]
        levels = tuple(level for level in (runs[0] if runs else {}) if all(level in run for run in runs))
        return Curve(group.label, levels, np.array([[run[level] for level in levels] for run in runs]))

    def _numbers(self, final: FinalRun) -> dict[Any, float]:
        """Return the numbers of a run by place on the axis."""
        found = along(final, self.metric, self.axis)
        sums = np.cumsum(list(found.values())).tolist() if self.cumulative else found.values()
        return dict(zip(found, sums, strict=True))

    def lines(self, section: Section) -> tuple[list[str], list[list[str]]]:
        """Return a table of means; if there are many places, some that are evenly spaced are shown."""
        found = self.curves(section)
        levels = levels_of(found)
        places = sorted({round(i) for i in np.linspace(0, len(levels) - 1, min(SHOWN, len(levels)))})
        levels = [levels[place] for place in places]
        rows = []
        for curve in found:
            means = dict(zip(curve.levels, curve.values.mean(0).tolist(), strict=True))
            numbers = [format_metric(self.metric, means.get(level), section.own) for level in levels]
            rows.append([one_line(curve.label), str(len(curve.values)), *numbers])
        return [f"mean at {self.axis}", "runs", *(clip(str(level), 8) for level in levels)], rows

    def figure(self, section: Section, name: str, styles: Styles | None = None) -> str:
        """Return the figure as SVG, in the colours of the report's other figures if `styles` is given."""
        from raycl.reporting import plots  # Imported here because matplotlib takes a second to load.

        found = self.curves(section)
        if not found:
            return ""
        named = self.metric.name
        unit = self.unit or next((unit for start, unit in UNITS.items() if named.startswith(start)), "")
        label = f"{self.metric}, summed" if self.cumulative else str(self.metric)
        return plots.lines(
            found,
            styles or plots.styles_of([group.label for group in section.groups]),
            xlabel=self._axis_label(),
            ylabel=f"{label} ({unit})" if unit else label,
            about=f"{self.title} on {section.name}",
            name=name,
            signed=is_signed(named, section.own),
            wide=named.startswith(TIMES),
        )

    def _axis_label(self) -> str:
        if self.axis != "t":
            return self.axis
        return "task" if self.metric.name in BY_TASK else "tasks learnt"

    def points(self, section: Section) -> list[dict[str, Any]]:
        """Return a line for each run and place on the axis."""
        about = {"view": self.title, "benchmark": section.benchmark, "subset": section.subset}
        return [
            {
                **about,
                "label": group.label,
                "seed": final.seed,
                "order": row.cell.order,
                self.axis: level,
                str(self.metric): value,
            }
            for group in groups_meant(self.rows, section)
            for row in group.rows
            for final in row.finals
            for level, value in self._numbers(final).items()
        ]

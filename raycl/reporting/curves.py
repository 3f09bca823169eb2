"""Lines against tasks or layers, as SPG's Figures 2 and 3 and PRM's Figure 3: a line per label."""

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

SHOWN = 8  # places that a table has columns for


TIMES = ("ct", "seconds")  # with what the names of times begin


FRACTIONS = ("acc", "fwt", "blocked", "f_")  # with what the names of fractions begin


UNITS = dict.fromkeys(FRACTIONS, "fraction") | dict.fromkeys(TIMES, "s") | {"bytes": "B"}


def one_per_run(place: str, name: str) -> UserError:
    """What is said of a view along tasks that asks for a metric which tasks do not have."""
    return UserError(
        f"{place}: {name} is one number per run; a line takes one that each task has, such as "
        f"{', '.join(BY_TASK)}"
    )


@dataclass(frozen=True)
class Curves(View):
    """A line per label with one standard deviation over runs as a band; a figure and a table per benchmark.

    Attributes:
        value: metric, as claims write it; its bare entry is the axis: ``"fwt_vs_one[t]"``,
            ``"blocked[layer,t=T]"``. Without one it is t.
        rows: patterns over labels, joined by commas.
        cumulative: sums along the axis, such as seconds from the first task on.
        unit: for the axis of the figure, where the name of the metric does not tell it.
        notes: printed under the table and the figure.
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
            raise UserError(f"{place}: notes is a list; write [{self.notes!r}]")
        metric = parse_metric(self.value)
        if metric is None:
            raise UserError(
                f"{place}: value {self.value!r} does not read as a metric such as 'fwt_vs_one[t]'"
            )
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
        metric = parse_metric(self.value)
        assert metric is not None
        return metric

    @property
    def axis(self) -> str:
        return next((value for key, value in self.metric.picks if not key and value in RUNNING), "t")

    @property
    def caption(self) -> str:
        """What the figure shows, for the text under it."""
        summed = f", summed along {self.axis}" if self.cumulative else ""
        return f"{self.metric}{summed}: lines are means over runs, bands one standard deviation to both sides"

    def curves(self, section: Section) -> list[Curve]:
        """One for each label that has the numbers, in the study's order."""
        found = [self._curve(group) for group in groups_meant(self.rows, section)]
        return [curve for curve in found if curve.levels]

    def _curve(self, group: Group) -> Curve:
        """Over the runs that measured it; a place that one of them lacks has no mean."""
        runs = [numbers for final in group.finals if (numbers := self._numbers(final))]
        levels = tuple(level for level in (runs[0] if runs else {}) if all(level in run for run in runs))
        return Curve(group.label, levels, np.array([[run[level] for level in levels] for run in runs]))

    def _numbers(self, final: FinalRun) -> dict[Any, float]:
        """By level."""
        found = along(final, self.metric, self.axis)
        sums = np.cumsum(list(found.values())).tolist() if self.cumulative else found.values()
        return dict(zip(found, sums, strict=True))

    def lines(self, section: Section) -> tuple[list[str], list[list[str]]]:
        """Means; of many places some, evenly from the first to the last."""
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
        """SVG; in the colours of a report's other figures where `styles` has them."""
        from raycl.reporting import plots  # here, because matplotlib takes a second to load

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
        """A line per run and place."""
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

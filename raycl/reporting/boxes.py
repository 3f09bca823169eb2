"""A view with box plots over seeds and densities, as in ImpressLearn's Figures 2 to 10."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from raycl.errors import UserError
from raycl.patterns import labels_chosen
from raycl.reporting.shapes import Box, Styles
from raycl.reporting.view import View
from raycl.results.grammar import Metric, parse_metric
from raycl.results.numbers import ABSENT, by_task, format_metric, number, setting
from raycl.results.rows import CellRow, FinalRun, Section

_GAPS = r"\s\-_/,=@()\[\]"  # Characters between the words of a label; numbers may contain a point.


OF_A_RUN = ("seed", "order")  # Points may be distinguished by these besides settings.


class _Run(NamedTuple):
    row: CellRow
    final: FinalRun
    metric: Metric
    kind: str
    place: Any
    band: bool = False


@dataclass(frozen=True)
class Boxes(View):
    """A box for each kind and place, in one figure and one table per benchmark.

    Rows without the setting `x` or `colour` have a column of their own under their label.

    Attributes:
        title: The title of the figure and of the table.
        x: The setting along the axis.
        colour: The setting that distinguishes the kinds, which are drawn side by side.
        point: Settings, or "seed" or "order". Each combination of their values is one point, which is the
            mean over everything else.
        value: The metric, as claims write it.
        rows: Patterns of the labels to show, separated by commas.
        reference: Patterns of the labels that are drawn as a band across the figure instead of boxes.
        also: A mapping from a name to a metric; rows that have this metric are also shown in a column of
            that name.
        notes: Notes that are printed under the table and the figure.
    """

    title: str
    x: str = "method.k"
    colour: str = "method.basis"
    point: Sequence[str] = ("seed", "method.density")
    value: str = "acc"
    rows: str = "*"
    reference: str = ""
    also: Mapping[str, str] = field(default_factory=dict)
    notes: Sequence[str] = ()

    def __post_init__(self) -> None:
        if isinstance(self.point, str) or isinstance(self.notes, str):
            raise UserError(f"Boxes({self.title!r}): point and notes are lists; write [{self.point!r}]")
        for key in (self.x, self.colour, *self.point):
            if not re.fullmatch(r"(method|fit|net)\.\w+", key) and not (
                key in self.point and key in OF_A_RUN
            ):
                raise UserError(
                    f"Boxes({self.title!r}): {key!r} should be a setting such as 'method.k'; a point may "
                    f"also name {' or '.join(map(repr, OF_A_RUN))}"
                )
        for metric in (self.value, *self.also.values()):
            if parse_metric(metric) is None:
                wanted = "a metric such as 'acc' or 'blocked[t=5]'"
                raise UserError(f"Boxes({self.title!r}): value {metric!r} is not {wanted}")

    @property
    def settings(self) -> Sequence[str]:
        return [key for key in (self.x, self.colour, *self.point) if key not in OF_A_RUN]

    @property
    def label_of_x(self) -> str:
        """The label of the axis; a setting of one letter is capitalised, such as K for `k`."""
        name = _short(self.x)
        return name.upper() if len(name) == 1 else name

    def boxes(self, section: Section) -> list[Box]:
        """Return the boxes: kinds in the study's order, places in ascending order, names after numbers."""
        points: dict[tuple[str, Any, bool], dict[tuple[Any, ...], list[float]]] = {}
        for run in self._runs(section):
            value = number(run.row, run.final, run.metric)
            if value is not None:
                mine = points.setdefault((run.kind, run.place, run.band), {})
                mine.setdefault(self._point(run.row, run.final), []).append(value)
        found = [
            Box(
                kind,
                place,
                tuple(sum(v) / len(v) for _, v in sorted(mine.items(), key=lambda p: repr(p[0]))),
                band,
            )
            for (kind, place, band), mine in points.items()
        ]
        kinds = list(dict.fromkeys(box.kind for box in found))
        return sorted(found, key=lambda box: (kinds.index(box.kind), *_order(box.place)))

    def _runs(self, section: Section) -> list[_Run]:
        """Return each final run with its kind and place; those of `also` come last."""
        labels = [row.cell.label for row in section.rows]
        references = labels_chosen(self.reference, labels)
        wanted = {*labels_chosen(self.rows, labels), *references}
        chosen = [row for row in section.rows if row.cell.label in wanted]
        unplaced = [row for row in chosen if ABSENT in (setting(row, self.x), setting(row, self.colour))]
        found = []
        for row in chosen:
            own = _family(row, unplaced)
            kind, place = setting(row, self.colour), setting(row, self.x)
            kind, place = own if kind is ABSENT else str(kind), own if place is ABSENT else place
            band, metric = row.cell.label in references, _metric(self.value)
            found += [_Run(row, final, metric, kind, place, band) for final in row.finals]
        for name, text in self.also.items():
            found += [_Run(row, final, _metric(text), name, name) for row in chosen for final in row.finals]
        return found

    def _point(self, row: CellRow, final: FinalRun) -> tuple[Any, ...]:
        own = {"seed": final.seed, "order": row.cell.order}
        return tuple(own[key] if key in own else _or_blank(setting(row, key)) for key in self.point)

    def lines(self, section: Section) -> tuple[list[str], list[list[str]]]:
        header = ["kind", self.label_of_x, "points", "mean", "lower", "median", "upper"]
        rows = []
        for box in self.boxes(section):
            numbers = [float(np.mean(box.values)), *box.quartiles]
            place = "-" if box.place == box.kind else _place(box.place)
            texts = [format_metric(self.value, v, section.own) for v in numbers]
            rows.append([box.kind, place, str(len(box.values)), *texts])
        return header, rows

    @property
    def caption(self) -> str:
        return (
            "Each point is one run or the mean of several; boxes show quartiles, and whiskers reach the last "
            "point within 1.5 times the distance of the quartiles"
        )

    def figure(self, section: Section, name: str, styles: Styles | None = None) -> str:
        from raycl.reporting import plots  # Imported here because matplotlib takes a second to load.

        boxes = self.boxes(section)
        label = "test accuracy (fraction)" if self.value == "acc" else self.value
        return (
            plots.boxes(boxes, self.label_of_x, label, f"{self.title} on {section.name}", name)
            if boxes
            else ""
        )

    def points(self, section: Section) -> list[dict[str, Any]]:
        """Return a line for each run and task, or one line per run for a metric that tasks do not have."""
        found = []
        for run in self._runs(section):
            row, final, metric = run.row, run.final, run.metric
            about = {
                "view": self.title,
                "benchmark": section.benchmark,
                "subset": section.subset,
                "label": row.cell.label,
                "kind": run.kind,
                "seed": final.seed,
                "order": row.cell.order,
            }
            about |= {_short(key): _or_blank(setting(row, key)) for key in self.settings}
            about[_short(self.x)] = "" if run.place == run.kind else run.place
            tasks = by_task(final, Metric("acc_task")) if str(metric) == "acc" else {}
            value = number(row, final, metric)
            numbers: dict[Any, float] = {**tasks} or ({} if value is None else {"": value})
            found += [{**about, "task": task, str(metric): value} for task, value in numbers.items()]
        return found


def _metric(text: str) -> Metric:
    metric = parse_metric(text)
    assert metric is not None, text
    return metric


def _short(key: str) -> str:
    return key.rpartition(".")[2]


def _or_blank(value: Any) -> Any:
    return "" if value is ABSENT else value


def _order(place: Any) -> tuple[bool, float, str]:
    number = isinstance(place, int | float)
    return not number, float(place) if number else 0.0, str(place)


def _place(place: Any) -> str:
    return f"{place:g}" if isinstance(place, float) else str(place)


def _family(row: CellRow, rows: Sequence[CellRow]) -> str:
    """Return a common name for those of `rows` that have the row's method.

    It consists of the words with which their labels begin, or is the row's label if they share none.
    """
    labels = [other.cell.label for other in rows if other.cell.kinds.method == row.cell.kinds.method] or [
        row.cell.label
    ]
    words = [re.findall(rf"[^{_GAPS}]+|[{_GAPS}]+", label) for label in dict.fromkeys(labels)]
    shared = 0
    while all(len(w) > shared for w in words) and len({w[shared] for w in words}) == 1:
        shared += 1
    common = "".join(words[0][:shared]).rstrip(" -_/,.=@([")
    return common or row.cell.label

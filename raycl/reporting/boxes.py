"""A view with box plots over seeds and densities, as in ImpressLearn's Figures 2 to 10."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, NamedTuple

import numpy as np

from raycl.errors import UserError
from raycl.patterns import labels_chosen
from raycl.reporting.shapes import Box, BoxPanel, Styles
from raycl.reporting.view import View
from raycl.results.collect import subset_of
from raycl.results.grammar import Metric, parse_metric
from raycl.results.numbers import ABSENT, by_task, format_metric, number, setting
from raycl.results.rows import CellRow, FinalRun, Section

_GAPS = r"\s\-_/,=@()\[\]"  # Characters between the words of a label; numbers may contain a point.


OF_A_RUN = ("seed", "order")  # Points may be distinguished by these besides settings.


class _Run(NamedTuple):
    """A final run in a kind of boxes; `named` says that its place is a name and not a value of the axis."""

    row: CellRow
    final: FinalRun
    metric: Metric
    kind: str
    place: Any
    named: bool
    band: bool = False


@dataclass(frozen=True)
class BoxKind:
    """A kind of boxes, which has a colour and a name of its own.

    Attributes:
        name: The name in the legend.
        rows: Patterns of the labels of its rows, separated by commas.
        value: The metric of its points, or "" for that of the view.
        place: The name of a column of its own, to the left of the axis; "" if it has boxes along the axis.
        band: Whether it is drawn as a band across the figure instead of boxes.
    """

    name: str
    rows: str
    value: str = ""
    place: str = ""
    band: bool = False


@dataclass(frozen=True)
class Boxes(View):
    """A box for each kind and place, in one figure and one table per benchmark.

    Without `kinds`, each value of the setting `colour` is a kind, and rows without the setting `x` or
    `colour` have a column of their own under their label. With `kinds`, a row without the setting `x` stands
    at all places of the rows that have it and run on the same benchmark.

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
        kinds: The kinds, in the order of the legend. They replace `colour`, `rows`, `reference` and `also`.
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
    kinds: Sequence[BoxKind] = ()
    notes: Sequence[str] = ()

    def __post_init__(self) -> None:
        for name in ("point", "notes"):
            if isinstance(given := getattr(self, name), str):
                raise UserError(
                    f"Boxes({self.title!r}): {name} = {given!r} should be a list; write [{given!r}]"
                )
        if self.kinds and (self.reference or self.also or self.rows != "*"):
            raise UserError(
                f"Boxes({self.title!r}): kinds replace rows, reference and also; write them as kinds, such "
                "as BoxKind('own masks', 'own-*', band=True)"
            )
        for key in (self.x, self.colour, *self.point):
            if not re.fullmatch(r"(method|fit|net)\.\w+", key) and not (
                key in self.point and key in OF_A_RUN
            ):
                raise UserError(
                    f"Boxes({self.title!r}): {key!r} should be a setting such as 'method.k'; a point may "
                    f"also name {' or '.join(map(repr, OF_A_RUN))}"
                )
        metrics = {"value": self.value, **{f"also[{key!r}]": metric for key, metric in self.also.items()}}
        metrics |= {f"value of kind {kind.name!r}": kind.value for kind in self.kinds if kind.value}
        for place, metric in metrics.items():
            if parse_metric(metric) is None:
                wanted = "a metric such as 'acc' or 'blocked[t=5]'"
                raise UserError(f"Boxes({self.title!r}): {place} = {metric!r} should be {wanted}")

    @property
    def settings(self) -> Sequence[str]:
        colours = () if self.kinds else (self.colour,)
        return [key for key in (self.x, *colours, *self.point) if key not in OF_A_RUN]

    @property
    def label_of_x(self) -> str:
        """The label of the axis; a setting of one letter is capitalised, such as K for `k`."""
        name = _short(self.x)
        return name.upper() if len(name) == 1 else name

    @property
    def label_of_y(self) -> str:
        """The label of the axis of the metric."""
        return "test accuracy (fraction)" if self.value == "acc" else self.value

    def boxes(self, section: Section) -> list[Box]:
        """Return the boxes by kind, names before numbers, numbers in ascending order.

        The order of the kinds is that of `kinds`, or that of the study.
        """
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
        """Return each final run with its kind and place."""
        return self._of_kinds(section) if self.kinds else self._by_colour(section)

    def _of_kinds(self, section: Section) -> list[_Run]:
        """Return the runs of `kinds`, kind after kind."""
        chosen = [(kind, _rows_meant(kind.rows, section)) for kind in self.kinds]
        places: dict[str, dict[Any, None]] = {}  # The places along the axis, by benchmark.
        for _, rows in chosen:
            for row in rows:
                if (place := setting(row, self.x)) is not ABSENT:
                    places.setdefault(row.cell.benchmark, {})[place] = None
        found = []
        for kind, rows in chosen:
            metric = _metric(kind.value or self.value)
            for row in rows:
                own = setting(row, self.x)
                along = list(places.get(row.cell.benchmark, {})) if own is ABSENT else [own]
                named = bool(kind.place) or kind.band or not along
                found += [
                    _Run(row, final, metric, kind.name, place, named, kind.band)
                    for place in ([kind.place or kind.name] if named else along)
                    for final in row.finals
                ]
        return found

    def _by_colour(self, section: Section) -> list[_Run]:
        """Return the runs of the kinds that `colour` distinguishes; those of `also` come last."""
        references = {row.cell.label for row in _rows_meant(self.reference, section)}
        wanted = {row.cell.label for row in _rows_meant(self.rows, section)} | references
        chosen = [row for row in section.rows if row.cell.label in wanted]
        unplaced = [row for row in chosen if ABSENT in (setting(row, self.x), setting(row, self.colour))]
        found = []
        for row in chosen:
            own = _family(row, unplaced)
            kind, place = setting(row, self.colour), setting(row, self.x)
            named, kind = place is ABSENT, own if kind is ABSENT else str(kind)
            band, metric = row.cell.label in references, _metric(self.value)
            place = own if named else place
            found += [_Run(row, final, metric, kind, place, named, band) for final in row.finals]
        for name, text in self.also.items():
            found += [
                _Run(row, final, _metric(text), name, name, True) for row in chosen for final in row.finals
            ]
        return found

    def _point(self, row: CellRow, final: FinalRun) -> tuple[Any, ...]:
        own = {"seed": final.seed, "order": row.cell.order}
        return tuple(own[key] if key in own else _or_blank(setting(row, key)) for key in self.point)

    def lines(self, section: Section) -> tuple[list[str], list[list[str]]]:
        header = ["kind", self.label_of_x, "points", "mean", "lower", "median", "upper"]
        metrics = {kind.name: kind.value for kind in self.kinds if kind.value} | dict(self.also)
        rows = []
        for box in self.boxes(section):
            numbers = [float(np.mean(box.values)), *box.quartiles]
            place = "-" if box.place == box.kind else _place(box.place)
            metric = metrics.get(box.kind, self.value)
            texts = [format_metric(metric, v, section.own) for v in numbers]
            rows.append([box.kind, place, str(len(box.values)), *texts])
        return header, rows

    @property
    def caption(self) -> str:
        return _CAPTION

    def figure(self, section: Section, name: str, styles: Styles | None = None) -> str:
        from raycl.reporting import plots  # Imported here because matplotlib takes a second to load.

        panel = BoxPanel("", self.label_of_x, self.label_of_y, self.boxes(section))
        about = f"{self.title} on {section.name}"
        return plots.boxes([panel], about, name) if panel.boxes else ""

    def points(self, section: Section) -> list[dict[str, Any]]:
        """Return a line for each run and task, or one line per run for a metric that tasks do not have."""
        cells = {row.cell.benchmark: row.cell for row in section.rows}
        subset = {benchmark: subset_of(cell) for benchmark, cell in cells.items()}
        found = []
        for run in self._runs(section):
            row, final, metric = run.row, run.final, run.metric
            about = {
                "view": self.title,
                "benchmark": row.cell.benchmark,
                "subset": subset[row.cell.benchmark],
                "label": row.cell.label,
                "kind": run.kind,
                "seed": final.seed,
                "order": row.cell.order,
            }
            about |= {_short(key): _or_blank(setting(row, key)) for key in self.settings}
            about[_short(self.x)] = "" if run.named else run.place
            tasks = by_task(final, Metric("acc_task")) if str(metric) == "acc" else {}
            value = number(row, final, metric)
            numbers: dict[Any, float] = {**tasks} or ({} if value is None else {"": value})
            found += [{**about, "task": task, str(metric): value} for task, value in numbers.items()]
        return found


@dataclass(frozen=True)
class BoxFigure(View):
    """Panels of boxes side by side, in one figure and one table for all benchmarks of a study.

    Attributes:
        title: The title of the figure and of the table.
        panels: The panels from left to right; their notes are not printed.
        notes: Notes that are printed under the table and the figure.
    """

    title: str
    panels: Sequence[Boxes]
    notes: Sequence[str] = ()

    across: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if isinstance(self.notes, str) or isinstance(self.panels, Boxes) or not self.panels:
            raise UserError(
                f"BoxFigure({self.title!r}): panels and notes are lists; write panels=[Boxes(...)]"
            )

    @property
    def settings(self) -> Sequence[str]:
        return list(dict.fromkeys(key for panel in self.panels for key in panel.settings))

    @property
    def caption(self) -> str:
        return _CAPTION

    def lines(self, section: Section) -> tuple[list[str], list[list[str]]]:
        """Return the tables of the panels, each under its title."""
        header: list[str] = []
        found: list[list[str]] = []
        for panel in self.panels:
            header, rows = panel.lines(section)
            titled = len(self.panels) > 1 and rows
            found += [[panel.title, *[""] * (len(header) - 1)]] if titled else []
            found += rows
        return header, found

    def figure(self, section: Section, name: str, styles: Styles | None = None) -> str:
        from raycl.reporting import plots  # Imported here because matplotlib takes a second to load.

        several = len(self.panels) > 1
        found = [
            BoxPanel(panel.title if several else "", panel.label_of_x, panel.label_of_y, boxes)
            for panel in self.panels
            if (boxes := panel.boxes(section))
        ]
        return plots.boxes(found, f"{self.title} on {section.name}", name) if found else ""

    def points(self, section: Section) -> list[dict[str, Any]]:
        """Return the lines of all panels, which name the figure and the panel."""
        return [
            {**point, "view": f"{self.title}: {panel.title}"}
            for panel in self.panels
            for point in panel.points(section)
        ]


_CAPTION = (
    "Each point is one run or the mean of several; boxes show quartiles, and whiskers reach the last point "
    "within 1.5 times the distance of the quartiles"
)


def _rows_meant(patterns: str, section: Section) -> list[CellRow]:
    wanted = labels_chosen(patterns, [row.cell.label for row in section.rows])
    return [row for row in section.rows if row.cell.label in wanted]


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
    return number, float(place) if number else 0.0, str(place)


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

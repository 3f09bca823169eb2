"""A table in a paper's layout: methods by benchmarks, each of our numbers next to the printed one.

A study defines a `PaperTable`; `papers.cells` fills its cells with the rows of a report, and
`papers.tabletext` and `reporting.latex` write them. A name such as ``spg[chi=false]`` means the same in a row
as in a claim.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import KW_ONLY, dataclass
from typing import ClassVar, Literal

from raycl import metrics, registry, units
from raycl.catalogue import catalogue
from raycl.errors import UserError, nearest
from raycl.papers.claims import claims
from raycl.results.grammar import Item, parse_item, parse_metric
from raycl.results.numbers import BY_TASK, of_every_run
from raycl.space import fields_of
from raycl.study.values import Study

MEAN = "mean"

_COLUMN = re.compile(r"(.+?)(?:\[(\w+)\])?(?:#(\d+(?:\+\d+)*))?")


@dataclass(frozen=True)
class PaperTable:
    """Methods by benchmarks, in a paper's layout.

    Attributes:
        title: The title, such as "Table 2: accuracy".
        rows: A mapping from the paper's name to a method as claims write it, such as ``spg[chi=false]``, or
            to a label of the study. Where the rows of the table are metrics or moments, the value is a pair
            of that and a metric.
        columns: A mapping from the paper's name to a benchmark of the study, of which ``#3`` or ``[part]``
            picks a task, or to a pair of that and a metric. A benchmark other than the one to which the
            paper gives this name is a substitute: it is not compared with a printed number. A different
            share of held-out images does not make a substitute, but a note under the table reports it.
        metric: The metric where rows and columns name none.
        table: The paper's table in which printed numbers are looked up, such as "6"; "2, 12" takes the first
            of several that has the number.
        mean: Whether to add a last column with the mean over all others, for seeds that all of them have.
        unit: The unit in which numbers are written, one of `units.UNITS`, or a mapping by metric.
        best: The metric whose highest mean decides which cell is shown if a row refers to several.
        transpose: Whether to write benchmarks as rows.
        paper_seeds: The number of runs behind a printed mean.
        notes: Notes that are printed under the table.
    """

    belongs: ClassVar[Literal["tables"]] = "tables"
    title: str
    _: KW_ONLY
    rows: Mapping[str, str | tuple[str, str]]
    columns: Mapping[str, str | tuple[str, str]]
    metric: str = "acc"
    table: str = ""
    mean: bool = False
    unit: str | Mapping[str, str] = "fraction"
    best: str = "val_acc"
    transpose: bool = False
    paper_seeds: int = 5
    notes: Sequence[str] = ()

    def __post_init__(self) -> None:
        def fail(text: str) -> UserError:
            return UserError(f"PaperTable({self.title!r}): {text}")

        for name in ("rows", "columns"):
            entries = getattr(self, name)
            if not isinstance(entries, Mapping) or not entries:
                raise fail(f"{name} = {entries!r} should be a dictionary of at least one printed name")
            for label, entry in entries.items():
                pair = entry if isinstance(entry, tuple | list) else (entry, "acc")
                if len(pair) != 2 or not all(isinstance(text, str) for text in (label, *pair)):
                    raise fail(
                        f"{name}[{label!r}] = {entry!r} should be a string or a pair of a string and a metric"
                    )
        if isinstance(self.notes, str):
            raise fail(f"notes should be a list; write [{self.notes!r}]")
        if not isinstance(self.paper_seeds, int) or self.paper_seeds < 1:
            raise fail(f"paper_seeds = {self.paper_seeds!r} should be an integer of at least 1")
        asked = self.unit.values() if isinstance(self.unit, Mapping) else [self.unit]
        for unit in asked:
            if unit not in units.UNITS:
                raise fail(
                    f"unknown unit {unit!r}{nearest(str(unit), units.UNITS)} "
                    f"(known: {', '.join(units.UNITS)})"
                )
        if _own_metrics(self.rows) and _own_metrics(self.columns):
            raise fail("rows and columns both name metrics; name them in only one of the two")
        if self.mean and (_own_metrics(self.columns) or MEAN in self.columns):
            raise fail(f"mean = True needs columns of one metric, none of them called {MEAN!r}")

    def unit_of(self, metric: str) -> str:
        """Return the unit in which numbers of a metric are written."""
        if isinstance(self.unit, str):
            return self.unit
        return self.unit.get(metric, self.unit.get(metric.partition("[")[0], "fraction"))

    @property
    def tables(self) -> list[str]:
        """The paper's tables in which printed numbers are looked up, in this order."""
        return [text.strip() for text in self.table.split(",") if text.strip()]

    @property
    def items(self) -> list[Item]:
        """The methods that the rows name."""
        found = [parse_item(first_of(entry)) for entry in self.rows.values()]
        return [item for item in found if item is not None]

    def metric_of(self, row: str, column: str) -> str:
        """Return the metric of a cell."""
        entries = self.rows[row], self.columns.get(column, "")
        return next((entry[1] for entry in entries if not isinstance(entry, str)), self.metric)

    def check(self, study: Study, place: str) -> None:
        """Check that every method, benchmark and metric that the table names exists.

        Raises:
            UserError: If one of them does not exist; the message names the value, the place and the remedy.
        """
        where = f"{place}: tables: {self.title!r}"
        for label, entry in self.rows.items():
            if first_of(entry) not in study.methods:
                _check_item(first_of(entry), f"{where}: rows[{label!r}]")
        for label, entry in self.columns.items():
            text, _, _ = parts_of(first_of(entry))
            registry.recipe(text, f"{where}: columns[{label!r}]")
        own = any(":" in str(keys.get("method", label)) for label, keys in study.methods.items())
        known = known_metrics(study.metrics)
        for row in self.rows:
            for column in self.columns:
                _check_metric(self.metric_of(row, column), where, known, own)
        _check_metric(self.best, where, known, own)


# Checks that run when a study is read, so that a wrong name is found before training starts


def _check_item(text: str, place: str) -> None:
    item = parse_item(text)
    if item is None or item.place or item.tasks:
        raise UserError(f"{place} = {text!r} does not read as a method such as hat or spg[chi=false]")
    known = fields_of(registry.method(item.method, place).Config)
    for name, _ in item.fields:
        if name not in known:
            raise UserError(
                f"{place} = {text!r}: {item.method} has no field {name!r}{nearest(name, known)} "
                f"(it has: {', '.join(known) or 'none'})"
            )


def _check_metric(text: str, place: str, known: Sequence[str], own: bool) -> None:
    """Raise `UserError` unless a metric exists.

    Args:
        text: The metric.
        place: Where it is written, for the message.
        known: The names of the known metrics.
        own: Whether the study defines a method of its own, which may report diagnostics that the catalogue
            does not know. Any name is then accepted.
    """
    metric = parse_metric(text)
    if metric is None:
        raise UserError(f"{place}: {text!r} is not a valid metric such as acc or blocked[t=T]")
    if metric.name not in known and not own:
        raise UserError(
            f"{place}: unknown metric {metric.name!r}{nearest(metric.name, known)} "
            f"(known: {', '.join(known)})"
        )


def known_metrics(own: Sequence[metrics.Metric] = ()) -> list[str]:
    """Return the names of all metrics.

    They are the metrics that every run has, those of the catalogue (readings and diagnostics of methods),
    those of the claims, and those that a study adds (`own`).
    """
    found = {
        *of_every_run(),
        *(metric.name for metric in own),
        *BY_TASK,
        *catalogue()["readings"],
        *catalogue()["diagnostics"],
    }
    return sorted(found | {claim.metric.name for claim in claims()})


def parts_of(text: str) -> tuple[str, str, tuple[int, ...]]:
    """Split the text of a column into benchmark, part and tasks."""
    found = _COLUMN.fullmatch(text)
    return (found[1], found[2] or "", tasks_in(found[3] or "")) if found else (text, "", ())


def tasks_in(text: str) -> tuple[int, ...]:
    """Parse tasks such as ``2+3``."""
    return tuple(map(int, text.split("+"))) if text else ()


def first_of(entry: str | tuple[str, str]) -> str:
    """Return the method or benchmark of an entry, without its metric."""
    return entry if isinstance(entry, str) else entry[0]


def _own_metrics(entries: Mapping[str, str | tuple[str, str]]) -> bool:
    return not all(isinstance(entry, str) for entry in entries.values())

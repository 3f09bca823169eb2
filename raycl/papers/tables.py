"""A table as a paper has it: methods by benchmarks, each number beside the printed one.

`PaperTable` is what a study writes, `papercells` reads the rows of a report into its cells; `papertext` and
`latex` write them. A row means by ``spg[chi=false]`` what a claim means by it.
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
        title: "Table 2: accuracy".
        rows: the paper's name -> method as claims write it, ``spg[chi=false]``, or a label of the study; or a
            pair of that and a metric, where the table has metrics or moments as rows.
        columns: the paper's name -> benchmark of the study, of which ``#3`` or ``[part]`` picks a task; or
            a pair of that and a metric. A benchmark that is not the one that the paper calls so, or none of
            the paper's, is a substitute: no printed number stands beside it. Holding other images out to
            decide by makes no substitute, and is said under the table.
        metric: where rows and columns name none.
        table: where printed numbers are looked up: "6", or "2, 12" for the first that has one.
        mean: a last column with the mean over all others; only where all are there.
        unit: how numbers are written, one of `units.UNITS`; by metric where a table has several.
        best: of several cells that a row means, the one with the highest mean of this.
        transpose: benchmarks as rows.
        paper_seeds: runs behind a printed mean.
        notes: printed under it.
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
                    raise fail(f"{name}[{label!r}] = {entry!r} should be a text, or a pair with a metric")
        if isinstance(self.notes, str):
            raise fail(f"notes is a list; write [{self.notes!r}]")
        if not isinstance(self.paper_seeds, int) or self.paper_seeds < 1:
            raise fail(f"paper_seeds = {self.paper_seeds!r} must be a whole number of at least 1")
        asked = self.unit.values() if isinstance(self.unit, Mapping) else [self.unit]
        for unit in asked:
            if unit not in units.UNITS:
                raise fail(
                    f"unknown unit {unit!r}{nearest(str(unit), units.UNITS)} "
                    f"(known: {', '.join(units.UNITS)})"
                )
        if _own_metrics(self.rows) and _own_metrics(self.columns):
            raise fail("rows and columns both name metrics; let one of them do it")
        if self.mean and (_own_metrics(self.columns) or MEAN in self.columns):
            raise fail(f"mean = True needs columns of one metric, none of them called {MEAN!r}")

    def unit_of(self, metric: str) -> str:
        if isinstance(self.unit, str):
            return self.unit
        return self.unit.get(metric, self.unit.get(metric.partition("[")[0], "fraction"))

    @property
    def tables(self) -> list[str]:
        return [text.strip() for text in self.table.split(",") if text.strip()]

    @property
    def items(self) -> list[Item]:
        """Methods that the rows name."""
        found = [parse_item(first_of(entry)) for entry in self.rows.values()]
        return [item for item in found if item is not None]

    def metric_of(self, row: str, column: str) -> str:
        entries = self.rows[row], self.columns.get(column, "")
        return next((entry[1] for entry in entries if not isinstance(entry, str)), self.metric)

    def check(self, study: Study, place: str) -> None:
        """See that all that a table names exists.

        Raises:
            UserError: names the value, the place and the remedy.
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


# Checks, before anything runs for hours


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
    """`own`: a method of the study's own may report figures that the catalogue does not know."""
    metric = parse_metric(text)
    if metric is None:
        raise UserError(f"{place}: {text!r} does not read as a metric such as acc or blocked[t=T]")
    if metric.name not in known and not own:
        raise UserError(
            f"{place}: unknown metric {metric.name!r}{nearest(metric.name, known)} "
            f"(known: {', '.join(known)})"
        )


def known_metrics(own: Sequence[metrics.Metric] = ()) -> list[str]:
    """The catalogue's: of every run, of claims, of printed tables, figures of methods; and a study's own."""
    found = {
        *of_every_run(),
        *(metric.name for metric in own),
        *BY_TASK,
        *catalogue()["readings"],
        *catalogue()["diagnostics"],
    }
    return sorted(found | {claim.metric.name for claim in claims()})


def parts_of(text: str) -> tuple[str, str, tuple[int, ...]]:
    """A column's benchmark, part and tasks."""
    found = _COLUMN.fullmatch(text)
    return (found[1], found[2] or "", tasks_in(found[3] or "")) if found else (text, "", ())


def tasks_in(text: str) -> tuple[int, ...]:
    return tuple(map(int, text.split("+"))) if text else ()


def first_of(entry: str | tuple[str, str]) -> str:
    return entry if isinstance(entry, str) else entry[0]


def _own_metrics(entries: Mapping[str, str | tuple[str, str]]) -> bool:
    return not all(isinstance(entry, str) for entry in entries.values())

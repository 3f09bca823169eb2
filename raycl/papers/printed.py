"""The numbers that the papers print, under the names of the catalogue."""

from __future__ import annotations

import csv
import functools
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from importlib import resources

from raycl.errors import UserError
from raycl.results.grammar import parse_place

DATA = resources.files("raycl.papers").joinpath("data")

SCALES = {"%": 0.01, "percent": 0.01, "percentage_points": 0.01, "minutes": 60, "MB": 2**20}
"""Factors from a printed unit to ours (fractions, seconds, bytes); a unit without one is ours already."""

# `labels.csv` writes this for a label that is not an id, such as a network, a preset or a count.
ITSELF = "="


@dataclass(frozen=True)
class Printed:
    """A number of a paper.

    Attributes:
        paper: The name of the paper.
        table: The number of the table, such as "6", or "text" for a number in the running text.
        benchmark, method, metric: Ids as claims write them, such as ``cifar100_super#3`` or
            ``spg[chi=false]``. Tasks are counted in the order of the benchmark, whatever their numbers are in
            the paper.
        value, std: The number and its standard deviation in our units; `std` is None where the paper prints
            none.
        text, unit: The number and its unit as the paper prints them.
        arithmetic: Whether the number is not the outcome of a run but a size, a count or a setting. Some of
            its labels are then kept as they are, because they are not ids.
    """

    paper: str
    table: str
    benchmark: str
    method: str
    metric: str
    value: float
    std: float | None
    text: str
    unit: str
    arithmetic: bool

    @property
    def last_digit(self) -> float:
        """The value of one unit of the last printed digit, in our units, such as 0.01 for ``0.66``."""
        exponent = Decimal(self.text).as_tuple().exponent
        assert isinstance(exponent, int), self.text
        return float(Decimal(1).scaleb(exponent)) * SCALES.get(self.unit, 1)


def printed(paper: str, table: str, benchmark: str, method: str, metric: str) -> Printed | None:
    """Return the number at that place, or None.

    The result is None where the paper prints no number, and where it prints several, such as one for each
    density.

    Raises:
        UserError: If there are no numbers of such a paper.
    """
    wanted = (table, benchmark, method, metric)
    found = [p for p in printed_numbers(paper) if (p.table, p.benchmark, p.method, p.metric) == wanted]
    return found[0] if len(found) == 1 else None


def datasets(paper: str) -> dict[str, str]:
    """Return a mapping from the paper's label of a data set to the benchmark."""
    return _ids(paper, "dataset")


def methods(paper: str) -> dict[str, str]:
    """Return a mapping from the paper's label of a method to the method, as claims write it."""
    return _ids(paper, "method")


def _ids(paper: str, kind: str) -> dict[str, str]:
    """Return the ids of a column's labels, without labels that mean something under a condition only."""
    found = {
        label: name for (column, label), name in _labels(paper).items() if column == kind and "|" not in label
    }
    return {label: name for label, name in found.items() if name != ITSELF}


@functools.cache
def printed_numbers(paper: str) -> tuple[Printed, ...]:
    """Return all numbers of a paper, in the order of its file.

    Raises:
        UserError: If there is no such file, or one of its labels is unknown.
    """
    file = DATA.joinpath("tables", f"{paper}.csv")
    if not file.is_file():
        known = ", ".join(sorted(p.name.removesuffix(".csv") for p in DATA.joinpath("tables").iterdir()))
        raise UserError(f"no printed numbers of paper {paper!r} (known: {known})")
    labels = _labels(paper)
    return tuple(
        _number(row, labels, f"{file.name}:{n}") for n, row in _rows(file.read_text(encoding="utf-8"))
    )


def _rows(text: str) -> Iterator[tuple[int, dict[str, str]]]:
    return enumerate(csv.DictReader(text.splitlines()), start=2)


def _labels(paper: str) -> dict[tuple[str, str], str]:
    rows = _rows(DATA.joinpath("labels.csv").read_text(encoding="utf-8"))
    return {(row["column"], row["label"]): row["id"] for _, row in rows if row["paper"] == paper}


def _number(row: dict[str, str], labels: dict[tuple[str, str], str], place: str) -> Printed:
    ids, themselves = {}, False
    for column in ("dataset", "method", "metric"):
        label = row[column]
        # The meaning of a label may depend on the method of its row or on the metric.
        known = (f"{row['method']}|{label}", f"{row['metric']}|{label}", label)
        found = next(filter(None, (labels.get((column, each)) for each in known)), None)
        if found is None:
            raise UserError(f"{place}: {column} {label!r} is not in labels.csv; add it there")
        themselves = themselves or found == ITSELF
        ids[column] = label if found == ITSELF else found
    method, _, benchmark = ids["method"].partition("@")
    if benchmark:  # The paper calls this variant of the benchmark a variant of the method.
        ids["dataset"] = benchmark + _task_in(benchmark, ids["dataset"])
    scale = SCALES.get(row["unit"], 1)
    return Printed(
        paper=row["paper"],
        table=row["table"],
        benchmark=ids["dataset"],
        method=method,
        metric=ids["metric"],
        value=_scaled(row["value"], scale),
        std=_scaled(row["std"], scale) if row["std"] else None,
        text=row["value"],
        unit=row["unit"],
        arithmetic=themselves,
    )


def _task_in(benchmark: str, dataset: str) -> str:
    """Return the position, such as ``#3``, of a printed task in a benchmark that starts with another task."""
    _, numbered, task = dataset.partition("#")
    place = parse_place(benchmark)
    first = dict(place.fields).get("first", 1) if place else 1
    if not numbered:
        return ""
    number = int(task)
    return "#1" if number == first else f"#{number + (number < first)}"


def _scaled(text: str, scale: float) -> float:
    """Scale a printed number with decimal arithmetic, so that 77.6 % is exactly 0.776."""
    return float(Decimal(text) * Decimal(str(scale)))

"""The numbers that the papers print, by the catalogue's names."""

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
"""From a printed unit to ours: fractions, seconds, bytes; a unit that is not here is ours already."""

ITSELF = "="  # what `labels.csv` says of a label that is no id: networks, presets, counts


@dataclass(frozen=True)
class Printed:
    """A number of a paper.

    Attributes:
        table: "6", or "text".
        benchmark, method, metric: ids as claims write them, ``cifar100_super#3``, ``spg[chi=false]``. A task
            is counted as the benchmark orders it, whatever its number is in the paper.
        value, std: in our units; `std` is None where none is printed.
        text, unit: as the paper has it.
        arithmetic: not the outcome of a run: sizes, counts, settings. Some labels then stand for themselves.
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
        """What one of its last digit is worth, in our units: 0.01 of ``0.66``."""
        exponent = Decimal(self.text).as_tuple().exponent
        assert isinstance(exponent, int), self.text
        return float(Decimal(1).scaleb(exponent)) * SCALES.get(self.unit, 1)


def printed(paper: str, table: str, benchmark: str, method: str, metric: str) -> Printed | None:
    """The number at that place, or None where the paper prints none (or several, as of the densities).

    Raises:
        UserError: no numbers of such a paper.
    """
    wanted = (table, benchmark, method, metric)
    found = [p for p in printed_numbers(paper) if (p.table, p.benchmark, p.method, p.metric) == wanted]
    return found[0] if len(found) == 1 else None


def datasets(paper: str) -> dict[str, str]:
    """Label of a data set -> benchmark, as the paper's tables have them."""
    found = {
        label: name
        for (column, label), name in _labels(paper).items()
        if column == "dataset" and "|" not in label
    }
    return {label: name for label, name in found.items() if name != ITSELF}


@functools.cache
def printed_numbers(paper: str) -> tuple[Printed, ...]:
    """All numbers of a paper, in the order of its file.

    Raises:
        UserError: no such file, or one of its labels is unknown.
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
        # a metric that one method's row calls otherwise, an average that of one metric stands elsewhere
        known = (f"{row['method']}|{label}", f"{row['metric']}|{label}", label)
        found = next(filter(None, (labels.get((column, each)) for each in known)), None)
        if found is None:
            raise UserError(f"{place}: {column} {label!r} is not in labels.csv; add it there")
        themselves = themselves or found == ITSELF
        ids[column] = label if found == ITSELF else found
    method, _, benchmark = ids["method"].partition("@")
    if benchmark:  # a variant of the benchmark that the paper calls a variant of the method
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
    """``#3``: where a task, printed by its number, stands in a benchmark whose `first` task is another."""
    _, numbered, task = dataset.partition("#")
    place = parse_place(benchmark)
    first = dict(place.fields).get("first", 1) if place else 1
    if not numbered:
        return ""
    number = int(task)
    return "#1" if number == first else f"#{number + (number < first)}"


def _scaled(text: str, scale: float) -> float:
    """In decimals, so that 77.6 % is 0.776."""
    return float(Decimal(text) * Decimal(str(scale)))

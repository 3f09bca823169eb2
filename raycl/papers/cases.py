"""The test of one claim against a study: the benchmarks and rows to which the claim refers there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from raycl.catalogue import catalogue
from raycl.papers.claims import Claim
from raycl.papers.findings import SUBSET, SUBSTITUTE
from raycl.papers.matching import fields_named, reading, recipe_here, resized, rows_fitting, rows_meant
from raycl.papers.places import Places
from raycl.papers.samples import ItemRows, Sample, SampleReader, Where, shared_keys
from raycl.results.grammar import Best, Item, Side
from raycl.results.numbers import setting
from raycl.results.rows import CellRow

COUNTED = ("params", "bytes_task", "bytes_total")
"""Metrics that the network's size determines; a formula holds only for the paper's network and benchmark."""


@dataclass(frozen=True)
class Group:
    """A place of the claim, or several that one benchmark of the study stands in for, or all in the mean.

    Attributes:
        wheres: What is compared, each on its own.
        count: How many places of the claim each of them stands for.
    """

    wheres: tuple[Where, ...]
    count: int


class Case:
    """A claim and the rows of a study against which it is tested.

    Attributes:
        claim: The claim.
        rows: The rows of the study whose metric counts, finished or not.
        unit: What is paired: "seed" or "order".
        axis: The field or the running axis of a trend, or "".
        reader: Reads the metric.
        places: Finds the benchmarks.

    Args:
        claim: The claim.
        rows: The rows of the study, finished or not.
        subsets: By benchmark, the reason why its numbers cannot be compared with published ones, or "".
        others: The claims of the paper.
    """

    def __init__(
        self, claim: Claim, rows: Sequence[CellRow], subsets: Mapping[str, str], others: Sequence[Claim]
    ) -> None:
        self.claim, self.subsets = claim, subsets
        self.reading = reading(claim.metric)
        counted = claim.kind == "formula" and self.reading.metric.name in COUNTED
        self.rows = [row for row in rows if self.reading.admits(row) and not (counted and resized(row))]
        self.unit = "order" if any(row.cell.orders > 1 for row in rows) else "seed"
        self.reader = SampleReader(claim, self.reading, self.rows, self.unit == "order")
        self.places = Places(claim, (row.cell.benchmark for row in self.rows), counted, others)
        self.axis = catalogue()["axes"].get(claim.axis.name, claim.axis.name) if claim.axis else ""
        self._named = fields_named(claim.items, self.reading)

    # Benchmarks

    def groups(self) -> tuple[list[Group], list[str]]:
        """Return the benchmarks to compare on, and the reasons why others are missing.

        Each benchmark is compared on its own, or all are compared in the mean.
        """
        if not self.claim.places:
            return [Group((Where(),), 1)], []
        found: dict[tuple[Where, ...], int] = {}
        members: list[Where] = []
        missing = []
        for place in self.claim.places:
            here = self.places.of_claim(place)
            if not here.texts:
                missing.append(f"needs {place}" + (f": {here.refused}" if here.refused else ""))
                continue
            members.append(self._where(here.texts, place.part, here.substitute))
            together = [here.texts] if self._of_benchmark(here.texts) else [(text,) for text in here.texts]
            wheres = tuple(self._where(texts, place.part, here.substitute) for texts in together)
            found[wheres] = found.get(wheres, 0) + 1
        if self.claim.averaged and members:
            return [Group((_mean(members),), len(self.claim.places))], []
        return [Group(wheres, count) for wheres, count in found.items()], missing

    def _where(self, texts: Sequence[str], part: str = "", substitute: bool = False) -> Where:
        """Return several benchmarks as one place, under their printed names."""
        notes = dict.fromkeys(self.subsets[text] for text in texts if self.subsets.get(text))
        also = (SUBSTITUTE,) if substitute else ()
        names = [_marked(text, ((SUBSET,) if self.subsets.get(text) else ()) + also) for text in texts]
        return Where(
            texts=tuple(texts),
            part=part,
            name=", ".join(names) + (f"[{part}]" if part else ""),
            subset="; ".join(notes),
            other_data=((SUBSET,) if notes else ()) + also,
        )

    def _of_benchmark(self, texts: Sequence[str]) -> bool:
        """Return whether the axis is a setting of the benchmark."""
        own = any(f"method.{self.axis}" in row.cell.settings for row in self.rows)
        return bool(self.axis) and not own and any(hasattr(recipe_here(text), self.axis) for text in texts)

    # Rows

    def rows_of(self, item: Item, where: Where) -> ItemRows:
        """Return the rows to which an item refers."""
        if item.place is not None:
            here = self.places.of_item(item.place)
            where = self._where(here.texts, item.place.part, here.substitute)
        rows = [row for row in self.rows if row.cell.benchmark in where.texts]
        rows = [row for row in rows if self.claim.admits(_number_or_none(setting(row, "method.density")))]
        meant = rows_meant(item, rows, self._named, self.reading, self.axis)
        fitting = rows_fitting(item, rows, self._named, self.reading, self.axis)
        others = [row for row in fitting if not any(row is one for one in meant)]
        return ItemRows(item, tuple(meant), tuple(others), where)

    def alternatives(self, side: Side | None, where: Where) -> list[ItemRows]:
        """Return the items of a side that the study has, with their rows."""
        found = [self.rows_of(item, where) for item in items_of(side)]
        return [run for run in found if run.rows]

    # Coverage

    def covered(self, samples: Sequence[Sample], where: Where) -> int:
        """Return on how many places all samples have numbers: in a mean, of the claim's; otherwise 0 or 1."""
        shared = shared_keys(samples)
        if not self.claim.averaged:
            return min(len(shared), 1)
        there = {key[0] for _, key in shared}
        return sum(any(text in there for text in texts) for texts in where.members)

    def named(self, where: Where, samples: Sequence[Sample]) -> str:
        """Return the printed name of some benchmarks; of a mean, it says how many places have numbers."""
        if not self.claim.averaged:
            return str(where)
        return f"mean over {self.covered(samples, where)} of {len(self.claim.places)} benchmarks ({where})"


def items_of(side: Side | None) -> tuple[Item, ...]:
    """Return the methods of a side; () for a number."""
    return side.items if isinstance(side, Best) else (side,) if isinstance(side, Item) else ()


def size_of(side: Side | None) -> int:
    """Return for how many elementary comparisons a side counts; a number counts as one method."""
    return len(items_of(side)) or 1


def _mean(members: Sequence[Where]) -> Where:
    """Return the benchmarks of several places as one, over which a mean is taken."""
    return Where(
        texts=tuple(dict.fromkeys(text for where in members for text in where.texts)),
        name=", ".join(dict.fromkeys(where.name for where in members)),
        subset="; ".join(dict.fromkeys(where.subset for where in members if where.subset)),
        other_data=tuple(dict.fromkeys(word for where in members for word in where.other_data)),
        members=tuple(where.texts for where in members),
    )


def _marked(text: str, words: Sequence[str]) -> str:
    return f"{text} ({', '.join(words)})" if words else text


def _number_or_none(value: Any) -> float | None:
    return value if isinstance(value, float) else None

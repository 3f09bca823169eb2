"""The verdicts of a store on claims: paired differences by seed, and a word.

Both sides are paired by seed (by order, where a study has several orders) and by every setting that both
have, that varies and that neither names, such as a density. Values are averaged over a setting that only one
side has. A field that one side of a claim names must have its default value on the other side, and so must a
switch (any field that is not a number) that varies.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import numpy as np

from raycl.catalogue import catalogue
from raycl.papers.arithmetic import accounted, trunk_bytes
from raycl.papers.claims import Claim, claims
from raycl.papers.findings import ClaimFinding, Verdict
from raycl.papers.judging import NOT_RUN, Values, judge, judge_trend
from raycl.papers.matching import (
    fields_named,
    is_place,
    paired_fields,
    reading,
    recipe_here,
    resized,
    rows_meant,
    tasks_of,
)
from raycl.results.collect import subset_of
from raycl.results.grammar import (
    RUNNING,
    VARIANTS,
    Best,
    Item,
    Place,
    Side,
    Stored,
    Trunk,
    parse_place,
)
from raycl.results.numbers import ABSENT, along, number, setting
from raycl.results.rows import CellRow, printed_name
from raycl.study.values import Study

Run: TypeAlias = tuple[Item, list[CellRow]]
"""An item of a claim and the rows to which it refers."""

Sample: TypeAlias = dict[tuple[int, tuple[Any, ...]], float]
"""A value for each (seed or order, values of the settings that are paired)."""


def verdicts(study: Study, rows: Sequence[CellRow]) -> list[Verdict]:
    """Return a verdict on every claim of the study's paper.

    For a study without a paper, return a verdict on every claim of any paper that its cells can test.
    """
    cells = {row.cell.benchmark: row.cell for row in rows}
    subsets = {text: subset_of(cell) for text, cell in cells.items()}
    asked = [c for c in claims(study.paper) if study.paper or not isinstance(c.left[0], Stored)]
    found = [verdict(claim, rows, subsets) for claim in asked]
    return [v for v in found if study.paper or v.word != NOT_RUN]


def verdict(claim: Claim, rows: Sequence[CellRow], subsets: Mapping[str, str] | None = None) -> Verdict:
    """Test a claim against the rows of a study.

    Args:
        claim: The claim.
        rows: The rows of the study.
        subsets: By benchmark, the reason why its numbers cannot be compared with published ones, or "".
    """
    if isinstance(claim.left[0], Stored):
        return Verdict(claim, tuple(accounted(claim, *pair) for pair in claim.pairs))
    case = _Case(claim, rows, subsets or {})
    return Verdict(
        claim, tuple(case.findings()) or (ClaimFinding(NOT_RUN, reason="nothing to compare"),), case.orders
    )


COUNTED = ("params", "bytes_task", "bytes_total")
"""Metrics that the network's size determines; a formula holds only for the paper's network and benchmark."""


class _Case:
    """The test of one claim against the rows of a study."""

    def __init__(self, claim: Claim, rows: Sequence[CellRow], subsets: Mapping[str, str]) -> None:
        self.claim, self.subsets = claim, subsets
        self.orders = any(row.cell.orders > 1 for row in rows)
        self.reading = reading(claim.metric)
        self.metric = self.reading.metric
        self.counted = claim.kind == "formula" and self.metric.name in COUNTED
        self.rows = [
            row
            for row in rows
            if row.finals and self.reading.admits(row) and not (self.counted and resized(row))
        ]
        self.axis = catalogue()["axes"].get(claim.axis.name, claim.axis.name) if claim.axis else ""
        self.named = fields_named(claim.items, self.reading)

    def findings(self) -> list[ClaimFinding]:
        """Return a finding for each pair of sides on each benchmark."""
        groups, missing = self.groups()
        found: list[ClaimFinding] = []
        for left, right in self.claim.pairs:
            for place in groups:
                found += self.trend(left, place) if self.claim.axis else self.compared(left, right, place)
        return found + [ClaimFinding(NOT_RUN, reason=f"needs {place}") for place in missing]

    # Benchmarks

    def groups(self) -> tuple[list[_Where], list[Place]]:
        """Return the benchmarks to compare on, and those that the study does not have.

        Each benchmark is compared on its own, or all are compared in the mean.
        """
        if not self.claim.places:
            return [_Where()], []
        found: dict[_Where, None] = {}
        missing = []
        for place in self.claim.places:
            texts = self.texts(place)
            together = self.claim.averaged or self._of_benchmark(texts)
            parts = [tuple(texts)] if together and texts else [(text,) for text in texts]
            found |= dict.fromkeys(self.where(part, place.part) for part in parts)
            missing += [] if texts else [place]
        if self.claim.averaged and found:
            texts = list(dict.fromkeys(text for where in found for text in where.texts))
            mean = self.where(texts)
            name = f"mean over {len(texts)} of {len(self.claim.places)} benchmarks ({mean.name})"
            return [replace(mean, name=name)], []
        return list(found), missing

    def where(self, texts: Sequence[str], part: str = "") -> _Where:
        """Return several benchmarks as one place, under their printed names."""
        name = ", ".join(printed_name(text, self.subsets.get(text, "")) for text in texts)
        notes = dict.fromkeys(self.subsets[text] for text in texts if self.subsets.get(text))
        return _Where(tuple(texts), part, name + (f"[{part}]" if part else ""), "; ".join(notes))

    def texts(self, place: Place) -> list[str]:
        """Return the benchmarks of the study to which the claim refers, or else their stand-ins."""
        here = dict.fromkeys(row.cell.benchmark for row in self.rows)
        found = [text for text in here if is_place(text, place)]
        known = [] if found or self.counted else catalogue()["stand_ins"].get(place.benchmark, [])
        for stand_in in known:
            other = parse_place(stand_in)
            assert other is not None
            found = found or [text for text in here if is_place(text, other)]
        return found

    def _of_benchmark(self, texts: Sequence[str]) -> bool:
        """Return whether the axis is a setting of the benchmark."""
        own = any(f"method.{self.axis}" in row.cell.settings for row in self.rows)
        return bool(self.axis) and not own and any(hasattr(recipe_here(text), self.axis) for text in texts)

    # Rows and samples

    def rows_of(self, item: Item, place: _Where) -> list[CellRow]:
        """Return the rows to which an item refers."""
        texts = self.texts(item.place) if item.place else place.texts
        here = [row for row in self.rows if row.cell.benchmark in texts]
        here = [row for row in here if self.claim.admits(_number_or_none(setting(row, "method.density")))]
        return rows_meant(item, here, self.named, self.reading, self.axis)

    def sample(
        self,
        item: Item,
        rows: Iterable[CellRow],
        fields: Sequence[str],
        place: _Where,
        read: Callable[[CellRow, Any, Sequence[int]], float | None] | None = None,
    ) -> Sample:
        """Return the value of each pair, as the mean over everything that is not paired.

        Args:
            item: The item of the claim.
            rows: Its rows.
            fields: The settings that are paired.
            place: The benchmarks.
            read: How to read a value from a row, a final run and tasks; by default the claim's metric.
        """
        values: dict[tuple[int, tuple[Any, ...]], list[float]] = {}
        for row in rows:
            part = item.place.part if item.place else place.part
            tasks = item.tasks or (tasks_of(row.cell.benchmark, part) if part else ())
            if part and not tasks:
                continue
            where = (row.cell.benchmark,) if len(place.texts) > 1 and self.claim.averaged else ()
            key = (*where, *(setting(row, field) for field in fields))
            for final in row.finals[:1] if self.metric.name == "ps" else row.finals:
                unit = row.cell.order if self.orders else final.seed
                value = read(row, final, tasks) if read else number(row, final, self.metric, tasks)
                if value is not None:
                    base = self.reading.base(row, unit, self.rows, self.orders)
                    values.setdefault((unit, key), []).append(value - base)
        sample = {key: sum(found) / len(found) for key, found in values.items()}
        return {} if any(math.isnan(value) for value in sample.values()) else sample

    # Comparisons

    def compared(self, left: Side, right: Side | None, place: _Where) -> list[ClaimFinding]:
        """Compare left with right on one benchmark, at each value of a field where the claim asks for it."""
        sides = self.alternatives(left, place), self.alternatives(right, place)
        for side, rows in zip((left, right), sides, strict=True):
            if isinstance(side, Item | Best) and not rows:
                lacking = f"{side}" + (f" on {place}" if place.texts else "")
                return [ClaimFinding(NOT_RUN, str(place), reason=f"needs {lacking}")]
        each = self.claim.each
        if not each:
            return [self.judged(*sides, right, place)]
        field = f"method.{catalogue()['axes'][each]}"
        values = [{setting(row, field) for _, rows in side for row in rows} for side in sides]
        shared = sorted(values[0] & values[1])
        if not shared:
            return [
                ClaimFinding(NOT_RUN, str(place), reason=f"needs a {each} that both sides have on {place}")
            ]

        def only(side: Sequence[Run], value: Any) -> list[Run]:
            return [(item, [row for row in rows if setting(row, field) == value]) for item, rows in side]

        found = [(v, self.judged(only(sides[0], v), only(sides[1], v), right, place)) for v in shared]
        return [replace(finding, where=f"{finding.where}, {each} = {v}") for v, finding in found]

    def alternatives(self, side: Side | None, place: _Where) -> list[Run]:
        """Return the items of a side that were run, with their rows."""
        items = side.items if isinstance(side, Best) else (side,) if isinstance(side, Item) else ()
        pairs = [(item, self.rows_of(item, place)) for item in items]
        return [(item, rows) for item, rows in pairs if rows]

    def judged(
        self, lefts: Sequence[Run], rights: Sequence[Run], right: Side | None, place: _Where
    ) -> ClaimFinding:
        """Return the finding on the best alternatives of both sides."""
        fields = paired_fields([rows for _, rows in lefts], [rows for _, rows in rights])
        first, of_left = self.best(lefts, fields, place, None)
        second, of_right = self.best(rights, fields, place, of_left) if rights else ("", {})
        if not rights:
            constant = trunk_bytes(lefts[0][1][0]) if isinstance(right, Trunk) else right
            if isinstance(right, Trunk) and constant is None:
                return ClaimFinding(
                    NOT_RUN, str(place), reason=f"needs the data of {place} to build its network"
                )
            second = f"{right:g}" if isinstance(right, float) else str(right or "")
            of_right = dict.fromkeys(of_left, float(constant) if isinstance(constant, int | float) else 0.0)
        if isinstance(right, Best):
            second += f", the best of {len(rights)} run of {len(right.items)}"
        units = _by_unit([of_left, of_right])
        finding = ClaimFinding(NOT_RUN, str(place), place.subset, first, second, isinstance(right, Best))
        if not units.size:
            lacking = "" if of_left and of_right else f"{self.claim.metric} was not measured"
            return replace(finding, reason=f"{lacking or 'no seed in common'} on {place}")
        word, half_width = judge(self.claim, units[0], units[1])
        values = tuple(units.mean(1).tolist())
        return replace(
            finding,
            word=word,
            values=values[:1] if right is None else values,
            n=units.shape[1],
            difference=values[0] - values[1],
            half_width=half_width,
        )

    def best(
        self, side: Sequence[Run], fields: Sequence[str], place: _Where, other: Sample | None
    ) -> tuple[str, Sample]:
        """Return the alternative with the best mean over the pairs for which the other side has numbers."""
        samples = [(str(item), self.sample(item, rows, fields, place)) for item, rows in side]
        sign = -1 if self.claim.direction == "down" else 1

        def mean(sample: Sample) -> float:
            values = [v for key, v in sample.items() if other is None or key in other]
            return sign * sum(values) / len(values) if values else -math.inf

        return max(samples, key=lambda named: mean(named[1]))

    def trend(self, left: Side, place: _Where) -> list[ClaimFinding]:
        """Test a trend of a metric along an axis."""
        assert isinstance(left, Item) and self.claim.axis is not None
        levels = self.levels(left, place)
        name, axis = str(place), self.claim.axis.name
        if len(levels) < 2:
            what = "its variants" if axis == VARIANTS else f"values of {axis}"
            return [ClaimFinding(NOT_RUN, name, reason=f"needs two {what} of {left} on {place}")]
        units = _by_unit([sample for _, sample in levels])
        if not units.size:
            return [
                ClaimFinding(NOT_RUN, name, reason=f"{self.claim.metric} has no seed in common on {place}")
            ]
        word, difference, half_width = judge_trend(self.claim, units)
        finding = ClaimFinding(
            word,
            name,
            place.subset,
            left=str(left),
            right=axis,
            values=tuple(units.mean(1).tolist()),
            levels=tuple(label for label, _ in levels),
            difference=difference,
            half_width=half_width,
            n=units.shape[1],
        )
        return [finding]

    def levels(self, left: Item, place: _Where) -> list[tuple[str, Sample]]:
        """Return the sample of each level of the axis that has one."""
        assert self.claim.axis is not None
        if self.axis == VARIANTS:
            of = [(str(item), item, self.rows_of(item, place)) for item in self.claim.axis.variants]
            fields = paired_fields(*([rows] for _, _, rows in of))
            samples = [(label, self.sample(item, rows, fields, place)) for label, item, rows in of]
            return [(label, sample) for label, sample in samples if sample]
        rows = self.rows_of(left, place)
        fields = [field for field in paired_fields([rows]) if field != f"method.{self.axis}"]
        if self.axis in RUNNING:
            return self.running(left, rows, fields, place)
        found: dict[Any, list[CellRow]] = {}
        for row in rows:
            level = setting(row, f"method.{self.axis}")
            level = getattr(recipe_here(row.cell.benchmark), self.axis, ABSENT) if level is ABSENT else level
            if level is not ABSENT:
                found.setdefault(level, []).append(row)
        order = sorted(found)[-self.claim.largest :]  # A `largest` of 0 keeps all levels.
        samples = [(_short(level), self.sample(left, found[level], fields, place)) for level in order]
        return [(label, sample) for label, sample in samples if sample]

    def running(
        self, left: Item, rows: list[CellRow], fields: Sequence[str], place: _Where
    ) -> list[tuple[str, Sample]]:
        """Return a sample for each task, layer or step that all runs have."""
        all_levels = [along(final, self.metric, self.axis) for row in rows for final in row.finals]
        shared = [
            level for level in (all_levels[0] if all_levels else {}) if all(level in m for m in all_levels)
        ]
        samples = []
        for level in shared:

            def read(row: CellRow, final: Any, tasks: Sequence[int], level: Any = level) -> float | None:
                return along(final, self.metric, self.axis).get(level)

            samples.append((str(level), self.sample(left, rows, fields, place, read)))
        return samples


@dataclass(frozen=True)
class _Where:
    """Benchmarks of a study that are compared together, or a part of one benchmark.

    Attributes:
        texts: The benchmarks as the study writes them.
        part: The name of the part, or "".
        name: The printed name.
        subset: Why the numbers cannot be compared with published ones, or "".
    """

    texts: tuple[str, ...] = ()
    part: str = ""
    name: str = ""
    subset: str = ""

    def __str__(self) -> str:
        return self.name


def _number_or_none(value: Any) -> float | None:
    return value if isinstance(value, float) else None


def _by_unit(samples: Sequence[Sample]) -> Values:
    """Return the values that all samples have, averaged over paired settings: [samples, units]."""
    shared = [key for key in samples[0] if all(key in sample for sample in samples)]
    units = sorted({unit for unit, _ in shared})
    table = [
        [np.mean([sample[key] for key in shared if key[0] == unit]) for unit in units] for sample in samples
    ]
    return np.array(table, dtype=np.float64)


def _short(level: Any) -> str:
    return f"{level:g}" if isinstance(level, float) else str(level)

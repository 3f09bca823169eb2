"""What a store says of a claim: paired differences by seed, and a word.

Both sides are paired by seed (by order, where a study has several) and by every setting that varies and that
neither names, such as a density; what a side alone varies is averaged. A field that one side of a claim names
stands at its default on the other, and so does a switch, which is any field but a number, where it varies.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import torch

from raycl import benchmarks, names, userfiles
from raycl.errors import UserError
from raycl.reporting.claims import Claim, claims
from raycl.reporting.collect import Row, printed_name, subset_of
from raycl.reporting.grammar import (
    RUNNING,
    VARIANTS,
    Best,
    Item,
    Metric,
    Place,
    Side,
    Stored,
    Trunk,
    catalogue,
    parse_place,
)
from raycl.reporting.judging import (
    GRAVEST,
    HOLDS,
    NOT_RUN,
    REVERSED,
    Values,
    judge,
    judge_trend,
    satisfied,
)
from raycl.reporting.modelsize import account
from raycl.reporting.numbers import ABSENT, along, number, setting
from raycl.study import Grid, Study
from raycl.supermasks import storage

Run: TypeAlias = tuple[Item, list[Row]]
"""What a claim speaks of, and the rows that have it."""

Sample: TypeAlias = dict[tuple[int, tuple[Any, ...]], float]
"""By (seed or order, values of the settings that are paired)."""


@dataclass(frozen=True)
class Finding:
    """One comparison of a claim.

    Attributes:
        where: benchmarks as they are printed, "" of arithmetic.
        left, right: what was compared.
        chosen: whether the right side is the best of several.
        values: mean of either side, or along the axis of a trend.
        levels: the places on that axis.
        difference: mean paired difference left - right (of a trend: last - first); None where there is none.
        half_width: of its 95 % confidence interval; None where there is no difference, or a single pair.
        n: seeds, or orders, behind it; 0 of arithmetic.
        reason: why it was not run.
    """

    word: str
    where: str = ""
    subset: str = ""
    left: str = ""
    right: str = ""
    chosen: bool = False
    values: tuple[float, ...] = ()
    levels: tuple[str, ...] = ()
    difference: float | None = None
    half_width: float | None = None
    n: int = 0
    reason: str = ""


@dataclass(frozen=True)
class Verdict:
    """A claim and all its comparisons; `word` is that of the gravest one that was run."""

    claim: Claim
    findings: tuple[Finding, ...]
    orders: bool = False  # whether orders were paired, not seeds

    @property
    def word(self) -> str:
        return min((finding.word for finding in self.findings), key=GRAVEST.index)

    @property
    def arithmetic(self) -> bool:
        """Whether no run is asked."""
        return all(isinstance(side, Stored) for side in self.claim.left)


def verdicts(study: Study, rows: Sequence[Row]) -> list[Verdict]:
    """Of every claim of the study's paper; of a study without one, of every claim that its cells speak to."""
    cells = {row.cell.benchmark: row.cell for row in rows}
    subsets = {text: subset_of(cell) for text, cell in cells.items()}
    asked = [c for c in claims(study.paper) if study.paper or not isinstance(c.left[0], Stored)]
    found = [verdict(claim, rows, subsets) for claim in asked]
    return [v for v in found if study.paper or v.word != NOT_RUN]


def verdict(claim: Claim, rows: Sequence[Row], subsets: Mapping[str, str] | None = None) -> Verdict:
    """Hold a claim against the rows of a study.

    Args:
        subsets: by benchmark why its numbers must not stand beside published ones, or "".
    """
    if isinstance(claim.left[0], Stored):
        return Verdict(claim, tuple(_account(claim, *pair) for pair in claim.pairs))
    case = _Case(claim, rows, subsets or {})
    return Verdict(
        claim, tuple(case.findings()) or (Finding(NOT_RUN, reason="nothing to compare"),), case.orders
    )


COUNTED = ("params", "bytes_task", "bytes_total")
"""What a network's size decides: a formula for them is of the paper's network and benchmark, and no other."""


@dataclass(frozen=True)
class Reading:
    """What a metric of the catalogue is of a run.

    Attributes:
        metric: that runs have.
        less: id of the method from whose value on the same benchmark it is measured, or "".
        asked: by method, fields that its rows must have; None admits every method.
        window: "behind" a basis or of "basis" tasks, or "".
    """

    metric: Metric
    less: str = ""
    asked: Mapping[str, Mapping[str, Any]] | None = None
    window: str = ""

    def admits(self, row: Row) -> bool:
        """Whether a row's tasks stand behind a basis, or are its own."""
        first = getattr(_recipe(row.cell.benchmark), "first", 0)
        return not self.window or (first > 0) == (self.window == "behind")

    def base(self, row: Row, unit: int, rows: Iterable[Row], orders: bool) -> float:
        """What a gain is measured from; NaN where it was not run.

        Args:
            unit: a seed, or where there are `orders` one of them.
        """
        if not self.less:
            return 0.0
        like = [r for r in rows if names.name_of(r.cell.method) == self.less
                and r.cell.benchmark == row.cell.benchmark]  # fmt: skip
        found = [number(r, final, self.metric) for r in like for final in r.finals
                 if (r.cell.order if orders else final.seed) == unit]  # fmt: skip
        known = [value for value in found if value is not None]
        return sum(known) / len(known) if known else math.nan


def reading(metric: Metric) -> Reading:
    """As the catalogue says; most metrics are what runs have."""
    found = catalogue()["readings"].get(metric.name, {})
    own = replace(metric, name=found.get("metric", metric.name))
    return Reading(own, found.get("less", ""), found.get("rows"), found.get("window", ""))


def fields_named(items: Iterable[Item], read: Reading) -> set[str]:
    """Fields that some of the items name, or the reading does."""
    named = {name for item in items for name, _ in item.fields}
    return named | {name for fields in (read.asked or {}).values() for name in fields}


def rows_meant(item: Item, rows: Iterable[Row], named: set[str], read: Reading, axis: str = "") -> list[Row]:
    """Rows of the item's method that have its fields.

    A field that stands in `named` is at its default where the item does not ask for it, and so is a switch in
    which the rows differ. A row that fixes what another searches is a variant of that one. All this but for
    the field `axis`.
    """
    if read.asked is not None and item.method not in read.asked:
        return []
    found = [row for row in rows if names.name_of(row.cell.method) == item.method]
    asked = {**(read.asked or {}).get(item.method, {}), **dict(item.fields)}
    for name, value in asked.items():
        found = [row for row in found if _same(setting(row, f"method.{name}"), value)]
    for name in sorted(named - asked.keys() - {axis}):
        found = [row for row in found if _at_default(row, f"method.{name}")]
    for key in _varying(found, numbers=False) - {f"method.{name}" for name in (*asked, axis)}:
        found = [row for row in found if _at_default(row, key)] or found
    for key in sorted({key for row in found for key in row.cell.settings if key.startswith("method.")}):
        if key.removeprefix("method.") not in {*asked, axis}:
            found = [row for row in found if _searched(row, key)] or found
    return found


def _searched(row: Row, key: str) -> bool:
    """Whether a row's search varies a field."""
    search, setting = row.cell.search, row.cell.settings.get(key)
    if isinstance(search, Grid):
        return key in search.axes
    return search is not None and setting is not None and setting.domain is not None


def _resized(row: Row) -> bool:
    """Whether the network is another than its defaults make it, dropout aside."""
    net = {key: found for key, found in row.cell.settings.items() if key.startswith("net.")}
    return any(not key.startswith("net.drop") and s.domain is None and s.value != s.field.default
               for key, s in net.items())  # fmt: skip


class _Case:
    """One claim before the rows of a study."""

    def __init__(self, claim: Claim, rows: Sequence[Row], subsets: Mapping[str, str]) -> None:
        self.claim, self.subsets = claim, subsets
        self.orders = any(row.cell.orders > 1 for row in rows)
        self.reading = reading(claim.metric)
        self.metric = self.reading.metric
        self.counted = claim.kind == "formula" and self.metric.name in COUNTED
        self.rows = [
            row
            for row in rows
            if row.finals and self.reading.admits(row) and not (self.counted and _resized(row))
        ]
        self.axis = catalogue()["axes"].get(claim.axis.name, claim.axis.name) if claim.axis else ""
        self.named = fields_named(claim.items, self.reading)

    def findings(self) -> list[Finding]:
        """A finding for each pair of sides on each benchmark."""
        groups, missing = self.groups()
        found: list[Finding] = []
        for left, right in self.claim.pairs:
            for place in groups:
                found += self.trend(left, place) if self.claim.axis else self.compared(left, right, place)
        return found + [Finding(NOT_RUN, reason=f"needs {place}") for place in missing]

    # Where

    def groups(self) -> tuple[list[_Where], list[Place]]:
        """Benchmarks to compare on, each on its own or all in the mean, and those the study has not."""
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
        """Benchmarks together, under their printed names."""
        name = ", ".join(printed_name(text, self.subsets.get(text, "")) for text in texts)
        notes = dict.fromkeys(self.subsets[text] for text in texts if self.subsets.get(text))
        return _Where(tuple(texts), part, name + (f"[{part}]" if part else ""), "; ".join(notes))

    def texts(self, place: Place) -> list[str]:
        """Benchmarks of the study that the claim means, or else their stand-ins."""
        here = dict.fromkeys(row.cell.benchmark for row in self.rows)
        found = [text for text in here if _is(text, place)]
        known = [] if found or self.counted else catalogue()["stand_ins"].get(place.benchmark, [])
        for stand_in in known:
            other = parse_place(stand_in)
            assert other is not None
            found = found or [text for text in here if _is(text, other)]
        return found

    def _of_benchmark(self, texts: Sequence[str]) -> bool:
        """Whether the axis is a setting of the benchmark."""
        own = any(f"method.{self.axis}" in row.cell.settings for row in self.rows)
        return bool(self.axis) and not own and any(hasattr(_recipe(text), self.axis) for text in texts)

    # Rows and samples

    def rows_of(self, item: Item, place: _Where) -> list[Row]:
        """Rows that an item means."""
        texts = self.texts(item.place) if item.place else place.texts
        here = [row for row in self.rows if row.cell.benchmark in texts]
        here = [row for row in here if self.claim.admits(_number_or_none(setting(row, "method.density")))]
        return rows_meant(item, here, self.named, self.reading, self.axis)

    def sample(
        self, item: Item, rows: Iterable[Row], fields: Sequence[str], place: _Where,
        read: Callable[[Row, Any, Sequence[int]], float | None] | None = None,
    ) -> Sample:  # fmt: skip
        """Means over whatever is not paired."""
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

    def compared(self, left: Side, right: Side | None, place: _Where) -> list[Finding]:
        """Left against right on one benchmark, at each value of a field where the claim says so."""
        sides = self.alternatives(left, place), self.alternatives(right, place)
        for side, rows in zip((left, right), sides, strict=True):
            if isinstance(side, Item | Best) and not rows:
                lacking = f"{side}" + (f" on {place}" if place.texts else "")
                return [Finding(NOT_RUN, str(place), reason=f"needs {lacking}")]
        each = self.claim.each
        if not each:
            return [self.judged(*sides, right, place)]
        field = f"method.{catalogue()['axes'][each]}"
        values = [{setting(row, field) for _, rows in side for row in rows} for side in sides]
        shared = sorted(values[0] & values[1])
        if not shared:
            return [Finding(NOT_RUN, str(place), reason=f"needs a {each} that both sides have on {place}")]

        def only(side: Sequence[Run], value: Any) -> list[Run]:
            return [(item, [row for row in rows if setting(row, field) == value]) for item, rows in side]

        found = [(v, self.judged(only(sides[0], v), only(sides[1], v), right, place)) for v in shared]
        return [replace(finding, where=f"{finding.where}, {each} = {v}") for v, finding in found]

    def alternatives(self, side: Side | None, place: _Where) -> list[Run]:
        """A side's items that were run."""
        items = side.items if isinstance(side, Best) else (side,) if isinstance(side, Item) else ()
        pairs = [(item, self.rows_of(item, place)) for item in items]
        return [(item, rows) for item, rows in pairs if rows]

    def judged(
        self, lefts: Sequence[Run], rights: Sequence[Run], right: Side | None, place: _Where
    ) -> Finding:
        """The word on the best of each side's alternatives."""
        fields = _paired([rows for _, rows in lefts], [rows for _, rows in rights])
        first, of_left = self.best(lefts, fields, place, None)
        second, of_right = self.best(rights, fields, place, of_left) if rights else ("", {})
        if not rights:
            constant = _trunk_bytes(lefts[0][1][0]) if isinstance(right, Trunk) else right
            if isinstance(right, Trunk) and constant is None:
                return Finding(NOT_RUN, str(place), reason=f"needs the data of {place} to build its network")
            second = f"{right:g}" if isinstance(right, float) else str(right or "")
            of_right = dict.fromkeys(of_left, float(constant) if isinstance(constant, int | float) else 0.0)
        if isinstance(right, Best):
            second += f", the best of {len(rights)} run of {len(right.items)}"
        units = _by_unit([of_left, of_right])
        finding = Finding(NOT_RUN, str(place), place.subset, first, second, isinstance(right, Best))
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
        """The alternative with the best mean where the other side has numbers too."""
        samples = [(str(item), self.sample(item, rows, fields, place)) for item, rows in side]
        sign = -1 if self.claim.direction == "down" else 1

        def mean(sample: Sample) -> float:
            values = [v for key, v in sample.items() if other is None or key in other]
            return sign * sum(values) / len(values) if values else -math.inf

        return max(samples, key=lambda named: mean(named[1]))

    def trend(self, left: Side, place: _Where) -> list[Finding]:
        """A metric along an axis."""
        assert isinstance(left, Item) and self.claim.axis is not None
        levels = self.levels(left, place)
        name, axis = str(place), self.claim.axis.name
        if len(levels) < 2:
            what = "its variants" if axis == VARIANTS else f"values of {axis}"
            return [Finding(NOT_RUN, name, reason=f"needs two {what} of {left} on {place}")]
        units = _by_unit([sample for _, sample in levels])
        if not units.size:
            return [Finding(NOT_RUN, name, reason=f"{self.claim.metric} has no seed in common on {place}")]
        word, difference, half_width = judge_trend(self.claim, units)
        finding = Finding(
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
        """A sample at each place of the axis that has one."""
        assert self.claim.axis is not None
        if self.axis == VARIANTS:
            of = [(str(item), item, self.rows_of(item, place)) for item in self.claim.axis.variants]
            fields = _paired(*([rows] for _, _, rows in of))
            samples = [(label, self.sample(item, rows, fields, place)) for label, item, rows in of]
            return [(label, sample) for label, sample in samples if sample]
        rows = self.rows_of(left, place)
        fields = [field for field in _paired([rows]) if field != f"method.{self.axis}"]
        if self.axis in RUNNING:
            return self.running(left, rows, fields, place)
        found: dict[Any, list[Row]] = {}
        for row in rows:
            level = setting(row, f"method.{self.axis}")
            level = getattr(_recipe(row.cell.benchmark), self.axis, ABSENT) if level is ABSENT else level
            if level is not ABSENT:
                found.setdefault(level, []).append(row)
        order = sorted(found)[-self.claim.largest :]  # -0: all of them
        samples = [(_short(level), self.sample(left, found[level], fields, place)) for level in order]
        return [(label, sample) for label, sample in samples if sample]

    def running(
        self, left: Item, rows: list[Row], fields: Sequence[str], place: _Where
    ) -> list[tuple[str, Sample]]:
        """Over the tasks, layers or steps that all runs have."""
        all_levels = [along(final, self.metric, self.axis) for row in rows for final in row.finals]
        shared = [
            level for level in (all_levels[0] if all_levels else {}) if all(level in m for m in all_levels)
        ]
        samples = []
        for level in shared:

            def read(row: Row, final: Any, tasks: Sequence[int], level: Any = level) -> float | None:
                return along(final, self.metric, self.axis).get(level)

            samples.append((str(level), self.sample(left, rows, fields, place, read)))
        return samples


@dataclass(frozen=True)
class _Where:
    """Benchmarks of a study that are compared on together, or a part of one.

    Attributes:
        name: as it is printed.
        subset: why its numbers must not stand beside published ones, or "".
    """

    texts: tuple[str, ...] = ()
    part: str = ""
    name: str = ""
    subset: str = ""

    def __str__(self) -> str:
        return self.name


def _recipe(text: str) -> Any:
    return _recipe_of(text, userfiles.home())


@functools.lru_cache(maxsize=64)
def _recipe_of(text: str, home: Path | None) -> Any:
    """The recipe that a text means beside the files of `home`."""
    return names.recipe(text)


def _is(text: str, place: Place) -> bool:
    """Whether a benchmark of the study is the one that is asked for."""
    recipe = _recipe(text)
    same = names.name_of(type(recipe)) == place.benchmark
    return same and all(_same(getattr(recipe, name, ABSENT), value) for name, value in place.fields)


def tasks_of(text: str, part: str) -> tuple[int, ...]:
    """The task, counted from 1, that bears the name of a part."""
    try:
        tasks = benchmarks.load(text).tasks
    except UserError:
        return ()
    return tuple(task.index + 1 for task in tasks if task.name.casefold() == part.casefold())


def _same(value: Any, wanted: Any) -> bool:
    return bool(value == wanted) and isinstance(value, bool) == isinstance(wanted, bool)


def _at_default(row: Row, key: str) -> bool:
    """A row whose method has no such field is at its default."""
    value = setting(row, key)
    return value is ABSENT or _same(value, row.cell.settings[key].field.default)


def _number_or_none(value: Any) -> float | None:
    return value if isinstance(value, float) else None


def _varying(rows: Sequence[Row], numbers: bool) -> set[str]:
    """Fields of the method in which rows differ, but for searched ones: numbers, or everything else."""
    fields = {key: found.field for row in rows for key, found in row.cell.settings.items()
              if key.startswith("method.")}  # fmt: skip
    wanted = [key for key, field in fields.items() if (field.type in (int, float)) == numbers]
    searched = {key for row in rows for key in row.cell.space}
    return {
        key for key in wanted if key not in searched and len({repr(setting(row, key)) for row in rows}) > 1
    }


def _paired(*sides: Sequence[Sequence[Row]]) -> list[str]:
    """Fields by which to pair: every method has them, and rows of one of them differ in them."""
    methods = [rows for side in sides for rows in side if rows]
    varying = set().union(*(_varying(rows, numbers) for rows in methods for numbers in (True, False)))
    return sorted(
        key for key in varying if all(setting(row, key) is not ABSENT for rows in methods for row in rows)
    )


def _by_unit(samples: Sequence[Sample]) -> Values:
    """[samples, units]: what all samples have, averaged over paired settings."""
    shared = [key for key in samples[0] if all(key in sample for sample in samples)]
    units = sorted({unit for unit, _ in shared})
    table = [
        [np.mean([sample[key] for key in shared if key[0] == unit]) for unit in units] for sample in samples
    ]
    return np.array(table, dtype=np.float64)


def _trunk_bytes(row: Row) -> float | None:
    """The network without its heads, in float32; None where the data that shape it are not here."""
    cell = row.cell
    try:
        benchmark = benchmarks.load(cell.benchmark, cell.trial_seed, 0, cell.identity)
    except UserError:
        return None
    values = {key.partition(".")[2]: setting(row, key) for key in cell.settings if key.startswith("net.")}
    with torch.device("meta"):
        net = cell.network(benchmark.input_shape, benchmark.classes, cell.network.Config(**values))
    return 4.0 * sum(p.numel() for name, p in net.named_parameters() if not name.startswith("heads."))


def _account(claim: Claim, left: Side, right: Side | None) -> Finding:
    """A claim about storage: exact, and no seed is asked; in the unit of the claim."""
    values = [_stored(side, claim) if isinstance(side, Stored) else side for side in (left, right)]
    finding = Finding(NOT_RUN, left=str(left), right=f"{right:g}" if isinstance(right, float) else str(right))
    lacking = [
        str(side) for side, v in zip((left, right), values, strict=True) if not isinstance(v, int | float)
    ]
    if lacking:
        return replace(finding, reason=f"no account of {lacking[0]} here")
    pair = tuple(float(value) for value in values if isinstance(value, int | float))
    word = HOLDS if satisfied(claim, *pair) else REVERSED
    return replace(finding, word=word, values=pair, difference=pair[0] - pair[1])


def _stored(stored: Stored, claim: Claim) -> float | None:
    """A number of ImpressLearn's Table 2 or of so many coefficients, or one of KSM's models and masks.

    None where there is no such account.
    """
    name, *rest = stored.arguments
    row = next((row for row in storage.TABLE_2 if row.name == name), None)
    found = row.account() if row else None
    given = dict(part.partition("=")[::2] for part in rest)
    if name == "alpha" and given.keys() == {"K", "layers"}:
        found = storage.storage(1, int(given["K"]), int(given["layers"]), 1, density=storage.DENSITY)
    if found is None and not rest:
        counted = account(name, claim.metric.name)
    else:
        counted = getattr(found, "alphas" if claim.metric.name == "params" else claim.metric.name, None)
    return None if counted is None else counted / claim.scale


def _short(level: Any) -> str:
    return f"{level:g}" if isinstance(level, float) else str(level)

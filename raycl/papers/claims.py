"""The claims of the papers, as `data/claims.csv` writes them; `verdicts` compares them with a store.

Everything that names a method or a benchmark is in that file. One line is one claim. Whatever the verdict
depends on has a column of its own; `where`, `claim` and `note` are for human readers only. Semicolons
separate the items of a column, and all of them must satisfy the claim: every left side against every right
side on every benchmark.

kind, direction
    - `greater`: left > right + margin (up), left < right - margin (down)
    - `at_least`: left >= right - margin (up), left <= right + margin (down)
    - `zero`: |left| <= margin (equal), left >= -margin (up), left <= margin (down)
    - `trend`: along the axis that `right` names, left goes up or down, where single steps back of at most
      margin are allowed; or it stays flat: highest - lowest <= margin
    - `ratio`: left / right >= margin (up), left / right <= margin (down)
    - `formula`: |left - right| <= margin (equal)
left, right
    - a method: ``hat``; with a field, ``spg[chi=false]``; on a benchmark of its own, ``hat@cifar10_5``;
      the mean over some tasks, ``pmask#2+3``. Beside ``ksm@cifar100_super[first=5]``, methods without a
      benchmark of their own are read where `first` has its default value
    - ``best(ewc; hat)``: whichever of these methods has the best mean. `raycl.metrics.smaller_is_better`
      says whether that is the smallest or the largest; of other diagnostics, `direction` does. A left side
      that is claimed to be as good as the best must be so against each of them
    - a number; or ``trunk``, the bytes of the left side's network without heads in float32
    - ``storage(...)``: arithmetic that needs no run
    - for a trend, `right` is its axis: a field (``K`` is the size of a basis), ``t``, ``layer``, ``steps``,
      or ``variants(spg; spg_fi)``. A field that a study searches over a grid is read from the trials
metric
    ``acc``, ``blocked[t=T]``, ``blocked[layer=conv1,t=5]``, ``task_inference_acc[3]``
benchmark
    ``tiny_10``, ``cifar100_super[first=5]``, ``imagenet_to_sketch[CUBS]`` (a part), both in
    ``cifar100_super[first=1,fish]``, a set of the catalogue,
    ``mean(...)`` over several, ``*`` for none
margin
    a number in the unit of the metric; for a `ratio`, the factor
each
    ``K`` means that the claim must hold at every size of a basis that both sides have
largest
    ``2`` means that a trend is about the two largest values of its axis
density
    ``0.05`` or ``<0.25`` means that runs of other densities do not count
unit
    ``MiB`` is the unit of the numbers of a storage account; an empty column means bytes
"""

from __future__ import annotations

import csv
import functools
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from itertools import product

from raycl.catalogue import catalogue
from raycl.errors import UserError, nearest
from raycl.results.grammar import (
    RUNNING,
    VARIANTS,
    Axis,
    Best,
    Item,
    Metric,
    Place,
    Side,
    Stored,
    is_number,
    parse_axis,
    parse_metric,
    parse_places,
    parse_side,
    split,
)
from raycl.units import UNITS

COLUMNS = (
    "id",
    "paper",
    "where",
    "claim",
    "kind",
    "left",
    "right",
    "metric",
    "benchmark",
    "direction",
    "margin",
    "each",
    "largest",
    "density",
    "unit",
    "note",
)
DIRECTIONS = {
    "greater": ("up", "down"),
    "at_least": ("up", "down"),
    "zero": ("equal", "up", "down"),
    "trend": ("up", "down", "flat"),
    "ratio": ("up", "down"),
    "formula": ("equal",),
}
BYTES = ("bytes_task", "bytes_total")  # These metrics are in bytes.
SIZES = {"MiB": UNITS["MiB"]}  # These units may replace bytes in a claim.

_DENSITY = re.compile(r"(<?)(\d*\.?\d+)")


@dataclass(frozen=True)
class Density:
    """A condition on the density of the runs that a claim is about.

    Attributes:
        value: The density of these runs, such as ``0.05``.
        below: Whether all runs below `value` are meant, such as ``<0.25``.
    """

    value: float
    below: bool = False

    def __str__(self) -> str:
        return f"{'<' * self.below}{self.value:g}"

    def admits(self, density: float) -> bool:
        """Return whether a run of that density counts."""
        return density < self.value if self.below else density == self.value


@dataclass(frozen=True)
class Claim:
    """A line of `claims.csv`; every left and every right side on every place must satisfy it.

    Attributes:
        id: The identifier of the claim.
        paper: The paper that makes the claim.
        where: The table, figure or section of the paper.
        text: The claim in words.
        kind, direction: The inequality or trend; see the docstring of this module.
        left, right: The sides that are compared.
        axis: The axis of a trend, otherwise None.
        metric: The metric that is compared.
        places: The benchmarks, or () where the claim is bound to none.
        averaged: Whether the claim is about the mean over `places`.
        margin: The tolerance, or the factor of a ratio.
        each: The name of an axis at whose every value that both sides have the claim must hold, or "".
        largest: How many of the largest values of its axis a trend is about; 0 means all.
        density: The condition on the density of runs whose method has one.
        unit: The unit of its numbers of bytes, one of `SIZES`; "" means bytes.
        note: A remark for human readers, which has no effect.
    """

    id: str
    paper: str
    where: str
    text: str
    kind: str
    left: tuple[Side, ...]
    right: tuple[Side, ...]
    axis: Axis | None
    metric: Metric
    places: tuple[Place, ...]
    averaged: bool
    direction: str
    margin: float
    each: str
    largest: int
    density: Density | None
    unit: str
    note: str

    @property
    def scale(self) -> float:
        """The factor from the claim's unit to ours."""
        return SIZES[self.unit] if self.unit else 1.0

    def admits(self, density: float | None) -> bool:
        """Return whether a run of that density counts; None means that its method does not have a density."""
        return self.density is None or density is None or self.density.admits(density)

    @property
    def pairs(self) -> list[tuple[Side, Side | None]]:
        """The pairs to compare: every left side with every right side.

        As many numbers as a storage account has arguments are paired with these arguments in order.
        """
        first = self.left[0]
        if isinstance(first, Stored) and 1 < len(self.right) == len(first.arguments):
            accounts = [Stored((argument,)) for argument in first.arguments]
            return list(zip(accounts, self.right, strict=True))
        return list(product(self.left, self.right or (None,)))

    @property
    def items(self) -> Iterator[Item]:
        """All methods that the claim mentions."""
        for side in (*self.left, *self.right):
            yield from side.items if isinstance(side, Best) else (side,) if isinstance(side, Item) else ()
        yield from self.axis.variants if self.axis else ()


def claims(paper: str = "") -> tuple[Claim, ...]:
    """Return the claims of a paper, or of all papers if `paper` is empty."""
    return tuple(claim for claim in _shipped() if paper in ("", claim.paper))


def papers() -> tuple[str, ...]:
    """Return the names of the papers that have claims."""
    return tuple(dict.fromkeys(claim.paper for claim in _shipped()))


@functools.cache
def _shipped() -> tuple[Claim, ...]:
    return read_claims(
        resources.files("raycl.papers").joinpath("data").joinpath("claims.csv").read_text(encoding="utf-8"),
        "claims.csv",
    )


def read_claims(text: str, file: str) -> tuple[Claim, ...]:
    """Read the claims of a file.

    Args:
        text: The content of the file.
        file: The name of the file, for messages.

    Raises:
        UserError: If something cannot be read; the message names the file, the line and the problem.
    """
    reader = csv.DictReader(text.splitlines())
    if tuple(reader.fieldnames or ()) != COLUMNS:
        raise UserError(f"{file}:1: the columns must be {','.join(COLUMNS)}")
    found = []
    for row in reader:
        place = f"{file}:{reader.line_num}"
        if None in row or None in row.values():
            have = len(COLUMNS) + (len(row[None]) if None in row else -list(row.values()).count(None))
            raise UserError(
                f"{place}: a claim has {len(COLUMNS)} columns, this line {have}; "
                + ("quote a text that contains commas" if have > len(COLUMNS) else "add what is missing")
            )
        found.append(_claim({key: value.strip() for key, value in row.items()}, place))
    ids = [claim.id for claim in found]
    if twice := next((name for name in ids if ids.count(name) > 1), ""):
        raise UserError(f"{file}: claim {twice} occurs twice; give one of them another id")
    return tuple(found)


def _claim(row: Mapping[str, str], where: str) -> Claim:
    line = _Line(row, where)
    kind, trend = line.one_of("kind", DIRECTIONS), row["kind"] == "trend"
    if row["direction"] not in DIRECTIONS[kind]:
        raise line.fail("direction", f"does not go with {kind}; use {' or '.join(DIRECTIONS[kind])}")
    if not is_number(row["margin"]):
        raise line.fail("margin", "is not a number")
    metric = line.metric()
    axis = line.axis() if trend else None
    left = line.sides("left")
    right = () if trend or not row["right"] else line.sides("right")
    if not left or (kind == "zero") != (not right and not trend):
        column = "right" if left else "left"
        raise line.fail(column, f"does not go with {kind}: zero has only a left side, all others have both")
    averaged, places = line.places()
    return Claim(
        **{key: row[key] for key in ("id", "paper", "where", "kind", "direction", "note")},
        text=row["claim"],
        left=left,
        right=right,
        axis=axis,
        metric=metric,
        places=places,
        averaged=averaged,
        margin=float(row["margin"]),
        each=line.each((*left, *right), axis),
        largest=line.largest(axis),
        density=line.density(left),
        unit=line.unit(left, metric),
    )


@dataclass(frozen=True)
class _Line:
    """A line of a file of claims, by column; errors name the line and the column that cannot be read."""

    row: Mapping[str, str]
    where: str

    def fail(self, column: str, wanted: str) -> UserError:
        return UserError(f"{self.where}: {column} = {self.row[column]!r} {wanted}")

    def one_of(self, column: str, known: Iterable[str]) -> str:
        text, names = self.row[column], list(known)
        if text not in names:
            raise self.fail(column, f"should be one of {', '.join(names)}{nearest(text, names)}")
        return text

    def sides(self, column: str) -> tuple[Side, ...]:
        parsed = [parse_side(part) for part in split(self.row[column])]
        if None in parsed:
            wanted = "items such as hat, spg[chi=false]@digits_split, best(ewc; hat) or 0.1"
            raise self.fail(column, f"does not read as {wanted}")
        return tuple(side for side in parsed if side is not None)

    def metric(self) -> Metric:
        found = parse_metric(self.row["metric"])
        if found is None:
            raise self.fail("metric", "does not read as acc or blocked[t=5]")
        return found

    def axis(self) -> Axis:
        found = parse_axis(self.row["right"])
        if found is None:
            wanted = "should be an axis of a trend such as K, t, layer, smax or variants(ewc; hat)"
            raise self.fail("right", wanted)
        return found

    def places(self) -> tuple[bool, tuple[Place, ...]]:
        """Return whether the mean over the benchmarks is meant, and the benchmarks."""
        found = parse_places(self.row["benchmark"])
        if found is None:
            raise self.fail(
                "benchmark", "does not read as digits_split;cifar100_super[first=5], mean(...) or *"
            )
        return found

    def each(self, sides: Sequence[Side], axis: Axis | None) -> str:
        if not self.row["each"]:
            return ""
        found = self.one_of("each", catalogue()["axes"])
        if axis or not all(isinstance(side, Item | Best) for side in sides) or not self.row["right"]:
            raise self.fail("each", "is allowed only where both sides are methods")
        return found

    def largest(self, axis: Axis | None) -> int:
        text = self.row["largest"]
        if not text:
            return 0
        if not re.fullmatch(r"[0-9]{1,9}", text) or int(text) < 2:
            raise self.fail("largest", "should be an integer of at least 2")
        if axis is None or axis.name in (*RUNNING, VARIANTS):
            raise self.fail("largest", "is allowed only for a trend over a setting")
        return int(text)

    def density(self, left: Sequence[Side]) -> Density | None:
        text = self.row["density"]
        if not text:
            return None
        found = _DENSITY.fullmatch(text)
        if not found or not 0 < float(found[2]) <= 1:
            raise self.fail("density", "should be a density such as 0.05 or a bound such as <0.25")
        if any(isinstance(side, Stored) for side in left):
            raise self.fail("density", "is allowed only for runs; a storage account does not have any")
        return Density(float(found[2]), bool(found[1]))

    def unit(self, left: Sequence[Side], metric: Metric) -> str:
        if not self.row["unit"]:
            return ""
        found = self.one_of("unit", SIZES)
        if metric.name not in BYTES or not all(isinstance(side, Stored) for side in left):
            raise self.fail("unit", "is allowed only for a storage account in bytes")
        return found

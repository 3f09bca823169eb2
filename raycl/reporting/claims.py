"""What papers claim, as `data/claims.csv` writes it; `verdicts` holds it against a store.

Grammar: catalogue, section i. All that names a method or a benchmark stands in the data.
"""

from __future__ import annotations

import csv
import functools
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib import resources
from itertools import product
from typing import Any, TypeAlias

from raycl.errors import UserError, nearest

DATA = resources.files("raycl.reporting").joinpath("data")

COLUMNS = ("id", "paper", "where", "claim", "kind", "left", "right", "metric", "benchmark", "direction",
           "margin", "note")  # fmt: skip
DIRECTIONS = {"greater": ("up", "down"), "at_least": ("up", "down"), "zero": ("equal", "up", "down"),
              "trend": ("up", "down", "flat"), "ratio": ("up", "down"), "formula": ("equal",)}  # fmt: skip
RUNNING = ("t", "layer", "steps")  # axes along a metric of one run
VARIANTS = "variants"

_NAME = r"[A-Za-z][\w.-]*"
_ITEM = re.compile(rf"({_NAME})(?:\[([^\]]*)\])?(?:@(.+?))?(?:#(\d+(?:\+\d+)*))?")
_PLACE = re.compile(rf"({_NAME})(?:\[([^\]]*)\])?")
_METRIC = re.compile(r"(\w+)(?:\[([^\]]*)\])?")
_CALL = re.compile(r"(\w+)\((.*)\)")
_NUMBER = re.compile(r"-?\d*\.?\d+(?:[eE]-?\d+)?")


@dataclass(frozen=True)
class Metric:
    """``blocked[layer=conv1,t=T]``: `name`, and what is picked of it; a bare entry has the key ""."""

    name: str
    picks: tuple[tuple[str, str], ...] = ()

    def __str__(self) -> str:
        picks = ",".join(f"{key}={value}" if key else value for key, value in self.picks)
        return f"{self.name}[{picks}]" if picks else self.name

    def pick(self, key: str) -> str | None:
        return dict(self.picks).get(key)


@dataclass(frozen=True)
class Place:
    """A benchmark with settings that are asked for, or one part of it."""

    benchmark: str
    fields: tuple[tuple[str, Any], ...] = ()
    part: str = ""

    def __str__(self) -> str:
        return _written(self.benchmark, self.fields, self.part)


@dataclass(frozen=True)
class Item:
    """A method with fields that are asked for, on the row's benchmark or one of its own.

    Attributes:
        tasks: counted from 1; only these count.
    """

    method: str
    fields: tuple[tuple[str, Any], ...] = ()
    place: Place | None = None
    tasks: tuple[int, ...] = ()

    def __str__(self) -> str:
        at = f"@{self.place}" if self.place else ""
        tasks = "#" + "+".join(map(str, self.tasks)) if self.tasks else ""
        return _written(self.method, self.fields) + at + tasks


@dataclass(frozen=True)
class Best:
    """Whichever of them has the best mean."""

    items: tuple[Item, ...]

    def __str__(self) -> str:
        return f"best({'; '.join(map(str, self.items))})"


@dataclass(frozen=True)
class Stored:
    """``storage(...)``: no run, but arithmetic."""

    arguments: tuple[str, ...]

    def __str__(self) -> str:
        return f"storage({'; '.join(self.arguments)})"


@dataclass(frozen=True)
class Trunk:
    """The left side's network without heads, in float32: bytes."""

    def __str__(self) -> str:
        return "trunk"


Side: TypeAlias = Item | Best | Stored | Trunk | float


@dataclass(frozen=True)
class Axis:
    """Along what a trend goes: a field (`K` is one), one of `RUNNING`, or variants one after another."""

    name: str
    variants: tuple[Item, ...] = ()


@dataclass(frozen=True)
class Claim:
    """A line of `claims.csv`; all of `places`, of left and of right must satisfy it.

    Attributes:
        where: table, figure or section of the paper.
        text: the claim in words.
        axis: of a trend alone.
        places: () where it is bound to no benchmark.
        averaged: the mean over `places` must.
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
    note: str

    @property
    def each_k(self) -> bool:
        """Whether it must hold at every basis size that both sides have."""
        return "every shared K" in self.note

    @property
    def scale(self) -> float:
        """What one of its numbers is worth in ours: a note may say that bytes are counted in MiB."""
        return 2.0**20 if self.metric.name.startswith("bytes") and "MiB" in self.note else 1.0

    @property
    def largest(self) -> bool:
        """Whether a trend is about the two largest values of its axis alone."""
        return "two largest" in self.note

    def admits(self, density: float | None) -> bool:
        """Whether a run of that density counts: a note may say ``density .05`` or ``density below .25``."""
        found = re.search(r"\bdensity (below )?(\.\d+)", self.note)
        if not found or density is None:
            return True
        return density < float(found[2]) if found[1] else density == float(found[2])

    @property
    def pairs(self) -> list[tuple[Side, Side | None]]:
        """Every left against every right; numbers against the arguments of a storage account in order."""
        first = self.left[0]
        if isinstance(first, Stored) and 1 < len(self.right) == len(first.arguments):
            accounts = [Stored((argument,)) for argument in first.arguments]
            return list(zip(accounts, self.right, strict=True))
        return list(product(self.left, self.right or (None,)))

    @property
    def items(self) -> Iterator[Item]:
        """All methods that it speaks of."""
        for side in (*self.left, *self.right):
            yield from side.items if isinstance(side, Best) else (side,) if isinstance(side, Item) else ()
        yield from self.axis.variants if self.axis else ()


def claims(paper: str = "") -> tuple[Claim, ...]:
    """The claims of a paper, or of all."""
    return tuple(claim for claim in _shipped() if paper in ("", claim.paper))


def papers() -> tuple[str, ...]:
    """Papers with claims."""
    return tuple(dict.fromkeys(claim.paper for claim in _shipped()))


@functools.cache
def catalogue() -> Mapping[str, Any]:
    """Sets of benchmarks, names of axes, derived metrics, stand-ins."""
    found: dict[str, Any] = json.loads(DATA.joinpath("catalogue.json").read_text(encoding="utf-8"))
    return found


@functools.cache
def _shipped() -> tuple[Claim, ...]:
    return read_claims(DATA.joinpath("claims.csv").read_text(encoding="utf-8"), "claims.csv")


def read_claims(text: str, file: str) -> tuple[Claim, ...]:
    """The claims of a file.

    Raises:
        UserError: names file, line and what cannot be read.
    """
    reader = csv.DictReader(text.splitlines())
    if tuple(reader.fieldnames or ()) != COLUMNS:
        raise UserError(f"{file}:1: the columns must be {','.join(COLUMNS)}")
    found = []
    for row in reader:
        place = f"{file}:{reader.line_num}"
        if None in row or None in row.values():
            raise UserError(f"{place}: a claim has {len(COLUMNS)} columns; put commas within one in quotes")
        found.append(_claim({key: value.strip() for key, value in row.items()}, place))
    ids = [claim.id for claim in found]
    if twice := next((name for name in ids if ids.count(name) > 1), ""):
        raise UserError(f"{file}: claim {twice} stands there twice; give one of them another id")
    return tuple(found)


def _claim(row: Mapping[str, str], where: str) -> Claim:
    def fail(column: str, wanted: str) -> UserError:
        return UserError(f"{where}: {column} = {row[column]!r} {wanted}")

    def sides(column: str) -> tuple[Side, ...]:
        parsed = [_side(part) for part in split(row[column])]
        if None in parsed:
            wanted = "items such as hat, spg[chi=false]@digits_split, best(ewc; hat) or 0.1"
            raise fail(column, f"does not read as {wanted}")
        return tuple(side for side in parsed if side is not None)

    kind, trend = row["kind"], row["kind"] == "trend"
    if kind not in DIRECTIONS:
        raise fail("kind", f"is none of {', '.join(DIRECTIONS)}{nearest(kind, DIRECTIONS)}")
    if row["direction"] not in DIRECTIONS[kind]:
        raise fail("direction", f"does not go with {kind}; take {' or '.join(DIRECTIONS[kind])}")
    if not _NUMBER.fullmatch(row["margin"]):
        raise fail("margin", "is not a number")
    metric = parse_metric(row["metric"])
    if metric is None:
        raise fail("metric", "does not read as acc or blocked[t=5]")
    axis = _axis(row["right"]) if trend else None
    if trend and axis is None:
        raise fail("right", "is no axis of a trend such as K, t, layer, smax or variants(ewc; hat)")
    left = sides("left")
    right = () if trend or not row["right"] else sides("right")
    if not left or (kind == "zero") != (not right and not trend):
        column = "right" if left else "left"
        raise fail(column, f"does not go with {kind}: zero has no right side, all others have two")
    averaged = (call := _CALL.fullmatch(row["benchmark"])) is not None and call[1] == "mean"
    spelled = expanded(call[2] if call and averaged else row["benchmark"])
    places = [parse_place(part) for part in split(spelled) if part != "*"]
    if not spelled or None in places:
        raise fail("benchmark", "does not read as digits_split;cifar100_super[first=5], mean(...) or *")
    return Claim(
        **{key: row[key] for key in ("id", "paper", "where", "kind", "direction", "note")},
        text=row["claim"],
        left=left,
        right=right,
        axis=axis,
        metric=metric,
        places=tuple(place for place in places if place is not None),
        averaged=averaged,
        margin=float(row["margin"]),
    )


def split(text: str) -> list[str]:
    """At semicolons outside of all brackets."""
    parts, depth = [""], 0
    for letter in text:
        depth += (letter in "([") - (letter in ")]")
        if letter == ";" and depth == 0:
            parts.append("")
        else:
            parts[-1] += letter
    return [part.strip() for part in parts if part.strip()]


def expanded(text: str) -> str:
    """Names of sets replaced by what they stand for."""
    sets = catalogue()["sets"]
    parts = [expanded(sets[part]) if part in sets else part for part in split(text)]
    return ";".join(parts)


def parse_metric(text: str) -> Metric | None:
    found = _METRIC.fullmatch(text)
    picks = [part.strip() for part in re.split("[,;]", found[2] or "") if part.strip()] if found else []
    pairs = [part.partition("=") if "=" in part else ("", "", part) for part in picks]
    return Metric(found[1], tuple((key, value) for key, _, value in pairs)) if found else None


def parse_place(text: str) -> Place | None:
    found = _PLACE.fullmatch(text)
    if not found:
        return None
    if found[2] and "=" not in found[2]:
        return Place(found[1], part=found[2])
    fields = _fields(found[2])
    return None if fields is None else Place(found[1], fields)


def parse_item(text: str) -> Item | None:
    found = _ITEM.fullmatch(text)
    if not found:
        return None
    fields, place = _fields(found[2]), parse_place(found[3]) if found[3] else None
    if fields is None or (found[3] and place is None):
        return None
    return Item(found[1], fields, place, tuple(map(int, (found[4] or "").split("+"))) if found[4] else ())


def _items(text: str) -> tuple[Item, ...] | None:
    items = [parse_item(part) for part in split(text)]
    return tuple(item for item in items if item) if items and all(items) else None


def _side(text: str) -> Side | None:
    if _NUMBER.fullmatch(text):
        return float(text)
    if text == str(Trunk()):
        return Trunk()
    call = _CALL.fullmatch(text)
    if call is None:
        return parse_item(text)
    if call[1] == "storage" and split(call[2]):
        return Stored(tuple(split(call[2])))
    items = _items(call[2]) if call[1] == "best" else None
    return Best(items) if items else None


def _axis(text: str) -> Axis | None:
    call = _CALL.fullmatch(text)
    if call is None:
        return Axis(text) if re.fullmatch(r"\w+", text) else None
    items = _items(call[2]) if call[1] == VARIANTS else None
    return Axis(VARIANTS, items) if items and len(items) > 1 else None


def _fields(text: str | None) -> tuple[tuple[str, Any], ...] | None:
    pairs = [part.partition("=") for part in (text or "").split(",") if part.strip()]
    if not all(re.fullmatch(r"\w+", name.strip()) and value.strip() for name, _, value in pairs):
        return None
    return tuple((name.strip(), _literal(value.strip())) for name, _, value in pairs)


def _literal(text: str) -> Any:
    """true, false, null and numbers as JSON has them; all else is a text."""
    try:
        return json.loads(text)
    except ValueError:
        return text


def _written(name: str, fields: tuple[tuple[str, Any], ...], part: str = "") -> str:
    texts = [f"{key}={value if isinstance(value, str) else json.dumps(value)}" for key, value in fields]
    inner = part or ",".join(texts)
    return f"{name}[{inner}]" if inner else name

"""The grammar of the items in claims and in tables of papers: their classes and their parsers.

``spg[chi=false]@cifar100_10#2+3`` is a method with a field, on a benchmark of which two tasks count;
``blocked[layer=conv1,t=T]`` is a metric of which a layer and a moment are picked. The docstring of
`raycl.papers.claims` describes the whole grammar.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any, TypeAlias

from raycl.catalogue import catalogue

RUNNING = ("t", "layer", "steps")  # Axes along which a single run measures a metric.
VARIANTS = "variants"

_NAME = r"[A-Za-z][\w.-]*"
_ITEM = re.compile(rf"({_NAME})(?:\[([^\]]*)\])?(?:@(.+?))?(?:#(\d+(?:\+\d+)*))?")
_PLACE = re.compile(rf"({_NAME})(?:\[([^\]]*)\])?")
_METRIC = re.compile(r"(\w+)(?:\[([^\]]*)\])?")
_CALL = re.compile(r"(\w+)\((.*)\)")
_NUMBER = re.compile(r"-?\d*\.?\d+(?:[eE]-?\d+)?")


@dataclass(frozen=True)
class Metric:
    """A metric such as ``blocked[layer=conv1,t=T]``.

    Attributes:
        name: The name of the metric.
        picks: Pairs of a key and a value that pick a part of the metric; an entry without a key has the
            key "".
    """

    name: str
    picks: tuple[tuple[str, str], ...] = ()

    def __str__(self) -> str:
        picks = ",".join(f"{key}={value}" if key else value for key, value in self.picks)
        return f"{self.name}[{picks}]" if picks else self.name

    def pick(self, key: str) -> str | None:
        """Return the value of a pick, or None if there is none."""
        return dict(self.picks).get(key)


@dataclass(frozen=True)
class Place:
    """A benchmark with the settings that it must have, or one part of such a benchmark.

    Attributes:
        benchmark: The id of the benchmark.
        fields: Pairs of a setting and its value.
        part: The name of a part, or "".
    """

    benchmark: str
    fields: tuple[tuple[str, Any], ...] = ()
    part: str = ""

    def __str__(self) -> str:
        return _written(self.benchmark, self.fields, self.part)


@dataclass(frozen=True)
class Item:
    """A method with the fields that it must have, on the row's benchmark or on one of its own.

    Attributes:
        method: The id of the method.
        fields: Pairs of a field and its value.
        place: A benchmark of the item's own, or None.
        tasks: The tasks that count, counted from 1, or () for all of them.
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
    """The item with the best mean among several."""

    items: tuple[Item, ...]

    def __str__(self) -> str:
        return f"best({'; '.join(map(str, self.items))})"


@dataclass(frozen=True)
class Stored:
    """A side ``storage(...)`` of a claim, which is arithmetic and needs no run."""

    arguments: tuple[str, ...]

    def __str__(self) -> str:
        return f"storage({'; '.join(self.arguments)})"


@dataclass(frozen=True)
class Trunk:
    """The bytes of the left side's network without heads, in float32."""

    def __str__(self) -> str:
        return "trunk"


Side: TypeAlias = Item | Best | Stored | Trunk | float


@dataclass(frozen=True)
class Axis:
    """The axis of a trend: a field such as ``K``, one of `RUNNING`, or several variants in order."""

    name: str
    variants: tuple[Item, ...] = ()


def split(text: str) -> list[str]:
    """Split a string at semicolons outside of all brackets."""
    parts, depth = [""], 0
    for letter in text:
        depth += (letter in "([") - (letter in ")]")
        if letter == ";" and depth == 0:
            parts.append("")
        else:
            parts[-1] += letter
    return [part.strip() for part in parts if part.strip()]


def expanded(text: str) -> str:
    """Replace the names of sets by their members."""
    sets = catalogue()["sets"]
    parts = [expanded(sets[part]) if part in sets else part for part in split(text)]
    return ";".join(parts)


def parse_metric(text: str) -> Metric | None:
    """Parse a metric; return None if it cannot be read."""
    found = _METRIC.fullmatch(text)
    picks = [part.strip() for part in re.split("[,;]", found[2] or "") if part.strip()] if found else []
    pairs = [part.partition("=") if "=" in part else ("", "", part) for part in picks]
    return Metric(found[1], tuple((key, value) for key, _, value in pairs)) if found else None


def parse_place(text: str) -> Place | None:
    """Parse a benchmark; return None if it cannot be read."""
    found = _PLACE.fullmatch(text)
    if not found:
        return None
    inner = (found[2] or "").split(",")
    parts = [entry.strip() for entry in inner if entry.strip() and "=" not in entry]
    fields = _fields(",".join(entry for entry in inner if "=" in entry))
    if fields is None or len(parts) > 1:
        return None
    return Place(found[1], fields, parts[0] if parts else "")


def parse_places(text: str) -> tuple[bool, tuple[Place, ...]] | None:
    """Parse benchmarks; return whether their mean is meant, and the benchmarks, which are () for ``*``.

    The result is None if they cannot be read.
    """
    call = _CALL.fullmatch(text)
    averaged = call is not None and call[1] == "mean"
    spelled = expanded(call[2] if call and averaged else text)
    found = [parse_place(part) for part in split(spelled) if part != "*"]
    if not spelled or None in found:
        return None
    return averaged, tuple(place for place in found if place is not None)


def parse_item(text: str) -> Item | None:
    """Parse a method; return None if it cannot be read."""
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


def is_number(text: str) -> bool:
    """Return whether a string is a number."""
    return _NUMBER.fullmatch(text) is not None


def parse_side(text: str) -> Side | None:
    """Parse a side of a claim; return None if it cannot be read."""
    if is_number(text):
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


def parse_axis(text: str) -> Axis | None:
    """Parse the axis of a trend; return None if it cannot be read."""
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
    """Parse true, false, null and numbers as JSON; everything else is a string."""
    try:
        return json.loads(text)
    except ValueError:
        return text


def _written(name: str, fields: tuple[tuple[str, Any], ...], part: str = "") -> str:
    texts = [f"{key}={value if isinstance(value, str) else json.dumps(value)}" for key, value in fields]
    inner = ",".join([*texts, part] if part else texts)
    return f"{name}[{inner}]" if inner else name

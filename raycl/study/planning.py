"""What is looked at before anything runs: labels, and whether a search can propose what a Config refuses."""

from __future__ import annotations

import functools
import itertools
import math
import random
import unicodedata
from collections.abc import Iterable, Mapping
from typing import Any

from raycl.domains import shown
from raycl.errors import UserError
from raycl.method import Method
from raycl.space import made
from raycl.study.cells import Cell, Setting
from raycl.study.limits import LABEL, RUNS
from raycl.study.notes import values_of, varied_of
from raycl.study.values import Grid
from raycl.training.fit import Fit

_ODD = ("Cc", "Cs", "Zl", "Zp")  # what moves a cursor, breaks a line or cannot be encoded
_TURNING = "\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"  # turns what follows around
COMBINATIONS = 64  # of ends and options that are tried together; of a grid, every point is

Values = tuple[tuple[str, Any], ...]
"""Fields of a Config by name, in a form that can be remembered."""


def check_labels(labels: Iterable[Any], place: str) -> None:
    """Labels can be read, typed and told apart.

    Raises:
        UserError: one is empty, too long, holds what no line of text holds, or looks like another.
    """
    seen: dict[str, str] = {}
    for label in labels:
        named = f"{place}: methods: the label {shown(label)}"
        if not label.strip():
            raise UserError(f"{named} is empty: give it a name")
        if len(label) > LABEL:
            raise UserError(f"{named} has {len(label)} characters, and at most {LABEL} are allowed")
        if odd := next((c for c in label if unicodedata.category(c) in _ODD or c in _TURNING), ""):
            raise UserError(f"{named} holds the control character {odd!a}: leave it out")
        if label != label.strip():
            raise UserError(f"{named} begins or ends with a space: leave it out")
        seen_as = unicodedata.normalize("NFKC", label).casefold()
        plain = " ".join("".join(c for c in seen_as if unicodedata.category(c) != "Cf").split())
        if plain in seen:
            raise UserError(f"{named} differs from {seen[plain]!r} in spaces, case or form alone: rename one")
        seen[plain] = label


def check_grid(grid: Grid, settings: Mapping[str, Setting], fixed: Iterable[str], place: str) -> None:
    """A grid varies what nothing else speaks of.

    Args:
        fixed: keys to which the label gives values.

    Raises:
        UserError: the label fixes an axis, or asks for a domain.
    """
    for key in fixed:
        if key in grid.axes:
            raise UserError(
                f"{place}: {key} has a value of its own and is an axis of the Grid, which would win: "
                "drop one of them"
            )
    for key, setting in settings.items():
        if setting.domain is not None and setting.explicit and key not in grid.axes:
            raise UserError(
                f"{place}: {key} = {setting.domain!r} is a domain, and a Grid draws from none; give it a "
                "value, or make it an axis of the Grid"
            )


def check_proposals(cell: Cell, place: str) -> None:
    """No trial of a cell's search can propose what a Config refuses.

    The Configs are made with each end and option of every domain, one by one and in combinations, or with
    every point of a grid.

    Raises:
        UserError: names the domain, the value, and what the Config says of it.
    """
    varied = varied_of(cell)
    if not varied:
        return
    kinds = {"method": cell.method.Config, "net": cell.network.Config, "fit": _fit_config()}
    for room, kind in kinds.items():
        mine = {k.partition(".")[2]: v for k, v in varied.items() if k.startswith(f"{room}.")}
        if not mine:
            continue
        values = values_of(cell, room)
        fixed = {k: value for k, value in values.items() if k not in mine}
        start = {k: values[k] for k in mine}
        most = COMBINATIONS if cell.space else RUNS
        complaint = _first_refusal(
            kind, tuple(fixed.items()), tuple(start.items()), tuple(mine.items()), most
        )
        if complaint:
            key, value, text = complaint
            named = f"{room}.{key}" if key else f"{room}: together"
            raise UserError(f"{place}: the search can propose {named} = {value}: {text}; change its domain")
    _check_needs_of_proposals(cell, varied, place)


def _fit_config() -> type:

    return Fit.Config


@functools.lru_cache(maxsize=1024)
def _first_refusal(
    kind: type, fixed: Values, start: Values, varied: tuple[tuple[str, tuple[Any, ...]], ...], most: int
) -> tuple[str, str, str] | None:
    """The field, the value and the complaint of the first Config that cannot be; cells share the answer."""
    base = dict(fixed) | dict(start)
    for key, values in varied:
        for value in values:
            if text := _refusal(kind, base | {key: value}):
                return key, shown(value), text
    names, options = [key for key, _ in varied], [values for _, values in varied]
    for point in _combinations(options, most) if len(names) > 1 else ():
        found = dict(zip(names, point, strict=True))
        if text := _refusal(kind, base | found):
            return "", shown(found), text
    return None


def _combinations(options: list[tuple[Any, ...]], most: int) -> Iterable[tuple[Any, ...]]:
    """All of them where they are at most so many, else so many draws, the same each time."""
    if math.prod(map(len, options)) <= most:
        return itertools.product(*options)
    draw = random.Random(0)
    return [tuple(draw.choice(values) for values in options) for _ in range(most)]


def _refusal(kind: type, values: Mapping[str, Any]) -> str:
    """What a Config says against its values, or ""."""
    try:
        made(kind, values, "")
    except UserError as error:
        return str(error).removeprefix(": ")
    return ""


def _check_needs_of_proposals(cell: Cell, varied: Mapping[str, tuple[Any, ...]], place: str) -> None:
    """Masks and runs that a proposal builds on can be had, where the method builds on any."""
    own = (cell.method.required_masks.__func__, cell.method.required_runs.__func__)  # type: ignore[attr-defined]
    if own == (Method.required_masks.__func__, Method.required_runs.__func__):  # type: ignore[attr-defined]
        return
    for key, values in varied.items():
        for value in values:
            try:
                cell.spec({key: value}, cell.trial_seed)
            except UserError as error:
                raise UserError(f"{place}: the search can propose {key} = {shown(value)}: {error}") from None

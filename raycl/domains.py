"""Search domains of settings: an interval of floats, a range of integers, or a choice of options.

A domain is refused at its construction if it is empty, or if a sampler could not draw from it as it is
written.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, TypeAlias

Value: TypeAlias = bool | int | float | str | tuple[Any, ...] | None

EXACT = 2**53  # Samplers compute with floats, which do not represent all integers beyond this.
SHOWN = 80  # Largest number of characters of a value in a message.


@dataclass(frozen=True, eq=False)
class Float:
    """A real number in [low, high], uniform, or log-uniform with `log`.

    ``Float(0, 1)`` and ``Float(0.0, 1.0)`` are not equal: the key of a search contains the repr of its
    domains, and `typing` caches ``Annotated[float, ...]`` for equal domains, so that the spelling in one file
    would replace that in another.

    Attributes:
        low: Lower end.
        high: Upper end.
        log: Whether to draw log-uniformly.

    Raises:
        ValueError: If an end is not a finite number, the ends are reversed, or `log` is used with `low` <= 0.
    """

    low: float
    high: float
    log: bool = False

    def __post_init__(self) -> None:
        _plain_ends(self)
        _check_interval(self)
        if not math.isfinite(float(self.high) - float(self.low)):
            raise ValueError(f"{self!r} is wider than any float: bring the ends closer together")

    def __contains__(self, value: object) -> bool:
        return is_number(value) and self.low <= value <= self.high  # type: ignore[operator]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Float) and repr(other) == repr(self)

    def __hash__(self) -> int:
        return hash(repr(self))

    def __str__(self) -> str:
        return f"{self.low:g}..{self.high:g}{' (log)' if self.log else ''}"


@dataclass(frozen=True)
class Int:
    """An integer in {low, ..., high}, uniform, or log-uniform with `log`.

    Attributes:
        low: Smallest value.
        high: Largest value.
        log: Whether to draw log-uniformly.

    Raises:
        ValueError: If an end is not an integer or is beyond 2**53, the ends are reversed, or `log` is used
            with `low` < 1.
    """

    low: int
    high: int
    log: bool = False

    def __post_init__(self) -> None:
        _plain_ends(self)
        for name, end in (("low", self.low), ("high", self.high)):
            if type(end) is not int:
                raise ValueError(f"{_call(self)}: {name} = {shown(end)} must be an integer")
            if abs(end) > EXACT:
                raise ValueError(f"Int: {name} = {shown(end)} is beyond 2**53, where sampling skips numbers")
        _check_interval(self)

    def __contains__(self, value: object) -> bool:
        return isinstance(value, int) and not isinstance(value, bool) and self.low <= value <= self.high

    def __str__(self) -> str:
        return f"{self.low}..{self.high}{' (log)' if self.log else ''}"


class Choice:
    """One of the given options, each with the same probability.

    Raises:
        ValueError: If there are no options, one is not a plain value, or one is given twice.
    """

    def __init__(self, *options: Value) -> None:
        if not options:
            raise ValueError("Choice() needs at least one option")
        self.options = tuple(_option(option) for option in options)
        if (twice := repeated(self.options)) is not None:
            raise ValueError(f"Choice: {shown(twice)} is given twice, and would be drawn twice as often")

    def __contains__(self, value: object) -> bool:
        return any(value == option and type(value) is type(option) for option in self.options)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Choice) and repr(other) == repr(self)  # 1, 1.0 and True differ

    def __hash__(self) -> int:
        return hash(repr(self))

    def __repr__(self) -> str:
        return f"Choice({', '.join(map(repr, self.options))})"

    def __str__(self) -> str:
        return "{" + ", ".join(map(str, self.options)) + "}"


Domain: TypeAlias = Float | Int | Choice


def ends(domain: Domain) -> tuple[Any, ...]:
    """Return both ends of an interval, or all options of a `Choice`."""
    if isinstance(domain, Choice):
        return domain.options
    kind = float if isinstance(domain, Float) else int
    return (kind(domain.low), kind(domain.high))


def plain(value: Any) -> Any:
    """Convert a NumPy or torch scalar or vector to a Python value or list; return others unchanged."""
    package, dimensions = type(value).__module__.partition(".")[0], getattr(value, "ndim", None)
    if package not in ("numpy", "torch") or dimensions not in (0, 1):
        return value
    return value.item() if dimensions == 0 else value.tolist()


def is_number(value: object) -> bool:
    """Return whether a value is an int or a float, but not a bool, and finite as a float."""
    if not isinstance(value, int | float) or isinstance(value, bool):
        return False
    try:
        return math.isfinite(value)
    except OverflowError:  # An int may be larger than any float.
        return False


def shown(value: object) -> str:
    """Return the repr of a value for a message, on one line and cut if it is long; this never raises."""
    try:
        text = repr(value)
    except Exception:  # Python limits the digits of a printed int, and a user's `__repr__` may fail.
        text = f"a value of type {type(value).__name__} that cannot be printed"
        if isinstance(value, int):
            text = f"an integer of {value.bit_length()} bits"
    text = " ".join(text.split())
    return text if len(text) <= SHOWN else text[: SHOWN - 3] + "..."


def repeated(values: Iterable[Any]) -> Any:
    """Return the first value that equals an earlier one of the same type, or None."""
    seen: set[Any] = set()
    for value in values:
        mark = (type(value), value)
        if mark in seen:
            return value
        seen.add(mark)
    return None


def _plain_ends(domain: Float | Int) -> None:
    for name in ("low", "high", "log"):
        object.__setattr__(domain, name, plain(getattr(domain, name)))


def _check_interval(domain: Float | Int) -> None:
    for name, end in (("low", domain.low), ("high", domain.high)):
        if not is_number(end):
            raise ValueError(f"{_call(domain)}: {name} = {shown(end)} must be a finite number")
    if type(domain.log) is not bool:
        raise ValueError(f"{_call(domain)}: log = {shown(domain.log)} must be True or False")
    if domain.low > domain.high:
        raise ValueError(f"{domain!r} is empty: low must not exceed high")
    if domain.log and domain.low <= 0:
        raise ValueError(f"{domain!r} has log=True and low <= 0: a log-uniform domain starts above zero")


def _call(domain: Float | Int) -> str:
    return f"{type(domain).__name__}({shown(domain.low)}, {shown(domain.high)})"


def _option(option: Any) -> Value:
    option = plain(option)
    if isinstance(option, list | tuple):
        return tuple(_option(part) for part in option)
    if option is None or type(option) in (bool, str) or is_number(option):
        return option  # type: ignore[no-any-return]
    hint = "; write Choice(*options)" if isinstance(option, range | set | frozenset | dict) else ""
    raise ValueError(
        f"Choice: {shown(option)} should be a finite number, string, True, False, None or tuple{hint}"
    )

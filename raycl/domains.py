"""What a search may vary a setting over: an interval, a range of integers, or one of some options.

A domain that nothing can be drawn from, or that a sampler would draw from in another way than it reads, is
refused where it is made.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, TypeAlias

Value: TypeAlias = bool | int | float | str | tuple[Any, ...] | None

EXACT = 2**53  # from here on floats skip integers, and samplers compute with floats
SHOWN = 80  # characters of a value in a message


@dataclass(frozen=True, eq=False)
class Float:
    """A real number in [low, high], uniform, or log-uniform with `log`.

    ``Float(0, 1)`` and ``Float(0.0, 1.0)`` are not equal: a search's key holds the text of its domains, and
    `typing` hands out one ``Annotated[float, ...]`` for equal ones, the first that any file has written.

    Raises:
        ValueError: an end is no finite number, the ends are reversed, or `log` meets an end below or at 0.
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
    """A whole number in {low, ..., high}, uniform, or log-uniform with `log`.

    Raises:
        ValueError: an end is no integer or beyond 2**53, they are reversed, or `log` meets one below 1.
    """

    low: int
    high: int
    log: bool = False

    def __post_init__(self) -> None:
        _plain_ends(self)
        for name, end in (("low", self.low), ("high", self.high)):
            if type(end) is not int:
                raise ValueError(f"{_call(self)}: {name} = {shown(end)} must be a whole number")
            if abs(end) > EXACT:
                raise ValueError(f"Int: {name} = {shown(end)} is beyond 2**53, where sampling skips numbers")
        _check_interval(self)

    def __contains__(self, value: object) -> bool:
        return isinstance(value, int) and not isinstance(value, bool) and self.low <= value <= self.high

    def __str__(self) -> str:
        return f"{self.low}..{self.high}{' (log)' if self.log else ''}"


class Choice:
    """One of the given options.

    Raises:
        ValueError: no option, one that is no plain value, or one given twice.
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
        return isinstance(other, Choice) and repr(other) == repr(self)  # 1, 1.0 and True are three options

    def __hash__(self) -> int:
        return hash(repr(self))

    def __repr__(self) -> str:
        return f"Choice({', '.join(map(repr, self.options))})"

    def __str__(self) -> str:
        return "{" + ", ".join(map(str, self.options)) + "}"


Domain: TypeAlias = Float | Int | Choice


def ends(domain: Domain) -> tuple[Any, ...]:
    """The values between or among which a domain draws: both ends, or all options."""
    if isinstance(domain, Choice):
        return domain.options
    kind = float if isinstance(domain, Float) else int
    return (kind(domain.low), kind(domain.high))


def plain(value: Any) -> Any:
    """A number or a text of NumPy's or torch's as Python's own, a vector as a list; else what was given."""
    package, dimensions = type(value).__module__.partition(".")[0], getattr(value, "ndim", None)
    if package not in ("numpy", "torch") or dimensions not in (0, 1):
        return value
    return value.item() if dimensions == 0 else value.tolist()


def is_number(value: object) -> bool:
    """Whether it is an int or a float that is finite as a float; True and False are none."""
    if not isinstance(value, int | float) or isinstance(value, bool):
        return False
    try:
        return math.isfinite(value)
    except OverflowError:  # an int beyond all floats
        return False


def shown(value: object) -> str:
    """A value for a message: its repr on one line, cut where it is long; never fails."""
    try:
        text = repr(value)
    except Exception:  # a number of more digits than Python prints, or a class whose repr fails
        text = f"a value of type {type(value).__name__} that cannot be printed"
        if isinstance(value, int):
            text = f"a whole number of {value.bit_length()} bits"
    text = " ".join(text.split())
    return text if len(text) <= SHOWN else text[: SHOWN - 3] + "..."


def repeated(values: Iterable[Any]) -> Any:
    """The first value that equals an earlier one of the same type; None if there is none."""
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
    raise ValueError(f"Choice: {shown(option)} is no finite number, text, True, False, None or tuple{hint}")

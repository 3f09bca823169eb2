"""A part of a process's state: how to read it, and how to put it back."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Part:
    """One thing that a run finds, and has to leave as it found it.

    Attributes:
        name: in words that stand before a value, such as "torch's default dtype".
        read: its value now.
        put: makes it that value again; None where nothing can.
        known: the value from which every run starts, where that is not the one found first.
        silent: whether the step from one value to another, once taken back, is worth no word: what decent
            libraries do when they are imported.
    """

    name: str
    read: Callable[[], Any]
    put: Callable[[Any], None] | None = None
    known: Any = None
    silent: Callable[[Any, Any], bool] = lambda wanted, now: False


@dataclass(frozen=True)
class Left:
    """Something that was not left as it was found.

    Attributes:
        what: in plain words.
        back: whether it has been put back.
        silent: whether it is worth no word, where it has been.
    """

    what: str
    back: bool = True
    silent: bool = False

    def __str__(self) -> str:
        return self.what


def readings(parts: Sequence[Part]) -> dict[str, Any]:
    """The value of every part, by name; of one that cannot be read, why."""
    return {part.name: _reading(part) for part in parts}


def put(parts: Sequence[Part], wanted: Mapping[str, Any]) -> list[Left]:
    """Make every part what it is wanted to be; what was not, and whether it is now."""
    found = [(part, now) for part in parts if not same(now := _reading(part), wanted[part.name])]
    if not found:
        return []
    for part, _ in found:
        _put(part, wanted[part.name])
    left = []
    for part, was in found:
        if not (back := same(_reading(part), wanted[part.name])):
            _put(part, wanted[part.name])  # one that goes back after another has
            back = same(_reading(part), wanted[part.name])
        left.append(Left(described(part.name, was), back, part.silent(wanted[part.name], was)))
    return left


def changed(parts: Sequence[Part], wanted: Mapping[str, Any]) -> bool:
    """Whether any part is not what it is wanted to be; nothing is put back."""
    return any(not same(_reading(part), wanted[part.name]) for part in parts)


def described(name: str, value: Any) -> str:
    """The name with the value, where that says something in a few characters."""
    if isinstance(value, bool):
        return f"{name} {'on' if value else 'off'}"
    if value is None or isinstance(value, list | tuple | dict | set | frozenset):
        return name
    text = value if isinstance(value, str) else repr(value)
    text = text.removeprefix("torch.")
    return f"{name} at {text}" if len(text) <= 40 and "<" not in text and "\n" not in text else name


def same(one: Any, other: Any) -> bool:
    """Whether two readings are one value; what refuses to be compared is not."""
    if one is other:
        return True
    try:
        return type(one) is type(other) and bool(one == other)
    except Exception:
        return False


def _reading(part: Part) -> Any:
    try:
        return part.read()
    except Exception as error:  # torch refuses to tell some settings after others were made
        return f"unreadable: {error}"


def _put(part: Part, value: Any) -> None:
    if part.put is None:
        return
    try:
        part.put(value)
    except Exception:  # it is read again afterwards, and told as what was not put back
        return

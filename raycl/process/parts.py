"""Parts of a process's state: how each is read and how it is restored."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Part:
    """One part of the state that a run must leave as it found it.

    Attributes:
        name: Description that can precede a value, such as "torch's default dtype".
        read: Returns the current value.
        put: Restores a value; None if that is impossible.
        known: The value from which every run starts; None means the value at the start of the process.
        silent: Returns whether a change from one value to another need not be reported once it is undone,
            because ordinary libraries make such changes when they are imported.
    """

    name: str
    read: Callable[[], Any]
    put: Callable[[Any], None] | None = None
    known: Any = None
    silent: Callable[[Any, Any], bool] = lambda wanted, now: False


@dataclass(frozen=True)
class Left:
    """Something that a run changed in the process.

    Attributes:
        what: Description of the change.
        back: Whether it was restored.
        silent: Whether it need not be reported if it was restored.
    """

    what: str
    back: bool = True
    silent: bool = False

    def __str__(self) -> str:
        return self.what


def readings(parts: Sequence[Part]) -> dict[str, Any]:
    """Return the value of every part by name; for an unreadable part, the reason as a string."""
    return {part.name: _reading(part) for part in parts}


def put(parts: Sequence[Part], wanted: Mapping[str, Any]) -> list[Left]:
    """Give every part its value in `wanted`, and return the parts that had another value."""
    found = [(part, now) for part in parts if not same(now := _reading(part), wanted[part.name])]
    if not found:
        return []
    for part, _ in found:
        _put(part, wanted[part.name])
    left = []
    for part, was in found:
        if not (back := same(_reading(part), wanted[part.name])):
            _put(part, wanted[part.name])  # Some parts can be restored only after others are.
            back = same(_reading(part), wanted[part.name])
        left.append(Left(described(part.name, was), back, part.silent(wanted[part.name], was)))
    return left


def changed(parts: Sequence[Part], wanted: Mapping[str, Any]) -> bool:
    """Return whether any part differs from its value in `wanted`, without restoring it."""
    return any(not same(_reading(part), wanted[part.name]) for part in parts)


def described(name: str, value: Any) -> str:
    """Return the name of a part with its value, if the value is short and readable."""
    if isinstance(value, bool):
        return f"{name} {'on' if value else 'off'}"
    if value is None or isinstance(value, list | tuple | dict | set | frozenset):
        return name
    text = value if isinstance(value, str) else repr(value)
    text = text.removeprefix("torch.")
    return f"{name} at {text}" if len(text) <= 40 and "<" not in text and "\n" not in text else name


def same(one: Any, other: Any) -> bool:
    """Return whether two readings are the same value; False if they cannot be compared."""
    if one is other:
        return True
    try:
        return type(one) is type(other) and bool(one == other)
    except Exception:
        return False


def _reading(part: Part) -> Any:
    try:
        return part.read()
    except Exception as error:  # Torch raises when some settings are read after others were changed.
        return f"unreadable: {error}"


def _put(part: Part, value: Any) -> None:
    if part.put is None:
        return
    try:
        part.put(value)
    except Exception:  # The caller reads the part again, and reports it as not restored.
        return

"""Names of raycl 0.1 that studies and methods may still use; each use is reported once.

These names will be removed in the next version.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import queue
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from raycl.errors import nearest

C = TypeVar("C", bound=type)

# This is a queue and not a list, because changes of raycl's lists by the import of a user's file are undone.
_seen: queue.SimpleQueue[str] = queue.SimpleQueue()


def note(old: str, new: str) -> None:
    """Record that an old name was used."""
    _seen.put(f"{old} is now named {new}; the old name will be removed in the next version of raycl")


def take_seen() -> list[str]:
    """Return one message for each old name that was used since the last call."""
    lines: dict[str, None] = {}
    with contextlib.suppress(queue.Empty):
        while True:
            lines[_seen.get_nowait()] = None
    return list(lines)


def accept_keywords(**new_names: str) -> Callable[[C], C]:
    """Let the constructor of a dataclass accept old keywords: ``accept_keywords(width="concurrency")``.

    Other unknown keywords raise a TypeError that suggests the nearest field.
    """

    def decorated(kind: C) -> C:
        real: Any = kind.__init__  # type: ignore[misc]

        @functools.wraps(real)
        def init(self: Any, *args: Any, **given: Any) -> None:
            for old in new_names.keys() & given.keys():
                note(f"{kind.__name__}({old}=...)", new_names[old])
                given.setdefault(new_names[old], given.pop(old))
            known = [field.name for field in dataclasses.fields(kind)]
            for name in given.keys() - {*known}:
                raise TypeError(f"{kind.__name__}() has no field {name!r}{nearest(name, known)}")
            real(self, *args, **given)

        kind.__init__ = init  # type: ignore[misc]
        return kind

    return decorated


def move_attributes(kind: type, new_names: Mapping[str, tuple[str, type]]) -> None:
    """Move the attributes that a class defines under old names to their new names.

    Args:
        kind: The class.
        new_names: For each old name, the new name and the type of the attribute. An attribute of another type
            is left alone, since a class may use a freed name for something else.
    """
    for old, (new, was) in new_names.items():
        if isinstance(vars(kind).get(old), was):
            note(f"{kind.__name__}.{old}", new)
            if new not in vars(kind):
                setattr(kind, new, vars(kind)[old])
            delattr(kind, old)

"""Detection of users' files that change values in other users' modules while they are imported.

A digest of source code cannot cover such a change, since the statement that makes it is not reached by name.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator, Mapping, Set
from types import ModuleType
from typing import Any

_ENDED: dict[str, dict[str, tuple[Any, str]]] = {}  # By module: its values when its own file had ended.
_CHANGED: dict[str, dict[str, str]] = {}  # By module: the names that other files changed, and how.
_OVERSEEN: list[bool] = []  # Holds one entry while `overseen` is active.
_PLAIN = (bool, int, float, complex, str, bytes, type(None), tuple)


def changed(module: str) -> Mapping[str, str]:
    """Return the names of a user's module whose values another file changed at its import, and how."""
    return _CHANGED.get(module, {})


@contextlib.contextmanager
def overseen(loaded: Set[str]) -> Iterator[None]:
    """Record which values of users' modules the files imported within this context change.

    Args:
        loaded: Names of the users' modules that were loaded before.
    """
    if _OVERSEEN:  # This import is within another one, which records the changes.
        yield
        return
    for name in loaded & sys.modules.keys():
        _ENDED[name] = _values(sys.modules[name])  # Changes by runs since the last import do not count.
    _OVERSEEN.append(True)
    try:
        yield
    finally:
        _OVERSEEN.clear()
        for name in _ENDED.keys() & sys.modules.keys():
            before, now = _ENDED[name], _values(sys.modules[name])
            for key in before.keys() | now.keys():
                if not _same(before.get(key), now.get(key)):
                    change = f"{_shown(before.get(key))} became {_shown(now.get(key))}"
                    _CHANGED.setdefault(name, {})[key] = change


def ended(module: ModuleType) -> None:
    """Record the values of a module when its own file has been executed."""
    _ENDED[module.__name__] = _values(module)


def forget(name: str) -> None:
    """Drop the records of a module, because it is loaded again."""
    _ENDED.pop(name, None)
    _CHANGED.pop(name, None)


def _values(module: ModuleType) -> dict[str, tuple[Any, str]]:
    """Return each name of a module with its value, and the repr of a container of plain values."""
    return {
        name: (value, repr(value) if _is_plain_container(value) else "")
        for name, value in vars(module).items()
        if not (name.startswith("__") or isinstance(value, ModuleType))
    }


def _is_plain_container(value: Any) -> bool:
    if type(value) not in (list, dict, set) or len(value) > 1000:
        return False
    inner = [*value, *value.values()] if isinstance(value, dict) else value
    return all(isinstance(item, _PLAIN) for item in inner)


def _same(before: tuple[Any, str] | None, now: tuple[Any, str] | None) -> bool:
    if before is None or now is None:
        return before is now
    if before[0] is now[0]:
        # A container of classes or functions is a registry, to which other files may add.
        return before[1] == now[1] or not now[1]
    return type(before[0]) is type(now[0]) and isinstance(now[0], _PLAIN) and before[0] == now[0]


def _shown(value: tuple[Any, str] | None) -> str:
    if value is None:
        return "nothing"
    text = value[1] or repr(value[0])
    return text if len(text) <= 40 else f"{text[:38]}.."

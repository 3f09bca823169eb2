"""Which users' files change the values of others while they are imported.

No digest of source code could tell, since the statement that does it is not reached by name.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator, Mapping, Set
from types import ModuleType
from typing import Any

_ENDED: dict[str, dict[str, tuple[Any, str]]] = {}  # by module: its names, when its own file had ended
_CHANGED: dict[str, dict[str, str]] = {}  # by module: names that other files changed, and how
_OVERSEEN: list[bool] = []
_PLAIN = (bool, int, float, complex, str, bytes, type(None), tuple)


def changed(module: str) -> Mapping[str, str]:
    """Names of a user's module whose values another file changed when it was imported, and how."""
    return _CHANGED.get(module, {})


@contextlib.contextmanager
def overseen(loaded: Set[str]) -> Iterator[None]:
    """While files are imported: note which of them change the values of others.

    Args:
        loaded: names of the users' modules that were loaded before.
    """
    if _OVERSEEN:  # an import within an import
        yield
        return
    for name in loaded & sys.modules.keys():
        _ENDED[name] = _values(sys.modules[name])  # what runs did since is their own affair
    _OVERSEEN.append(True)
    try:
        yield
    finally:
        _OVERSEEN.clear()
        for name in _ENDED.keys() & sys.modules.keys():
            before, now = _ENDED[name], _values(sys.modules[name])
            for key in before.keys() | now.keys():
                if not _same(before.get(key), now.get(key)):
                    told = f"{_told(before.get(key))} became {_told(now.get(key))}"
                    _CHANGED.setdefault(name, {})[key] = told


def ended(module: ModuleType) -> None:
    """Keep the values of a module whose own file has ended."""
    _ENDED[module.__name__] = _values(module)


def forget(name: str) -> None:
    """Drop what is known of a module, since it is loaded again."""
    _ENDED.pop(name, None)
    _CHANGED.pop(name, None)


def _values(module: ModuleType) -> dict[str, tuple[Any, str]]:
    """Each name of a module with its value, and the text of a list or dictionary of plain values."""
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
        return before[1] == now[1] or not now[1]  # what holds classes or functions is a register of them
    return type(before[0]) is type(now[0]) and isinstance(now[0], _PLAIN) and before[0] == now[0]


def _told(held: tuple[Any, str] | None) -> str:
    if held is None:
        return "nothing"
    text = held[1] or repr(held[0])
    return text if len(text) <= 40 else f"{text[:38]}.."

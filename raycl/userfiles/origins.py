"""Under which name of which module a user's class is found again."""

from __future__ import annotations

import sys
import weakref
from types import ModuleType

_ORIGINS: weakref.WeakKeyDictionary[type, tuple[str, str]] = weakref.WeakKeyDictionary()


def remember(kind: type, module: ModuleType, name: str) -> None:
    """Keep by which name of which module a class was found."""
    _ORIGINS.setdefault(kind, (module.__name__, name))


def origin(kind: type) -> tuple[str, str]:
    """Module and name of the top level under which a class is found again.

    Its own where it can be, so that it does not matter in which file it was found; else that of `remember`.
    """
    module, top = kind.__module__, kind.__qualname__
    if getattr(sys.modules.get(module), top, None) is kind:
        return module, top
    return _ORIGINS.get(kind, (module, top.partition(".")[0]))

"""Records of the module and name under which a user's class can be found again."""

from __future__ import annotations

import sys
import weakref
from types import ModuleType
from typing import Any

_ORIGINS: weakref.WeakKeyDictionary[Any, tuple[str, str]] = weakref.WeakKeyDictionary()


def remember(kind: Any, module: ModuleType, name: str) -> None:
    """Record the module and the name under which a class or a function was found."""
    _ORIGINS.setdefault(kind, (module.__name__, name))


def origin(kind: Any) -> tuple[str, str]:
    """Return a module and a top-level name under which a class or a function is found again.

    These are its own module and name if it is found there, so that the result does not depend
    on the file in which it was looked up. Otherwise they are those given to `remember`.
    """
    module, top = kind.__module__, kind.__qualname__
    if getattr(sys.modules.get(module), top, None) is kind:
        return module, top
    return _ORIGINS.get(kind, (module, top.partition(".")[0]))

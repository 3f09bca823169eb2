"""Records of the module and name under which a user's class can be found again."""

from __future__ import annotations

import sys
import weakref
from types import ModuleType

_ORIGINS: weakref.WeakKeyDictionary[type, tuple[str, str]] = weakref.WeakKeyDictionary()


def remember(kind: type, module: ModuleType, name: str) -> None:
    """Record the module and the name under which a class was found."""
    _ORIGINS.setdefault(kind, (module.__name__, name))


def origin(kind: type) -> tuple[str, str]:
    """Return a module and a top-level name under which a class is found again.

    These are the class's own module and name if the class is found there, so that the result does not depend
    on the file in which it was looked up. Otherwise they are those given to `remember`.
    """
    module, top = kind.__module__, kind.__qualname__
    if getattr(sys.modules.get(module), top, None) is kind:
        return module, top
    return _ORIGINS.get(kind, (module, top.partition(".")[0]))

"""State that a user's own modules carry from run to run: globals, class attributes and function defaults.

A list on a class to which every instance appends, a random generator at the top of a module, or a counter
makes a run depend on the runs before it. Therefore such objects are copied before a run, and compared and
restored after it.
"""

from __future__ import annotations

import copy
import random
import sys
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from types import FunctionType, ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor

from raycl.process.parts import Left, same
from raycl.process.surroundings import strange

MOST = 20_000  # Largest number of objects that are watched.
COPIED_BYTES = 2**22  # Of a larger array only a sample of values is kept, so that it cannot be restored.
_PLAIN = (int, float, complex, str, bytes, bool, type(None), range, slice)
_MISSING = object()


@dataclass
class _Holder:
    """An object with content, and a copy of the content.

    Attributes:
        path: How the object is reached, such as ``Mine.memory``.
        owner: The object.
        held: Copy of its content by name or position; for a tensor or a generator, of its state.
    """

    path: str
    owner: Any
    held: Any


@dataclass
class Modules:
    """Recorded state of the modules of some classes, and of the user's other modules that these refer to."""

    holders: list[_Holder] = field(default_factory=list)
    _seen: set[int] = field(default_factory=set)
    _kept: list[Any] = field(default_factory=list)  # References that keep another object from getting an id.

    @classmethod
    def of(cls, kinds: Iterable[type]) -> Modules:
        """Record the current state of the modules of these classes."""
        found = cls()
        for module in _reached(kinds):
            found._walk(module, "")
        return found

    def changed(self) -> bool:
        """Return whether anything differs from its recorded state."""
        return any(not _is_unchanged(holder) for holder in self.holders)

    def put_back(self) -> list[Left]:
        """Restore everything to its recorded state, and return what had changed."""
        left: dict[str, bool] = {}
        for holder in self.holders:
            if _is_unchanged(holder):
                continue
            names = _names(holder)
            try:
                _restore(holder)
                back = _is_unchanged(holder)
            except Exception:
                back = False
            left |= dict.fromkeys(names, back)
        return [Left(f"{name} changed", back) for name, back in left.items()]

    def _walk(self, owner: Any, path: str) -> None:
        if isinstance(owner, _PLAIN) or id(owner) in self._seen or len(self.holders) >= MOST:
            return
        self._seen.add(id(owner))
        self._kept.append(owner)
        held = _held(owner)
        if held is None:
            return
        self.holders.append(_Holder(path, owner, held))
        for name, part in list(_parts(owner, held)):
            self._walk(part, _joined(owner, path, name))


def _reached(kinds: Iterable[type]) -> list[ModuleType]:
    """Return the user's modules that define these classes, and the user's modules that they refer to."""
    waiting = [sys.modules.get(kind.__module__) for of in kinds for kind in of.__mro__]
    found: dict[str, ModuleType] = {}
    while waiting:
        module = waiting.pop()
        if module is None or module.__name__ in found or not _is_users(module):
            continue
        found[module.__name__] = module
        for value in list(vars(module).values()):
            if isinstance(value, ModuleType):
                waiting.append(value)
            elif isinstance(value, type | FunctionType):
                waiting.append(sys.modules.get(value.__module__ or ""))
    return list(found.values())


def _is_users(module: ModuleType) -> bool:
    """Return whether a module was loaded from a user's own file."""
    file = getattr(module, "__file__", None)
    return module.__name__ != "__main__" and isinstance(file, str) and strange(file)


def _held(owner: Any) -> Any:
    """Return a copy of an object's content, one level deep; None if the object is not watched."""
    if isinstance(owner, ModuleType):
        own = {name: value for name, value in vars(owner).items() if not name.startswith("__")}
        return own if _is_users(owner) else None
    if isinstance(owner, type):
        return dict(_attributes(owner)) if _of_users(owner) else None
    if isinstance(owner, FunctionType):
        named = owner.__kwdefaults__
        own = {name: value for name, value in vars(owner).items() if not name.startswith("__")}
        return (owner.__defaults__, dict(named or {}), own) if _of_users(owner) else None
    if isinstance(owner, classmethod | staticmethod | property):
        return ()
    if isinstance(owner, Tensor):
        return _of_tensor(owner)
    if isinstance(owner, np.ndarray):
        return _of_array(owner)
    state: Any = _of_generator(owner)
    if state is not None:
        return state
    if isinstance(owner, dict):
        return dict(owner)
    if isinstance(owner, list | tuple | deque):
        return list(owner)
    if isinstance(owner, set | frozenset):
        return set(owner)
    if _of_users(type(owner)) or isinstance(owner, torch.nn.Module):
        content = getattr(owner, "__dict__", None)
        return dict(content) if isinstance(content, dict) else None
    return None


def _of_users(thing: Any) -> bool:
    """Return whether a class or function is defined in a user's own module."""
    module = sys.modules.get(getattr(thing, "__module__", None) or "")
    return module is not None and _is_users(module)


def _attributes(kind: type) -> Iterator[tuple[str, Any]]:
    hidden = {
        "__dict__",
        "__weakref__",
        "__doc__",
        "__module__",
        "__annotations__",
        "_abc_impl",
        "__slotnames__",
        "__abstractmethods__",
    }
    return ((name, value) for name, value in vars(kind).items() if name not in hidden)


def _of_tensor(tensor: Tensor) -> Any:
    try:
        return _of_array(tensor.detach().numpy())
    except (RuntimeError, TypeError):  # The tensor is on a device, or of a dtype that NumPy does not have.
        return ("version", tensor._version)


def _of_array(array: Any) -> Any:
    if array.dtype.hasobject:
        return ("objects", [*array.flat])
    if array.nbytes <= COPIED_BYTES:
        return ("copy", array.copy())
    flat = array.reshape(-1) if array.flags.c_contiguous else array.ravel()
    return ("sample", array.shape, flat[:: max(1, flat.size // 4096)].copy())


def _of_generator(owner: Any) -> Any:
    if isinstance(owner, np.random.Generator):
        return copy.deepcopy(owner.bit_generator.state)
    if isinstance(owner, np.random.RandomState):
        return owner.get_state()
    if isinstance(owner, random.Random) and type(owner).__module__ == "random":
        return owner.getstate() if not isinstance(owner, random.SystemRandom) else None
    if isinstance(owner, torch.Generator):
        return owner.get_state()
    return None


def _parts(owner: Any, held: Any) -> Iterator[tuple[Any, Any]]:
    if isinstance(owner, FunctionType):
        yield from enumerate(held[0] or ())
        yield from held[1].items()
        yield from held[2].items()
    elif isinstance(owner, classmethod | staticmethod):
        yield "", owner.__func__
    elif isinstance(owner, property):
        yield from (("", f) for f in (owner.fget, owner.fset) if f is not None)
    elif isinstance(owner, Tensor | np.ndarray) or _of_generator(owner) is not None:
        return
    elif isinstance(held, dict):
        yield from held.items()
    else:
        yield from enumerate(held)


def _joined(owner: Any, path: str, name: Any) -> str:
    if isinstance(owner, classmethod | staticmethod | property):
        return path
    if isinstance(owner, FunctionType):
        return f"default {name} of {path}" if isinstance(name, int) else f"{path}.{name}"
    if isinstance(owner, dict | list | tuple | deque | set | frozenset):
        return path  # Messages name the container, not an item of it.
    return f"{path}.{name}" if path else str(name)


def _is_unchanged(holder: _Holder) -> bool:
    now = _held(holder.owner)
    return _equal(now, holder.held)


def _equal(now: Any, was: Any) -> bool:
    if now is was:
        return True
    if type(now) is not type(was):
        return False
    if isinstance(now, dict):
        return len(now) == len(was) and all(_equal(v, was.get(k, _MISSING)) for k, v in now.items())
    if isinstance(now, list | tuple):
        return len(now) == len(was) and all(map(_equal, now, was))
    if isinstance(now, np.ndarray):
        return bool(now.shape == was.shape and now.dtype == was.dtype and now.tobytes() == was.tobytes())
    if isinstance(now, Tensor):
        return torch.equal(now, was)
    return isinstance(now, (*_PLAIN, set, np.generic)) and same(now, was)


def _names(holder: _Holder) -> list[str]:
    """Return the names of what changed: attributes of a module, class or object, or else the whole object."""
    owner, was = holder.owner, holder.held
    if isinstance(owner, ModuleType | type) or (isinstance(was, dict) and not isinstance(owner, dict)):
        now = _held(owner)
        if isinstance(now, dict) and isinstance(was, dict) and _of_generator(owner) is None:
            names = {*now, *was}
            found = [n for n in names if not _equal(now.get(n, _MISSING), was.get(n, _MISSING))]
            return [f"{holder.path}.{name}" if holder.path else str(name) for name in sorted(map(str, found))]
    return [holder.path]


def _restore(holder: _Holder) -> None:
    owner, held = holder.owner, holder.held
    if isinstance(owner, ModuleType | type):
        now = _held(owner)
        for name in [n for n in now if n not in held]:
            delattr(owner, name)
        for name, value in held.items():
            if now.get(name, _MISSING) is not value:
                setattr(owner, name, value)
    elif isinstance(owner, FunctionType):
        owner.__defaults__, owner.__kwdefaults__ = held[0], held[1] or None
        for name in [name for name in vars(owner) if not name.startswith("__")]:
            delattr(owner, name)
        vars(owner).update(held[2])
    elif isinstance(owner, Tensor | np.ndarray):
        _restore_array(owner, held)
    elif _of_generator(owner) is not None:
        _restore_generator(owner, held)
    elif isinstance(owner, list):
        owner[:] = held
    elif isinstance(owner, dict | set | deque):
        owner.clear()
        (owner.extend if isinstance(owner, deque) else owner.update)(held)
    else:
        vars(owner).clear()
        vars(owner).update(held)


def _restore_array(owner: Any, held: Any) -> None:
    if held[0] != "copy":
        raise ValueError("too large to have been copied")
    if isinstance(owner, Tensor):
        with torch.no_grad():
            owner.copy_(torch.from_numpy(held[1]))
    else:
        owner[...] = held[1]


def _restore_generator(owner: Any, held: Any) -> None:
    if isinstance(owner, np.random.Generator):
        owner.bit_generator.state = held
    elif isinstance(owner, np.random.RandomState | torch.Generator):
        owner.set_state(held)
    else:
        owner.setstate(held)

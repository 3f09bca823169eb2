"""Detection of functions and classes of torch, NumPy, Python and raycl that a run has replaced.

The attributes of modules and classes are compared by identity with those at the start. Libraries that are
imported later may add attributes. A change is an attribute that is another object now, or that a new
attribute hides.
"""

from __future__ import annotations

import builtins
import contextlib
import copy
import dataclasses
import functools
import importlib
import operator
import pkgutil
import sys
from collections.abc import Callable, Iterator, Mapping
from types import FunctionType, ModuleType
from typing import Any, TypeAlias

import torch
import torch._compile

from raycl.process.parts import Left

_PACKAGES = ("torch", "numpy", "raycl")
_SINGLE = {
    "builtins",
    "math",
    "cmath",
    "random",
    "time",
    "copy",
    "itertools",
    "functools",
    "operator",
    "collections",
    "statistics",
    "pickle",
    "json",
    "hashlib",
}
_PASSED_OVER = (  # Parts of torch that no run calls, or that change themselves while they are used.
    "torch.distributed",
    "torch._dynamo",
    "torch._inductor",
    "torch.onnx",
    "torch._export",
    "torch.export",
    "torch.testing",
    "torch.ao",
    "torch.fx",
    "torch.jit",
    "torch._higher_order_ops",
    "torch._refs",
    "torch._prims",
    "torch._decomp",
    "torch._subclasses",
    "torch.package",
    "torch.profiler",
    "torch.masked",
    "torch._functorch",
    "torch._logging",
    "torch._strobelight",
    "torch._vendor",
    "torch.nested",
    "torch._native",
    "torch.quantization",
    "torch._numpy",
    "torch.distributions",
    "torch._meta_registrations",
    "torch._library",
    "torch._guards",
    "torch.xpu",
    "torch.mtia",
    "torch.multiprocessing",
    "torch._precompile",
    "torch.compiler",
    "torch._custom_op",
    "torch.sparse",
    "torch.signal",
    "torch.return_types",
    "numpy.testing",
    "numpy.f2py",
    "numpy.typing",
    "numpy._typing",
    "numpy.ma",
    "raycl.process",
    "raycl.userfiles",
)
_OF_UTILS = ("torch.utils.data", "torch.utils._device", "torch.utils.checkpoint", "torch.utils.hooks")
_ROOMS = ("methods", "networks", "benchmarks", "supermasks")
_WITH_INTERNALS = ("raycl", "torch.nn", "torch.optim", "torch.functional", "torch._tensor")
_VOLATILE = {
    "_CACHE",
    "agendas",
    "__dataclass_fields__",
    "__doc__",
    "__annotations__",
    "__abstractmethods__",
    "__dict__",
    "__weakref__",
    "_abc_impl",
    "__slotnames__",
}
_HEAP_TYPE = 1 << 9  # Flag of classes whose attributes can be changed; static C types lack it.
_MISSING = object()
_internals = operator.attrgetter("__code__", "__defaults__", "__kwdefaults__")
Change: TypeAlias = tuple[str, Callable[[], object]]


@dataclasses.dataclass
class _Space:
    """Recorded attributes of a module or a class.

    Attributes:
        called: Full name of the module or class.
        owner: The module or class.
        names: Names of the attributes that are watched.
        values: Their values.
        known: Names of all attributes.
        content: Values of all attributes.
        containers: Copies of the lists, dictionaries and sets among the watched attributes of raycl.
    """

    called: str
    owner: Any
    names: list[str]
    values: list[Any]
    known: frozenset[str]
    content: list[Any]
    containers: dict[str, Any]

    def changes(self) -> Iterator[Change]:
        """Yield each change since the attributes were recorded, with a function that undoes it."""
        live = vars(self.owner)
        if not all(map(operator.is_, map(live.get, self.names), self.values)):
            for name, value in zip(self.names, self.values, strict=True):
                now = live.get(name, _MISSING)
                if now is not value and not _wrapped_by_torch(now, value):
                    yield (
                        f"{self.called}.{name} replaced",
                        functools.partial(setattr, self.owner, name, value),
                    )
        if len(live) != len(self.known):
            new = live.keys() - self.known - _VOLATILE
            for name in [n for n in live if n in new and self._hides(n)]:
                yield f"{self.called}.{name} replaced", functools.partial(delattr, self.owner, name)
        for name, was in self.containers.items():
            now = live.get(name)
            if type(now) is type(was) and not _alike(now, was):
                yield f"{self.called}.{name} changed", functools.partial(_refill, now, was)

    def _hides(self, name: str) -> bool:
        """Return whether a new attribute hides an inherited or built-in one of the same name."""
        if isinstance(self.owner, type):
            return any(name in vars(base) for base in self.owner.__mro__[1:])
        return hasattr(builtins, name) and not name.startswith("__")


class Functions:
    """Recorded functions and classes; `extend` adds those of modules that were loaded later."""

    def __init__(self) -> None:
        for room in _ROOMS:  # Import all of raycl that a user's code could be the first to import.
            package = importlib.import_module(f"raycl.{room}")
            for found in pkgutil.iter_modules(package.__path__):
                importlib.import_module(f"raycl.{room}.{found.name}")
        self._begin()

    def adopt(self) -> None:
        """Accept the current state as the one to compare with."""
        if self.changed():
            self._begin()
        self.extend()

    def _begin(self) -> None:
        self._modules: dict[str, ModuleType] = {}
        self._spaces: dict[int, _Space] = {}
        self._functions: dict[int, tuple[str, FunctionType]] = {}
        self._known_internals: list[tuple[Any, Any, Any]] = []
        self._fields: list[tuple[str, dataclasses.Field[Any], Any]] = []
        self._loaded = 0
        self.extend()

    def extend(self) -> None:
        """Record the modules that were loaded since the last call."""
        if len(sys.modules) == self._loaded:
            return
        self._loaded = len(sys.modules)
        for name, module in list(sys.modules.items()):
            if name not in self._modules and _watched(name) and isinstance(module, ModuleType):
                self._modules[name] = module
                self._take_module(module, name)
        for _, function in list(self._functions.values())[len(self._known_internals) :]:
            code, defaults, named = _internals(function)
            self._known_internals.append((code, defaults, dict(named) if named else named))

    def changed(self) -> bool:
        """Return whether anything has been replaced or changed, without restoring it."""
        return next(self._changes(), None) is not None

    def put_back(self) -> list[Left]:
        """Restore everything that was replaced or changed, and return a description of each."""
        found = dict(self._changes())
        for restore in found.values():
            with contextlib.suppress(Exception):
                restore()
        still = {name for name, _ in self._changes()} if found else set()
        return [Left(name, name not in still) for name in found]

    def _take_module(self, module: ModuleType, called: str) -> None:
        own, content = called.startswith("raycl"), vars(module)
        keep = {
            n: v
            for n, v in content.items()
            if n not in _VOLATILE and not n.startswith("__") and (own or callable(v))
        }
        self._take(module, called, keep, content, own)
        for name, value in keep.items():
            if isinstance(value, type) and value.__module__ == called:
                self._take_class(value, own)
            elif isinstance(value, FunctionType) and called.startswith(_WITH_INTERNALS):
                self._functions.setdefault(id(value), (f"{called}.{name}", value))

    def _take_class(self, kind: type, own: bool) -> None:
        if (
            id(kind) in self._spaces
            or not kind.__flags__ & _HEAP_TYPE
            or kind.__module__.startswith("torch._C")
        ):
            return
        called, content = f"{kind.__module__}.{kind.__qualname__}", vars(kind)
        keep = {
            n: v
            for n, v in content.items()
            if n not in _VOLATILE and (_behaves(v) or (own and not n.startswith("__")))
        }
        self._take(kind, called, keep, content, own)
        if own:
            fields = content.get("__dataclass_fields__", {})
            self._fields += [(f"{called}.{name}", field, field.default) for name, field in fields.items()]
        for name, value in keep.items():
            inner = getattr(value, "__func__", value)
            if isinstance(inner, FunctionType) and kind.__module__.startswith(_WITH_INTERNALS):
                self._functions.setdefault(id(inner), (f"{called}.{name}", inner))
            elif isinstance(value, type) and value.__qualname__.startswith(f"{kind.__qualname__}."):
                self._take_class(value, own)

    def _take(
        self, owner: Any, called: str, keep: Mapping[str, Any], all_: Mapping[str, Any], own: bool
    ) -> None:
        containers = {n: copy.copy(v) for n, v in keep.items() if own and type(v) in (dict, list, set)}
        space = _Space(
            called, owner, list(keep), list(keep.values()), frozenset(all_), [*all_.values()], containers
        )
        self._spaces[id(owner)] = space

    def _changes(self) -> Iterator[Change]:
        """Yield each change since the start, with a function that undoes it."""
        for name, module in self._modules.items():
            if sys.modules.get(name) is not module:
                yield f"module {name} replaced", functools.partial(sys.modules.__setitem__, name, module)
        for space in self._spaces.values():
            try:
                untouched = list(vars(space.owner).values()) == space.content and not space.containers
            except Exception:  # Some values cannot be compared.
                untouched = False
            if not untouched:  # Comparing whole lists first is by far the fastest test of the usual case.
                yield from space.changes()
        functions = [function for _, function in self._functions.values()]
        if list(map(_internals, functions)) != self._known_internals:
            for (called, function), was in zip(self._functions.values(), self._known_internals, strict=True):
                if _internals(function) != was:
                    yield f"{called} changed", functools.partial(_put_internals, function, was)
        for called, field, default in self._fields:
            if field.default is not default:
                yield f"{called} changed", functools.partial(setattr, field, "default", default)


_WRAPPERS = (torch._compile.__file__, torch.optim.Optimizer.__init__.__code__.co_filename)


def _wrapped_by_torch(now: Any, was: Any) -> bool:
    """Whether torch itself has wrapped a function, as it does when the first optimiser is constructed."""
    return (
        isinstance(now, FunctionType)
        and getattr(now, "__wrapped__", None) is was
        and now.__code__.co_filename in _WRAPPERS
    )


def _watched(name: str) -> bool:
    if name in _SINGLE:
        return True
    if name.startswith("torch.utils."):
        return name.startswith(_OF_UTILS)
    return name.partition(".")[0] in _PACKAGES and not name.startswith(_PASSED_OVER)


def _behaves(value: Any) -> bool:
    return callable(value) or isinstance(value, classmethod | staticmethod | property)


def _alike(now: Any, was: Any) -> bool:
    try:
        return bool(now == was)
    except Exception:  # Containers of arrays cannot be compared; arrays are compared by `Modules`.
        return len(now) == len(was)


def _refill(now: Any, was: Any) -> None:
    if isinstance(now, list):
        now[:] = was
        return
    now.clear()
    now.update(was)


def _put_internals(function: FunctionType, was: tuple[Any, Any, Any]) -> None:
    function.__code__, function.__defaults__ = was[0], was[1]
    function.__kwdefaults__ = dict(was[2]) if was[2] else was[2]

"""A restricted unpickler, which rebuilds the objects of a checkpoint and executes nothing else.

Python's own unpickler calls whatever a file tells it to call, and sets any attribute that a file names. With
this one, a file can only create objects of the classes that a checkpoint may name, and fill these objects.
Classes, functions and objects that existed before are not changed. The only methods that are called are those
by which the class of an object restores its state.
"""

from __future__ import annotations

import enum
import pickle
import types
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import numpy as np
import torch
from torch.serialization import StorageType

from raycl.runs.pickledcalls import CHECKS, PLAIN_CALLS, VALUES, Refused, check_factory, check_values

__all__ = ["Refused", "Unpickler", "finding"]

_SETTERS: tuple[Any, ...] = tuple(kind.__setitem__ for kind in (dict, OrderedDict, defaultdict, Counter))
_HASHES_OF = ("builtins", "torch", "enum", "raycl", "dataclasses", "numpy")
_pickle: Any = pickle  # The steps of the unpickler written in Python can be replaced, unlike those in C.


class Unpickler(_pickle._Unpickler):  # type: ignore[misc]
    """Unpickler for `torch.load`.

    Args:
        file: The pickled bytes.
        found: Returns the class or function of a module and name, or raises `Refused`.
        sizes: Number of bytes of each of the archive's tensors, by key.
        **options: Passed to the base class.
    """

    dispatch: ClassVar[dict[int, Callable[..., None]]] = dict(_pickle._Unpickler.dispatch)

    def __init__(
        self, file: Any, found: Callable[[str, str], Any], sizes: Mapping[str, int], **options: Any
    ) -> None:
        super().__init__(file, **options)
        self._found, self._sizes = found, sizes
        # Objects by `id`; holding a reference keeps another object from getting the same id.
        self._made: dict[int, Any] = {}
        self._functions: dict[int, Any] = {}

    def find_class(self, module: str, name: str) -> Any:
        found = self._found(module, name)
        if not isinstance(found, type):
            self._functions[id(found)] = found
        return found

    def _own(self, made: Any) -> Any:
        self._made[id(made)] = made
        return made

    # The following steps create objects.

    def load_newobj(self) -> None:
        args = self.stack.pop()
        self.append(self._own(_made(self.stack.pop(), args, {})))

    def load_newobj_ex(self) -> None:
        kwargs, args = self.stack.pop(), self.stack.pop()
        self.append(self._own(_made(self.stack.pop(), args, kwargs)))

    def load_reduce(self) -> None:
        args, call = self.stack.pop(), self.stack.pop()
        if type(args) is not tuple:
            raise Refused("arguments that are not a tuple")
        if isinstance(call, type):
            made = _instance(call, args)
        elif id(call) in self._functions and (check := CHECKS.get(getattr(call, "__name__", ""))):
            check(args)
            made = call(*args)
        elif id(call) in self._functions and getattr(call, "finds", False):
            self.append(call(*args))
            return
        else:
            raise Refused(f"a call of {_name_of(call)}")
        self.append(made if isinstance(made, enum.Enum) else self._own(made))

    # The following steps fill objects.

    def load_build(self) -> None:
        state = self.stack.pop()
        made = self.stack[-1]
        if self._made.get(id(made)) is not made:
            raise Refused(f"the state of a {_name_of(made)} that was there before")
        _fill(made, state)

    def load_setitem(self) -> None:
        value, key = self.stack.pop(), self.stack.pop()
        self._put(self.stack[-1], [key, value])

    def load_setitems(self) -> None:
        items = self.pop_mark()
        self._put(self.stack[-1], items)

    @staticmethod
    def _put(target: Any, items: list[Any]) -> None:
        if not isinstance(target, dict) or type(target).__setitem__ not in _SETTERS:
            raise Refused(f"items of a {_name_of(target)}")
        for key, value in zip(items[::2], items[1::2], strict=True):
            _check_hash(key)
            target[key] = value

    def load_append(self) -> None:
        value = self.stack.pop()
        self._extend(self.stack[-1], [value])

    def load_appends(self) -> None:
        items = self.pop_mark()
        self._extend(self.stack[-1], items)

    @staticmethod
    def _extend(target: Any, items: list[Any]) -> None:
        own = {list: list.extend, deque: deque.extend}
        kind = next((kind for kind in own if isinstance(target, kind)), None)
        if kind is None or type(target).extend is not own[kind]:
            raise Refused(f"entries of a {_name_of(target)}")
        target.extend(items)

    def load_additems(self) -> None:
        items = self.pop_mark()
        if type(self.stack[-1]) is not set:
            raise Refused(f"members of a {_name_of(self.stack[-1])}")
        for item in items:
            _check_hash(item)
            self.stack[-1].add(item)

    def load_frozenset(self) -> None:
        items = self.pop_mark()
        for item in items:
            _check_hash(item)
        self.append(frozenset(items))

    def load_dict(self) -> None:
        items = self.pop_mark()
        found: dict[Any, Any] = {}
        self._put(found, items)
        self.append(found)

    # The following step loads tensors.

    def load_binpersid(self) -> None:
        place = self.stack.pop()
        match place:
            case ("storage", kind, str(key), str(_), int(count)) if type(place) is tuple and count >= 0:
                width = _width(kind)
            case _:
                raise Refused("a tensor without a storage location")
        if self._sizes.get(key) != count * width:
            raise Refused(f"a tensor of {count} numbers in {self._sizes.get(key)} bytes")
        self.append(self.persistent_load(place))

    def _refused(self) -> None:
        raise Refused("a pickle operation that no checkpoint uses")

    dispatch[pickle.NEWOBJ[0]] = load_newobj
    dispatch[pickle.NEWOBJ_EX[0]] = load_newobj_ex
    dispatch[pickle.REDUCE[0]] = load_reduce
    dispatch[pickle.BUILD[0]] = load_build
    dispatch[pickle.SETITEM[0]] = load_setitem
    dispatch[pickle.SETITEMS[0]] = load_setitems
    dispatch[pickle.APPEND[0]] = load_append
    dispatch[pickle.APPENDS[0]] = load_appends
    dispatch[pickle.ADDITEMS[0]] = load_additems
    dispatch[pickle.FROZENSET[0]] = load_frozenset
    dispatch[pickle.DICT[0]] = load_dict
    dispatch[pickle.BINPERSID[0]] = load_binpersid
    for _step in (
        pickle.INST,
        pickle.OBJ,
        pickle.EXT1,
        pickle.EXT2,
        pickle.EXT4,
        pickle.PERSID,
        pickle.NEXT_BUFFER,
        pickle.READONLY_BUFFER,
    ):
        dispatch[_step[0]] = _refused


def finding(call: Callable[..., Any]) -> Callable[..., Any]:
    """Mark a function that returns an existing object, which a file may refer to but not change."""
    call.finds = True  # type: ignore[attr-defined]
    return call


def _made(kind: Any, args: Any, kwargs: Any) -> Any:
    """Return a new object of a class without calling its `__init__`."""
    if not isinstance(kind, type) or type(args) is not tuple or type(kwargs) is not dict:
        raise Refused("an object of something that is not a class")
    if _is_storage(kind) or issubclass(kind, type | np.ndarray | torch.Tensor):
        raise Refused(f"an object of {kind.__name__}, made directly")
    if kind.__new__ is object.__new__:
        if args or kwargs:
            raise Refused(f"an object of {kind.__name__} with arguments")
        return object.__new__(kind)
    if issubclass(kind, bytes | bytearray | range) or kind in PLAIN_CALLS:
        check_values(args)
    return kind.__new__(kind, *args, **kwargs)


def _instance(kind: type, args: tuple[Any, ...]) -> Any:
    """Call a class with these arguments, if a checkpoint may call it."""
    if issubclass(kind, enum.Enum):
        return _member(kind, args)
    if kind is defaultdict:
        check_factory(args)
    elif kind in PLAIN_CALLS:
        check_values(args)
        if kind in (bytes, bytearray) and any(type(arg) is int for arg in args):
            raise Refused(f"{kind.__name__} of a given size")
    elif not _reduces_itself(kind):
        raise Refused(f"a call of {kind.__name__}")
    return kind(*args)


def _reduces_itself(kind: type) -> bool:
    """Return whether a class defines how it is rebuilt by a call; torch, NumPy and Python do not count."""
    if kind.__module__.partition(".")[0] in ("torch", "builtins", "numpy"):
        return False
    return any(
        "__reduce__" in vars(k) or "__reduce_ex__" in vars(k)
        for k in kind.__mro__
        if k is not object and k.__module__.partition(".")[0] not in ("torch", "builtins", "numpy")
    )


def _member(kind: type[enum.Enum], args: tuple[Any, ...]) -> enum.Enum:
    for member in kind.__members__.values():
        if len(args) == 1 and type(args[0]) in VALUES and args[0] == member.value:
            return member
    raise Refused(f"a member that {kind.__name__} does not have")


def _name_of(what: Any) -> str:
    """Return what an object is, for a message, without calling any of its methods."""
    return type(what).__name__ if not isinstance(what, type) else f"class {what.__name__}"


def _fill(made: Any, state: Any) -> None:
    """Restore the state of an object."""
    kind = type(made)
    if isinstance(made, type | types.ModuleType | types.FunctionType | types.BuiltinFunctionType):
        raise Refused(f"the state of {_name_of(made)}, which a checkpoint cannot hold")
    setter = getattr(kind, "__setstate__", None)  # From the class, as a state could define another one.
    fields: Any = state
    slots: Any = {}
    if type(state) is tuple and len(state) == 2 and setter is None:
        fields, slots = state
    if type(fields) is dict:
        for name in fields:
            _check_attribute(kind, name, setter is None)
    if setter is not None:
        setter(made, state)
        return
    if not (fields is None or type(fields) is dict) or not (slots is None or type(slots) is dict):
        raise Refused(f"the state of a {kind.__name__} that is not a dictionary")
    if fields:
        object.__getattribute__(made, "__dict__").update(fields)
    for name, value in (slots or {}).items():
        member = next((vars(k)[name] for k in kind.__mro__ if name in vars(k)), None)
        if type(name) is str and isinstance(member, types.MemberDescriptorType):
            member.__set__(made, value)
        else:
            raise Refused(f"{name!r:.40} of a {kind.__name__}, which does not have this slot")


def _check_attribute(kind: type, name: Any, strictly: bool) -> None:
    """Check that an attribute is not a special one and does not hide a method or a property of the class."""
    if type(name) is not str:
        if strictly:
            raise Refused(f"an attribute of a {kind.__name__} whose name is not a string")
        return
    if name.startswith("__") and name.endswith("__"):
        raise Refused(f"{name:.40} of a {kind.__name__}")
    hidden = getattr(kind, "__mro__", ()) and next(
        (vars(k)[name] for k in kind.__mro__ if name in vars(k)), None
    )
    if isinstance(hidden, types.FunctionType | property | classmethod | staticmethod):
        raise Refused(f"{name:.40} of a {kind.__name__}, which is a method of its class")


def _check_hash(key: Any) -> None:
    """Check that a key's hash and comparison are defined by a known library, not by a user's class."""
    if type(key) in (tuple, frozenset):
        for part in key:
            _check_hash(part)
        return
    for name in ("__hash__", "__eq__"):
        home = next(k for k in type(key).__mro__ if name in vars(k))
        if home.__module__.partition(".")[0] not in _HASHES_OF:
            raise Refused(f"a {type(key).__name__} as a key, whose class defines its own {name}")


def _is_storage(kind: type) -> bool:
    return issubclass(kind, torch.TypedStorage | torch.UntypedStorage)


def _width(kind: Any) -> int:
    """Return the number of bytes of one element of a storage class."""
    if kind is torch.UntypedStorage:
        return 1
    if not isinstance(kind, StorageType):  # `torch.load` replaces the name of a storage class by this.
        raise Refused("a tensor of an unknown storage class")
    width: int = kind.dtype.itemsize
    return width

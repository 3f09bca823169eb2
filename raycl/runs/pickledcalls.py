"""The classes and functions that a checkpoint may call, and checks of their arguments."""

from __future__ import annotations

import pickle
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

VALUES = {int, float, complex, bool, str, bytes, bytearray, type(None), tuple, list, dict, set, frozenset}


class Refused(pickle.UnpicklingError):
    """Raised if a checkpoint refers to something that it may not hold, or asks for a forbidden call."""


def check_values(args: Any, depth: int = 8) -> None:
    """Check that arguments consist of plain values, nested at most `depth` levels deep."""
    if type(args) is not tuple or depth == 0:
        raise Refused("arguments that are not plain values")
    for arg in args:
        if type(arg) is tuple:
            check_values(arg, depth - 1)
        elif type(arg) in (list, set, frozenset):
            check_values(tuple(arg), depth - 1)
        elif type(arg) is dict:
            check_values((*arg.keys(), *arg.values()), depth - 1)
        elif type(arg) not in VALUES and not isinstance(arg, torch.dtype | np.dtype):
            raise Refused(f"a {type(arg).__name__} as an argument")


def check_factory(args: tuple[Any, ...]) -> None:
    """Check the arguments of a `defaultdict`: at most a factory, which must be a harmless built-in class."""
    if len(args) > 1 or not all(arg is None or arg in (set, dict, list, int, float, Counter) for arg in args):
        raise Refused("a defaultdict with a factory that no checkpoint may hold")


def _check_tensor(args: tuple[Any, ...]) -> None:
    """Check the arguments of `_rebuild_tensor_v2`: a storage, a place in it, and no hooks."""
    match args:
        case (storage, int(_), tuple(), tuple(), bool(_), hooks, *more):
            if not isinstance(storage, torch.TypedStorage | torch.UntypedStorage):
                raise Refused("a tensor without a storage")
            if type(hooks) not in (dict, OrderedDict) or hooks or any(more):
                raise Refused("a tensor with hooks")
        case _:
            raise Refused("a tensor built with other arguments")


TENSORS: set[type] = {torch.Tensor}  # of a subclass, a checkpoint could not tell what it computes


def _check_parameter(args: tuple[Any, ...]) -> None:
    """Check the arguments of `_rebuild_parameter`: a tensor, `requires_grad`, no hooks and no extra state."""
    match args:
        case (tensor, bool(_), hooks, *more):
            if type(tensor) not in TENSORS or type(hooks) not in (dict, OrderedDict) or hooks or any(more):
                raise Refused("a parameter with hooks or a state")
        case _:
            raise Refused("a parameter built with other arguments")


def _check_array(args: tuple[Any, ...]) -> None:
    if len(args) != 3 or args[0] is not np.ndarray or args[1] != (0,) or type(args[2]) is not bytes:
        raise Refused("an array built with other arguments")


def _check_scalar(args: tuple[Any, ...]) -> None:
    if len(args) != 2 or not isinstance(args[0], np.dtype) or args[0].hasobject or type(args[1]) is not bytes:
        raise Refused("a NumPy scalar built with other arguments")


def _check_buffer(args: tuple[Any, ...]) -> None:
    match args:
        case (bytes() | bytearray(), np.dtype(), tuple(), "C" | "F", *_):
            return
    raise Refused("an array built with other arguments")


def _check_encoding(args: tuple[Any, ...]) -> None:
    if len(args) != 2 or type(args[0]) is not str or args[1] != "latin1":
        raise Refused("bytes built with other arguments")


def _check_names(args: tuple[Any, ...]) -> None:
    """Check the arguments of NumPy's generators: plain values, and bit generators or seed sequences."""
    known = np.random.BitGenerator | np.random.SeedSequence
    for arg in args:
        if not (isinstance(arg, known) or arg is np.random.PCG64 or arg is np.random.SeedSequence):
            check_values((arg,))


PLAIN_CALLS: set[Any] = {
    bytes,
    set,
    frozenset,
    slice,
    complex,
    bytearray,
    range,
    OrderedDict,
    defaultdict,
    Counter,
    deque,
    torch.Size,
    torch.device,
    np.dtype,
}
CHECKS: dict[str, Callable[[tuple[Any, ...]], None]] = {
    "_rebuild_tensor_v2": _check_tensor,
    "_rebuild_parameter": _check_parameter,
    "_rebuild_parameter_with_state": _check_parameter,
    "_reconstruct": _check_array,
    "scalar": _check_scalar,
    "_frombuffer": _check_buffer,
    "encode": _check_encoding,
    "_get_layout": check_values,
    "__generator_ctor": _check_names,
    "__bit_generator_ctor": _check_names,
    "__pyx_unpickle_SeedSequence": _check_names,
}

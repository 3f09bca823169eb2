"""Which classes and functions a checkpoint may call, and with which arguments."""

from __future__ import annotations

import pickle
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

VALUES = {int, float, complex, bool, str, bytes, bytearray, type(None), tuple, list, dict, set, frozenset}


class Refused(pickle.UnpicklingError):
    """A file names or asks for something that no checkpoint holds."""


def check_values(args: Any, depth: int = 8) -> None:
    """Arguments of plain values alone, and no number of bytes to be set aside."""
    if type(args) is not tuple or depth == 0:
        raise Refused("arguments that are no plain values")
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
    if len(args) > 1 or not all(arg is None or arg in (set, dict, list, int, float, Counter) for arg in args):
        raise Refused("a defaultdict that makes what no checkpoint holds")


def _check_tensor(args: tuple[Any, ...]) -> None:
    """Of `_rebuild_tensor_v2`: a storage, where in it, and no hooks."""
    match args:
        case (storage, int(_), tuple(), tuple(), bool(_), hooks, *more):
            if not isinstance(storage, torch.TypedStorage | torch.UntypedStorage):
                raise Refused("a tensor of what is no storage")
            if type(hooks) not in (dict, OrderedDict) or hooks or any(more):
                raise Refused("a tensor with hooks")
        case _:
            raise Refused("a tensor made in another way")


def _check_parameter(args: tuple[Any, ...]) -> None:
    """Of `_rebuild_parameter`: a tensor, whether it is trained, and no hooks nor a state of its own."""
    match args:
        case (tensor, bool(_), hooks, *more):
            if (
                type(tensor) is not torch.Tensor
                or type(hooks) not in (dict, OrderedDict)
                or hooks
                or any(more)
            ):
                raise Refused("a parameter with hooks or a state")
        case _:
            raise Refused("a parameter made in another way")


def _check_array(args: tuple[Any, ...]) -> None:
    if len(args) != 3 or args[0] is not np.ndarray or args[1] != (0,) or type(args[2]) is not bytes:
        raise Refused("an array made in another way")


def _check_scalar(args: tuple[Any, ...]) -> None:
    if len(args) != 2 or not isinstance(args[0], np.dtype) or args[0].hasobject or type(args[1]) is not bytes:
        raise Refused("a number made in another way")


def _check_buffer(args: tuple[Any, ...]) -> None:
    match args:
        case (bytes() | bytearray(), np.dtype(), tuple(), "C" | "F", *_):
            return
    raise Refused("an array made in another way")


def _check_encoding(args: tuple[Any, ...]) -> None:
    if len(args) != 2 or type(args[0]) is not str or args[1] != "latin1":
        raise Refused("bytes made in another way")


def _check_names(args: tuple[Any, ...]) -> None:
    """Of NumPy's generators: names, numbers, and the bit generator or seeds made before."""
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

"""A pretended accelerator: what a program would ask of a GPU, counted on a machine that has none.

Tensors on `DEVICE` keep their values in the memory of the CPU. Like those of a GPU they refuse to be mixed
with tensors of the CPU and to be read by NumPy. `record` counts two things while a program runs:

- launches: operations that give the device work. Views and allocations are none;
- waits: operations at which a program waits for the device. These are reads of values (`item`, copies to the
  CPU), results whose size depends on values (`nonzero`, `unique`, an index of booleans), and copies from
  memory that is not pinned.

`install` changes torch for the whole process and cannot be undone, so it belongs into a process of its own.
An operation counts as one launch even where the library of a GPU makes several of it.
"""

from __future__ import annotations

import contextlib
import functools
import sys
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from types import FrameType
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import optimizer
from torch.overrides import _get_current_function_mode_stack
from torch.utils import _foreach_utils, backend_registration
from torch.utils._python_dispatch import return_and_correct_aliasing
from torch.utils._pytree import tree_flatten, tree_map

from bench.pretend_graph import CAPTURES, Graph, Stream, capturing
from raycl.networks import _checks
from raycl.runs import pickledcalls

NAME = "pretend"
DEVICE = f"{NAME}:0"  # with its number, since a tensor's device always has one

_CPU = torch.device("cpu")
_READS = {"_local_scalar_dense", "equal"}  # their results are values of the host
_SIZED_BY_VALUES = {
    "_unique2",
    "bincount",
    "masked_select",
    "nonzero",
    "repeat_interleave",
    "unique_consecutive",
    "unique_dim",
}
_NO_WORK = {  # besides views
    "_has_compatible_shallow_copy_type",
    "_local_scalar_dense",
    "_unsafe_view",
    "detach",
    "empty",
    "empty_like",
    "empty_strided",
    "is_same_size",
    "lift_fresh",
    "new_empty",
    "new_empty_strided",
    "resize_",
    "set_",
    "sym_size",
}
_INDEXING = {"index", "index_put", "index_put_", "_index_put_impl_", "_unsafe_index", "_unsafe_index_put"}
_COPIES = {"_to_copy", "copy_", "_copy_from", "_copy_from_and_resize"}


class WrongDevice(RuntimeError):
    """An operation was given tensors of the pretended device and of the CPU."""


@dataclass
class Record:
    """What was asked of the device.

    Attributes:
        launches: number of launches by operation.
        waits: number of waits by reason and by the line of raycl that caused them.
    """

    launches: Counter[str] = field(default_factory=Counter)
    waits: Counter[str] = field(default_factory=Counter)


_RECORDS: list[Record] = []


@contextlib.contextmanager
def record() -> Iterator[Record]:
    """Count launches and waits inside a ``with`` block."""
    found = Record()
    _RECORDS.append(found)
    try:
        yield found
    finally:
        _RECORDS.remove(found)


@functools.cache
def install() -> torch.library.Library:
    """Register the device in this process; the result must be kept alive, which the cache does."""
    backend_registration._setup_privateuseone_for_python_backend(NAME, backend_module=_Module())
    library = torch.library.Library("_", "IMPL")
    library.fallback(lambda op, *args, **kwargs: _dispatch(op, args, kwargs), "PrivateUse1")
    for name in ("tensor", "as_tensor"):
        setattr(torch, name, _made_on_the_cpu(getattr(torch, name), lambda made, device: made.to(device)))
    for name in ("arange", "eye"):  # torch makes them empty at first, and a tensor's size is fixed here
        setattr(torch, name, _made_on_the_cpu(getattr(torch, name), _filled))
    for kinds in (optimizer._foreach_supported_types, _foreach_utils._foreach_supported_types):
        _any(kinds).append(PretendTensor)  # a plain tensor of its device, as a GPU's is
    _any(torch.accelerator).synchronize = lambda device=None: _wait("synchronize")
    _pin_memory()
    _load_onto_the_device()
    return library


def install_for_raycl() -> None:
    """Register the device, and let methods and checkpoints take its tensors for plain ones."""
    install()
    _checks.PARAMETERS.add(PretendTensor)
    pickledcalls.TENSORS.add(PretendTensor)


def _pin_memory() -> None:
    """Let `pin_memory` mark its result, from which `_reason_of_copy` expects no wait."""

    def pin_memory(self: Tensor, device: Any = None) -> Tensor:
        pinned = self.clone()
        _any(pinned).pretend_pinned = True
        return pinned

    _any(torch.Tensor).pin_memory = pin_memory


def _load_onto_the_device() -> None:
    """Let `torch.load` put all tensors of a file onto the device if its `map_location` is that."""
    rebuild, load = _any(torch._utils)._rebuild_tensor_v2, torch.load
    moving = [False]

    @functools.wraps(rebuild)  # pickle finds it by its name
    def rebuilt(*args: Any) -> Tensor:
        found = rebuild(*args)
        return PretendTensor(found.detach()).requires_grad_(found.requires_grad) if moving[0] else found

    @functools.wraps(load)
    def loaded(file: Any, map_location: Any = None, **kwargs: Any) -> Any:
        ours = isinstance(map_location, str | torch.device) and torch.device(map_location).type == NAME
        before, moving[0] = moving[0], ours
        try:
            return load(file, "cpu" if ours else map_location, **kwargs)
        finally:
            moving[0] = before

    _any(torch._utils)._rebuild_tensor_v2 = rebuilt
    _any(torch).load = loaded


def _any(thing: object) -> Any:
    """Return a thing whose attributes are set or read although its type does not declare them so."""
    return thing


class _Module(backend_registration._DummyBackendModule):
    """What torch asks of the module of a device."""

    def get_amp_supported_dtype(self) -> list[torch.dtype]:
        return [torch.float16]

    def get_rng_state(self, device: Any = None) -> Tensor:
        return torch.get_rng_state()

    def set_rng_state(self, state: Tensor, device: Any = None) -> None:
        torch.set_rng_state(state)

    CUDAGraph = Graph  # one of the names by which `raycl.devices` looks for graphs

    Stream = Stream

    def current_stream(self) -> Any:
        return Stream()

    def stream(self, stream: Any) -> contextlib.AbstractContextManager[None]:
        return contextlib.nullcontext()

    def graph(self, graph: Graph) -> contextlib.AbstractContextManager[None]:
        return capturing(graph)


class PretendTensor(torch.Tensor):
    """A tensor on the pretended device, whose values `host` holds on the CPU."""

    host: Tensor
    _is_param = False  # torch sets it for parameters

    @staticmethod
    def __new__(cls, inner: Tensor) -> PretendTensor:
        made = torch.Tensor._make_wrapper_subclass(
            cls,
            inner.size(),
            strides=inner.stride(),
            storage_offset=inner.storage_offset(),
            dtype=inner.dtype,
            layout=inner.layout,
            device=torch.device(DEVICE),
            requires_grad=False,
        )
        made.host = inner
        return made

    def __repr__(self, **_: Any) -> str:  # type: ignore[override]
        return f"pretend({self.host!r})"

    def __reduce_ex__(self, protocol: Any) -> Any:
        if self._is_param:
            plain = PretendTensor(self.host)
            return torch._utils._rebuild_parameter, (plain, self.requires_grad, OrderedDict())
        return self.host.detach().requires_grad_(self.requires_grad).__reduce_ex__(protocol)

    def __deepcopy__(self, memo: Any) -> Any:
        if id(self) not in memo:
            copied: Any = PretendTensor(self.host.clone()).requires_grad_(self.requires_grad)
            memo[id(self)] = nn.Parameter(copied, self.requires_grad) if self._is_param else copied
        return memo[id(self)]

    @property
    def data(self) -> Any:
        return self.detach()

    @data.setter  # type: ignore[override]
    def data(self, value: PretendTensor) -> None:
        _any(torch.Tensor).data.__set__(self, value)
        self.host = value.host

    def tolist(self) -> Any:
        _wait("tolist")
        return self.host.tolist()

    def numpy(self, *, force: bool = False) -> Any:
        if not force:
            raise TypeError(f"can't convert a tensor on {DEVICE} to numpy: use .cpu() first")
        _wait("numpy")
        return self.host.detach().numpy()

    def __array__(self, *args: Any, **kwargs: Any) -> Any:
        raise TypeError(f"can't convert a tensor on {DEVICE} to numpy: use .cpu() first")

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:  # type: ignore[override]
        return _dispatch(func, args, kwargs or {})


def _dispatch(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Run an operation on the CPU as if on the device, and count what it asks of the device."""
    name = func._schema.name.partition("::")[2]
    flat = [a for a in tree_flatten((args, kwargs))[0] if isinstance(a, Tensor)]
    ours = [a for a in flat if isinstance(a, PretendTensor)]
    device = kwargs.get("device")
    elsewhere = device is not None and torch.device(device).type != "cpu"
    if ours or elsewhere:
        _refuse_mixture(func, name, args, flat)
        reason = _reason_to_wait(name, args, kwargs)
        if reason:
            _wait(reason)
        if name not in _NO_WORK and not func.is_view:
            for each in _RECORDS:
                each.launches[name] += 1
    bare = tree_map(_bare, args), tree_map(_bare, _for_the_cpu(kwargs))
    capturing_now = CAPTURES and (ours or elsewhere)
    out = CAPTURES[-1].add(func, *bare) if capturing_now else func(*bare[0], **bare[1])
    if name in _READS or _goes_to_the_cpu(name, args, kwargs):
        return args[0] if name in ("copy_", "_copy_from") else out
    if not (ours or elsewhere):
        return out
    return _as_ours(func, args, kwargs, out, ours)


def _refuse_mixture(func: Any, name: str, args: tuple[Any, ...], tensors: list[Tensor]) -> None:
    """Raise an error where a GPU's tensors would not meet the CPU's; single numbers are passed by value."""
    host = [t for t in tensors if not isinstance(t, PretendTensor) and t.dim() > 0]
    if not host or name in _COPIES or len(host) == len(tensors):
        return
    if name in _INDEXING and isinstance(args[0], PretendTensor):
        given = {id(i) for i in args[1] if isinstance(i, Tensor)}
        if all(id(t) in given for t in host):
            return  # torch moves the indices, which is counted as a wait
    raise WrongDevice(f"{func}: tensors on {DEVICE} and on the CPU, {[tuple(t.shape) for t in host]}")


def _reason_to_wait(name: str, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> str:
    """Return why an operation waits for the device; "" if it does not."""
    if name in _READS or name in _SIZED_BY_VALUES:
        return name
    if name in _COPIES:
        return _reason_of_copy(name, args, kwargs)
    if name in _INDEXING:
        return _reason_of_index(name, args)
    return ""


def _reason_of_copy(name: str, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> str:
    if _goes_to_the_cpu(name, args, kwargs):
        return "copy to the CPU"
    source = args[0] if name in ("_to_copy", "_copy_from") else args[1]
    if isinstance(source, PretendTensor) or not source.numel():
        return ""
    unblocked = kwargs.get("non_blocking") or (name == "copy_" and len(args) > 2 and args[2])
    if unblocked and getattr(source, "pretend_pinned", False):
        return ""
    return "copy from the CPU"


def _reason_of_index(name: str, args: tuple[Any, ...]) -> str:
    indices = [i for i in args[1] if isinstance(i, Tensor)]
    if any(not isinstance(i, PretendTensor) and i.dim() > 0 for i in indices):
        return "index from the CPU"
    if not any(i.dtype in (torch.bool, torch.uint8) for i in indices):
        return ""
    # Torch writes a single number through a mask without looking for the places of the mask.
    written = len(indices) == 1 and len(args) > 2 and args[2].numel() == 1
    return "" if written else "index of booleans"


def _goes_to_the_cpu(name: str, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> bool:
    if name == "_to_copy":
        device = kwargs.get("device")
        return isinstance(args[0], PretendTensor) and device is not None and torch.device(device) == _CPU
    if name not in ("copy_", "_copy_from"):
        return False
    target, source = args[:2] if name == "copy_" else args[1::-1]
    return isinstance(source, PretendTensor) and not isinstance(target, PretendTensor)


def _for_the_cpu(kwargs: Mapping[str, Any]) -> dict[str, Any]:
    if kwargs.get("device") is None:
        return dict(kwargs)
    return {**kwargs, "device": _CPU} | ({"pin_memory": False} if "pin_memory" in kwargs else {})


def _as_ours(func: Any, args: Any, kwargs: Any, out: Any, ours: list[PretendTensor]) -> Any:
    """Return results as tensors of the device; an operation in place returns the tensor that it was given."""
    known = {id(a.host): a for a in ours}

    def wrapped(x: Any) -> Any:
        if not isinstance(x, Tensor) or isinstance(x, PretendTensor):
            return x
        if id(x) in known:
            if known[id(x)].shape != x.shape:
                raise NotImplementedError(
                    f"{func} changes the size of a tensor, which {DEVICE} cannot follow"
                )
            return known[id(x)]
        return PretendTensor(x.detach() if x.requires_grad else x)

    found = tree_map(wrapped, out)
    # It does not know operations that change the tensors of a list.
    with contextlib.suppress(AssertionError, NotImplementedError, RuntimeError):
        return return_and_correct_aliasing(func, args, kwargs, found)
    return found


def _bare(x: Any) -> Any:
    return x.host if isinstance(x, PretendTensor) else x


def _wait(reason: str) -> None:
    if CAPTURES:
        raise RuntimeError(f"a graph cannot hold a wait for the device: {reason}")
    for each in _RECORDS:
        each.waits[f"{reason}: {_site()}"] += 1


def _site() -> str:
    """Return the innermost line of raycl that is running; backward passes run outside of Python."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        path = frame.f_code.co_filename
        if "/raycl/" in path:
            return f"{path.rpartition('/raycl/')[2]}:{frame.f_lineno}"
        frame = frame.f_back
    return "outside of raycl"


def _filled(made: Tensor, device: Any) -> Tensor:
    """Return a tensor as if an operation on the device had made it."""
    if torch.device(device).type != NAME:
        return made.to(device)
    for each in _RECORDS:
        each.launches["fill"] += 1
    return PretendTensor(made)


def _made_on_the_cpu(
    make: Callable[..., Tensor], send: Callable[[Tensor, Any], Tensor]
) -> Callable[..., Tensor]:
    """Return a function that makes a tensor on the CPU and then sends it to the device that is asked for.

    Torch fills some new tensors below the level at which this device is found.
    """

    @functools.wraps(make)
    def moved(data: Any, *args: Any, **kwargs: Any) -> Tensor:
        device = kwargs.pop("device", None)
        for mode in reversed(_get_current_function_mode_stack()):
            if device is None and type(mode).__name__ == "DeviceContext":
                device = mode.device
        if isinstance(data, PretendTensor):
            return make(data, *args, **kwargs) if device is None else data.to(device)
        with torch.device("cpu"):
            made = make(data, *args, **kwargs)
        return made if device is None else send(made, device)

    return moved

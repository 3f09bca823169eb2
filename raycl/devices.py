"""The devices on which torch computes, and all that differs between a CPU and an accelerator.

An accelerator is whatever `torch.accelerator` finds: a GPU of NVIDIA or AMD (both are "cuda" to torch), of
Intel ("xpu") or of Apple ("mps"). No other module of raycl names a kind of accelerator.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any, TypeVar

import torch
from torch import Tensor

T = TypeVar("T")

_GRAPHS = ("CUDAGraph", "XPUGraph")
_WITHOUT_FLOAT64 = {"mps"}
_WITHOUT_PINNED_MEMORY = {"mps"}  # it shares the memory of the CPU


@functools.cache
def available() -> bool:
    """Return whether torch finds an accelerator."""
    return torch.accelerator.is_available()


def kind() -> str:
    """Return the type of this machine's accelerator as torch calls it, and "cuda" if there is none.

    A run that requests an accelerator names it, even where the request is then refused.
    """
    found = torch.accelerator.current_accelerator() if available() else None
    return found.type if found is not None else "cuda"


def count() -> int:
    """Return the number of accelerators that torch finds."""
    return torch.accelerator.device_count() if torch.accelerator.is_available() else 0


def on_cpu(where: Tensor | torch.device) -> bool:
    """Return whether a tensor is, or a device has, the memory of the CPU, whose values cost no wait."""
    device = where.device if isinstance(where, Tensor) else where
    return device.type == "cpu"


def creating_on(device: torch.device | str) -> AbstractContextManager[object]:
    """Return a context in which new tensors are on a device unless another one is given.

    Within ``with torch.device(...)`` torch calls a Python function at each of its operations. This takes up
    to 30 % of the training time of a small network on a CPU. Where the context would change nothing, it is
    empty.
    """
    target = torch.device(device)
    return contextlib.nullcontext() if on_cpu(target) and on_cpu(torch.get_default_device()) else target


def sent(tensor: Tensor, device: torch.device | str) -> Tensor:
    """Return a tensor of the CPU on a device, without waiting for the device.

    The values pass through pinned memory, which torch keeps until they have arrived. On the CPU the result is
    the tensor itself.
    """
    target = torch.device(device)
    if on_cpu(target) or target.type in _WITHOUT_PINNED_MEMORY or not tensor.numel():
        return tensor.to(target)
    return tensor.pin_memory().to(target, non_blocking=True)


def synchronise(device: torch.device) -> None:
    """Wait until an accelerator has finished its work."""
    if not on_cpu(device):
        torch.accelerator.synchronize(device)


def widest(device: torch.device) -> torch.dtype:
    """Return the most precise float type of a device, for sums over many samples."""
    return torch.float32 if device.type in _WITHOUT_FLOAT64 else torch.float64


def generators(device: torch.device) -> dict[str, Any]:
    """Return the arguments with which `torch.random.fork_rng` also restores the generator of a device."""
    if on_cpu(device):
        return {"devices": []}
    index = device.index if device.index is not None else torch.accelerator.current_device_index()
    return {"devices": [index], "device_type": device.type}


def random_state(device: torch.device) -> list[Tensor]:
    """Return the states of the generators that a network on this device may draw from."""
    own = [] if on_cpu(device) else [torch.get_device_module(device).get_rng_state(device)]
    return [torch.get_rng_state(), *own]


def set_random_state(state: Sequence[Tensor], device: torch.device) -> None:
    """Restore the states that `random_state` returned."""
    torch.set_rng_state(state[0])
    if not on_cpu(device):
        torch.get_device_module(device).set_rng_state(state[1], device)


# --------------------------------------------------------------------------------------------- graphs


def graphs_of(device: torch.device) -> Any:
    """Return torch's class of captured graphs for a device; None if it has none."""
    module = None if on_cpu(device) else torch.get_device_module(device)
    return next((found for name in _GRAPHS if (found := getattr(module, name, None))), None)


def captured(device: torch.device, work: Callable[[], T], warm: int = 3) -> tuple[Callable[[], None], T]:
    """Capture work on an accelerator in a graph, and return a function that repeats it and its result.

    The work is carried out `warm` times, in which libraries choose and load their kernels, and is captured
    after that, which records it without carrying it out. Each repetition reads and writes the same tensors,
    and uses the Python numbers of the capture. It writes its result into the one that is returned.

    Raises:
        RuntimeError: The device has no graphs, or the work cannot be captured.
    """
    kind_of_graph = graphs_of(device)
    if kind_of_graph is None:
        raise RuntimeError(f"torch has no graphs for {device.type}")
    module = torch.get_device_module(device)
    side = module.Stream()
    side.wait_stream(module.current_stream())
    with module.stream(side):
        for _ in range(warm):
            work()
    module.current_stream().wait_stream(side)
    graph = kind_of_graph()
    with module.graph(graph):
        result = work()
    return graph.replay, result


# --------------------------------------------------------------------------------------------- memory


def peak_bytes(device: torch.device) -> int | None:
    """Return the largest number of bytes that tensors have occupied; None if the device does not count."""
    peak = _asked(device, "max_memory_allocated")
    return None if peak is None else int(peak)


def forget_peak(device: torch.device) -> None:
    """Begin to count the peak anew."""
    _asked(device, "reset_peak_memory_stats")


def free_bytes(device: torch.device) -> int | None:
    """Return the number of free bytes of a device's memory; None if the device does not count."""
    free = _asked(device, "mem_get_info")
    return None if free is None else int(free[0])


def limit_memory(share: float) -> None:
    """Let this process use at most this share of its accelerator's memory, where torch supports a limit."""
    limit = getattr(torch.get_device_module(kind()), "set_per_process_memory_fraction", None)
    if limit is not None:
        limit(min(1.0, share))


def _asked(device: torch.device, name: str) -> Any:
    """Return what the module of an accelerator answers; None if it does not have this function."""
    function = None if on_cpu(device) else getattr(torch.get_device_module(device), name, None)
    return None if function is None else function(device)


# ---------------------------------------------------------------------------------------------- names


def title(device: torch.device | str) -> str:
    """Return the name of a device's model for records, e.g. "NVIDIA H100"; that of its type if unknown."""
    device = torch.device(device)
    return str(_asked(device, "get_device_name") or device)


def described() -> str:
    """Return the accelerators of this machine in one line; "" if there is none."""
    if not count():
        return ""
    names = [f"{n} {title(f'{kind()}:{n}')}" for n in range(count())]
    versions = {"CUDA": torch.version.cuda, "ROCm": torch.version.hip, "XPU": torch.version.xpu}
    library = next((f"{name} {version}" for name, version in versions.items() if version), kind())
    return ", ".join(names) + f"; {library}"

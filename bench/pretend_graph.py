"""Graphs of the pretended accelerator (`bench.pretend`): recorded work, repeated on the same memory."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_flatten

CAPTURES: list[Graph] = []
"""The graph that is being captured, if any."""


class Graph:
    """The work of a program on the device, recorded without being done, and repeated on the same memory.

    It stands for what torch calls a CUDA graph. Reads of values and copies from the CPU cannot be recorded.
    """

    def __init__(self) -> None:
        self.calls: list[tuple[Any, Any, Any, Any]] = []  # function, arguments, keywords, result on the host
        self._before: dict[int, tuple[Tensor, Tensor]] = {}

    def begin(self) -> None:
        """Begin to record."""
        self._random = torch.get_rng_state()
        CAPTURES.append(self)

    def add(self, func: Any, args: Any, kwargs: Any) -> Any:
        """Run an operation, so that its result has a shape, and record it."""
        for argument, value in zip(func._schema.arguments, args, strict=False):
            if argument.alias_info is not None and argument.alias_info.is_write:
                for tensor in value if isinstance(value, list | tuple) else [value]:
                    self._before.setdefault(tensor.data_ptr(), (tensor, tensor.clone()))
        out = func(*args, **kwargs)
        if not func.is_view:
            self.calls.append((func, args, kwargs, out))
        return out

    def end(self) -> None:
        """Undo what the recorded operations have changed, and what they have drawn."""
        CAPTURES.remove(self)
        torch.set_rng_state(self._random)
        for tensor, before in self._before.values():
            tensor.copy_(before)

    def replay(self) -> None:
        """Do the recorded work."""
        for func, args, kwargs, out in self.calls:
            again = func(*args, **kwargs)
            pairs = zip(tree_flatten(out)[0], tree_flatten(again)[0], strict=True)
            for kept, new in pairs:
                if isinstance(kept, Tensor) and kept is not new:
                    kept.copy_(new)


class Stream:
    """A queue of work; there is only one here."""

    def wait_stream(self, other: Stream) -> None:
        """Do nothing, since all work is done in order."""


@contextlib.contextmanager
def capturing(graph: Graph) -> Iterator[None]:
    """Record the work inside the ``with`` block."""
    graph.begin()
    try:
        yield
    finally:
        graph.end()

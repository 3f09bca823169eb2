"""Isolation of runs in one process: each run starts from a known state, which is restored at its end.

Python lets a method change what every later run of the process depends on: torch's default dtype, whether
gradients are recorded, a function of torch, a signal handler, or a random generator in the method's module.
The result of a run must not depend on the runs before it. Therefore `Guard` brings the process to a known
state, and at the end of the run it restores what has changed and says what that was. If something cannot be
restored, the process is `spoilt`.

Nothing is restored while a run is in progress, as such changes are part of what the method does. But a run
cannot be resumed in a state that differs from that in which it began, so that no checkpoint is written while
the state differs.
"""

from __future__ import annotations

import contextlib
import functools
import gc
import os
from collections.abc import Callable, Iterable, Iterator
from types import TracebackType
from typing import Any

from raycl.process import numerics, parts, surroundings
from raycl.process.exits import Exits
from raycl.process.functions import Functions
from raycl.process.interrupts import interrupts
from raycl.process.modules import Modules
from raycl.process.parts import Left

__all__ = ["Guard", "Left", "borrowed", "describe_left", "interrupts", "ready", "spoilt", "untouched", "warm"]

_spoilt: list[str] = []
_NAMED = 3  # Number of things that a message names before it only counts the others.


def spoilt() -> list[str]:
    """Return what could not be restored in this process; if anything, it must not execute further runs."""
    return list(_spoilt)


def describe_left(left: Iterable[str]) -> str:
    """Join descriptions for a sentence: ``a, b, c and 4 more``."""
    things = list(dict.fromkeys(left))
    more = len(things) - _NAMED
    if more > 0:
        return f"{', '.join(things[:_NAMED])} and {more} more"
    return " and ".join([", ".join(things[:-1]), things[-1]] if len(things) > 1 else things)


def ready() -> None:
    """Record the state of this process, which executes only runs, before any user's code is loaded."""
    _baseline()
    _state["lent"] = max(1, _state["lent"])


class Guard:
    """Guard of the state of the process while it executes a run.

    ``with Guard() as guard:`` brings the process to the known state. ``with guard.at_work(kinds):`` records
    the state that the run must keep; whatever the run changes is restored at the end and listed in `left`.

    Attributes:
        left: Descriptions of what the run changed; what cannot be restored is in `spoilt` as well.
    """

    def __init__(self) -> None:
        self.left: list[str] = []
        self._numerics: dict[str, Any] = {}
        self._modules = Modules()
        self._exits = Exits()

    def __enter__(self) -> Guard:
        functions = _baseline()
        if not _state["lent"]:  # The process belongs to the caller, who may change it between runs.
            functions.adopt()
        parts.put(numerics.parts(), _known())
        self._surroundings = parts.readings(surroundings.parts())
        self._threads = surroundings.threads()
        self._exits.__enter__()
        return self

    @contextlib.contextmanager
    def at_work(self, kinds: Iterable[type] | None = None) -> Iterator[None]:
        """Restore the current settings at the end of the context.

        Args:
            kinds: Classes of the run. With them, functions and the user's modules that these classes need are
                watched and restored as well. None is for a context inside one that already does so.
        """
        before, self._numerics = self._numerics, parts.readings(numerics.parts())
        if kinds is not None:
            _baseline().extend()
            self._modules = Modules.of(kinds)
        try:
            yield
        finally:
            self._note(parts.put(numerics.parts(), self._numerics))
            self._numerics = before
            if kinds is not None:
                self._note(_baseline().put_back())
                self._note(self._modules.put_back())

    def moved(self) -> bool:
        """Return whether the process is in another state than that from which the run started."""
        return (
            parts.changed(numerics.parts(), self._numerics)
            or _baseline().changed()
            or self._modules.changed()
        )

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._exits.__exit__(kind, error, trace)
        self._note(self._exits.put_back())
        self._note(parts.put(surroundings.parts(), self._surroundings))
        self._note(surroundings.threads_left(self._threads))
        if self.left:
            gc.collect()  # Objects that change the state when they are collected do so before it is restored.
        parts.put(numerics.parts(), _known())
        if not _spoilt and numerics.arithmetic() != _baseline_arithmetic():
            self._note([Left("arithmetic with different results", back=False)])

    def _note(self, found: Iterable[Left]) -> None:
        for thing in found:
            if not (thing.silent and thing.back) and thing.what not in self.left:
                self.left.append(thing.what)
            if not thing.back and thing.what not in _spoilt:
                _spoilt.append(thing.what)


@contextlib.contextmanager
def untouched(
    what: str, say: Callable[[str], None] = lambda line: None, when: str = "it was imported"
) -> Iterator[None]:
    """Restore what a user's code changes in the process while it is imported or built, and report it.

    Threads, generators, environment variables, filters of warnings and ``sys.path`` are left alone.

    Args:
        what: Name of the file for the message.
        say: Receives the message, one line.
        when: What happened meanwhile, as a clause for the message.
    """
    functions = _baseline()
    if not _state["lent"] and not _state["watched"]:  # what was changed before is not this file's doing
        functions.adopt()
    functions.extend()
    _state["watched"] += 1
    before = parts.readings(numerics.parts()), parts.readings(_imports())
    try:
        yield
    finally:
        _state["watched"] -= 1
        found = parts.put(numerics.parts(), before[0]) + parts.put(_imports(), before[1])
        found += functions.put_back()
        left = [thing.what for thing in found if not (thing.silent and thing.back)]
        _spoilt.extend(thing.what for thing in found if not thing.back and thing.what not in _spoilt)
        if left:
            verb = "was" if len(left) == 1 else "were"
            say(f"{what}: {describe_left(left)} when {when}, which {verb} put back: no run may depend on it")


@contextlib.contextmanager
def borrowed() -> Iterator[None]:
    """Restore the settings and generators of a process that is not a worker after executing runs in it.

    Functions that the process has replaced itself, as a test or a notebook may do, stay replaced.
    """
    before = parts.readings(numerics.parts()), surroundings.generators()
    _baseline().adopt()
    _state["lent"] += 1
    try:
        yield
    finally:
        _state["lent"] -= 1
        parts.put(numerics.parts(), before[0])
        surroundings.put_generators(before[1])


@functools.cache
def _imports() -> tuple[parts.Part, ...]:
    """Return the parts of the state that importing a file must not change."""
    permitted = {"environment variables", "sys.path", "the finders of modules", "filters of warnings"}
    return tuple(part for part in surroundings.parts() if part.name not in permitted)


_state: dict[str, Any] = {}


def _baseline() -> Functions:
    """Return the functions as they were before any user's code was loaded."""
    if _state.get("pid") != os.getpid():
        _state.clear()
        _spoilt.clear()
        _state.update(
            pid=os.getpid(),
            functions=Functions(),
            arithmetic=numerics.arithmetic(),
            warm=False,
            lent=0,
            watched=0,
        )
    return _state["functions"]  # type: ignore[no-any-return]


def warm() -> None:
    """Construct PyTorch's optimisers once, before a run of a user's code, which may construct them too.

    The first construction takes seconds, which are not the run's compute time, and registers functions to be
    called at the end of Python, which are not the run's. raycl's own methods do not construct any (see
    `raycl.training.rules`).
    """
    functions = _baseline()
    if not _state["warm"]:
        warm_up()
        functions.adopt()
        _state["warm"] = True


def warm_up() -> None:
    """Take one step with every optimiser of PyTorch."""
    import torch

    for kind in vars(torch.optim).values():
        if (
            isinstance(kind, type)
            and issubclass(kind, torch.optim.Optimizer)
            and kind is not torch.optim.Optimizer
        ):
            weight = torch.nn.Parameter(torch.zeros(1, 1, device="cpu"))
            weight.grad = torch.zeros_like(weight)
            with contextlib.suppress(Exception):  # Some optimisers need other gradients or a closure.
                kind([weight], lr=0.1).step()  # type: ignore[call-arg]


@functools.cache
def _known() -> dict[str, Any]:
    """Return the values from which every run starts."""
    found = parts.readings(numerics.parts())
    return {p.name: found[p.name] if p.known is None else p.known for p in numerics.parts()}


def _baseline_arithmetic() -> tuple[Any, ...]:
    _baseline()
    return _state["arithmetic"]  # type: ignore[no-any-return]


_known()  # The values are read at import, before any user's code has run.

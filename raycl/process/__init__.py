"""The state of this process: each run starts from a known one, and has to leave it as it found it.

Python lets a method change what every later run of the process depends on: torch's default dtype, its
gradients, a function of it, a signal handler, a generator of its own module. The result of a run must be the
same alone or beside others. So `Guard` brings the process to a known state, and at the run's end puts back
what is not as it was, and says what that was. What cannot be put back makes the process `spoilt`.

Within a run nothing is put back: the method's own doing is part of what it is. But a run that stands in
another state than it began in cannot be resumed there, so nothing is written down until it stands as before.
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

__all__ = ["Guard", "Left", "borrowed", "describe_left", "interrupts", "ready", "spoilt", "untouched"]

_spoilt: list[str] = []
_NAMED = 3  # things that a line names before it says how many more there are


def spoilt() -> list[str]:
    """What could not be put back in this process: no run that is played in it now can be trusted."""
    return list(_spoilt)


def describe_left(left: Iterable[str]) -> str:
    """Some things in a sentence: ``a, b, c and 4 more``."""
    things = list(dict.fromkeys(left))
    more = len(things) - _NAMED
    if more > 0:
        return f"{', '.join(things[:_NAMED])} and {more} more"
    return " and ".join([", ".join(things[:-1]), things[-1]] if len(things) > 1 else things)


def ready() -> None:
    """Learn the state of this process, which executes runs and nothing else, before any stranger's code."""
    _baseline()
    _state["lent"] = max(1, _state["lent"])


class Guard:
    """The state of the process while a run is played in it.

    ``with Guard() as guard:`` starts from the known state, and ``with guard.at_work(kinds):`` fixes what the
    run has to leave. What it left otherwise is put back, and named in `left`.

    Attributes:
        left: what was not as it had been, in plain words; what cannot be put back is in `spoilt` as well.
    """

    def __init__(self) -> None:
        self.left: list[str] = []
        self._numerics: dict[str, Any] = {}
        self._modules = Modules()
        self._exits = Exits()

    def __enter__(self) -> Guard:
        functions = _baseline()
        if not _state["lent"]:  # what was changed between runs is whose process it is
            functions.adopt()
        parts.put(numerics.parts(), _known())
        self._surroundings = parts.readings(surroundings.parts())
        self._threads = surroundings.threads()
        self._exits.__enter__()
        return self

    @contextlib.contextmanager
    def at_work(self, kinds: Iterable[type] | None = None) -> Iterator[None]:
        """With the settings that hold now, which come back at the end.

        Args:
            kinds: classes of the run; functions, and the users' modules that these classes need, are watched
                from here on as well. None: within a stretch in which they are.
        """
        kinds = None if kinds is None else list(kinds)
        if kinds is not None and not all(kind.__module__.startswith("raycl.") for kind in kinds):
            self._note(_warm())
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
        """Whether the process is not in the state from which the run started."""
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
            gc.collect()  # what changes something when it is collected does so now
        parts.put(numerics.parts(), _known())
        if not _spoilt and numerics.arithmetic() != _baseline_arithmetic():
            self._note([Left("arithmetic that gives other numbers", back=False)])

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
    """Put back what a user's code changes of the process while it is imported or built, and say it in a line.

    Threads, generators, environment variables, filters of warnings and ``sys.path`` are left alone.

    Args:
        what: the file, as the line is to name it.
        say: takes the line.
        when: what happens meanwhile, as the line is to say it.
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
    """While runs are played in somebody else's process: its own settings and generators come back at the end.

    Functions that it has replaced itself, as a test or a notebook does, are left so.
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
    """Parts that importing a file has no business with."""
    kept = {"environment variables", "sys.path", "the finders of modules", "filters of warnings"}
    return tuple(part for part in surroundings.parts() if part.name not in kept)


_state: dict[str, Any] = {}


def _baseline() -> Functions:
    """Return the functions as they are before any stranger's code."""
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


def _warm() -> Iterable[Left]:
    """Construct torch's optimisers once, before a run of a stranger's code, which may construct them too.

    Torch replaces some of its functions itself when the first one is made, and takes seconds for it, which
    are not the run's compute time. raycl's own methods do without (`raycl.training.rules`).

    Returns:
        What had been left otherwise before, and is put back.
    """
    functions = _baseline()
    if _state["warm"]:
        return []
    left = list(functions.put_back())
    warm_up()
    functions.adopt()
    _state["warm"] = True
    return left


def warm_up() -> None:
    """Take one step of every optimiser of torch's."""
    import torch

    for kind in vars(torch.optim).values():
        if (
            isinstance(kind, type)
            and issubclass(kind, torch.optim.Optimizer)
            and kind is not torch.optim.Optimizer
        ):
            weight = torch.nn.Parameter(torch.zeros(1, 1, device="cpu"))
            weight.grad = torch.zeros_like(weight)
            with contextlib.suppress(Exception):  # some want other gradients, or a closure
                kind([weight], lr=0.1).step()  # type: ignore[call-arg]


@functools.cache
def _known() -> dict[str, Any]:
    """The values from which every run starts."""
    found = parts.readings(numerics.parts())
    return {p.name: found[p.name] if p.known is None else p.known for p in numerics.parts()}


def _baseline_arithmetic() -> tuple[Any, ...]:
    _baseline()
    return _state["arithmetic"]  # type: ignore[no-any-return]


_known()  # now: no stranger's code has run

"""Functions that a run registers with `atexit`, which must not outlive the run."""

from __future__ import annotations

import atexit
import functools
import inspect
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any

from raycl import installed
from raycl.process.parts import Left


class Exits:
    """Recorder of calls of `atexit.register`, which unregisters the functions of a user's own code.

    Functions of libraries that are first imported within a run stay registered.
    """

    def __init__(self) -> None:
        self._register: Callable[..., Any] = atexit.register
        self._registered: list[Callable[..., Any]] = []

    def __enter__(self) -> Exits:
        self._register, self._registered = atexit.register, []
        vars(atexit)["register"] = self._record
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        vars(atexit)["register"] = self._register

    def put_back(self) -> list[Left]:
        """Unregister the functions of a user's own code, and return what was done."""
        own = [function for function in self._registered if _is_own(function)]
        for function in own:
            atexit.unregister(function)
        self._registered = []
        return [Left("a function to be called when Python ends")] if own else []

    def _record(self, function: Callable[..., Any], *given: Any, **named: Any) -> Callable[..., Any]:
        self._registered.append(function)
        self._register(function, *given, **named)
        return function


def _is_own(function: Callable[..., Any]) -> bool:
    while isinstance(function, functools.partial):
        function = function.func
    code = getattr(inspect.unwrap(function), "__code__", None)
    return code is not None and installed.is_own_file(Path(code.co_filename))

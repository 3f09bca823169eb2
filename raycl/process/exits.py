"""What a run asks Python to call when the process ends: it must not outlive the run."""

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
    """Notes what is handed to `atexit.register`, and takes back what a user's own code handed there.

    Libraries that are first imported within a run register functions of their own, which stay.
    """

    def __init__(self) -> None:
        self._register: Callable[..., Any] = atexit.register
        self._handed: list[Callable[..., Any]] = []

    def __enter__(self) -> Exits:
        self._register, self._handed = atexit.register, []
        vars(atexit)["register"] = self._noted
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        vars(atexit)["register"] = self._register

    def put_back(self) -> list[Left]:
        """Take back what a user's own code handed there; what that was."""
        own = [function for function in self._handed if _is_own(function)]
        for function in own:
            atexit.unregister(function)
        self._handed = []
        return [Left("a function to be called when Python ends")] if own else []

    def _noted(self, function: Callable[..., Any], *given: Any, **named: Any) -> Callable[..., Any]:
        self._handed.append(function)
        self._register(function, *given, **named)
        return function


def _is_own(function: Callable[..., Any]) -> bool:
    while isinstance(function, functools.partial):
        function = function.func
    code = getattr(inspect.unwrap(function), "__code__", None)
    return code is not None and installed.is_own_file(Path(code.co_filename))

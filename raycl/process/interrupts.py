"""Tells a signal that ends a study from an exception of the same name that a method raises."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator
from typing import Any


@contextlib.contextmanager
def interrupts() -> Iterator[list[int]]:
    """Signals that ask this process to stop, as they come; their handlers are called as before."""
    came: list[int] = []
    before: dict[int, Any] = {}

    def noting(handler: Any) -> Any:
        def note(number: int, frame: Any) -> Any:
            came.append(number)
            return handler(number, frame)

        return note

    if threading.current_thread() is threading.main_thread():  # no other thread receives any
        for which in (signal.SIGINT, signal.SIGTERM):
            handler = signal.getsignal(which)
            if callable(handler):
                before[which] = handler
                signal.signal(which, noting(handler))
    try:
        yield came
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)

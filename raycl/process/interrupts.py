"""Distinction between a signal that ends a study and a KeyboardInterrupt that a method raises itself."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator
from typing import Any


@contextlib.contextmanager
def interrupts() -> Iterator[list[int]]:
    """Collect the signals that ask this process to stop; their handlers are called as before."""
    received: list[int] = []
    before: dict[int, Any] = {}

    def recording(handler: Any) -> Any:
        def record(number: int, frame: Any) -> Any:
            received.append(number)
            return handler(number, frame)

        return record

    if threading.current_thread() is threading.main_thread():  # Only the main thread receives signals.
        for which in (signal.SIGINT, signal.SIGTERM):
            handler = signal.getsignal(which)
            if callable(handler):
                before[which] = handler
                signal.signal(which, recording(handler))
    try:
        yield received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)

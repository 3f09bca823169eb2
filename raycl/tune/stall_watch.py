"""The watch that ends a worker process if its run hangs or takes too much memory, so that Tune retries it."""

from __future__ import annotations

import contextlib
import faulthandler
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType

from raycl.plainfiles import Unfit, read_bytes

LAST_WORDS = "ended.txt"
GRACE = 60.0  # further seconds after which a process that cannot end itself is ended by faulthandler


class Watch:
    """Context manager that watches this process during a run.

    Args:
        folder: Folder for a file that says why the process was ended.
        stall_seconds: Seconds without a call of `alive` after which the run counts as hanging.
        memory: Largest number of bytes of private memory; None sets no limit.
    """

    def __init__(self, folder: Path, stall_seconds: float, memory: float | None) -> None:
        self.folder, self.stall_seconds, self.memory = folder, stall_seconds, memory
        self._last = self._armed = time.monotonic()
        self._over, self._paused = threading.Event(), False
        self._thread = threading.Thread(target=self._watch, name="raycl-watch", daemon=True)

    def __enter__(self) -> Watch:
        with contextlib.suppress(OSError):
            (self.folder / LAST_WORDS).unlink(missing_ok=True)
        self._arm()
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._thread.join()
        faulthandler.cancel_dump_traceback_later()

    def alive(self) -> None:
        """Note that the run is making progress."""
        self._last = time.monotonic()

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """Suspend the watch while the run waits for its driver, which may itself wait for a disk."""
        self._paused = True
        yield
        self._paused = False
        self.alive()

    def _arm(self) -> None:
        # Faulthandler needs no interpreter lock, so it also ends a run that hangs in a call holding the lock.
        self._armed = self._last
        with contextlib.suppress(OSError, ValueError, RuntimeError):  # no stderr
            faulthandler.dump_traceback_later(self.stall_seconds + GRACE, exit=True, file=2)

    def _watch(self) -> None:
        while not self._over.wait(min(1.0, self.stall_seconds / 4)):
            if self._paused:
                self.alive()
            quiet = time.monotonic() - self._last
            if quiet > self.stall_seconds:
                self._end(f"no batch was trained or evaluated for {quiet / 60:.1f} minutes")
            if self._last - self._armed > GRACE / 2:
                self._arm()
            if self.memory is not None and (taken := own_bytes()) > self.memory:
                self._end(
                    f"it took {taken / 2**30:.2f} GiB of memory, but may take {self.memory / 2**30:.2f}"
                )

    def _end(self, why: str) -> None:
        with contextlib.suppress(OSError):
            self.folder.mkdir(parents=True, exist_ok=True)
            (self.folder / LAST_WORDS).write_text(why, encoding="utf-8")
        with contextlib.suppress(OSError, ValueError, RuntimeError):
            faulthandler.dump_traceback(file=2, all_threads=True)
        os._exit(1)


def own_bytes() -> int:
    """Return the bytes of private memory of this process; 0 if the system does not tell."""
    try:
        with open("/proc/self/status", encoding="utf-8", errors="replace") as status:
            for line in status:
                if line.startswith("RssAnon:"):
                    return int(line.split()[1]) * 1024
    except OSError:
        pass
    return 0


def last_words(folder: Path) -> str:
    """Return why the process of a run was ended, or ""."""
    try:
        text = read_bytes(folder / LAST_WORDS, 4096).decode("utf-8", "replace")
    except (OSError, Unfit):
        return ""
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())

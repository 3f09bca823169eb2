"""Methods that keep a journal of what they learn, and misbehave once where a file in a folder says so.

The folder is named by ``RAYCL_FAULTS``, which no key knows of: a run with faults and one without are the same
run. Without it these are the catalogue's methods.
"""

from __future__ import annotations

import contextlib
import ctypes
import hashlib
import json
import os
import socket
import time
from pathlib import Path
from typing import Any

from raycl.method import Method, Task
from raycl.methods.ewc import EWC
from raycl.methods.hat import HAT
from raycl.training.fit import Fit

LEAK = 2**25  # bytes at a time
ENOUGH = 2**32  # of a leak that nothing stops


class Watched(Method):
    """Writes a line for each task that it begins, takes as long as it is told, and does what it is told."""

    def learn(self, task: Task, fit: Fit) -> None:
        folder = os.environ.get("RAYCL_FAULTS")
        if not folder:
            super().learn(task, fit)
            return
        began = time.monotonic()
        self._note(Path(folder) / "journal", task, fit)
        if _claimed(Path(folder) / "hang"):
            time.sleep(1e9)
        if _claimed(Path(folder) / "hang-hard"):
            ctypes.PyDLL(None).pause()  # as a deadlock below Python does, it keeps the interpreter's lock
        if _claimed(Path(folder) / "leak"):
            _leak()
        super().learn(task, fit)
        while time.monotonic() - began < _pace(Path(folder)):
            time.sleep(0.05)

    def _note(self, journal: Path, task: Task, fit: Fit) -> None:
        run = repr((type(self).__name__, self.config, fit.config, fit.seed))
        line: dict[str, Any] = {
            "run": hashlib.sha256(run.encode()).hexdigest()[:12],
            "task": task.index,
            "host": socket.gethostname(),
            "pid": os.getpid(),
            "at": float(Path("/proc/uptime").read_text().split()[0]),  # whatever the clock is made to say
            "clock": time.time(),
        }
        with journal.open("a") as file:  # one short write: lines of several processes do not mix
            file.write(json.dumps(line) + "\n")


def _claimed(mark: Path) -> bool:
    """Whether the file was there, and this is the process that took it, which it then names."""
    mine = mark.with_name(f"{mark.name}.{socket.gethostname()}-{os.getpid()}")
    with contextlib.suppress(FileNotFoundError):
        mark.rename(mine)
        mine.write_text(f"{socket.gethostname()} {os.getpid()}")
        mine.rename(mark.with_name(f"{mark.name}.done"))
        return True
    return False


def _pace(folder: Path) -> float:
    """Seconds that a task takes at least, as the folder says now."""
    with contextlib.suppress(OSError, ValueError):
        return float((folder / "pace").read_text())
    return 0.0


def _leak() -> None:
    kept = []
    while len(kept) * LEAK < ENOUGH:
        kept.append(bytearray(b"x") * LEAK)
        time.sleep(0.05)
    raise MemoryError(f"{ENOUGH} bytes leaked, and nobody minded")


class Finetune(Watched):
    """Finetuning."""


class Ewc(Watched, EWC):
    """EWC."""


class Hat(Watched, HAT):
    """HAT."""

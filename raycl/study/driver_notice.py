"""Notice of other drivers that use the same store: each driver leaves a file there while it runs.

Two drivers do no harm, because every file is published whole and both reach the same results. But each of
them computes the runs that the other has not finished, so the user should know. Nothing in this module may
stop a study; errors of the file system are therefore ignored.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from raycl.plainfiles import Unfit, number, plain_of, read_bytes, text, whole
from raycl.runs.records import LATEST
from raycl.text import one_line
from raycl.wholefiles import publish

BEAT = 30.0  # seconds between two signs of life
MOST_BYTES = 64 * 1024  # largest driver's file that is read
# Seconds without a sign of life after which a driver counts as dead. A network file system may show the time
# of a file up to a minute late.
GONE = 150.0


@dataclass(frozen=True)
class Driver:
    """Description that a driver leaves of itself.

    Attributes:
        host, pid: Where the driver runs, for a human reader.
        place: Identity of the machine's current boot and of its process namespace; "" if unknown.
        born: Start time of the process in clock ticks of its machine; "" if unknown.
        study: Name of the study that it runs.
        since: Modification time of its file when it began, by the clock of the file system.
    """

    host: str
    pid: int
    place: str
    born: str
    study: str
    since: float = 0.0


@contextlib.contextmanager
def present(store: Path, study: str, say: Callable[[str], None]) -> Iterator[None]:
    """Leave a file in the store while a study runs, and report the other drivers that use the store."""
    path = store / "drivers" / f"{_host()}-{os.getpid()}-{secrets.token_hex(4)}.json"
    me = Driver(_host(), os.getpid(), _place(), _born(os.getpid()), study)
    stop = threading.Event()
    with contextlib.suppress(OSError):
        me = _arrive(path, me)
        for line in _others(path, me):
            say(line)
    thread = threading.Thread(target=_beat, args=(path, me, stop), name="raycl-driver-notice", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(1.0)  # the thread may hang with its file system, and need not be waited for
        with contextlib.suppress(OSError):
            path.unlink(missing_ok=True)


def _arrive(path: Path, me: Driver) -> Driver:
    """Write the driver's file, and return the driver with the file system's time of the first writing."""
    if not me.since:
        publish(path, json.dumps(asdict(me)))
        me = replace(me, since=path.stat().st_mtime)
    publish(path, json.dumps(asdict(me)))
    return me


def _beat(path: Path, me: Driver, stop: threading.Event) -> None:
    while not stop.wait(BEAT):
        with contextlib.suppress(OSError):
            try:
                os.utime(path)
            except FileNotFoundError:  # another driver took this one for dead, as after the machine slept
                me = _arrive(path, me)


def _others(path: Path, me: Driver) -> Iterator[str]:
    """Yield a message for each other driver that is alive, and remove the files of dead ones."""
    now = path.stat().st_mtime  # the file system's clock may differ from that of this machine
    for other in sorted(path.parent.glob("*.json")):
        if other == path:
            continue
        with contextlib.suppress(OSError, ValueError, OverflowError):
            seen = now - other.stat().st_mtime
            found = _read(other)
            here = found is not None and _lives_here(found, me.place)
            if found is None or here is False or (here is None and seen > GONE):
                other.unlink(missing_ok=True)
                continue
            yield _said(found, max(0.0, now - found.since), None if here else max(0.0, seen))


def _read(path: Path) -> Driver | None:
    try:
        plain = plain_of(read_bytes(path, MOST_BYTES))
        texts = {name: text(plain[name], name) for name in ("host", "place", "born", "study")}
        if not (pid := whole(plain["pid"], "pid", 2**31 - 1)):
            return None
        return Driver(**texts, pid=pid, since=number(plain["since"], "since", LATEST))
    except (Unfit, KeyError):  # the file is not a driver's, or is of another version
        return None


def _lives_here(driver: Driver, place: str) -> bool | None:
    """Return whether a driver of this machine is alive; None if it runs elsewhere or this is unknown."""
    if not place or driver.place != place:
        return None
    try:
        os.kill(driver.pid, 0)
    except ProcessLookupError:
        return False
    except OSError:  # the process exists, and belongs to another user
        pass
    return _born(driver.pid) == driver.born  # otherwise another process has its number now


def _said(driver: Driver, age: float, unseen: float | None) -> str:
    since = time.strftime("%H:%M", time.localtime(time.time() - age))
    sign = "" if unseen is None else f", last sign of life {unseen:.0f} s ago"
    return (
        f"another driver is using this store: {one_line(driver.study)} on {one_line(driver.host)}, "
        f"process {driver.pid}, since {since}{sign}; results stay correct, but runs may be computed twice"
    )


def _host() -> str:
    return socket.gethostname().replace("/", "-") or "unknown"


def _place() -> str:
    """Return the identity of the machine's current boot and the process namespace; "" if unknown."""
    with contextlib.suppress(OSError):
        start = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="utf-8").strip()
        return f"{start} {os.readlink('/proc/self/ns/pid')}"
    return ""


def _born(pid: int) -> str:
    """Return the start time of a process in clock ticks; "" if the system does not tell it."""
    with contextlib.suppress(OSError, IndexError):
        return (
            Path(f"/proc/{pid}/stat")
            .read_text(encoding="utf-8", errors="replace")
            .rpartition(")")[2]
            .split()[19]
        )
    return ""

"""Which drivers are at work on a store: each leaves a file there, so that a second one can say so.

Two of them break nothing: every file is published whole, and both come to the same results. But each plays
what the other has not finished yet. Nothing here may stop a study, so whatever the file system refuses is let
go.
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

BEAT = 30.0  # seconds between signs of life
MOST_BYTES = 64 * 1024  # of a driver's file
GONE = 150.0  # seconds without one; a network file system shows the time of a file up to a minute late


@dataclass(frozen=True)
class Driver:
    """What a driver says of itself.

    Attributes:
        host, pid: where it runs, for a reader.
        place: the machine since its last start, and which numbers of processes it sees; "" if unknown.
        born: when the process began, in the machine's own ticks; "" if unknown.
        study: what it plays.
        since: time of its file when it began, by the clock of the file system.
    """

    host: str
    pid: int
    place: str
    born: str
    study: str
    since: float = 0.0


@contextlib.contextmanager
def present(store: Path, study: str, say: Callable[[str], None]) -> Iterator[None]:
    """Leave a file in a store as long as a study is played, and say who else is there."""
    path = store / "drivers" / f"{_host()}-{os.getpid()}-{secrets.token_hex(4)}.json"
    me = Driver(_host(), os.getpid(), _place(), _born(os.getpid()), study)
    stop = threading.Event()
    with contextlib.suppress(OSError):
        me = _arrive(path, me)
        for line in _others(path, me):
            say(line)
    thread = threading.Thread(target=_beat, args=(path, me, stop), name="raycl-presence", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(1.0)  # a file system that hangs keeps it, and nobody waits for that
        with contextlib.suppress(OSError):
            path.unlink(missing_ok=True)


def _arrive(path: Path, me: Driver) -> Driver:
    """Write a driver's file; gives the driver back with the file system's time of its first one."""
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
            except FileNotFoundError:  # taken for dead, as after a machine slept
                me = _arrive(path, me)


def _others(path: Path, me: Driver) -> Iterator[str]:
    """A line for each other driver that is alive; files of dead ones are removed."""
    now = path.stat().st_mtime  # not this machine's clock, which may be another than the file system's
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
    except (Unfit, KeyError):  # none of ours, or of another version
        return None


def _lives_here(driver: Driver, place: str) -> bool | None:
    """Whether a driver of this machine is alive; None if it is of another, or nobody can tell."""
    if not place or driver.place != place:
        return None
    try:
        os.kill(driver.pid, 0)
    except ProcessLookupError:
        return False
    except OSError:  # it is somebody else's
        pass
    return _born(driver.pid) == driver.born  # else its number went to another process


def _said(driver: Driver, age: float, unseen: float | None) -> str:
    since = time.strftime("%H:%M", time.localtime(time.time() - age))
    sign = "" if unseen is None else f", last sign of life {unseen:.0f} s ago"
    return (
        f"another driver is at work on this store: {one_line(driver.study)} on {one_line(driver.host)}, "
        f"process {driver.pid}, since {since}{sign}; nothing breaks, but runs may be computed twice"
    )


def _host() -> str:
    return socket.gethostname().replace("/", "-") or "unknown"


def _place() -> str:
    """The machine and its start, and the namespace that numbers of processes belong to."""
    with contextlib.suppress(OSError):
        start = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="utf-8").strip()
        return f"{start} {os.readlink('/proc/self/ns/pid')}"
    return ""


def _born(pid: int) -> str:
    """When a process began, in the machine's ticks; "" where the system does not say."""
    with contextlib.suppress(OSError, IndexError):
        return (
            Path(f"/proc/{pid}/stat")
            .read_text(encoding="utf-8", errors="replace")
            .rpartition(")")[2]
            .split()[19]
        )
    return ""

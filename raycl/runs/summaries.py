"""What a driver keeps in memory of the finished runs of a store, in few files that the next start reads.

To read a result, check it and bring it into the compact form of `Result.packed` takes 1.6 ms of CPU, and to
read its line in a summary 0.17 ms: a study of 58,600 runs starts in 59 s of CPU instead of 168 s. A driver
appends a line for each result that it writes, and for each that it has read from the result's own file. Lines
are in one of sixteen files, by the first digit of the run's key.

A line is used only if it belongs to the result's file as it is now: with the size, the times and the inode
that the file had when it was written or read. Any tool that writes to a file, replaces it or copies it
changes one of these. Lines of other versions of raycl, whose checks may differ, are in files of other names.
Whoever deletes ``summaries/`` loses some minutes.
"""

from __future__ import annotations

import base64
import contextlib
import json
import os
import time
import zlib
from collections import Counter
from collections.abc import Container, Iterator
from pathlib import Path
from typing import TypeAlias

from raycl import plainfiles, specs
from raycl.plainfiles import Unfit, read_bytes
from raycl.runs import records, reports, result
from raycl.runs.records import LOST
from raycl.runs.result import PackedReports, Result
from raycl.specs import RunSpec
from raycl.wholefiles import publish

FOLDER = "summaries"
WORTH = 400_000  # Bytes of lines that are read in the time in which one result is read and checked.
SPARE = 200  # Superseded lines of a file that are no reason to write it anew.
PAUSE = 60.0  # Seconds after a failed write in which no line is written.
_KEY = slice(9, 73)  # Place of the key in a line, after the checksum.
State: TypeAlias = tuple[int, int, int, int]


def state_of(status: os.stat_result) -> State:
    """Return what changes whenever a file is written to or replaced."""
    return status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino


def _form() -> str:
    """Return eight digits that change with the source of what a line contains, and of a result's checks."""
    found = zlib.crc32(Path(__file__).read_bytes())
    for module in (plainfiles, specs, records, reports, result):
        found = zlib.crc32(Path(str(module.__file__)).read_bytes(), found)
    return f"{found:08x}"


FORM = _form()


class Summaries:
    """Compact forms of the results of a store.

    Args:
        root: The store.

    Attributes:
        writes: Whether lines are written, as the driver of a study does.
    """

    def __init__(self, root: Path) -> None:
        self.writes = False
        self._root = root / FOLDER
        self._asked: Counter[str] = Counter()  # by first digit, how often a line of an unread file was wanted
        self._places: dict[str, dict[int, int]] = {}  # by first digit, where the line of each run begins
        self._failed = -PAUSE

    def find(self, state: State, spec: RunSpec) -> Result | None:
        """Return the result of a run in compact form; None if it must be read from its own file.

        Args:
            state: State of the result's file.
            spec: The run, to which the result will refer.
        """
        key = spec.key
        place = self._places_of(key[0]).pop(_short(key), None)
        if place is None:
            return None
        try:
            with open(self._file(key[0]), "rb", opener=_opened) as file:
                file.seek(place)  # This fails for what is no file any more.
                line = file.readline()
            known, status, message, many, packed, provenance = json.loads(_entry_of(line, key))
            if tuple(known) != state or status not in ("done", *LOST):
                return None
            reports = PackedReports.of(base64.b64decode(packed), many)
            return Result(spec, status, reports, message, provenance).interned()
        except (OSError, ValueError, TypeError, AttributeError, RecursionError):  # Unfit is a ValueError.
            return None

    def lacks(self, key: str) -> bool:
        """Return whether no line of a run is left to use; False if its file of lines was not read."""
        places = self._places.get(key[0])
        return places is not None and _short(key) not in places

    def add(self, state: State, result: Result) -> None:
        """Append the line of a result; after a failed write, no line is written for a minute.

        Args:
            state: State of the result's file when its content was that of the result.
            result: The result in compact form.
        """
        if not self.writes or time.monotonic() < self._failed + PAUSE:
            return
        assert isinstance(result.reports, PackedReports)
        packed = base64.b64encode(result.reports.packed).decode()
        entry = [state, result.status, result.message, len(result.reports), packed, result.provenance]
        try:
            line = _line(result.key, json.dumps(entry, separators=(",", ":"), allow_nan=False))
            file = self._file(result.key[0])
            if not file.exists():
                self._begin(file)
            flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY
            handle = os.open(file, flags | os.O_NOFOLLOW, 0o666)
            with open(handle, "wb", buffering=0) as opened:
                # On a local disk, lines of two drivers that are one write each do not mix. Where they do, as
                # on NFS, their checksums tell.
                opened.write(line)
        except (OSError, ValueError, TypeError):
            self._failed = time.monotonic()

    def tidy(self, kept: Container[str]) -> None:
        """Remove lines of runs that the store does not have, superseded ones, and those of other versions.

        Args:
            kept: Keys of the runs that the store has.
        """
        for file in self._root.glob("?-*.lines"):
            with contextlib.suppress(OSError, Unfit):
                if not file.name.endswith(f"-{FORM}.lines"):
                    file.unlink()
                    continue
                last = _last_lines(read_bytes(file, most=None).splitlines(keepends=True))
                left = [line for line in last if line[_KEY].decode("ascii", "replace") in kept]
                publish(file, b"".join(left), mode=None, synced=False)

    def _file(self, digit: str) -> Path:
        return self._root / f"{digit}-{FORM}.lines"

    def _begin(self, file: Path) -> None:
        """Make room for a new file: of other versions, only the one that was written last is kept."""
        self._root.mkdir(exist_ok=True)
        others = sorted(self._root.glob(f"{file.name[0]}-*.lines"), key=lambda path: path.lstat().st_mtime_ns)
        for other in others[:-1]:
            other.unlink()

    def _places_of(self, digit: str) -> dict[int, int]:
        """Return where the lines of runs begin whose keys have this first digit.

        A long file is read only when so many of its results were asked for that this is the shorter way.
        """
        if (found := self._places.get(digit)) is not None:
            return found
        file, lines = self._file(digit), list[bytes]()
        with contextlib.suppress(OSError, Unfit):
            self._asked[digit] += 1
            if os.stat(file).st_size > self._asked[digit] * WORTH:
                return {}
            lines = read_bytes(file, most=None).splitlines(keepends=True)
            last = list(_last_lines(lines))
            if self.writes and len(lines) > 2 * len(last) + SPARE:
                publish(file, b"".join(last), mode=None, synced=False)
                lines = last
        found, place = {}, 0
        for line in lines:
            with contextlib.suppress(ValueError):
                found[_short(line[_KEY])] = place
            place += len(line)
        self._places[digit] = found
        return found


def _opened(path: str, flags: int) -> int:
    """Open a file for reading; a pipe that has taken its place does not block."""
    return os.open(path, flags | os.O_NONBLOCK | os.O_NOCTTY)


def _last_lines(lines: list[bytes]) -> Iterator[bytes]:
    """Return an iterator over the last line of each run."""
    return iter({line[_KEY]: line for line in lines}.values())


def _short(key: str | bytes) -> int:
    """Return a number for a key that takes a third of its memory."""
    return int(key[:16], 16)


def _line(key: str, entry: str) -> bytes:
    body = f"{key} {entry}\n".encode()
    return b"%08x " % zlib.crc32(body) + body


def _entry_of(line: bytes, key: str) -> bytes:
    """Return the entry of a line.

    Raises:
        ValueError: If the line is torn, damaged or of another run.
    """
    body = line[_KEY.start :]
    if line[: _KEY.start] != b"%08x " % zlib.crc32(body) or line[_KEY] != key.encode():
        raise ValueError("not the line of this run")
    return line[_KEY.stop :]

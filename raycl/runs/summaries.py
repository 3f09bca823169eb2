"""What a driver keeps in memory of the finished runs of a store, in few files that the next start reads.

To read a result, check it and bring it into the compact form of `Result.packed` takes 1.6 ms of CPU, and its
line in a summary a thirtieth of that: a study of 100,000 runs starts in a minute instead of four. A driver
appends a line for each result that it writes, and for each that it has read from the result's own file. Lines
are in one of sixteen files, by the first digit of the run's key.

A line is used only if it belongs to the file as it is now: with the size, the times and the inode that the
file had when the line was written. Any tool that writes to a file, replaces it or copies it changes one of
these. Whoever deletes ``summaries/`` loses some minutes.
"""

from __future__ import annotations

import base64
import contextlib
import functools
import json
import os
import zlib
from collections import Counter
from collections.abc import Container
from pathlib import Path
from typing import TypeAlias

from raycl import metrics, plainfiles, specs
from raycl.plainfiles import Unfit, read_bytes
from raycl.runs import records, reports, result
from raycl.runs.result import PackedReports, Result
from raycl.specs import RunSpec
from raycl.wholefiles import publish

FOLDER = "summaries"
WORTH = 400_000  # Bytes of lines that are read in the time in which one result is read and checked.
SPARE = 200  # Superseded lines of a file that are no reason to begin it anew.
_KEY = slice(9, 73)  # Place of the key in a line, after the checksum.
State: TypeAlias = tuple[int, int, int, int]


class Summaries:
    """Compact forms of the results of a store.

    Args:
        root: The store.

    Attributes:
        writes: Whether lines are appended, as the driver of a study does.
    """

    def __init__(self, root: Path) -> None:
        self.writes = False
        self._root = root / FOLDER
        self._asked: Counter[str] = Counter()  # first digit -> how often a line was wanted of a file not read
        self._places: dict[str, dict[bytes, tuple[int, int]]] = {}  # first digit -> key -> offset and length

    def find(self, path: Path, spec: RunSpec) -> Result | None:
        """Return the result of a run in compact form; None if it must be read from its own file.

        Args:
            path: File of the result.
            spec: The run, to which the result will refer.
        """
        key = spec.key
        place = self._places_of(key[0]).pop(key.encode(), None)
        if place is None or (state := state_of(path)) is None:
            return None
        try:
            with open(self._file(key[0]), "rb", buffering=0) as file:
                line = os.pread(file.fileno(), place[1], place[0])
            known, status, message, many, packed, provenance = json.loads(_checked(line))
            if tuple(known) != state:
                return None
            reports = PackedReports.of(base64.b64decode(packed), many)
            return Result(spec, status, reports, message, provenance).interned()
        except (OSError, ValueError, TypeError, RecursionError):
            return None

    def add(self, path: Path, state: State | None, result: Result) -> None:
        """Append the line of a result; where that is impossible, nothing happens.

        Args:
            path: File of the result.
            state: State of the file when its content was that of the result.
            result: The result in compact form.
        """
        if not self.writes or state is None or not isinstance(result.reports, PackedReports):
            return
        packed = base64.b64encode(result.reports.packed).decode()
        entry = [state, result.status, result.message, len(result.reports), packed, result.provenance]
        try:
            line = _line(result.key, json.dumps(entry, separators=(",", ":"), allow_nan=False))
            self._root.mkdir(exist_ok=True)
            flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY
            handle = os.open(self._file(result.key[0]), flags, 0o644)
            with open(handle, "wb", buffering=0) as file:
                file.write(line)  # one write, so that the lines of two drivers do not mix
        except (OSError, ValueError, TypeError):
            self.writes = False

    def tidy(self, kept: Container[str]) -> None:
        """Remove the lines of runs that the store does not have any more, and those that were superseded.

        Args:
            kept: Keys of the runs that the store has.
        """
        for file in self._root.glob("?.lines"):
            with contextlib.suppress(OSError, Unfit):
                lines = {line[_KEY]: line for line in read_bytes(file, most=None).splitlines(keepends=True)}
                left = [line for key, line in lines.items() if key.decode("ascii", "replace") in kept]
                publish(file, b"".join(left), synced=False)

    def _file(self, digit: str) -> Path:
        return self._root / f"{digit}.lines"

    def _places_of(self, digit: str) -> dict[bytes, tuple[int, int]]:
        """Return where the line of each key with this first digit is in its file.

        A long file is read only when so many of its results were asked for that this is the shorter way.
        """
        if (found := self._places.get(digit)) is not None:
            return found
        file = self._file(digit)
        try:
            self._asked[digit] += 1
            if os.stat(file).st_size > self._asked[digit] * WORTH:
                return {}
            content = read_bytes(file, most=None)
        except (OSError, Unfit):
            content = b""
        found, offset, lines = {}, 0, 0
        for line in content.splitlines(keepends=True):
            found[line[_KEY]] = offset, len(line)
            offset, lines = offset + len(line), lines + 1
        if self.writes and lines > 2 * len(found) + SPARE:
            with contextlib.suppress(OSError):
                file.unlink()
        self._places[digit] = found
        return found


def state_of(path: Path) -> State | None:
    """Return what changes whenever a file is written to or replaced; None if there is no such file."""
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino


@functools.cache
def _form() -> int:
    """Return a number that changes with the source of what a line contains, and of the checks of a result."""
    found = 0
    for module in (metrics, plainfiles, specs, records, reports, result):
        found = zlib.crc32(Path(str(module.__file__)).read_bytes(), found)
    return zlib.crc32(Path(__file__).read_bytes(), found)


def _line(key: str, entry: str) -> bytes:
    body = f"{key} {entry}\n".encode()
    return b"%08x " % zlib.crc32(body, _form()) + body


def _checked(line: bytes) -> bytes:
    """Return the entry of a line.

    Raises:
        ValueError: If the line is torn, damaged or of another version of raycl.
    """
    body = line[_KEY.start :]
    if line[: _KEY.start] != b"%08x " % zlib.crc32(body, _form()):
        raise ValueError("not a line of a summary")
    return body[_KEY.stop - _KEY.start :]

"""Files of lines that keep what one process has worked out, so that the next need not do it again.

A line has a name, and an entry that JSON can represent. Lines are only appended, and of two lines with one
name the later one holds. They are in one of sixteen files, by the first digit of their name. Each begins with
a checksum, so that a torn or damaged line counts as none.
"""

from __future__ import annotations

import contextlib
import json
import os
import time
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

from raycl.plainfiles import Unfit, open_regular
from raycl.wholefiles import publish

SPARE = 200  # Superseded lines of a file that are no reason to write it anew.
MOST_REPLACED = 48  # Files that stay open, because lines of them are in use, after others took their places.
PAUSE = 60.0  # Seconds after a failed write in which no line is written.
_NAME = 9  # Place of the name in a line, after the checksum.
_NOWHERE = -1  # Place of a line that this process has added.
_PIECE = 4096  # Bytes that are read of a line at first.
_END = ".lines"


class Opened:
    """An open file of lines; they can be read again even after the file was replaced or removed.

    Args:
        handle: The handle of the file, which is closed with this object.
    """

    __slots__ = ("_close", "_handle")

    def __init__(self, handle: int) -> None:
        self._handle, self._close = handle, os.close  # `os` may be gone when Python ends

    def __del__(self) -> None:
        self._close(self._handle)

    def __reduce__(self) -> NoReturn:
        raise TypeError("an open file cannot be copied")  # the copy would close the handle as well

    def line(self, name: str, place: int) -> Line:
        """Return the line with this name that begins at a place of the file.

        Raises:
            OSError: If the file cannot be read.
            ValueError: If the line is torn, damaged or of another name.
        """
        line = b"".join(_pieces(self._handle, place))
        return Line(json.loads(_entry_of(line, name)), self, place, _checksum(line))

    def is_at(self, handle: int) -> bool:
        """Return whether another handle is that of the same file."""
        try:
            return os.path.sameopenfile(self._handle, handle)
        except OSError:  # a file that a network does not know any more
            return False


class Line(NamedTuple):
    """A line that was found or added.

    Attributes:
        entry: What it says.
        file: Its file.
        place: The place in the file where it begins.
        checksum: Its checksum, by which it is told from another line that takes its place.
    """

    entry: Any
    file: Opened
    place: int
    checksum: int


class Lines:
    """Lines of one kind in a folder.

    Args:
        folder: The folder, which may hold lines of several kinds.
        kind: What the names of the files begin with, before the digit.
        form: Version of what the entries contain; lines of other versions are in files of other names.
        worth: Bytes of lines that are read in the time in which one entry is worked out again.
    """

    def __init__(self, folder: Path, kind: str, form: str, worth: int) -> None:
        self._folder, self._kind, self._form, self._worth = folder, kind, form, worth
        self._asked: Counter[str] = Counter()  # by first digit, how often a line of an unread file was wanted
        self._places: dict[str, dict[int, int]] = {}  # by first digit, where the line of each name begins
        self._opened: dict[str, Opened] = {}  # by first digit, the file that was read or written last
        self._replaced = 0  # how many open files have been replaced
        self._failed = -PAUSE

    def find(self, name: str, *, writes: bool) -> Line | None:
        """Return the line with this name; None if there is none.

        Args:
            name: The name.
            writes: Whether a file with many superseded lines may be written anew.
        """
        place = self.places(name[0], writes=writes).get(_short(name.encode()), _NOWHERE)
        if place == _NOWHERE:
            return None
        file = self._opened[name[0]]
        with contextlib.suppress(OSError, ValueError, RecursionError):
            return file.line(name, place)
        self.drop(name)
        return None

    def drop(self, name: str) -> None:
        """Forget where the line with this name is, so that it is not found any more."""
        self._places.get(name[0], {}).pop(_short(name.encode()), None)

    def lacks(self, name: str) -> bool:
        """Return whether there is no line with this name; False if its file was not read."""
        places = self._places.get(name[0])
        return places is not None and _short(name.encode()) not in places

    def note(self, name: str) -> None:
        """Remember that a line with this name was added, which is not found but not lacking either."""
        if (places := self._places.get(name[0])) is not None:
            places[_short(name.encode())] = _NOWHERE

    def add(self, name: str, entry: Any) -> Line | None:
        """Append a line, and return it if it can be read again.

        After a failed write, no line is written for a minute.
        """
        if time.monotonic() < self._failed + PAUSE:
            return None
        try:
            line = _line(name, json.dumps(entry, separators=(",", ":"), allow_nan=False))
            path = self._path(name[0])
            if not os.path.exists(path):
                self._begin(name[0])
            flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY
            handle = os.open(path, flags | os.O_NOFOLLOW, 0o666)
            file = Opened(handle)
            # On a local disk, lines of two drivers that are one write each do not mix. Where they do, as on
            # NFS, their checksums tell.
            written = os.write(handle, line)
            place = os.lseek(handle, 0, os.SEEK_CUR) - written
            if written < len(line) or not self._holds(name[0], file, handle):
                return None
            return Line(entry, self._opened[name[0]], place, _checksum(line))
        except (OSError, ValueError, TypeError):
            self._failed = time.monotonic()
            return None

    def tidy(self, kept: Callable[[str], bool]) -> None:
        """Remove superseded lines, those of other versions, and those whose name is not to be kept."""
        for path in self._folder.glob(f"{self._kind}?-*{_END}"):
            with contextlib.suppress(OSError, Unfit):
                if path.name.endswith(f"-{self._form}{_END}"):
                    _rewrite(path, lambda name: kept(name.decode("ascii", "replace")))
                else:
                    path.unlink()

    def places(self, digit: str, *, writes: bool) -> dict[int, int]:
        """Return where the lines begin whose names have this first digit.

        A long file is read only when so many of its lines were asked for that this is the shorter way.
        """
        if (found := self._places.get(digit)) is not None:
            return found
        path, found, many = Path(self._path(digit)), dict[int, int](), 0
        with contextlib.suppress(OSError, Unfit):
            self._asked[digit] += 1
            if os.stat(path).st_size > self._asked[digit] * self._worth:
                return {}
            found, many = self._read(path, digit)
            if writes and many > 2 * len(found) + SPARE:
                _rewrite(path, lambda name: True)
                found, _ = self._read(path, digit)
        self._places[digit] = found
        return found

    def _read(self, path: Path, digit: str) -> tuple[dict[int, int], int]:
        """Return where the last line of each name begins, and the number of all lines; keep the file open."""
        found, place, many = dict[int, int](), 0, 0
        with open_regular(path) as file:
            self._opened[digit] = Opened(os.dup(file.fileno()))
            for line in file:
                found[_short(_name_of(line))] = place
                place += len(line)
                many += 1
        return found, many

    def _holds(self, digit: str, file: Opened, handle: int) -> bool:
        """Keep a file open that was written, unless it is open already; return whether it is open."""
        if digit in self._opened:
            if self._opened[digit].is_at(handle):
                return True
            if self._replaced == MOST_REPLACED:
                return False
            self._replaced += 1
        self._opened[digit] = file
        return True

    def _path(self, digit: str) -> str:
        return f"{self._folder}/{self._kind}{digit}-{self._form}{_END}"

    def _begin(self, digit: str) -> None:
        """Make room for a new file: of other versions, only the one that was written last is kept."""
        self._folder.mkdir(exist_ok=True)
        others = self._folder.glob(f"{self._kind}{digit}-*{_END}")
        for other in sorted(others, key=lambda path: path.lstat().st_mtime_ns)[:-1]:
            other.unlink()


def _rewrite(path: Path, kept: Callable[[bytes], bool]) -> None:
    """Write a file anew with the last line of each name that is to be kept.

    A line without its end is torn, and the next one would be appended to it.
    """
    with open_regular(path) as file:
        lines = list(file)
    last = {_name_of(line): line for line in lines if line.endswith(b"\n")}
    left = b"".join(line for name, line in last.items() if kept(name))
    if len(left) == sum(map(len, lines)):  # drivers that have the file open keep it
        return
    publish(path, left, mode=None, synced=False)


def _pieces(handle: int, place: int) -> Iterator[bytes]:
    size = _PIECE
    while piece := os.pread(handle, size, place):
        if (end := piece.find(b"\n")) >= 0:
            yield piece[: end + 1]
            return
        yield piece
        place, size = place + len(piece), 16 * size


def _short(name: bytes) -> int:
    """Return a number for a name, which takes less memory."""
    return hash(name)


def _name_of(line: bytes) -> bytes:
    """Return the name of a line, or what has its place in a line that is none."""
    return line[_NAME : line.find(b" ", _NAME)]


def _checksum(line: bytes) -> int:
    """Return the checksum with which a line begins."""
    return int(line[: _NAME - 1], 16)


def _line(name: str, entry: str) -> bytes:
    body = f"{name} {entry}\n".encode()
    return b"%08x " % zlib.crc32(body) + body


def _entry_of(line: bytes, name: str) -> str:
    """Return the entry of a line.

    Raises:
        ValueError: If the line is torn, damaged or of another name.
    """
    body = line[_NAME:]
    if line[:_NAME] != b"%08x " % zlib.crc32(body) or _name_of(line) != name.encode():
        raise ValueError("not the line of this name")
    return body[len(name) :].decode()

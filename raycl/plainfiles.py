"""Files that may come from anybody, read without trust: plain values as JSON.

Whatever stands where a file should be (a folder, a pipe, a device, a gigabyte of brackets), the answer is a
value that was checked, or `Unfit` with a reason of one line. Nothing here waits, and nothing is executed.
"""

from __future__ import annotations

import errno
import hashlib
import json
import math
import os
import re
import stat
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, BinaryIO

MOST_BYTES = 256 * 2**20  # of a file of JSON; the largest that raycl writes are a few megabytes
DEEPEST = 60  # levels of lists within lists; what goes through the values later goes as deep
LONGEST = 309  # digits of a whole number: what float() takes
_HEX = re.compile(r"[0-9a-f]{64}")


class Unfit(ValueError):
    """A file is not what it should be; the text says why, in one line."""


def open_regular(path: Path, most: int | None = None) -> BinaryIO:
    """A regular file, opened for reading; of anything else that stands there nothing is opened or waited for.

    Args:
        most: bytes at most; None for any number.

    Raises:
        Unfit: it is no regular file, or larger.
        OSError: as of `open`; FileNotFoundError also where a folder on the way to it is none.
    """
    try:
        _check_regular(os.stat(path), most)  # before it is opened: opening a device can have an effect
        handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY)
    except OSError as error:
        if error.errno in (errno.ENOTDIR, errno.ENOENT):
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(path)) from None
        if error.errno == errno.ELOOP:
            raise Unfit("a link that leads to itself") from None
        if error.errno in (errno.ENXIO, errno.ENODEV):
            raise Unfit("not a regular file") from None
        raise
    file = os.fdopen(handle, "rb")
    try:
        _check_regular(os.fstat(handle), most)
    except Unfit:
        file.close()
        raise
    return file


def read_bytes(path: Path, most: int | None = MOST_BYTES) -> bytes:
    """The content of a regular file; arguments and errors as of `open_regular`."""
    with open_regular(path, most) as file:
        content = file.read() if most is None else file.read(most + 1)
    if most is not None and len(content) > most:  # it grew meanwhile
        raise Unfit(f"larger than {most:,} bytes")
    return content


def _check_regular(about: os.stat_result, most: int | None) -> None:
    if not stat.S_ISREG(about.st_mode):
        raise Unfit("a folder" if stat.S_ISDIR(about.st_mode) else "not a regular file")
    if most is not None and about.st_size > most:
        raise Unfit(f"{about.st_size:,} bytes, larger than {most:,}")


def read_plain(path: Path) -> dict[str, Any]:
    """A file of JSON that holds an object.

    Raises:
        Unfit: it is something else.
        OSError: as `read_bytes`.
    """
    return plain_of(read_bytes(path))


def plain_of(raw: bytes) -> dict[str, Any]:
    """The object that JSON in UTF-8 stands for: unique names, finite numbers, a bounded depth.

    Raises:
        Unfit: it is something else.
    """
    try:
        found = json.loads(
            raw.decode("utf-8"),
            object_pairs_hook=_unique,
            parse_constant=_no_constant,
            parse_int=_whole,
            parse_float=_finite,
        )
    except Unfit:
        raise
    except UnicodeDecodeError as error:
        raise Unfit(f"no text in UTF-8 at byte {error.start}") from None
    except json.JSONDecodeError as error:
        raise Unfit(f"truncated or damaged at byte {error.pos}") from None
    except RecursionError:
        raise Unfit(f"lists within lists, more than {DEEPEST} deep") from None
    if not isinstance(found, dict):
        raise Unfit(f"{type(found).__name__} where an object is wanted")
    return found


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        seen: set[str] = set()
        twice = next(name for name, _ in pairs if name in seen or seen.add(name))  # type: ignore[func-returns-value]
        raise Unfit(f"{short(twice)} stands there twice")
    return found


def _no_constant(text: str) -> Any:
    raise Unfit(f"{text} is no number")


def _whole(text: str) -> int:
    if len(text) > LONGEST or not math.isfinite(float(text)):
        raise Unfit(f"a whole number of {len(text):,} digits")
    return int(text)


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise Unfit(f"{short(text)} is no finite number")
    return value


def check_plain(value: Any, place: str) -> None:
    """See that a value is made of plain ones, and not too deep.

    Raises:
        Unfit: names the place and what stands there.
    """
    layer: list[Any] = [value]
    for _ in range(DEEPEST):
        inner: list[Any] = []
        for part in layer:
            kind = type(part)
            if kind is dict:
                if not all(type(name) is str for name in part):
                    raise Unfit(f"{place} has a name that is no text")
                inner += part.values()
            elif kind is list:
                inner += part
            elif kind is float and not math.isfinite(part):
                raise Unfit(f"{place} holds {part}")
            elif kind is int and abs(part) >= 10**LONGEST:
                raise Unfit(f"{place} holds a whole number of more than {LONGEST} digits")
            elif not (part is None or kind in (str, int, float, bool)):
                raise Unfit(f"{place} holds a {kind.__name__}")
        if not inner:
            return
        layer = inner
    raise Unfit(f"{place} is more than {DEEPEST} deep")


def whole(value: Any, place: str, most: int = 2**63 - 1) -> int:
    """A count.

    Raises:
        Unfit: it is no whole number in 0 .. most.
    """
    if type(value) is not int or not 0 <= value <= most:
        raise Unfit(f"{place} = {short(value)} is no whole number in 0..{most:,}")
    return value


def number(value: Any, place: str, most: float) -> float:
    """A measure.

    Raises:
        Unfit: it is no finite number in 0 .. most.
    """
    if type(value) not in (int, float) or not 0 <= value <= most:
        raise Unfit(f"{place} = {short(value)} is no number in 0..{most:g}")
    return float(value)


def text(value: Any, place: str) -> str:
    """A text.

    Raises:
        Unfit: it is something else.
    """
    if type(value) is not str:
        raise Unfit(f"{place} = {short(value)} is no text")
    return value


def mapping(value: Any, place: str) -> dict[str, Any]:
    """An object.

    Raises:
        Unfit: it is something else.
    """
    if type(value) is not dict:
        raise Unfit(f"{place} = {short(value)} is no object")
    return value


def only(value: Mapping[str, Any], known: Iterable[str], place: str) -> None:
    """See that an object has these names and no others.

    Raises:
        Unfit: names the first that lacks or is too many.
    """
    wanted = set(known)
    if wrong := sorted(wanted ^ set(value)):
        lacks = "lacks" if wrong[0] in wanted else "has an unknown"
        raise Unfit(f"{place} {lacks} {short(wrong[0])}")


def sealed(content: Mapping[str, Any]) -> dict[str, Any]:
    """Plain content with the digest of all of it beside it.

    Raises:
        ValueError, TypeError: it holds what JSON does not.
    """
    whole = json.loads(json.dumps(dict(content), allow_nan=False))  # names as texts, tuples as lists
    return {**whole, "digest": digest_of(whole)}


def check_seal(plain: Mapping[str, Any]) -> None:
    """See that content is as it was when it was sealed.

    Raises:
        Unfit: it is not.
    """
    given = plain.get("digest")
    if type(given) is not str or not _HEX.fullmatch(given):
        raise Unfit("it lacks its digest")
    try:
        found = digest_of({name: value for name, value in plain.items() if name != "digest"})
    except RecursionError:
        raise Unfit(f"lists within lists, more than {DEEPEST} deep") from None
    if found != given:
        raise Unfit("its content was changed: the digest is another")


def digest_of(plain: Mapping[str, Any]) -> str:
    """64 hexadecimal digits of plain content, whatever its order and layout."""
    canonical = json.dumps(plain, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(canonical.encode()).hexdigest()


def short(value: Any) -> str:
    """A value within a line, cut off."""
    try:
        shown = value if type(value) is str else json.dumps(value)
    except (TypeError, ValueError, RecursionError):
        shown = type(value).__name__
    cut = shown if len(shown) <= 40 else f"{shown[:38]}.."
    return ascii(cut)

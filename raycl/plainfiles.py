"""Reading of untrusted JSON files, and checks of plain values.

Whatever is found at a path (a folder, a pipe, a device, a gigabyte of brackets), the result is a checked
value, or `Unfit` with a reason of one line. Reading never blocks, and nothing in a file is executed.
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

MOST_BYTES = 256 * 2**20  # Bound of a JSON file; the largest that raycl writes are a few megabytes.
DEEPEST = 60  # Bound of nested lists and objects; later code recurses as deep as the values are nested.
LARGEST = 2**1024 - 2**970  # Bound of integers: float() accepts no larger ones.
LONGEST = 310  # Bound of the characters of an integer, with its sign.
_HEX = re.compile(r"[0-9a-f]{64}")


class Unfit(ValueError):
    """Raised if a file does not have the expected content; the message says why in one line."""


def open_regular(path: Path, most: int | None = None) -> BinaryIO:
    """Open a regular file for reading; anything else at the path is not opened, so that nothing blocks.

    Args:
        path: The file.
        most: Largest permitted number of bytes; None for any number.

    Raises:
        Unfit: If it is not a regular file, or is too large.
        OSError: As for `open`; FileNotFoundError also if a parent of the path is not a folder.
    """
    try:
        _check_regular(os.stat(path), most)  # Opening a device can have side effects.
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
    """Return the content of a regular file; the arguments and errors are those of `open_regular`."""
    with open_regular(path, most) as file:
        # A buffer of the largest size that is permitted would be mapped and unmapped for each file.
        size = os.fstat(file.fileno()).st_size
        content = file.read(size + 1)
        if len(content) > size:  # The file has grown, or does not tell its size.
            content += file.read() if most is None else file.read(most + 1 - len(content))
    if most is not None and len(content) > most:  # The file has grown since it was opened.
        raise Unfit(f"larger than {most:,} bytes")
    return content


def _check_regular(about: os.stat_result, most: int | None) -> None:
    if not stat.S_ISREG(about.st_mode):
        raise Unfit("a folder" if stat.S_ISDIR(about.st_mode) else "not a regular file")
    if most is not None and about.st_size > most:
        raise Unfit(f"{about.st_size:,} bytes, larger than {most:,}")


def read_plain(path: Path) -> dict[str, Any]:
    """Return the object in a JSON file.

    Raises:
        Unfit: If the file does not hold a JSON object.
        OSError: As for `read_bytes`.
    """
    return plain_of(read_bytes(path))


def plain_of(raw: bytes) -> dict[str, Any]:
    """Parse a JSON object in UTF-8 with unique names, finite numbers and a bounded depth.

    Raises:
        Unfit: If the bytes are something else.
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
        raise Unfit(f"not UTF-8 at byte {error.start}") from None
    except json.JSONDecodeError as error:
        raise Unfit(f"truncated or damaged at byte {error.pos}") from None
    except RecursionError:
        raise Unfit(f"lists within lists, more than {DEEPEST} deep") from None
    if not isinstance(found, dict):
        raise Unfit(f"it holds a {type(found).__name__}, expected an object")
    return found


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        seen: set[str] = set()
        # The set is filled while names are tested, as `add` returns None.
        twice = next(name for name, _ in pairs if name in seen or seen.add(name))  # type: ignore[func-returns-value]
        raise Unfit(f"{short(twice)} occurs twice")
    return found


def _no_constant(text: str) -> Any:
    raise Unfit(f"{text} is not a number")


def _whole(text: str) -> int:
    if len(text) > LONGEST or abs(found := int(text)) >= LARGEST:
        raise Unfit(f"an integer of {len(text.removeprefix('-')):,} digits")
    return found


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise Unfit(f"{short(text)} is not a finite number")
    return value


def check_plain(value: Any, place: str) -> None:
    """Check that a value consists of plain values and is not nested too deeply.

    Raises:
        Unfit: If it is not; names the place and what was found there.
    """
    layer: list[Any] = [value]
    for _ in range(DEEPEST):
        inner: list[Any] = []
        for part in layer:
            kind = type(part)
            if kind is dict:
                if not all(type(name) is str for name in part):
                    raise Unfit(f"{place} has a name that is not a string")
                inner += part.values()
            elif kind is list:
                inner += part
            elif kind is float and not math.isfinite(part):
                raise Unfit(f"{place} holds {part}")
            elif kind is int and abs(part) >= LARGEST:
                raise Unfit(f"{place} holds an integer that no float can represent")
            elif not (part is None or kind in (str, int, float, bool)):
                raise Unfit(f"{place} holds a {kind.__name__}")
        if not inner:
            return
        layer = inner
    raise Unfit(f"{place} is more than {DEEPEST} deep")


def whole(value: Any, place: str, most: int = 2**63 - 1) -> int:
    """Return a value that must be an integer in 0 .. most.

    Raises:
        Unfit: If it is something else.
    """
    if type(value) is not int or not 0 <= value <= most:
        raise Unfit(f"{place} = {short(value)} is not an integer in 0..{most:,}")
    return value


def number(value: Any, place: str, most: float) -> float:
    """Return as a float a value that must be a number in 0 .. most.

    Raises:
        Unfit: If it is something else.
    """
    if type(value) not in (int, float) or not 0 <= value <= most:
        raise Unfit(f"{place} = {short(value)} is not a number in 0..{most:g}")
    return float(value)


def text(value: Any, place: str) -> str:
    """Return a value that must be a string.

    Raises:
        Unfit: If it is something else.
    """
    if type(value) is not str:
        raise Unfit(f"{place} = {short(value)} is not a string")
    return value


def mapping(value: Any, place: str) -> dict[str, Any]:
    """Return a value that must be a dictionary, the form of a JSON object.

    Raises:
        Unfit: If it is something else.
    """
    if type(value) is not dict:
        raise Unfit(f"{place} = {short(value)} is not an object")
    return value


def only(value: Mapping[str, Any], known: Iterable[str], place: str) -> None:
    """Check that an object has exactly these names.

    Raises:
        Unfit: If it does not; names the first one that is missing or unknown.
    """
    wanted = set(known)
    if wrong := sorted(wanted ^ set(value)):
        lacks = "lacks" if wrong[0] in wanted else "has an unknown"
        raise Unfit(f"{place} {lacks} {short(wrong[0])}")


def sealed(content: Mapping[str, Any]) -> dict[str, Any]:
    """Return plain content with an additional entry, the digest of all other entries.

    Raises:
        ValueError: If the content holds NaN or an infinity.
        TypeError: If the content holds a value that JSON cannot represent.
    """
    # Passing the content through JSON turns names into strings and tuples into lists.
    whole = json.loads(json.dumps(dict(content), allow_nan=False))
    return {**whole, "digest": digest_of(whole)}


def lines_of(plain: Mapping[str, Any]) -> str:
    """Return the JSON of an object with a line for each of its entries, and for each entry of its lists.

    Python's own `indent` uses an encoder in Python instead of that in C, and makes longer files.
    """
    entries = [f" {json.dumps(name)}: {_lines(value)}" for name, value in plain.items()]
    return "{\n" + ",\n".join(entries) + "\n}" if entries else "{}"


def _lines(value: Any) -> str:
    if type(value) is not list or not value:
        return json.dumps(value)
    return "[\n" + ",\n".join(f"  {json.dumps(entry)}" for entry in value) + "\n ]"


def check_seal(plain: Mapping[str, Any]) -> None:
    """Check that content has not changed since `sealed` added its digest.

    Raises:
        Unfit: If it has changed, or has no digest.
    """
    given = plain.get("digest")
    if type(given) is not str or not _HEX.fullmatch(given):
        raise Unfit("it lacks its digest")
    try:
        found = digest_of({name: value for name, value in plain.items() if name != "digest"})
    except RecursionError:
        raise Unfit(f"lists within lists, more than {DEEPEST} deep") from None
    if found != given:
        raise Unfit("its content was changed: the digest does not match")


def digest_of(plain: Mapping[str, Any]) -> str:
    """Return 64 hexadecimal digits that depend on plain content, but not on its order and formatting."""
    canonical = json.dumps(plain, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(canonical.encode()).hexdigest()


def short(value: Any) -> str:
    """Return a value for a message, cut if it is long."""
    try:
        shown = value if type(value) is str else json.dumps(value)
    except (TypeError, ValueError, RecursionError):
        shown = type(value).__name__
    cut = shown if len(shown) <= 40 else f"{shown[:38]}.."
    return ascii(cut)

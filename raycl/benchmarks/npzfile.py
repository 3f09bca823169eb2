"""This module reads arrays from a user's own .npz file and reports every failure in one line."""

from __future__ import annotations

import contextlib
import math
import os
import warnings
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from raycl.benchmarks.files import checked
from raycl.benchmarks.prepared import Arrays, printable, shown
from raycl.errors import UserError

_AGAIN = "save it again with np.savez_compressed"
_OTHERS = (  # the first bytes of files that are often mistaken for an .npz file
    (
        b"\x93NUMPY",
        "contains one array (.npy): save all four with np.savez(file, x_train=..., y_train=..., ...)",
    ),
    (b"version https://git-lfs", "is a Git LFS pointer and not the file: fetch it with git lfs pull"),
    (b"/annex/objects/", "is a git-annex pointer and not the file: fetch it with git annex get"),
    (b"<", "is a web page and not the file: fetch it again"),
    (b"\x89HDF", "is an HDF5 file: read it and save its arrays with np.savez"),
    (b"MATLAB", "is a MATLAB file: read it with scipy.io.loadmat and save its arrays with np.savez"),
    (b"\x1f\x8b", "is a gzip file: unpack it"),
    (b"\x80", "is a pickle: save plain arrays with np.savez"),
)


def arrays_of(path: Path, names: Sequence[str]) -> Arrays:
    """Return the arrays called `names`.

    Raises:
        UserError: The file does not exist or is not an .npz file, or an array is missing, damaged or too
            large for the memory of this machine.
    """
    file = shown(path)
    size = checked(path)[0]
    with _one_line_errors(file), warnings.catch_warnings(), open(path, "rb") as raw:
        warnings.simplefilter("ignore")  # NumPy warns about headers that Python 2 wrote
        if reason := _no_archive(raw.read(200), size):
            raise UserError(f"{file} {reason}")
        with zipfile.ZipFile(raw) as archive:
            members = {name: _member(archive, name, file) for name in names}
            declared = 0
            for name, member in members.items():
                with _one_line_errors(f"{file}: {name}"):
                    declared += _declared(archive, member, f"{file}: {name}")
            if declared > (room := _room()):
                raise UserError(
                    f"{file} unpacks to {_size(declared)}, but this machine has {_size(room)} of memory: "
                    "save fewer or smaller images, or uint8 instead of floats"
                )
            return {name: _read(archive, member, f"{file}: {name}") for name, member in members.items()}


def names_in(path: Path) -> tuple[str, ...]:
    """Return the names of the arrays of a file; () if it cannot be read, which `arrays_of` reports."""
    try:
        with zipfile.ZipFile(path) as archive:
            return tuple(name.removesuffix(".npy") for name in archive.namelist())
    except (OSError, ValueError, zipfile.BadZipFile, NotImplementedError):
        return ()


def _no_archive(head: bytes, size: int) -> str:
    """Return why a file that begins with `head` is not an .npz file, or ""."""
    if not size:
        return "is empty"
    if head.startswith((b"PK\x03\x04", b"PK\x05\x06")):
        return ""
    if not head.strip(b"\0"):
        return "begins with zeros, so it was not written or fetched completely: fetch it again"
    reason = next((what for start, what in _OTHERS if head.lstrip().startswith(start)), "")
    return reason or f"is not an .npz file: {_AGAIN}"


@contextlib.contextmanager
def _one_line_errors(place: str) -> Iterator[None]:
    """Turn whatever zip, its decoders and NumPy's header parser raise into one line."""
    try:
        yield
    except UserError:
        raise
    except MemoryError:
        raise UserError(f"{place} is larger than this machine's memory") from None
    except Exception as error:
        lines = str(error).strip().splitlines() or [type(error).__name__]
        # NumPy's own message recommends allow_pickle, which would execute code from the file.
        reason = "its header is damaged" if "pickle" in str(error) else printable(lines[0])[:120]
        raise UserError(f"{place} is damaged ({reason}): fetch it again, or {_AGAIN}") from None


def _member(archive: zipfile.ZipFile, name: str, file: str) -> zipfile.ZipInfo:
    found = [info for info in archive.infolist() if info.filename in (name, f"{name}.npy")]
    if len(found) == 1:
        return found[0]
    if found:
        raise UserError(f"{file}: it contains {len(found)} arrays called {name}: {_AGAIN}")
    others = [printable(info.filename.removesuffix(".npy"))[:40] for info in archive.infolist()]
    present = ", ".join(others[:8]) + (f" and {len(others) - 8} more" if len(others) > 8 else "")
    raise UserError(
        f"{file}: it does not contain an array {name} (it contains: "
        f"{present or 'nothing'}); raycl benchmarks npz lists the arrays that it needs"
    )


def _declared(archive: zipfile.ZipFile, member: zipfile.ZipInfo, place: str) -> int:
    """Return the size of an array in bytes according to its header.

    The header is checked against the size of the archive's member before it is trusted.
    """
    if member.flag_bits & 1:
        raise UserError(f"{place} is encrypted: {_AGAIN}, without a password")
    try:
        data = archive.open(member)
    except NotImplementedError:
        raise UserError(
            f"{place} is compressed by an unsupported method ({member.compress_type}): {_AGAIN}"
        ) from None
    with data:
        shape, dtype = _header(data, place)
        start = data.tell()
    if dtype.hasobject or dtype.kind not in "biuf":
        raise UserError(f"{place} contains {_called(dtype)}: save numbers, and images of equal shape")
    size = math.prod(shape) * dtype.itemsize
    if size != member.file_size - start:
        raise UserError(
            f"{place} is damaged (its header says {_shape(shape)}, which does not match its size): {_AGAIN}"
        )
    return size


def _called(dtype: np.dtype[Any]) -> str:
    kinds = {"O": "Python objects", "U": "strings", "S": "strings", "V": "records", "c": "complex numbers"}
    return kinds.get(dtype.kind, str(dtype))


def _header(data: IO[bytes], place: str) -> tuple[tuple[int, ...], np.dtype[Any]]:
    version = np.lib.format.read_magic(data)
    if version == (1, 0):
        shape, _, dtype = np.lib.format.read_array_header_1_0(data)
    elif version == (2, 0):
        shape, _, dtype = np.lib.format.read_array_header_2_0(data)
    else:
        raise UserError(
            f"{place} is in .npy format {version[0]}.{version[1]}, which is for records: save plain numbers"
        )
    return shape, dtype


def _read(archive: zipfile.ZipFile, member: zipfile.ZipInfo, place: str) -> NDArray[Any]:
    with _one_line_errors(place), archive.open(member) as data:
        found: NDArray[Any] = np.lib.format.read_array(data, allow_pickle=False)
        data.read(1)  # zipfile compares the checksum when it reaches the end of the member
        return found


def _room() -> int:
    """Return how many bytes of memory are available on this machine."""
    try:
        with open("/proc/meminfo", encoding="utf-8") as file:
            fields = dict(line.split(":", 1) for line in file)
        return int(fields["MemAvailable"].split()[0]) * 1024
    except (OSError, KeyError, ValueError):
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def _shape(shape: tuple[int, ...]) -> str:
    return " x ".join(f"{n:.3g}" if n > 10**9 else str(n) for n in shape[:6]) or "()"


def _size(count: int) -> str:
    return f"{count / 1e9:.3g} GB"

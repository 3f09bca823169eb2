"""Reading and writing of untrusted .npz archives, and the kinds of artefacts that are stored as such.

As in `raycl.plainfiles`, the result of reading any file is checked arrays, or `Unfit`.
"""

from __future__ import annotations

import hashlib
import io
import json
import math
import os
import zipfile
from collections.abc import Iterable, Mapping
from enum import StrEnum
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from raycl.plainfiles import Unfit, check_seal, open_regular, plain_of, sealed, short, whole

MEMBERS = 100_000  # Largest number of arrays in one archive.


class Artefact(StrEnum):
    """Kind of an artefact, which is made once and stored under a key for all runs that require it."""

    MASK = "mask"  # A basis mask; its key is that of its spec.
    BACKBONE = "backbone"  # A network trained on a first task; its key is that of the run that trained it.

    @property
    def folder(self) -> str:
        """Name of the subfolder of a store."""
        return f"{self}s"

    @property
    def of_run(self) -> bool:
        """Whether the artefact has the key of the run that made it, which is repeated if the file is lost."""
        return self is Artefact.BACKBONE

    def path(self, store: Path, key: str) -> Path:
        """Return the path of an artefact in a store."""
        return store / self.folder / key[:2] / f"{key}.npz"


class DamagedArtefact(ValueError):
    """Raised if the file of an artefact is truncated or garbled, or belongs to another artefact.

    Attributes:
        kind: Kind of the artefact.
        key: Key of the artefact in the store; "" if it is not known.
    """

    def __init__(self, message: str, kind: Artefact, key: str = "") -> None:
        super().__init__(message)
        self.kind, self.key = kind, key


def archive(head: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> bytes:
    """Return the bytes of an .npz archive of arrays, with a head of plain values and a digest of all."""
    marked = {**json.loads(json.dumps(dict(head), allow_nan=False)), "arrays": digest_of_arrays(arrays)}
    text = json.dumps(sealed(marked))
    out = io.BytesIO()
    np.savez(out, head=np.frombuffer(text.encode(), np.uint8), **arrays)  # type: ignore[arg-type]
    return out.getvalue()


def read_archive(path: Path, sealed_from: int) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
    """Return the head and the arrays of an archive.

    The declared sizes of members and arrays are compared with the size of the file before they are used.

    Args:
        path: The file.
        sealed_from: The first "format" whose heads contain digests; earlier ones are read without.

    Raises:
        Unfit: If the file is not such an archive, or was modified.
        OSError: As for `open_regular`.
    """
    with open_regular(path) as file:
        try:
            with zipfile.ZipFile(file) as found:
                size = os.fstat(file.fileno()).st_size
                arrays = {name: _array(content) for name, content in _members(found, size)}
        except (OSError, Unfit):
            raise
        except Exception as error:  # On malformed bytes, zipfile and NumPy may raise anything.
            raise Unfit(f"{type(error).__name__}: {short(str(error)[:100])}") from None
    if "head" not in arrays or arrays["head"].dtype != np.uint8 or arrays["head"].ndim != 1:
        raise Unfit("it has no head")
    head = plain_of(arrays.pop("head").tobytes())
    if whole(head.get("format"), "format") >= sealed_from:
        check_seal(head)
        if head.get("arrays") != digest_of_arrays(arrays):
            raise Unfit("its arrays were changed: the digest does not match")
    return head, arrays


def digest_of_arrays(arrays: Mapping[str, NDArray[Any]]) -> str:
    """Return 64 hexadecimal digits that depend on the names, dtypes, shapes and bytes of arrays."""
    seen = hashlib.sha256()
    for name in sorted(arrays):
        array = arrays[name]
        seen.update(f"{name}\0{array.dtype.str}\0{array.shape}\0".encode())
        seen.update(np.ascontiguousarray(array).tobytes())
    return seen.hexdigest()


def _members(found: zipfile.ZipFile, size: int) -> Iterable[tuple[str, bytes]]:
    about = found.infolist()
    names = [one.filename for one in about]
    if len(names) > MEMBERS or len(set(names)) < len(names):
        raise Unfit("it has too many members, or two of the same name")
    if (
        any(one.compress_type != zipfile.ZIP_STORED for one in about)
        or sum(o.file_size for o in about) > size
    ):
        raise Unfit("its members are larger than the file")
    for one in about:
        name = one.filename.removesuffix(".npy")
        if name == one.filename:
            raise Unfit(f"{short(one.filename)} is not an array")
        yield name, found.read(one)


def _array(content: bytes) -> NDArray[Any]:
    """Return the array of numbers in the bytes of an .npy file, whose length must match its header."""
    file = io.BytesIO(content)
    version = np.lib.format.read_magic(file)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, fortran, dtype = read(file)
    count = math.prod(shape)
    if dtype.hasobject or dtype.names is not None or dtype.kind not in "biuf" or not dtype.isnative:
        raise Unfit(f"an array of {dtype}")
    if any(n < 0 for n in shape) or count * dtype.itemsize != len(content) - file.tell():
        raise Unfit(f"an array of shape {shape} in {len(content) - file.tell():,} bytes")
    flat = np.frombuffer(content, dtype, count, file.tell()).copy()
    return flat.reshape(shape, order="F" if fortran else "C")

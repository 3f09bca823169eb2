"""Atomic writing of files: a draft in the same folder is renamed when it is complete."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import BinaryIO


def publish(
    path: Path, content: str | bytes, *, mode: int | None = 0o644, synced: bool = True
) -> os.stat_result:
    """Write a file atomically, replacing an existing one; its folder is created if needed.

    Args:
        path: The file.
        content: What to write; a string is encoded as UTF-8.
        mode: Permissions of the file; None for those that the process gives to any new file.
        synced: Whether to wait until the content is on the disk before renaming. Otherwise a crash of the
            machine may leave a truncated file, which is acceptable if the file only saves time.

    Returns:
        Status of the file with this content, even if another process has replaced it since.

    Raises:
        OSError: If the file cannot be written; the draft is removed.
    """
    raw = content.encode() if isinstance(content, str) else content
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.parent / f".{path.name}-{os.urandom(4).hex()}"
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
    handle = os.open(draft, flags, 0o666 if mode is None else 0o600)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(raw)
            settle(file) if synced else file.flush()
            if mode is not None:
                os.chmod(draft, mode)
            os.replace(draft, path)
            return os.fstat(handle)
    except BaseException:
        with contextlib.suppress(OSError):
            draft.unlink(missing_ok=True)
        raise


def settle(file: BinaryIO) -> None:
    """Wait until what was written to an open file is on the disk."""
    file.flush()
    os.fsync(file.fileno())

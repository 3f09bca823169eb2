"""Files written whole or not at all: a draft beside the file takes its name when it is complete."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import BinaryIO


def publish(path: Path, content: str | bytes, *, mode: int | None = 0o644, synced: bool = True) -> None:
    """Write a file whole or not at all, over one that is there; its folder is made if there is none.

    Args:
        mode: permissions of the file; None for what the process gives to any new file.
        synced: whether the content is on the disk before the file has its name. Without that a machine that
            goes down may leave a torn file, which is enough where a file only saves time.

    Raises:
        OSError: it cannot be written; the draft is gone.
    """
    raw = content.encode() if isinstance(content, str) else content
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.parent / f".{path.name}-{os.urandom(4).hex()}"
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
    handle = os.open(draft, flags, 0o666 if mode is None else 0o600)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(raw)
            if synced:
                settle(file)
        if mode is not None:
            os.chmod(draft, mode)
        os.replace(draft, path)
    except BaseException:
        with contextlib.suppress(OSError):
            draft.unlink(missing_ok=True)
        raise


def settle(file: BinaryIO) -> None:
    """See that what was written to an open file is on the disk."""
    file.flush()
    os.fsync(file.fileno())

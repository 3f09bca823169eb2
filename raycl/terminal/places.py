"""Checks of files, folders and ports named on the command line, made before anything is computed."""

from __future__ import annotations

import contextlib
import os
import socket
import stat
from collections.abc import Iterator
from pathlib import Path

from raycl.errors import UserError, quoted, typed_path
from raycl.wholefiles import publish


def store_folder(text: str) -> Path:
    """Return the folder of ``--store``, which need not exist yet.

    Raises:
        UserError: If it is not a folder, cannot be made, or cannot be read.
    """
    remedy = "name a folder with --store DIR"
    found = _looked_at(text, "--store", remedy)
    path = Path(text)
    if found is None:
        _check_above(path, "--store", remedy)
    elif not stat.S_ISDIR(found.st_mode):
        raise UserError(f"--store {typed_path(text)} is {_kind(found)}, not a folder; {remedy}")
    elif not os.access(path, os.R_OK | os.X_OK):
        raise UserError(f"--store {typed_path(text)} cannot be read (Permission denied); {remedy}")
    return path


def folder_name(text: str) -> Path:
    """Return the folder of ``--store`` for a command that itself reports what is wrong with the folder.

    Raises:
        UserError: If the text cannot be a path.
    """
    _looked_at(text, "--store", "name a folder with --store DIR")
    return Path(text)


def out_file(text: str) -> Path:
    """Return the file of ``--out``, which must be in an existing folder.

    Raises:
        UserError: If it cannot be written.
    """
    remedy = "name a file with --out FILE"
    found = _looked_at(text, "--out", remedy)
    path = Path(text)
    if found is not None and stat.S_ISDIR(found.st_mode):
        raise UserError(f"--out {typed_path(text)} is a folder; {remedy}")
    if found is None:
        _check_above(path, "--out", remedy)
        if not path.parent.is_dir():
            folder = typed_path(path.parent)
            raise UserError(
                f"--out {typed_path(text)}: there is no folder {folder}; make it with mkdir -p {folder}"
            )
    if not os.access(path if found else path.parent, os.W_OK):
        raise UserError(f"--out {typed_path(text)} cannot be written (Permission denied); {remedy}")
    return path


def write_out(path: Path, text: str) -> None:
    """Write a report as a whole or not at all, unless the file is a device or a pipe.

    Raises:
        UserError: If it cannot be written.
    """
    with cannot_be_written(path):
        if path.exists() and not path.is_file():
            path.write_text(text, encoding="utf-8")
        else:
            publish(path.resolve(), text)


@contextlib.contextmanager
def cannot_be_written(path: Path) -> Iterator[None]:
    """Turn an error of the operating system inside a ``with`` block into one line about --out.

    Raises:
        UserError: If something cannot be written there.
    """
    try:
        yield
    except OSError as error:
        raise UserError(f"--out {typed_path(path)} cannot be written ({error.strerror})") from None


def free_port(port: int) -> int:
    """Return the port, checked that it is free on this machine.

    Raises:
        UserError: If it is not a valid port, is in use, or may not be used.
    """
    if not 1 <= port <= 65535:
        raise UserError(f"--port {quoted(port)} is not a port; use a number from 1 to 65535")
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(("127.0.0.1", port))
    except OSError as error:
        raise UserError(
            f"--port {port} cannot be used ({error.strerror}); name another with --port"
        ) from None
    return port


def _looked_at(text: str, option: str, remedy: str) -> os.stat_result | None:
    """Return the status of the file or folder; None if it does not exist.

    Raises:
        UserError: If the text cannot be a path.
    """
    if not text.strip():
        raise UserError(f"{option} {text!r} is empty; {remedy}")
    try:
        return os.stat(text)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError) as error:  # too long, a loop of links, a NUL byte, no permission
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise UserError(f"{option} {quoted(text)} cannot be used ({reason}); {remedy}") from None


def _check_above(path: Path, option: str, remedy: str) -> None:
    """Check that everything above a missing path is a folder, and that the path is not a broken link."""
    if path.is_symlink():
        raise UserError(f"{option} {typed_path(path)} is a broken link; {remedy}")
    for above in path.parents:
        if above.exists():
            if not above.is_dir():
                raise UserError(f"{option} {typed_path(path)}: {typed_path(above)} is a file; {remedy}")
            return


def _kind(found: os.stat_result) -> str:
    return "a file" if stat.S_ISREG(found.st_mode) else "a pipe, a socket or a device"

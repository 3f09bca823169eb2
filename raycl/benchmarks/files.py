"""This module checks a user's own files before they are opened and detects whether they have changed."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import TypeAlias

from raycl.benchmarks.prepared import printable, shown
from raycl.errors import UserError

Stamp: TypeAlias = tuple[int, int, int, int]
_KINDS = (
    (stat.S_ISDIR, "a folder"),
    (stat.S_ISFIFO, "a pipe"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)


def checked(path: Path | str) -> Stamp:
    """Return size, modification time, inode and inode change time of a file that can be read.

    The inode change time differs even if somebody writes the same number of bytes and resets the modification
    time.

    Raises:
        UserError: The file does not exist, is not a regular file (reading a pipe would block forever), or may
            not be read.
    """
    path = Path(path)
    try:
        facts = path.stat()
    except FileNotFoundError as error:
        if path.is_symlink():
            target = printable(os.readlink(path))
            raise UserError(
                f"{shown(path)} is a link to {target}, which does not exist: fetch it (git annex get, dvc "
                "pull), or remove the link"
            ) from None
        raise UserError(f"cannot read {shown(path)}: {error.strerror}") from None
    except (OSError, ValueError) as error:
        raise UserError(f"cannot read {shown(path)}: {getattr(error, 'strerror', None) or error}") from None
    for is_kind, what in _KINDS:
        if is_kind(facts.st_mode):
            raise UserError(f"{shown(path)} is {what} and not a file")
    if not os.access(path, os.R_OK):
        raise UserError(f"cannot read {shown(path)}: Permission denied; make it readable (chmod +r)")
    return facts.st_size, facts.st_mtime_ns, facts.st_ino, facts.st_ctime_ns


def below(folder: str, suffixes: tuple[str, ...], left: list[str]) -> list[str]:
    """Return the files with one of the suffixes at any depth of a folder, sorted and without hidden ones.

    Args:
        folder: The folder to search.
        suffixes: The suffixes in lower case; they match in any case.
        left: A list to which the paths of files with other suffixes are appended.

    Raises:
        UserError: One of the entries is not a regular file, a link is broken or circular, or a folder may not
            be read.
    """
    return sorted(_below(folder, suffixes, left, ()))


def _below(
    folder: str, suffixes: tuple[str, ...], left: list[str], above: tuple[tuple[int, int], ...]
) -> Iterator[str]:
    facts = os.stat(folder)
    here = (facts.st_dev, facts.st_ino)
    if here in above:
        raise UserError(f"{shown(Path(folder))} is a link to a folder that contains it: remove the link")
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name[0] == ".":
                continue
            if is_folder(entry):
                yield from _below(entry.path, suffixes, left, (*above, here))
            elif entry.name.lower().endswith(suffixes):
                if entry.is_symlink() or not entry.is_file():
                    checked(entry.path)
                yield entry.path
            else:
                left.append(entry.path)


def is_folder(entry: os.DirEntry[str]) -> bool:
    """Return whether a folder's entry is a folder.

    Raises:
        UserError: The entry is a broken link that, judged by its name, was meant to lead to a folder.
    """
    try:
        if entry.is_dir():
            return True
        broken = entry.is_symlink() and not os.path.exists(entry.path)
    except OSError:  # a link to itself
        broken = True
    if broken and not os.path.splitext(entry.name)[1]:
        checked(entry.path)
    return False

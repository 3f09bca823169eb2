"""Files of a user's: what is refused before it is opened, and what tells that one has changed."""

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
    """Size, time of change, place and time of the last change of the inode, of a file that can be read.

    The last of them changes also where somebody writes the same number of bytes and sets the time back.

    Raises:
        UserError: there is none, it is no file (a pipe would be waited for without end), or it is locked up.
    """
    path = Path(path)
    try:
        facts = path.stat()
    except FileNotFoundError as error:
        if path.is_symlink():
            target = printable(os.readlink(path))
            raise UserError(
                f"{shown(path)} is a link to {target}, which is not here: fetch that (git annex get, dvc "
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
    """Files with one of the suffixes at any depth of a folder, sorted; what is hidden is left out.

    Args:
        left: is given the names of files with other suffixes.

    Raises:
        UserError: one of them is no file, a link leads nowhere or into a circle, or a folder is locked up.
    """
    return sorted(_below(folder, suffixes, left, ()))


def _below(
    folder: str, suffixes: tuple[str, ...], left: list[str], above: tuple[tuple[int, int], ...]
) -> Iterator[str]:
    facts = os.stat(folder)
    here = (facts.st_dev, facts.st_ino)
    if here in above:
        raise UserError(f"{shown(Path(folder))} is a link to a folder that it lies in: remove it")
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
    """Whether it is a folder.

    Raises:
        UserError: it is a link that leads nowhere, and by its name it might be one to a folder.
    """
    try:
        if entry.is_dir():
            return True
        lost = entry.is_symlink() and not os.path.exists(entry.path)
    except OSError:  # a link to itself
        lost = True
    if lost and not os.path.splitext(entry.name)[1]:
        checked(entry.path)
    return False

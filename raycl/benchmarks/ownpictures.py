"""This module finds a user's own pictures for training, validation and test, and reads them."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from raycl.benchmarks.checks import digests
from raycl.benchmarks.prepared import Blocks, printable, shown
from raycl.benchmarks.sources._decoding import decoded, images_of
from raycl.benchmarks.sources.image_folders import SUFFIXES, Listing, folders_in, listed
from raycl.errors import UserError

_PARTS = {  # the usual names of the folders, compared without regard to case
    "train": ("train", "training"),
    "val": ("val", "valid", "validation", "dev"),
    "test": ("test", "testing"),
}
_PICTURES = (  # formats that are not read, and are reported
    ".gif",
    ".jfif",
    ".jpe",
    ".heic",
    ".heif",
    ".avif",
    ".jp2",
    ".tga",
    ".exr",
    ".pbm",
    ".pnm",
    ".dcm",
    ".npy",
)


def found_in(root: Path) -> dict[str, Listing]:
    """Return the files of train, test and val if there are such folders, and otherwise all files as train.

    Raises:
        UserError: The folder does not exist or contains nothing usable, or the roles of its folders are
            unclear.
    """
    try:
        folders, _ = folders_in(root)
        places = _places(root, folders)
        if not places:
            _check_order(root, folders)
        found = {part: listed(root / name) for part, name in (places or {"train": ""}).items()}
    except OSError as error:
        where = Path(os.fsdecode(error.filename)) if error.filename else root
        raise UserError(f"cannot read {shown(where)}: {error.strerror or error}") from None
    for part, listing in found.items():
        unpaired = sorted(set(found["train"].classes) ^ set(listing.classes))
        if unpaired:
            names = " and ".join(f"{places[name]}/" for name in ("train", part))
            raise UserError(f"{shown(root)}: class {printable(unpaired[0])} is in only one of {names}")
    return found


def _places(root: Path, folders: Sequence[str]) -> dict[str, str]:
    """Return the names of the folders of train, val and test, or {} if the folders are classes."""
    found: dict[str, str] = {}
    for part, words in _PARTS.items():
        named = [name for name in folders if name.lower() in words]
        if len(named) > 1:
            raise UserError(
                f"{shown(root)} contains both {named[0]}/ and {named[1]}/: keep one of them for {part}"
            )
        if named:
            found[part] = named[0]
    if "train" not in found or len(found) == 1:
        # Next to other folders, "train" is taken for a class, as "bus" would be.
        if set(found.values()) == set(folders) and found:
            raise UserError(
                f"{shown(root)} contains only {', '.join(f'{name}/' for name in folders)}: expected "
                "train/<class>/* and test/<class>/*, or <class>/*"
            )
        return {}
    if "test" not in found:
        raise UserError(
            f"{shown(root)} contains {found['train']}/ and {found['val']}/ but no test/: rename "
            f"{found['val']}/ to test/ if its pictures are the test, or set path='.../{found['train']}' to "
            "test on a share of these"
        )
    return {part: found[part] for part in ("train", "test", "val") if part in found}


def _check_order(root: Path, folders: Sequence[str]) -> None:
    """Reject folders of the form <class>/train/* and <class>/test/*, because both parts would be mixed."""
    inside = [{name.lower() for name in folders_in(root / folder)[0]} for folder in folders]
    mixed = [
        folder
        for folder, names in zip(folders, inside, strict=True)
        if names & {*_PARTS["train"]} and names & {*_PARTS["val"], *_PARTS["test"]}
    ]
    if mixed and len(mixed) == len(folders):
        raise UserError(
            f"{shown(root / mixed[0])} contains folders of training and of test pictures, which would be "
            "mixed: expected train/<class>/* and test/<class>/*"
        )


def notes_on(root: Path, listings: Mapping[str, Listing]) -> list[str]:
    """Return sentences about what is ignored in the folder or may be a mistake."""
    notes = []
    left = [file for listing in listings.values() for file in listing.left]
    kinds = Counter(os.path.splitext(file)[1].lower() for file in left)
    for kind in _PICTURES:
        if kinds[kind]:
            notes.append(f"{_files(kinds[kind], kind)} ignored: supported suffixes are {' '.join(SUFFIXES)}")
    loose = sum(kinds[kind] for kind in SUFFIXES)
    if loose:
        notes.append(f"{_files(loose, 'image')} ignored, because not in a folder of a class")
    folders, _ = folders_in(root)
    if len(listings) > 1:
        used = {name for words in _PARTS.values() for name in words}
        if others := [printable(name) for name in folders if name.lower() not in used]:
            notes.append(f"folders next to train/ and test/ are ignored: {', '.join(others[:5])}")
    notes += _alike([printable(name) for name in listings["train"].classes])
    return notes


def _files(count: int, kind: str) -> str:
    return f"{count} {kind} files are" if count != 1 else f"1 {kind} file is"


def _alike(classes: Sequence[str]) -> list[str]:
    counts = Counter(name.casefold() for name in classes)
    twins = [name for name in classes if counts[name.casefold()] > 1]
    return [f"classes {' and '.join(twins[:2])} differ only in upper and lower case"] if twins else []


class Digests:
    """Digests of pictures, which are recorded while the pictures are read."""

    def __init__(self, count: int) -> None:
        self.values = np.zeros(count, np.int64)
        self.known = np.zeros(count, np.bool_)

    def note(self, start: int, images: NDArray[np.uint8]) -> None:
        stop = start + len(images)
        self.values[start:stop], self.known[start:stop] = digests(images), True


def images_and_digests(files: Sequence[Path], size: int, noted: Digests) -> tuple[Blocks, Blocks]:
    """Return pictures as arrays [3, size, size], and a digest of each, by which equal ones are found."""
    pictures = images_of(
        files,
        (3, size, size),
        lambda file: decoded(file, shown(file), side=size, square=False, own=True),
    )

    def make(start: int, stop: int) -> NDArray[np.uint8]:
        made: NDArray[np.uint8] = pictures.make(start, stop)
        noted.note(start, made)
        return made

    def seen(start: int, stop: int) -> NDArray[np.int64]:
        unknown = np.flatnonzero(~noted.known[start:stop]) + start  # read by a process that was killed
        for row in unknown.tolist():
            make(row, row + 1)
        return noted.values[start:stop]

    images = Blocks(pictures.shape, pictures.dtype, make, pictures.token)
    return images, Blocks((len(files),), np.int64, seen, "")

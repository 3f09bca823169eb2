"""Which of a user's own pictures are trained on, validated on and tested on; how they are read."""

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

_PARTS = {  # what people call the folders, in any case
    "train": ("train", "training"),
    "val": ("val", "valid", "validation", "dev"),
    "test": ("test", "testing"),
}
_PICTURES = (  # that are not read, and are told
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
    """Files of train, of test and of val where there are such folders; else all as train.

    Raises:
        UserError: no such folder, nothing usable in it, or folders of which one cannot say what they are.
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
        odd = sorted(set(found["train"].classes) ^ set(listing.classes))
        if odd:
            names = " and ".join(f"{places[name]}/" for name in ("train", part))
            raise UserError(f"{shown(root)}: class {printable(odd[0])} is in only one of {names}")
    return found


def _places(root: Path, folders: Sequence[str]) -> dict[str, str]:
    """Names of the folders of train, val and test; none where the folders are classes."""
    found: dict[str, str] = {}
    for part, words in _PARTS.items():
        named = [name for name in folders if name.lower() in words]
        if len(named) > 1:
            raise UserError(
                f"{shown(root)} holds both {named[0]}/ and {named[1]}/: keep one of them for {part}"
            )
        if named:
            found[part] = named[0]
    if "train" not in found or len(found) == 1:
        if set(found.values()) == set(folders) and found:  # "train" beside others is a class, as "bus" is
            raise UserError(
                f"{shown(root)} holds {', '.join(f'{name}/' for name in folders)} and nothing else: wanted "
                "are train/<class>/* and test/<class>/*, or <class>/*"
            )
        return {}
    if "test" not in found:
        raise UserError(
            f"{shown(root)} holds {found['train']}/ and {found['val']}/ and no test/: rename {found['val']}/ "
            f"to test/ if its pictures are the test, or give path='.../{found['train']}' to test on a share "
            "of these"
        )
    return {part: found[part] for part in ("train", "test", "val") if part in found}


def _check_order(root: Path, folders: Sequence[str]) -> None:
    """Refuse <class>/train/* and <class>/test/*: both would be mixed."""
    inside = [{name.lower() for name in folders_in(root / folder)[0]} for folder in folders]
    mixed = [
        folder
        for folder, names in zip(folders, inside, strict=True)
        if names & {*_PARTS["train"]} and names & {*_PARTS["val"], *_PARTS["test"]}
    ]
    if mixed and len(mixed) == len(folders):
        raise UserError(
            f"{shown(root / mixed[0])} holds folders of training and of test pictures, which would be mixed: "
            "wanted are train/<class>/* and test/<class>/*"
        )


def notes_on(root: Path, listings: Mapping[str, Listing]) -> list[str]:
    """What of the folder is left out or looks like a slip, a sentence each."""
    notes = []
    left = [file for listing in listings.values() for file in listing.left]
    kinds = Counter(os.path.splitext(file)[1].lower() for file in left)
    for kind in _PICTURES:
        if kinds[kind]:
            notes.append(f"{_files(kinds[kind], kind)} left out: what is read ends in {' '.join(SUFFIXES)}")
    loose = sum(kinds[kind] for kind in SUFFIXES)
    if loose:
        notes.append(f"{_files(loose, 'image')} left out, as they lie beside the folders of classes")
    beside, _ = folders_in(root)
    if len(listings) > 1:
        used = {name for words in _PARTS.values() for name in words}
        if others := [printable(name) for name in beside if name.lower() not in used]:
            notes.append(f"folders beside train/ and test/ are left out: {', '.join(others[:5])}")
    notes += _alike([printable(name) for name in listings["train"].classes])
    return notes


def _files(count: int, kind: str) -> str:
    return f"{count} {kind} files are" if count != 1 else f"1 {kind} file is"


def _alike(classes: Sequence[str]) -> list[str]:
    counts = Counter(name.casefold() for name in classes)
    twins = [name for name in classes if counts[name.casefold()] > 1]
    return [f"classes {' and '.join(twins[:2])} differ in nothing but case"] if twins else []


class Digests:
    """A number for each picture, noted while it is read."""

    def __init__(self, count: int) -> None:
        self.values = np.zeros(count, np.int64)
        self.known = np.zeros(count, np.bool_)

    def note(self, start: int, images: NDArray[np.uint8]) -> None:
        stop = start + len(images)
        self.values[start:stop], self.known[start:stop] = digests(images), True


def images_and_digests(files: Sequence[Path], size: int, noted: Digests) -> tuple[Blocks, Blocks]:
    """Pictures as arrays [3, size, size], and a number for each by which equal ones are found."""
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
        lost = np.flatnonzero(~noted.known[start:stop]) + start  # read by a process that was killed
        for row in lost.tolist():
            make(row, row + 1)
        return noted.values[start:stop]

    images = Blocks(pictures.shape, pictures.dtype, make, pictures.token)
    return images, Blocks((len(files),), np.int64, seen, "")

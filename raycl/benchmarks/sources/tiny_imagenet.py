"""This module reads Tiny ImageNet, 200 classes of ImageNet at 64 x 64, from an archive or from folders."""

from __future__ import annotations

import io
import re
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from raycl.benchmarks.files import checked
from raycl.benchmarks.prepared import Blocks, Contents
from raycl.benchmarks.sources._decoding import decoded, images_of
from raycl.benchmarks.sources.base import Source, SourceFiles, library_message, not_there
from raycl.errors import UserError

CLASSES, TRAIN, VAL = 200, 500, 50  # as published; TRAIN and VAL are images per class
_TOP = ("train", "val", "wnids.txt", "words.txt")
_ARCHIVES = ("*tiny*imagenet*.zip", "*tiny*imagenet*.tar", "*tiny*imagenet*.tar.gz")


@dataclass(frozen=True)
class _Tree:
    """The files of the set, in an archive or in folders.

    Attributes:
        place: The folder or archive.
        files: What `read` accepts, by path below the top folder; it changes if the file does.
        read: A function that returns the bytes of one file.
    """

    place: Path
    files: dict[str, Any]
    read: Callable[[Any], bytes]

    def lines(self, name: str) -> list[str]:
        """Return the lines of a text file, or [] if it does not exist."""
        if name not in self.files:
            return []
        return [line.strip() for line in self.read(self.files[name]).decode("utf-8", "replace").splitlines()]


def _read(reading: SourceFiles) -> Contents:
    tree = _found(reading)
    train, val = _labelled(tree)
    wnids = [name for name in tree.lines("wnids.txt") if name]
    present = {wnid for wnid, _ in train}
    notes = []
    if not wnids:
        wnids, notes = sorted(present), ["without wnids.txt: classes in alphabetical order"]
    unknown = sorted((present | {wnid for wnid, _ in val}) - set(wnids))
    if unknown or len(wnids) > CLASSES:
        reason = (
            f"class {unknown[0]} is not in wnids.txt" if unknown else f"{len(wnids)} classes, not {CLASSES}"
        )
        raise UserError(f"{tree.place} does not contain Tiny ImageNet: {reason}")
    place = {wnid: label for label, wnid in enumerate(wnids)}
    arrays: dict[str, NDArray[Any] | Blocks] = {}
    for part, pairs in (("train", train), ("val", val)):
        pairs.sort(key=lambda pair: (place[pair[0]], _number(pair[1]), pair[1]))
        files = [tree.files[name] for _, name in pairs]
        arrays[f"{part}_labels"] = np.array([place[wnid] for wnid, _ in pairs], np.int64)
        for side in (64, 32):
            arrays[f"{part}_images_{side}"] = images_of(files, (3, side, side), _decoder(tree, side))
    words = dict(line.split("\t", 1) for line in tree.lines("words.txt") if "\t" in line)
    facts = {
        "class_names": [words.get(wnid, wnid).partition(",")[0] for wnid in wnids],
        "wnids": wnids,
        "resized": "to 32 x 32 by PIL, bilinear and antialiased",
        "provenance": f"{tree.place.name}; judged by its counts, as no checksum of the images is published",
    }
    return Contents(arrays, "; ".join([*_missing(arrays, len(wnids)), *notes]), facts)


def _missing(arrays: dict[str, Any], classes: int) -> list[str]:
    """Return what is missing according to the published counts."""
    counts = [np.bincount(arrays[f"{part}_labels"], minlength=classes) for part in ("train", "val")]
    if classes == CLASSES and (counts[0] == TRAIN).all() and (counts[1] == VAL).all():
        return []
    train, val = (int(found.sum()) for found in counts)
    return [
        f"{train:,} of {CLASSES * TRAIN:,} training and {val:,} of {CLASSES * VAL:,} validation images of "
        f"{classes} of {CLASSES} classes of Tiny ImageNet"
    ]


def _found(reading: SourceFiles) -> _Tree:
    root = reading.given or reading.downloads
    for folder in (root, *sorted(root.glob("*tiny*imagenet*"))):
        if (folder / "train").is_dir() and (folder / "val").is_dir():
            return _unpacked(folder)
    for pattern in _ARCHIVES:
        for file in sorted([*root.glob(pattern), *root.glob(f"*/{pattern}")]):
            return _packed(file)
    raise not_there("Tiny ImageNet", reading, "tiny-imagenet-200.zip, or its folders train/ and val/")


def _unpacked(folder: Path) -> _Tree:
    listed = [*folder.glob("*.txt"), *folder.glob("train/**/*"), *folder.glob("val/**/*")]
    files = {path.relative_to(folder).as_posix(): path for path in listed if path.is_file()}
    return _Tree(folder, files, Path.read_bytes)


def _packed(file: Path) -> _Tree:
    """Read all members of the archive at once.

    They take 240 MB for the whole set, and a .tar.gz file cannot be read in another way.
    """
    checked(file)
    try:
        held = dict(_members(file))
    except (zipfile.BadZipFile, tarfile.TarError, EOFError, OSError) as error:
        raise UserError(f"{file} is damaged ({library_message(error)}): fetch it again") from None
    stamp = (str(file), file.stat().st_size, file.stat().st_mtime_ns)
    return _Tree(file, {name: (*stamp, name) for name in held}, lambda item: held[item[-1]])


def _members(file: Path) -> Iterator[tuple[str, bytes]]:
    if file.suffix == ".zip":
        with zipfile.ZipFile(file) as packed:
            for name in packed.namelist():
                if (below := _below_top(name)) and not name.endswith("/"):
                    yield below, packed.read(name)
        return
    with tarfile.open(file) as tar:
        for member in tar:
            if (below := _below_top(member.name)) and (data := tar.extractfile(member)) is not None:
                yield below, data.read()


def _below_top(name: str) -> str:
    """Return a member's path from train/, val/, wnids.txt or words.txt on, or "" for other members."""
    parts = PurePosixPath(name).parts
    starts = [i for i, part in enumerate(parts[:3]) if part in _TOP]
    return "/".join(parts[starts[0] :]) if starts and not parts[-1].startswith(".") else ""


def _labelled(tree: _Tree) -> tuple[list[tuple[str, str]], list[tuple[str, str]]]:
    """Return (class, path) of each training and each validation image, in any of the layouts."""
    classes = dict(line.split("\t")[:2] for line in tree.lines("val/val_annotations.txt") if line)
    train, val = [], []
    for name in tree.files:
        part, *inner = name.split("/")
        if not name.lower().endswith((".jpeg", ".jpg")) or len(inner) < 2:
            continue
        if part == "train":
            train.append((inner[0], name))
        elif inner[0] != "images":
            val.append((inner[0], name))
        elif inner[-1] in classes:
            val.append((classes[inner[-1]], name))
        else:
            raise UserError(f"{tree.place}: val/val_annotations.txt does not name the class of {inner[-1]}")
    if not train or not val:
        raise UserError(
            f"{tree.place} contains {len(train)} training and {len(val)} validation images: both are needed"
        )
    return train, val


def _number(name: str) -> int:
    """Return the last number in a file's name, which orders the files in the same way in every layout."""
    found = re.findall(r"\d+", PurePosixPath(name).stem)
    return int(found[-1]) if found else 0


def _decoder(tree: _Tree, side: int) -> Callable[[Any], NDArray[np.uint8]]:
    def load(item: Any) -> NDArray[np.uint8]:
        name = str(item) if isinstance(item, Path) else f"{tree.place}: {item[-1]}"
        return decoded(io.BytesIO(tree.read(item)), name, side=side)

    return load


SOURCES = (
    Source(
        name="tiny_imagenet",
        title="Tiny ImageNet",
        licence="ImageNet's terms: for non-commercial research and education only",
        summary="100,000 + 10,000 pictures of 200 classes of ImageNet, 64 x 64 pixels",
        size=1_690_000_000,
        read=_read,
        holds="tiny-imagenet-200.zip, or its unpacked folders",
        origin="http://cs231n.stanford.edu/tiny-imagenet-200.zip (237 MB), under ImageNet's terms of access: "
        "non-commercial research and education only",
    ),
)

"""This module reads CelebA (Liu et al. 2015): aligned faces at 32 x 32 pixels, and whether they smile.

The pictures are never downloaded: the agreement is for non-commercial research and forbids passing on any
part. An index lists the pictures and their people; it is either in LEAF's format (F-CelebA) or consists of
the data set's own text files. Pictures are resized without cropping, from 178 x 218 to 32 x 32.
"""

from __future__ import annotations

import hashlib
import io
import os
import re
import zipfile
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from raycl.benchmarks.files import checked
from raycl.benchmarks.prepared import Blocks, Contents
from raycl.benchmarks.sources._decoding import decoded, images_of
from raycl.benchmarks.sources.base import Source, SourceFiles, library_message, not_there
from raycl.benchmarks.sources.femnist import LeafIndex
from raycl.errors import UserError

SIDE = 32
IMAGES = 202_599
FOLDER = "img_align_celeba"
TEXTS = ("list_attr_celeba.txt", "identity_CelebA.txt", "list_eval_partition.txt")
_BELOW = ("", "celeba", "fceleba_index")


class _Index(NamedTuple):
    """The pictures to read; arrays and lists have one entry per picture, [n]."""

    files: list[str]
    labels: NDArray[np.int64]  # 1 for smiling
    users: NDArray[np.int64]  # indices in `names`
    parts: NDArray[np.int64]  # 0 for training, 1 for test
    names: list[str]  # one per user
    kind: str
    whole: bool  # whether the index is complete, as published
    place: Path


def _read(reading: SourceFiles) -> Contents:
    index = _leaf(reading) or _texts(reading)
    if index is None:
        expected = f"an index, train/*.json and test/*.json in LEAF's format or {', '.join(TEXTS)}"
        raise not_there("CelebA", reading, expected)
    facts = {
        "class_names": ["not smiling", "smiling"],
        "kind": index.kind,
        "user_names": index.names,
        "provenance": "compared with the published MD5s of the texts; 178 x 218 pixels resized to 32 x 32",
    }
    arrays: dict[str, NDArray[Any] | Blocks] = {
        "images": _pictures(reading, index),
        "labels": index.labels,
        "users": index.users,
        "part": index.parts,
    }
    count = len(index.files)
    subset = "" if index.whole else f"{count:,} of CelebA's {IMAGES:,} pictures ({index.kind})"
    return Contents(arrays, subset, facts)


def _leaf(reading: SourceFiles) -> _Index | None:
    index = LeafIndex.find(reading, _BELOW)
    if index is None:
        return None
    found = index.read(_file_names, 2)
    files = [name for names in found.inputs for name in names]
    kind = "cat iid pseudo-users" if index.pseudo_users else "leaf people"
    return _Index(files, found.labels, found.users, found.parts, list(found.names), kind, False, index.place)


def _file_names(x: list[Any]) -> list[str]:
    for name in x:
        if not isinstance(name, str) or not re.fullmatch(r"\d+\.(jpg|png)", name):
            raise ValueError(f"{str(name)[:40]} is not a file name of CelebA")
    return x


def _texts(reading: SourceFiles) -> _Index | None:
    """Return the data set's own index, whose users are its identities, or None.

    The official validation part is used for training.
    """
    from torchvision.datasets import CelebA

    paths = reading.find(*TEXTS, below=_BELOW)
    if paths is None:
        return None
    published = {name: md5 for _, md5, name in CelebA.file_list}
    texts = [path.read_bytes() for path in paths]
    whole = all(
        hashlib.md5(text, usedforsecurity=False).hexdigest() == published[name]
        for name, text in zip(TEXTS, texts, strict=True)
    )
    try:
        attributes, identities, partitions = (text.decode().splitlines() for text in texts)
        smiling = attributes[1].split().index("Smiling") + 1
        rows = [line.split() for line in attributes[2:] if line]
        person, part = (dict(line.split() for line in lines if line) for lines in (identities, partitions))
        files = [row[0] for row in rows]
        known, users = np.unique([int(person[file]) for file in files], return_inverse=True)
        parts = np.array([int(part[file]) == 2 for file in files], np.int64)
        labels = np.array([int(row[smiling]) == 1 for row in rows], np.int64)
    except (ValueError, LookupError) as error:
        raise UserError(f"{paths[0].parent}: {', '.join(TEXTS)} do not fit together ({error!r})") from None
    names = [str(number) for number in known]
    return _Index(
        files, labels, users.astype(np.int64), parts, names, "celeba people", whole, paths[0].parent
    )


def _pictures(reading: SourceFiles, index: _Index) -> Blocks:
    root = reading.given or reading.downloads
    for folder in (root / name for name in _BELOW):
        if (folder / FOLDER).is_dir():
            # An unpacked archive contains a folder with the name of the archive.
            inner = folder / FOLDER / FOLDER
            return _of_folder(inner if inner.is_dir() else folder / FOLDER, index)
        if os.path.lexists(folder / f"{FOLDER}.zip"):
            return _of_archive(folder / f"{FOLDER}.zip", index)
    raise UserError(
        f"{index.place} lists {len(index.files):,} pictures of CelebA, which were not found: put {FOLDER}/ "
        f"or {FOLDER}.zip (non-commercial research agreement, mmlab.ie.cuhk.edu.hk/projects/CelebA.html) "
        f"into {reading.place}"
    )


def _of_folder(folder: Path, index: _Index) -> Blocks:
    _check(str(folder), {file.name for file in folder.iterdir()}, index)
    files = [folder / name for name in index.files]
    return images_of(files, (3, SIDE, SIDE), lambda file: decoded(file, str(file), side=SIDE))


def _of_archive(path: Path, index: _Index) -> Blocks:
    checked(path)
    try:
        archive = zipfile.ZipFile(path)  # it is closed when no reader refers to it any more
    except (zipfile.BadZipFile, OSError) as error:
        raise UserError(f"{path} is damaged ({library_message(error)}): fetch it again") from None
    members = {PurePosixPath(name).name: name for name in archive.namelist()}
    _check(str(path), members, index)
    facts = path.stat()

    def load(key: tuple[str, int, int]) -> NDArray[np.uint8]:
        try:
            data = archive.read(members[key[0]])
        except (zipfile.BadZipFile, EOFError) as error:
            raise UserError(f"{path} is damaged ({library_message(error)}): fetch it again") from None
        return decoded(io.BytesIO(data), f"{path}: {key[0]}", side=SIDE)

    keys = [(name, facts.st_size, facts.st_mtime_ns) for name in index.files]
    return images_of(keys, (3, SIDE, SIDE), load)


def _check(place: str, present: Sequence[str] | set[str] | dict[str, str], index: _Index) -> None:
    missing = [name for name in index.files if name not in present]
    if missing:
        raise UserError(
            f"{place} does not contain {len(missing):,} of the {len(index.files):,} pictures that "
            f"{index.place} lists, such as {missing[0]}"
        )


SOURCES = (
    Source(
        name="celeba",
        title="CelebA",
        licence="for non-commercial research by agreement, not to be passed on (MMLAB, Liu et al. 2015)",
        summary="202,599 aligned faces of 10,177 people, 32 x 32 pixels, smiling or not",
        size=627_000_000,
        read=_read,
        holds=f"{FOLDER}/ or {FOLDER}.zip and an index: {', '.join(TEXTS)}, or train/ and test/ of a LEAF "
        "index (F-CelebA)",
        origin="mmlab.ie.cuhk.edu.hk/projects/CelebA.html, under its non-commercial research agreement",
    ),
)

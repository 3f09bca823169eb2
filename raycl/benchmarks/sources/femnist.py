"""This module reads FEMNIST (Caldas et al. 2018, LEAF), characters of NIST SD 19, from LEAF's JSON files."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from raycl.benchmarks.prepared import Contents
from raycl.benchmarks.sources.base import Source, SourceFiles, not_there, opened
from raycl.errors import UserError

CLASS_NAMES = tuple("0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz")
WRITERS, IMAGES = 3_550, 805_263  # of all of LEAF's FEMNIST


@dataclass(frozen=True)
class LeafData:
    """The samples of an index, user by user; arrays are [n].

    Attributes:
        inputs: What `convert` returned for each user's x, in the order of the samples.
        labels: The labels.
        users: Indices in `names`.
        parts: 0 for training, 1 for test.
        names: The names of the users, in the order of the files.
    """

    inputs: list[Any]
    labels: NDArray[np.int64]
    users: NDArray[np.int64]
    parts: NDArray[np.int64]
    names: tuple[str, ...]


@dataclass(frozen=True)
class LeafIndex:
    """A folder in LEAF's format: train/ and test/ with JSON files, gzipped or not.

    Attributes:
        files: The files of the training and of the test part, ordered by the numbers in their names.
    """

    files: tuple[tuple[Path, ...], tuple[Path, ...]]

    @classmethod
    def find(cls, reading: SourceFiles, below: Sequence[str]) -> LeafIndex | None:
        """Return the first of the folders `below` that has files of both parts, or None."""
        root = reading.given or reading.downloads
        for folder in (root / name for name in below):
            train, test = (_json_files(folder / part) for part in ("train", "test"))
            if train and test:
                return cls((train, test))
        return None

    @property
    def place(self) -> Path:
        """The folder that holds train/ and test/."""
        return self.files[0][0].parent.parent

    @property
    def pseudo_users(self) -> bool:
        """Whether users are random samples of people; LEAF writes its sampling method into the file names."""
        return any("_iid_" in file.name for files in self.files for file in files)

    def read(self, convert: Callable[[list[Any]], Any], classes: int) -> LeafData:
        """Return all samples.

        Args:
            convert: A function of one user's x; it raises ValueError or TypeError if x does not belong to the
                data set.
            classes: The number of classes.

        Raises:
            UserError: A file is not in the format.
        """
        numbers: dict[str, int] = {}
        inputs: list[Any] = []
        columns: list[tuple[NDArray[np.int64], ...]] = []
        for part, files in enumerate(self.files):
            for file in files:
                for user, x, y in _samples(file, convert, classes):
                    inputs.append(x)
                    number = numbers.setdefault(user, len(numbers))
                    columns.append((y, np.full_like(y, number), np.full_like(y, part)))
        labels, users, parts = (np.concatenate(column) for column in zip(*columns, strict=True))
        return LeafData(inputs, labels, users, parts, tuple(numbers))


def _json_files(folder: Path) -> tuple[Path, ...]:
    found = [*folder.glob("*.json"), *folder.glob("*.json.gz")]
    return tuple(sorted(found, key=lambda file: [int(number) for number in re.findall(r"\d+", file.name)]))


def _samples(
    file: Path, convert: Callable[[list[Any]], Any], classes: int
) -> Iterator[tuple[str, Any, NDArray[np.int64]]]:
    with opened(file) as data:
        text = data.read()
    try:
        found = json.loads(text)
        for user in found["users"]:
            x, y = found["user_data"][user]["x"], np.asarray(found["user_data"][user]["y"])
            labels = y.astype(np.int64)
            if labels.shape != (len(x),) or not len(x) or (labels != y).any():
                raise ValueError(f"user {user} should have one integer label for each of {len(x)} samples")
            if labels.min() < 0 or labels.max() >= classes:
                raise ValueError(f"user {user} has a label outside 0..{classes - 1}")
            yield str(user), convert(x), labels
    except (ValueError, LookupError, TypeError) as error:
        raise UserError(f"{file} is not in the expected LEAF format ({error}): fetch it again") from None


def _read(reading: SourceFiles) -> Contents:
    index = LeafIndex.find(reading, ("femnist_cat", "femnist", "data", ""))
    if index is None:
        raise not_there("FEMNIST", reading, "train/*.json(.gz) and test/*.json(.gz) in LEAF's format")
    found = index.read(_ink, len(CLASS_NAMES))
    pseudo = index.pseudo_users or all(name.isdecimal() for name in found.names)
    facts = {
        "class_names": list(CLASS_NAMES),
        "kind": "cat iid pseudo-users" if pseudo else "leaf writers",
        "user_names": list(found.names),
        "provenance": "compared with LEAF's published counts of writers and images",
    }
    arrays = {
        "images": np.concatenate(found.inputs),
        "labels": found.labels,
        "users": found.users,
        "part": found.parts,
    }
    return Contents(arrays, _subset(found, pseudo), facts)


def _ink(x: list[Any]) -> NDArray[np.uint8]:
    """Return a user's images with bright ink on black, as in MNIST; in the files the paper is 1."""
    values = np.asarray(x, np.float64)
    if values.ndim != 2 or values.shape[1] != 28 * 28:
        raise ValueError(f"its images have shape {values.shape[1:]} instead of (784,)")
    if not (values.min() >= 0 and values.max() <= 1):  # the negation also rejects NaN
        raise ValueError("its pixels are not in [0, 1]")
    return (255 - np.rint(values * 255)).astype(np.uint8).reshape(-1, 1, 28, 28)


def _subset(found: LeafData, pseudo: bool) -> str:
    train, test = (int((found.parts == part).sum()) for part in (0, 1))
    if pseudo:
        trained = len(np.unique(found.users[found.parts == 0]))
        return (
            f"{len(found.names)} iid pseudo-users, {trained} of them with training images, {train:,} "
            f"training and {test:,} test images of FEMNIST's {IMAGES:,}"
        )
    if (len(found.names), train + test) == (WRITERS, IMAGES):
        return ""
    return f"{len(found.names):,} of {WRITERS:,} writers and {train + test:,} of {IMAGES:,} images of FEMNIST"


SOURCES = (
    Source(
        name="femnist",
        title="FEMNIST",
        licence="NIST Special Database 19, a work of the US government; by way of LEAF, BSD 2-clause",
        summary="805,263 digits and letters by 3,550 writers, 28 x 28 pixels",
        size=652_000_000,
        read=_read,
        holds="LEAF's JSON files of FEMNIST: train/*.json(.gz) and test/*.json(.gz)",
        origin="github.com/TalwalkarLab/leaf (BSD 2-clause), data/femnist: preprocess.sh -s niid --sf 1.0 "
        "-k 0 -t sample",
    ),
)

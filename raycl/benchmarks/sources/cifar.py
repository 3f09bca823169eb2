"""This module reads CIFAR-10 and CIFAR-100 from the official pickles, or from an .npz file of a part of them.

The coarse labels of CIFAR-100 are read too.
"""

from __future__ import annotations

import hashlib
import io
import shutil
import tarfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from raycl.benchmarks.files import checked
from raycl.benchmarks.prepared import Arrays, Contents
from raycl.benchmarks.sources.base import Source, SourceFiles, library_message, not_there, opened, unpickled
from raycl.errors import UserError


@dataclass(frozen=True)
class _Kind:
    """The differences between CIFAR-10 and CIFAR-100."""

    title: str
    folder: str  # the folder of the pickles
    train: tuple[str, ...]
    test: str
    meta: str
    labels: str  # key of the labels
    names: str  # key of their names, in `meta`
    classes: int
    npz: str  # pattern of the name of a file with a part of the set

    @property
    def coarse(self) -> bool:
        return self.classes == 100


_TEN = _Kind(
    "CIFAR-10",
    "cifar-10-batches-py",
    tuple(f"data_batch_{i}" for i in range(1, 6)),
    "test_batch",
    "batches.meta",
    "labels",
    "label_names",
    10,
    "cifar10[!0]*.npz",
)
_HUNDRED = _Kind(
    "CIFAR-100",
    "cifar-100-python",
    ("train",),
    "test",
    "meta",
    "fine_labels",
    "fine_label_names",
    100,
    "cifar100*.npz",
)


def _read(kind: _Kind, reading: SourceFiles) -> Contents:
    if reading.given is None:
        reading.fetch(kind.title, lambda root: _dataset(kind)(str(root), download=True))
    folder = _folder(kind, reading)
    if folder is not None:
        return _from_pickles(kind, folder)
    root = reading.given or reading.downloads
    archives = [f for f in sorted(root.glob("*.tar.gz")) if f.name == _dataset(kind).filename]
    if archives:
        return _from_archive(kind, archives[0], reading)
    parts = sorted([*root.glob(kind.npz), *root.glob(f"*/{kind.npz}")])
    if parts:
        return _from_npz(kind, parts[0])
    raise not_there(kind.title, reading, f"{kind.folder}/, {_dataset(kind).filename} or {kind.npz}")


def _dataset(kind: _Kind) -> Any:
    from torchvision import datasets

    return datasets.CIFAR100 if kind.coarse else datasets.CIFAR10


def _folder(kind: _Kind, reading: SourceFiles) -> Path | None:
    found = reading.find(*kind.train, kind.test, kind.meta, below=(kind.folder, ""))
    return found[0].parent if found else None


def _from_archive(kind: _Kind, archive: Path, reading: SourceFiles) -> Contents:
    checked(archive)
    target = reading.downloads / "unpacked"
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir(parents=True)
    try:
        with tarfile.open(archive) as packed:
            packed.extractall(target, filter="data")
    except (tarfile.TarError, EOFError, OSError) as error:
        raise UserError(f"{archive} is damaged ({library_message(error)}): fetch it again") from None
    found = _from_pickles(kind, target / kind.folder)
    shutil.rmtree(target)
    return found


def _from_pickles(kind: _Kind, folder: Path) -> Contents:
    dataset = _dataset(kind)
    published = dict([*dataset.train_list, *dataset.test_list, (kind.meta, dataset.meta["md5"])])
    whole, parts = True, {}
    for name in (*kind.train, kind.test, kind.meta):
        data = _bytes(folder, name)
        whole = whole and hashlib.md5(data, usedforsecurity=False).hexdigest() == published[name]
        parts[name] = unpickled(io.BytesIO(data), folder / name)
    meta = parts[kind.meta]
    try:
        found = _part(kind, [parts[name] for name in kind.train], "train")
        found |= _part(kind, [parts[kind.test]], "test")
        facts = {"class_names": list(meta[kind.names])}
        if kind.coarse:
            facts["coarse_names"] = list(meta["coarse_label_names"])
    except (KeyError, ValueError, TypeError) as error:
        raise UserError(
            f"{folder}: the files are not those of {kind.title} ({error!r}): fetch them again"
        ) from None
    _check(kind, found, str(folder))
    return Contents(found, "" if whole else _counts(found, kind), facts)


def _bytes(folder: Path, name: str) -> bytes:
    plain = folder / name
    with opened(plain if plain.exists() else folder / f"{name}.gz") as data:
        return data.read()


def _part(kind: _Kind, batches: Sequence[dict[str, Any]], part: str) -> Arrays:
    images = np.concatenate([np.asarray(batch["data"], np.uint8) for batch in batches])
    made: Arrays = {
        f"{part}_images": images.reshape(-1, 3, 32, 32),
        f"{part}_labels": np.concatenate([np.asarray(batch[kind.labels], np.int64) for batch in batches]),
    }
    if kind.coarse:
        made[f"{part}_coarse"] = np.concatenate([np.asarray(b["coarse_labels"], np.int64) for b in batches])
    return made


def _from_npz(kind: _Kind, file: Path) -> Contents:
    checked(file)
    try:
        with np.load(file, allow_pickle=False) as given:
            found: Arrays = {}
            for part in ("train", "test"):
                found[f"{part}_images"] = np.ascontiguousarray(given[f"x_{part}"].transpose(0, 3, 1, 2))
                found[f"{part}_labels"] = given[f"y_{part}"].astype(np.int64)
                if kind.coarse:
                    found[f"{part}_coarse"] = given[f"y_{part}_coarse"].astype(np.int64)
            facts = {"class_names": given["fine_names" if kind.coarse else "names"].tolist()}
            if kind.coarse:
                facts["coarse_names"] = given["coarse_names"].tolist()
    except Exception as error:  # np.load lets the errors of zip, zlib and its header parser pass
        raise UserError(
            f"{file} cannot be read as a part of {kind.title} ({library_message(error)})"
        ) from None
    _check(kind, found, str(file))
    return Contents(found, f"{_counts(found, kind)}; its split need not be the official one", facts)


def _counts(found: Arrays, kind: _Kind) -> str:
    train, test = len(found["train_labels"]), len(found["test_labels"])
    return f"{train:,} of 50,000 training and {test:,} of 10,000 test images of {kind.title}"


def _check(kind: _Kind, found: Arrays, place: str) -> None:
    for part in ("train", "test"):
        images, labels = found[f"{part}_images"], found[f"{part}_labels"]
        good = images.shape == (len(labels), 3, 32, 32) and images.dtype == np.uint8 and len(labels) > 0
        if not (good and _below(labels, kind.classes) and _below(found.get(f"{part}_coarse", labels), 100)):
            raise UserError(f"{place}: the {part} images and labels are not {kind.title}'s")


def _below(labels: NDArray[np.int64], classes: int) -> bool:
    return bool(labels.min() >= 0 and labels.max() < classes)


_TERMS = "no stated licence; for research, citing Krizhevsky 2009"
SOURCES = (
    Source(
        name="cifar10",
        title="CIFAR-10",
        licence=_TERMS,
        summary="50,000 + 10,000 colour pictures of 10 classes, 32 x 32 pixels",
        size=185_000_000,
        read=lambda reading: _read(_TEN, reading),
        download=170_500_000,
        holds="cifar-10-batches-py/",
    ),
    Source(
        name="cifar100",
        title="CIFAR-100",
        licence=_TERMS,
        summary="50,000 + 10,000 colour pictures of 100 classes in 20 superclasses, 32 x 32 pixels",
        size=186_000_000,
        read=lambda reading: _read(_HUNDRED, reading),
        download=169_000_000,
        holds="cifar-100-python/",
    ),
)

"""This module reads MNIST and FashionMNIST, four idx files each, with torchvision."""

from __future__ import annotations

import hashlib
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from raycl.benchmarks.prepared import Arrays, Contents
from raycl.benchmarks.sources.base import Source, SourceFiles, digest, not_there, unpack
from raycl.errors import UserError

FILES = (
    "train-images-idx3-ubyte",
    "train-labels-idx1-ubyte",
    "t10k-images-idx3-ubyte",
    "t10k-labels-idx1-ubyte",
)
_MNIST = {  # SHA-256 of the published arrays' bytes
    "train_images": "741c988805d008ac6e4c904b69001ba184c24b2c540a4ef403f4c71b676cf757",
    "train_labels": "e474323ac02fc156161b0bbb1f8c9cfeb327a74bcd9f9680a8385269a24f566c",
    "test_images": "6d87418db22cc8025d05968bec9bd5c3932904b23485740db143a061a2c9d161",
    "test_labels": "2fd8de6bdb8d11780b4b96dc57847bcfe6953f7c32aa48bfcd8237c3b7847243",
}
_FASHION = {  # git blob ids of the published idx files, including their headers
    "train_images": "ff2f5a96367a3c1656f09c93649f07143ff8b11e",
    "test_images": "37bac79bc6f002d965f363e0b20514904504a4d9",
}
_GARMENTS = (
    "T-shirt/top",
    "trouser",
    "pullover",
    "dress",
    "coat",
    "sandal",
    "shirt",
    "sneaker",
    "bag",
    "ankle boot",
)


def _read_mnist(reading: SourceFiles) -> Contents:
    found = _read(reading, "MNIST", ("", "raw", "MNIST/raw"))
    names = {"class_names": [str(digit) for digit in range(10)]}
    if {name: digest(values) for name, values in found.items()} == _MNIST:
        return Contents(found, facts=names)
    return Contents(found, _counts(found, "MNIST"), names)


def _read_fashion(reading: SourceFiles) -> Contents:
    found = _read(reading, "FashionMNIST", ("FashionMNIST/raw", "raw", ""))
    whole = all(_blob(found[name]) == blob for name, blob in _FASHION.items())
    return Contents(found, "" if whole else _counts(found, "FashionMNIST"), {"class_names": list(_GARMENTS)})


def _counts(found: Arrays, title: str) -> str:
    train, test = len(found["train_labels"]), len(found["test_labels"])
    return f"{train:,} of 60,000 training and {test:,} of 10,000 test images, not the published {title}"


def _blob(images: NDArray[Any]) -> str:
    """Return the git blob id of an idx file that contains these images."""
    header = b"\0\0\x08\x03" + b"".join(int(n).to_bytes(4, "big") for n in (len(images), *images.shape[2:]))
    content = header + images.tobytes()
    return hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()


def _read(reading: SourceFiles, kind: str, below: tuple[str, ...]) -> Arrays:
    from torchvision import datasets

    dataset = getattr(datasets, kind)
    if reading.given is None:
        reading.fetch(kind, lambda root: dataset(str(root), download=True))
        return _parse(dataset, reading.downloads, reading.place, kind)
    files = reading.find(*FILES, below=below)
    if files is None:
        raise not_there(kind, reading, f"{FILES[0]}(.gz) and the three other idx files")
    reading.downloads.mkdir(parents=True, exist_ok=True)  # the disk of the data folder has enough space
    with tempfile.TemporaryDirectory(dir=reading.downloads) as name:
        raw = Path(name) / kind / "raw"
        raw.mkdir(parents=True)
        for file, plain in zip(files, FILES, strict=True):
            unpack(file, raw / plain)
        return _parse(dataset, Path(name), reading.place, kind)


def _parse(dataset: Any, root: Path, place: str, kind: str) -> Arrays:
    found: Arrays = {}
    try:
        for part in ("train", "test"):
            data = dataset(str(root), train=part == "train", download=False)
            found[f"{part}_images"] = data.data.numpy()[:, None]  # [n, 1, 28, 28]
            found[f"{part}_labels"] = data.targets.numpy().astype(np.int64)
    except (ValueError, RuntimeError, AssertionError, LookupError):
        raise UserError(f"{place}: the {kind} files cannot be read: fetch them again") from None
    for part in ("train", "test"):
        images, labels = found[f"{part}_images"], found[f"{part}_labels"]
        if images.shape != (len(labels), 1, 28, 28) or not len(labels) or labels.max() > 9:
            raise UserError(f"{place}: the {part} images and labels are not {kind}'s")
    return found


SOURCES = (
    Source(
        name="mnist",
        title="MNIST",
        licence="CC BY-SA 3.0 (LeCun, Cortes, Burges; from NIST SD 19)",
        summary="60,000 + 10,000 handwritten digits of 28 x 28 pixels",
        size=56_000_000,
        read=_read_mnist,
        download=11_400_000,
        holds="train-images-idx3-ubyte(.gz)",
    ),
    Source(
        name="fashion_mnist",
        title="FashionMNIST",
        licence="MIT (Zalando SE)",
        summary="60,000 + 10,000 pictures of clothes, 28 x 28 pixels",
        size=56_000_000,
        read=_read_fashion,
        download=31_000_000,
        holds="FashionMNIST/raw/train-images-idx3-ubyte(.gz)",
    ),
)

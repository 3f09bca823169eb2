"""This module reads ImageNet at 32 x 32 (Chrabaszcz et al. 2017) from ten training and one val batch."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from raycl.benchmarks.prepared import Blocks, Contents
from raycl.benchmarks.sources.base import Source, SourceFiles, not_there, opened, unpickled
from raycl.errors import UserError

CLASSES, TRAIN, VAL = 1000, 1_281_167, 50_000  # as published
_NAMES = "map_clsloc.txt"  # lines of: wnid label name


def _read(reading: SourceFiles) -> Contents:
    root = reading.given or reading.downloads
    below = ("", *sorted(path.name for path in root.iterdir() if path.is_dir()))
    train = [file for i in range(1, 11) for file in reading.find(f"train_data_batch_{i}", below=below) or ()]
    val = reading.find("val_data", below=below)
    if not train or val is None:
        raise not_there("ImageNet at 32 x 32", reading, "train_data_batch_1 .. 10 and val_data, unzipped")
    train_images, train_labels = _joined(train, reading, "train")
    val_images, val_labels = _joined(val, reading, "val")
    facts: dict[str, object] = {
        "provenance": f"{len(train)} training batches; judged by their counts, as no checksum is published"
    }
    names = reading.find(_NAMES, below=below)
    if names:
        facts["class_names"] = _names(names[0])
    whole = (len(train_labels), len(val_labels)) == (TRAIN, VAL)
    subset = (
        ""
        if whole
        else f"{len(train_labels):,} of {TRAIN:,} training and {len(val_labels):,} of {VAL:,} validation "
        "images of ImageNet at 32 x 32"
    )
    labels = {"train_labels": train_labels, "val_labels": val_labels}
    return Contents({"train_images": train_images, "val_images": val_images, **labels}, subset, facts)


def _joined(files: Sequence[Path], reading: SourceFiles, part: str) -> tuple[Blocks, NDArray[np.int64]]:
    """Return images and labels of the batches; images are read when needed, one batch at a time."""
    labels = []
    for done, file in enumerate(files):
        reading.progress(f"{part}_labels", done, len(files))
        labels.append(_batch(file)[1])
    ends = np.cumsum([len(found) for found in labels]).tolist()
    latest = functools.lru_cache(maxsize=1)(lambda index: _batch(files[index])[0])

    def make(start: int, stop: int) -> NDArray[np.uint8]:
        pieces = []
        for index, (low, high) in enumerate(zip([0, *ends], ends, strict=False)):
            if low < stop and start < high:
                pieces.append(latest(index)[max(start, low) - low : min(stop, high) - low])
        return np.concatenate(pieces)

    stamps = [(str(file), file.stat().st_size, file.stat().st_mtime_ns) for file in files]
    token = hashlib.sha256(repr(stamps).encode()).hexdigest()
    return Blocks((ends[-1], 3, 32, 32), np.uint8, make, token), np.concatenate(labels)


def _batch(file: Path) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Return images [n, 3, 32, 32] and labels 0 .. 999 [n]."""
    with opened(file) as data:
        found = unpickled(data, file)
    try:
        pixels, labels = np.asarray(found["data"]), np.asarray(found["labels"], np.int64) - 1
        good = pixels.dtype == np.uint8 and pixels.shape == (len(labels), 3 * 32 * 32) and len(labels) > 0
    except (KeyError, ValueError, TypeError) as error:
        raise UserError(f"{file} is not a batch of ImageNet at 32 x 32 ({error!r}): fetch it again") from None
    if not good or labels.min() < 0 or labels.max() >= CLASSES:
        raise UserError(
            f"{file} is not a batch of ImageNet at 32 x 32: expected bytes [n, 3072], labels 1..1000"
        )
    return pixels.reshape(-1, 3, 32, 32), labels


def _names(file: Path) -> list[str]:
    with opened(file) as data:
        rows = [line.split() for line in data.read().decode("utf-8", "replace").splitlines() if line.strip()]
    names = {int(row[1]): row[2].replace("_", " ") for row in rows if len(row) == 3 and row[1].isdigit()}
    if sorted(names) != list(range(1, CLASSES + 1)):
        raise UserError(f"{file}: expected 1000 lines of the form: wnid, label 1..1000, name")
    return [names[label] for label in range(1, CLASSES + 1)]


SOURCES = (
    Source(
        name="imagenet32",
        title="ImageNet at 32 x 32",
        licence="ImageNet's terms: for non-commercial research and education only",
        summary="1,281,167 + 50,000 pictures of 1,000 classes, downsampled to 32 x 32 pixels",
        size=4_100_000_000,
        read=_read,
        holds=f"train_data_batch_1 .. train_data_batch_10 and val_data, and {_NAMES} for the class names",
        origin="image-net.org/download-images (Imagenet32_train.zip and Imagenet32_val.zip, for registered "
        "users), under ImageNet's terms of access: non-commercial research and education only",
    ),
)

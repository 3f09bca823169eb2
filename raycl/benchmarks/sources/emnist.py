"""This module reads three divisions of EMNIST (Cohen et al. 2017), letters and digits of NIST SD 19.

All divisions come from one archive. The idx files contain every image transposed; the arrays contain them
upright. A folder may contain only one part of a division; the other part then has no images.
"""

from __future__ import annotations

import gzip
import shutil
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import IO

import numpy as np

from raycl.benchmarks.prepared import Arrays, Contents
from raycl.benchmarks.sources.base import Source, SourceFiles, library_message, not_there, opened
from raycl.errors import UserError

PUBLISHED = {  # numbers of images in the training and in the test part
    "balanced": (112_800, 18_800),
    "byclass": (697_932, 116_323),
    "mnist": (60_000, 10_000),
}
ARCHIVE = "gzip.zip"  # torchvision knows its checksum
_FILES = ("images-idx3-ubyte", "labels-idx1-ubyte")
_BELOW = ("EMNIST/raw", "raw", "gzip", "")
_PARTS = ("train", "test")


def _read(division: str, reading: SourceFiles) -> Contents:
    from torchvision.datasets import EMNIST
    from torchvision.datasets.utils import download_url

    if reading.given is None:
        reading.fetch("EMNIST", lambda root: download_url(EMNIST.url, str(root), ARCHIVE, EMNIST.md5))
    found: Arrays = {}
    for part in _PARTS:
        stem = f"emnist-{division}-{part}"
        reading.downloads.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=reading.downloads) as name:
            raw = Path(name) / "EMNIST" / "raw"
            raw.mkdir(parents=True)
            if _unpacked(reading, stem, raw):
                found |= _parse(division, part, Path(name), reading)
    if not found:
        raise not_there(_title(division), reading, f"emnist-{division}-train-{_FILES[0]}(.gz) and its labels")
    for part in _PARTS:
        found.setdefault(f"{part}_images", np.empty((0, 1, 28, 28), np.uint8))
        found.setdefault(f"{part}_labels", np.empty(0, np.int64))
    names = EMNIST.classes_split_dict[division]
    checked = "the archive's published MD5" if reading.given is None else "the published counts of images"
    facts = {"class_names": list(names), "provenance": f"compared with {checked}"}
    return Contents({name: found[name] for name in sorted(found)}, _subset(division, found), facts)


def _title(division: str) -> str:
    return f"EMNIST {division}"


def _unpacked(reading: SourceFiles, stem: str, target: Path) -> bool:
    """Copy both files of a part into `target`, from plain or gzipped files or from the archive.

    Returns:
        Whether both files were found.
    """
    for kind in _FILES:
        with _member(reading, f"{stem}-{kind}") as data:
            if data is None:
                return False
            with open(target / f"{stem}-{kind}", "wb") as out:
                shutil.copyfileobj(data, out)
    return True


@contextmanager
def _member(reading: SourceFiles, name: str) -> Iterator[IO[bytes] | None]:
    files, archive = reading.find(name, below=_BELOW), reading.find(ARCHIVE, below=_BELOW)
    if files is not None:
        with opened(files[0]) as data:
            yield data
    elif archive is not None:
        with _zipped(archive[0], f"gzip/{name}.gz") as data:
            yield data
    else:
        yield None


@contextmanager
def _zipped(archive: Path, name: str) -> Iterator[IO[bytes] | None]:
    try:
        with zipfile.ZipFile(archive) as packed, packed.open(name) as raw, gzip.GzipFile(fileobj=raw) as data:
            yield data  # type: ignore[misc]
    except (KeyError, zipfile.BadZipFile, gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise UserError(f"{archive} is damaged ({library_message(error)}): fetch it again") from None


def _parse(division: str, part: str, root: Path, reading: SourceFiles) -> Arrays:
    from torchvision.datasets import EMNIST

    title = _title(division)
    try:
        data = EMNIST(str(root), split=division, train=part == "train", download=False)
        images, labels = data.data.numpy(), data.targets.numpy().astype(np.int64)
    except (ValueError, RuntimeError, AssertionError, LookupError):
        raise UserError(f"{reading.place}: the {title} files cannot be read: fetch them again") from None
    classes = len(EMNIST.classes_split_dict[division])
    if images.shape != (len(labels), 28, 28) or not len(labels) or labels.max() >= classes:
        raise UserError(f"{reading.place}: the {part} images and labels are not {title}'s")
    return {f"{part}_images": images.transpose(0, 2, 1)[:, None], f"{part}_labels": labels}


def _subset(division: str, found: Arrays) -> str:
    counts = tuple(len(found[f"{part}_labels"]) for part in _PARTS)
    if counts == PUBLISHED[division]:
        return ""
    if 0 in counts:
        here = _PARTS[counts.index(max(counts))]
        return f"{here} part only ({max(counts):,} images) of {_title(division)}"
    train, test = PUBLISHED[division]
    return (
        f"{counts[0]:,} of {train:,} training and {counts[1]:,} of {test:,} test images of {_title(division)}"
    )


def _source(division: str, what: str) -> Source:
    train, test = PUBLISHED[division]
    return Source(
        name=f"emnist_{division}",
        title=_title(division),
        licence="NIST Special Database 19, a work of the US government; cite Cohen et al. 2017",
        summary=f"{train:,} + {test:,} {what}, 28 x 28 pixels",
        size=(train + test) * (28 * 28 + 8),
        read=partial(_read, division),
        download=562_000_000,
        holds=f"EMNIST/raw/emnist-{division}-train-images-idx3-ubyte(.gz), or NIST's {ARCHIVE}",
        shares="emnist",
    )


SOURCES = (
    _source("balanced", "digits and letters in 47 classes"),
    _source("byclass", "digits and letters in 62 classes"),
    _source("mnist", "digits"),
)

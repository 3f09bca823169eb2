"""This module reads SVHN (Netzer et al. 2011), digits of house numbers, from MATLAB files by torchvision."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from raycl.benchmarks.prepared import Arrays, Contents
from raycl.benchmarks.sources.base import Source, SourceFiles, library_message, two_files
from raycl.errors import UserError

FILES = {"train": "train_32x32.mat", "test": "test_32x32.mat"}
COUNTS = (73_257, 26_032)


def _read(reading: SourceFiles) -> Contents:
    from torchvision.datasets import SVHN

    if reading.given is None:
        reading.fetch("SVHN", lambda root: [SVHN(str(root), split=part, download=True) for part in FILES])
    return two_files(reading, SVHN, FILES, COUNTS, _parse)


def _parse(root: Path, part: str, file: Path) -> Arrays:
    from torchvision.datasets import SVHN

    class AnySVHN(SVHN):  # type: ignore[misc]
        """A reader that also accepts a part of SVHN; the checksum is compared elsewhere."""

        def _check_integrity(self) -> bool:
            return True

    try:
        data: Any = AnySVHN(str(root), split=part)
        images, labels = np.ascontiguousarray(data.data), np.asarray(data.labels, np.int64).reshape(-1)
    except Exception as error:  # a damaged file may raise anything, from zlib's errors to scipy's own
        raise UserError(f"{file} cannot be read ({library_message(error)}): fetch it again") from None
    good = images.shape == (len(labels), 3, 32, 32) and images.dtype == np.uint8 and len(labels) > 0
    if not good or labels.min() < 0 or labels.max() > 9:
        raise UserError(f"{file}: its images and labels are not SVHN's")
    return {f"{part}_images": images, f"{part}_labels": labels}


SOURCES = (
    Source(
        name="svhn",
        title="SVHN",
        licence="for non-commercial use, citing Netzer et al. 2011",
        summary="73,257 + 26,032 digits of house numbers in colour, 32 x 32 pixels",
        size=306_000_000,
        read=_read,
        download=247_000_000,
        holds="train_32x32.mat and test_32x32.mat",
    ),
)

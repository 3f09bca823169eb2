"""This module reads USPS (Hull 1994), digits from envelopes, from files in LIBSVM's format by torchvision."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from raycl.benchmarks.prepared import Arrays, Contents
from raycl.benchmarks.sources.base import Source, SourceFiles, library_message, two_files
from raycl.errors import UserError

FILES = {"train": "usps.bz2", "test": "usps.t.bz2"}
COUNTS = (7_291, 2_007)


def _read(reading: SourceFiles) -> Contents:
    from torchvision.datasets import USPS

    if reading.given is None:
        reading.fetch(
            "USPS", lambda root: [USPS(str(root), part == "train", download=True) for part in FILES]
        )
    return two_files(reading, USPS, FILES, COUNTS, _parse)


def _parse(root: Path, part: str, file: Path) -> Arrays:
    from torchvision.datasets import USPS

    try:
        data = USPS(str(root), part == "train")
    except (OSError, EOFError, ValueError, LookupError) as error:
        raise UserError(f"{file} cannot be read ({library_message(error)}): fetch it again") from None
    images, labels = data.data[:, None], np.asarray(data.targets, np.int64)  # ink is bright already
    if images.shape != (len(labels), 1, 16, 16) or not len(labels) or labels.min() < 0 or labels.max() > 9:
        raise UserError(f"{file}: its images and labels are not USPS's")
    return {f"{part}_images": images, f"{part}_labels": labels}


SOURCES = (
    Source(
        name="usps",
        title="USPS",
        licence="no stated licence; for research, citing Hull 1994",
        summary="7,291 + 2,007 handwritten digits of 16 x 16 pixels",
        size=2_500_000,
        read=_read,
        download=8_500_000,
        holds="usps.bz2 and usps.t.bz2",
    ),
)

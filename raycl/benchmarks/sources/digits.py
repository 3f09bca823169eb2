"""This module reads scikit-learn's digits, the data set that is always available."""

from __future__ import annotations

import numpy as np

from raycl.benchmarks.prepared import Contents
from raycl.benchmarks.sources.base import Source, SourceFiles


def _read(_: SourceFiles) -> Contents:
    from sklearn.datasets import load_digits

    found = load_digits()
    small = np.rint(found.images * (255 / 16)).astype(np.uint8)[:, None]  # [1797, 1, 8, 8], 0..16 -> 0..255
    tripled = small.repeat(3, axis=2).repeat(3, axis=3)
    return Contents(
        {
            "images_8": small,
            "images_28": np.pad(tripled, ((0, 0), (0, 0), (2, 2), (2, 2))),
            "images_32": small.repeat(4, axis=2).repeat(4, axis=3),
            "labels": found.target.astype(np.int64),
        }
    )


SOURCES = (
    Source(
        name="digits",
        title="scikit-learn's digits",
        licence="BSD 3-clause (scikit-learn); UCI ML repository, Alpaydin and Kaynak 1998, CC BY 4.0",
        summary="1,797 handwritten digits of 8 x 8 pixels; comes with scikit-learn",
        size=3_500_000,
        read=_read,
        embedded=True,
    ),
)

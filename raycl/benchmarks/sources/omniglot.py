"""This module reads Omniglot: 50 alphabets, each character drawn by 20 people (Lake et al. 2015).

The paper is by Lake, Salakhutdinov and Tenenbaum. The published set is two zip files; the two small ones are
parts of the first, and overlap.
"""

from __future__ import annotations

import hashlib
import io
import re
import zipfile
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from raycl.benchmarks.prepared import Contents
from raycl.benchmarks.sources._decoding import decoded, images_of
from raycl.benchmarks.sources.base import Source, SourceFiles, library_message, not_there
from raycl.errors import UserError

ZIPS = (
    "images_background.zip",
    "images_evaluation.zip",
    "images_background_small1.zip",
    "images_background_small2.zip",
)
CHARACTERS = 964 + 659  # in the background and in the evaluation set
SIDE, SMALL_SIDE = 105, 28
_BELOW = ("", "omniglot-py", "omniglot_small")
_PLACE = re.compile(r"[^/]+/([^/]+)/(character\d+)/\d+_(\d+)\.png")  # alphabet, character, drawer


class _Drawing(NamedTuple):
    """One PNG file and its place in the archive."""

    alphabet: str
    character: str
    drawer: int  # counted from 1
    name: str
    data: bytes

    @property
    def key(self) -> tuple[str, str, int]:
        return self[:3]


def _read(reading: SourceFiles) -> Contents:
    if reading.given is None:
        reading.fetch("Omniglot", _download)
    zips = _zips(reading)
    if not zips:
        raise not_there("Omniglot", reading, f"at least one of {', '.join(ZIPS)}")
    found: dict[tuple[str, str, int], _Drawing] = {}
    listed = 0
    for file in zips:
        drawings = _drawings(file)
        listed += len(drawings)
        for drawing in drawings:
            found.setdefault(drawing.key, drawing)
    drawn = [found[key] for key in sorted(found)]
    alphabets = {name: label for label, name in enumerate(sorted({d.alphabet for d in drawn}))}
    characters = {name: label for label, name in enumerate(sorted({d.key[:2] for d in drawn}))}
    facts = {
        "class_names": [" ".join(name) for name in characters],
        "alphabet_names": list(alphabets),
        "files": [file.name for file in zips],
        "duplicates_left_out": listed - len(drawn),
    }
    return Contents(
        {
            "images": images_of(drawn, (1, SIDE, SIDE), lambda d: _ink(d, 0)),
            "images_28": images_of(drawn, (1, SMALL_SIDE, SMALL_SIDE), lambda d: _ink(d, SMALL_SIDE)),
            "alphabets": np.array([alphabets[d.alphabet] for d in drawn], np.int64),
            "characters": np.array([characters[d.key[:2]] for d in drawn], np.int64),
            "drawers": np.array([d.drawer - 1 for d in drawn], np.int64),
        },
        _subset(zips, len(alphabets), len(characters)),
        facts,
    )


def _download(root: Path) -> None:
    from torchvision.datasets import Omniglot

    for background in (True, False):
        Omniglot(str(root), background=background, download=True)


def _zips(reading: SourceFiles) -> list[Path]:
    found = (reading.find(name, below=_BELOW) for name in ZIPS)
    return [files[0] for files in found if files is not None]


def _drawings(file: Path) -> list[_Drawing]:
    try:
        with zipfile.ZipFile(file) as archive:
            made = [
                _Drawing(match[1], match[2], int(match[3]), f"{file}: {match[0]}", archive.read(match[0]))
                for name in archive.namelist()
                if (match := _PLACE.fullmatch(name))
            ]
    except (zipfile.BadZipFile, EOFError, OSError) as error:
        raise UserError(f"{file} is damaged ({library_message(error)}): fetch it again") from None
    if not made:
        raise UserError(
            f"{file} does not contain drawings such as Greek/character01/0394_01.png: fetch it again"
        )
    return made


def _ink(drawing: _Drawing, side: int) -> NDArray[np.uint8]:
    """Return the drawing with bright ink on black, as in MNIST; in the files the ink is dark."""
    paper = decoded(io.BytesIO(drawing.data), drawing.name, mode="L", side=side)
    if not side and paper.shape != (1, SIDE, SIDE):
        raise UserError(f"{drawing.name} does not have {SIDE} x {SIDE} pixels: fetch it again")
    return np.asarray(255 - paper, np.uint8)


def _subset(zips: list[Path], alphabets: int, characters: int) -> str:
    """Return why the files are not the published pair, compared by torchvision's checksums, or ""."""
    from torchvision.datasets import Omniglot

    published = {f"{name}.zip": md5 for name, md5 in Omniglot.zips_md5.items()}
    whole = [file.name for file in zips if file.name in published and _md5(file) == published[file.name]]
    if len(whole) == len(published):
        return ""
    names = " + ".join(file.stem for file in zips)
    return f"{characters:,} of {CHARACTERS:,} characters, {alphabets} of 50 alphabets of Omniglot ({names})"


def _md5(file: Path) -> str:
    with open(file, "rb") as data:
        return hashlib.file_digest(data, "md5").hexdigest()


SOURCES = (
    Source(
        name="omniglot",
        title="Omniglot",
        licence="MIT (Lake, Salakhutdinov and Tenenbaum 2015)",
        summary="1,623 characters of 50 alphabets, 20 drawings of each, 105 x 105 pixels",
        size=384_000_000,
        read=_read,
        download=16_000_000,
        holds="images_background.zip and images_evaluation.zip, or images_background_small1.zip, _small2.zip",
    ),
)

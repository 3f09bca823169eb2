"""This module reads large pictures in one folder per class: ImageNet and the five of ImageNet-to-Sketch."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from raycl.benchmarks.files import below, is_folder
from raycl.benchmarks.prepared import Blocks, Contents, shown
from raycl.benchmarks.sources._decoding import decoded, images_of
from raycl.benchmarks.sources.base import Source, SourceFiles, not_there, opened
from raycl.errors import UserError

SUFFIXES = (".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp")


class Listing(NamedTuple):
    """Image files, ordered by class and by name within a class.

    Attributes:
        classes: The names of the class folders, sorted.
        files: The paths of the images, [n].
        labels: int64 [n], indices in `classes`.
        left: The paths of other files in and next to the class folders, which are not used.
    """

    classes: list[str]
    files: list[Path]
    labels: NDArray[np.int64]
    left: list[str]


def listed(root: Path) -> Listing:
    """Return the images in the class folders of `root`, at any depth, without hidden and other files.

    Raises:
        UserError: A class folder has no image, there are no class folders, or an image is not a file that can
            be read.
    """
    classes, left = folders_in(root)
    files: list[Path] = []
    counts = []
    for name in classes:
        found = below(os.path.join(root, name), SUFFIXES, left)
        if not found:
            raise UserError(f"{shown(root / name)} does not contain an image ({' '.join(SUFFIXES)})")
        files += map(Path, found)
        counts.append(len(found))
    if not files:
        raise UserError(f"{shown(root)} does not contain folders of images, one for each class")
    return Listing(classes, files, np.repeat(np.arange(len(classes)), counts).astype(np.int64), left)


def folders_in(root: Path) -> tuple[list[str], list[str]]:
    """Return the sorted names of the folders in `root` and the paths of its files, without hidden ones."""
    folders, files = [], []
    with os.scandir(root) as entries:
        for entry in entries:
            if entry.name[0] != ".":
                if is_folder(entry):
                    folders.append(entry.name)
                else:
                    files.append(entry.path)
    return sorted(folders), files


@dataclass(frozen=True)
class _Kind:
    """One of the sets of pictures.

    Attributes:
        title: The name in the papers.
        folders: Where the set may be below the folder given with --from.
        held: The name of the part that is not used for training.
        counts: The published numbers of classes, training images and held-out images.
        crop: Whether the pictures are already cut to their objects, so that they are squashed and not cut
            again.
    """

    title: str
    folders: tuple[str, ...]
    held: Literal["val", "test"]
    counts: tuple[int, int, int]
    crop: bool = False

    @property
    def resized(self) -> str:
        if self.crop:
            return "squashed to 224 x 224 by PIL, bilinear and antialiased"
        return "shorter side to 256 by PIL, bilinear and antialiased; the middle 256 x 256"

    def read(self, reading: SourceFiles) -> Contents:
        """Return training and held-out images, uint8 [n, 3, side, side], and labels by folder name."""
        root = self._root(reading)
        train, held = listed(root / "train"), listed(root / self.held)
        if train.classes != held.classes:
            unpaired = sorted(set(train.classes) ^ set(held.classes))[0]
            raise UserError(f"{root}: class {unpaired} is in only one of train/ and {self.held}/")
        side = 224 if self.crop else 256
        counts = (len(train.classes), len(train.files), len(held.files))
        facts = {
            "class_names": _class_names(root, train.classes),
            "folders": train.classes,
            "resized": self.resized,
            "provenance": f"{root.name}/; judged by its counts, as no checksum of the pictures is published",
        }
        arrays: dict[str, NDArray[Any] | Blocks] = {}
        for part, listing in (("train", train), (self.held, held)):
            arrays[f"{part}_images"] = images_of(
                listing.files,
                (3, side, side),
                lambda file: decoded(file, str(file), side=side, square=self.crop),
            )
            arrays[f"{part}_labels"] = listing.labels
        return Contents(arrays, "" if counts == self.counts else self._part(counts), facts)

    def _root(self, reading: SourceFiles) -> Path:
        given = reading.given or reading.downloads
        for folder in (given / name for name in self.folders):
            if (folder / "train").is_dir() and (folder / self.held).is_dir():
                return folder
        named = self.folders[0] + "/" if self.folders[0] else ""
        raise not_there(self.title, reading, f"{named}{{train,{self.held}}}/<class>/*.jpg")

    def _part(self, counts: tuple[int, int, int]) -> str:
        classes, train, held = (f"{have:,} of {of:,}" for have, of in zip(counts, self.counts, strict=True))
        return f"{classes} classes, {train} training and {held} {self.held} images of {self.title}"


def _class_names(root: Path, folders: list[str]) -> list[str]:
    """Return the meanings of ImageNet's folders if there is a list of them near the folders.

    A line of the list has the form `n01440764 tench, Tinca tinca`.
    """
    for place in (root, root.parent, *root.parents[1:3]):
        for name in ("LOC_synset_mapping.txt", "words.txt"):
            if (place / name).is_file():
                with opened(place / name) as data:
                    lines = data.read().decode("utf-8", "replace").splitlines()
                meanings = {row[0]: row[1] for line in lines if len(row := line.split(None, 1)) == 2}
                return [meanings.get(folder, folder).partition(",")[0] for folder in folders]
    return folders


_SORTED = "sorted as github.com/arunmallya/piggyback says (Mallya et al. 2018)"


def _source(name: str, kind: _Kind, licence: str, origin: str) -> Source:
    classes, train, held = kind.counts
    side = 224 if kind.crop else 256
    where = kind.folders[0] + "/" if kind.folders[0] else ""
    return Source(
        name=name,
        title=kind.title,
        licence=licence,
        summary=f"{train:,} + {held:,} pictures of {classes:,} classes, kept at {side} x {side} pixels",
        size=(train + held) * 3 * side * side,
        read=kind.read,
        holds=f"{where}{{train,{kind.held}}}/<class>/*.jpg",
        origin=origin,
    )


_RESEARCH = "non-commercial research and education only"
SOURCES = (
    _source(
        "imagenet",
        _Kind(
            "ImageNet",
            ("", "imagenet", "ILSVRC/Data/CLS-LOC", "ILSVRC2012"),
            "val",
            (1000, 1_281_167, 50_000),
        ),
        f"ImageNet's terms: {_RESEARCH}",
        "image-net.org (ILSVRC 2012: 138 GB of training and 6 GB of validation pictures, the latter sorted "
        f"into class folders), under ImageNet's terms of access: {_RESEARCH}",
    ),
    _source(
        "cubs",
        _Kind("CUBS", ("cubs_cropped", "cubs"), "test", (200, 5994, 5794), crop=True),
        f"Caltech-UCSD Birds 200-2011 (Wah et al.): {_RESEARCH}; the pictures are their photographers'",
        f"data.caltech.edu/records/65de6-vp158, cut to the bounding boxes and {_SORTED}; {_RESEARCH}",
    ),
    _source(
        "cars",
        _Kind("Cars", ("stanford_cars_cropped", "cars"), "test", (196, 8144, 8041), crop=True),
        f"Stanford Cars: {_RESEARCH}",
        "ai.stanford.edu/~jkrause/cars/car_dataset.html (Krause et al. 2013), cut to the bounding boxes and "
        f"{_SORTED}; {_RESEARCH}",
    ),
    _source(
        "flowers",
        _Kind("Flowers", ("flowers",), "test", (102, 2040, 6149)),
        "no stated licence; for research, citing Nilsback and Zisserman 2008",
        f"www.robots.ox.ac.uk/~vgg/data/flowers/102, its training and validation parts together, {_SORTED}; "
        "no stated licence",
    ),
    _source(
        "wikiart",
        _Kind("WikiArt", ("wikiart",), "test", (195, 42_129, 10_628)),
        "pictures of wikiart.org, in part under copyright: for non-commercial research",
        f"www.wikiart.org (Saleh and Elgammal 2015), an artist a class, {_SORTED}; for research only",
    ),
    _source(
        "sketch",
        _Kind("Sketch", ("sketches", "sketch"), "test", (250, 16_000, 4000)),
        "CC BY 4.0 (Eitz et al. 2012)",
        f"cybertron.cg.tu-berlin.de/eitz/projects/classifysketch, {_SORTED}; CC BY 4.0",
    ),
)

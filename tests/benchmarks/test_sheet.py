"""Contact sheets: every pixel of an image is on them, where its label says."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from raycl.benchmarks import split_by_class
from raycl.benchmarks.sheet import GAP, PAPER, SIDE, TEXT, contact_sheet
from raycl.benchmarks.transforms import Permute
from raycl.registry import load
from raycl.tasks import ArraySplit, Benchmark, Task


def tile(sheet: Image.Image, task: int, place: int, shape: tuple[int, int], factor: int) -> np.ndarray:
    """The image at a place of a row, reduced to its own pixels: [height, width, 3]."""
    height, width = shape
    row = TEXT + GAP + height * factor + TEXT + GAP
    top = GAP + TEXT + GAP + task * row + TEXT
    left = GAP + place * (max(SIDE, width * factor) + GAP)
    found = np.asarray(sheet)[top : top + height * factor, left : left + width * factor]
    reduced = found[::factor, ::factor]
    assert (found == reduced.repeat(factor, axis=0).repeat(factor, axis=1)).all()  # squares of one colour
    return np.asarray(reduced)


@pytest.mark.usefixtures("data")
def test_pictures_are_the_first_of_each_class_pixel_for_pixel() -> None:
    benchmark = load("digits_split")
    sheet = contact_sheet(benchmark)
    for task in benchmark.tasks:
        split = task.train
        assert isinstance(split, ArraySplit)
        for label in (0, 1):
            for place, row in enumerate(np.flatnonzero(split.y == label)[:5]):
                image = split.images[split.rows[row], 0]
                shown = tile(sheet, task.index, 5 * label + place, (8, 8), 8)
                assert (shown == image[:, :, None]).all()


@pytest.mark.usefixtures("data")
def test_a_long_sequence_is_cut_off_and_transforms_are_seen() -> None:
    benchmark = load("digits_permuted(tasks=250)")
    sheet = contact_sheet(benchmark)
    assert sheet.height == GAP + TEXT + GAP + 20 * (TEXT + GAP + 64 + TEXT + GAP)
    split = benchmark.tasks[19].train
    assert isinstance(split, ArraySplit) and isinstance(split.transforms[0], Permute)
    image = split.images[split.rows[np.flatnonzero(split.y == 0)[0]]]
    permuted = image.reshape(-1)[split.transforms[0].order].reshape(8, 8)
    assert (tile(sheet, 19, 0, (8, 8), 8)[:, :, 0] == permuted).all()


def test_colours_stay_and_large_pictures_are_not_enlarged() -> None:
    draw = np.random.default_rng(0)
    x, y = draw.integers(0, 256, (8, 3, 70, 80), dtype=np.uint8), np.arange(8) % 2
    benchmark = split_by_class("mine", x, y, x, y, tasks=1, val=0)
    sheet = contact_sheet(benchmark)
    for place, row in enumerate((0, 2, 4, 6, 1, 3, 5, 7)):
        assert (tile(sheet, 0, place, (70, 80), 1) == x[row].transpose(1, 2, 0)).all()


def test_names_of_any_alphabet_and_length_are_written() -> None:
    """What the font lacks becomes a question mark, and what is too long is cut off beside its neighbour."""
    images, rows = np.zeros((2, 1, 8, 8), np.uint8), np.arange(2)
    split = ArraySplit(images, rows, rows)
    names = ("a very long name of a class, much too long", "\u0915\u0916")
    task = Task(0, "\u65e5\u672c", 2, split, split, split, class_names=names)
    sheet = np.asarray(contact_sheet(Benchmark("mine", (task,), (1, 8, 8))))
    under = sheet[GAP + TEXT + GAP + TEXT + 64 :][: TEXT + GAP]
    written = np.flatnonzero((under != PAPER).any(axis=(0, 2)))
    assert written.min() < GAP + 10
    assert not set(range(GAP + 64, GAP + 64 + GAP)) & set(written.tolist())
    assert written.max() > GAP + 64 + GAP


def test_a_task_without_training_images_shows_its_test_images() -> None:
    images = np.full((2, 1, 8, 8), 255, np.uint8)
    empty, some = ArraySplit(images, *[np.arange(0)] * 2), ArraySplit(images, *[np.arange(2)] * 2)
    sheet = contact_sheet(Benchmark("mine", (Task(0, "one", 2, empty, empty, some),), (1, 8, 8)))
    assert (tile(sheet, 0, 1, (8, 8), 8) == 255).all()

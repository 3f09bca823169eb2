"""This module draws a contact sheet that shows images of a benchmark's tasks with their labels."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from raycl.tasks import Benchmark, Split, Task

if TYPE_CHECKING:
    from PIL.Image import Image

TASKS, PICTURES = 20, 10  # the most rows, and the most pictures in each row
SIDE = 64  # small pictures are enlarged to at least this many pixels
TEXT, GAP = 14, 4  # height of a line of text and width of the margins, in pixels
INK, PAPER = (20, 20, 20), (255, 255, 255)


def contact_sheet(benchmark: Benchmark) -> Image:
    """Return a sheet with a row of training images for each of the first tasks.

    A row shows images of every class as far as there is space. The images look as a network sees them,
    converted back to pixels: they are transformed, but not augmented. Small ones are enlarged by an integer
    factor, so that every pixel is a square of one colour.
    """
    from PIL import Image, ImageDraw

    tasks = benchmark.tasks[:TASKS]
    rows = [_pictures(task) for task in tasks]
    _, height, width = benchmark.input_shape
    factor = max(1, -(-SIDE // max(height, width)))
    wide, high = max(SIDE, width * factor) + GAP, height * factor + TEXT + GAP
    row = TEXT + GAP + high
    title = f"{benchmark.name}: {_of(len(tasks), len(benchmark.tasks))}"
    columns = max(max((len(pictures) for pictures in rows), default=0), 4)
    sheet = Image.new("RGB", (GAP + columns * wide, GAP + TEXT + GAP + len(rows) * row), PAPER)
    pen = ImageDraw.Draw(sheet)
    _write(pen, GAP, GAP, title, sheet.width - 2 * GAP)
    for number, (task, pictures) in enumerate(zip(tasks, rows, strict=True)):
        top = GAP + TEXT + GAP + number * row
        _write(pen, GAP, top, f"task {task.index + 1}: {task.name}", sheet.width - 2 * GAP)
        for place, (picture, label) in enumerate(pictures):
            left = GAP + place * wide
            enlarged = picture.repeat(factor, axis=0).repeat(factor, axis=1)
            sheet.paste(Image.fromarray(enlarged), (left, top + TEXT))
            _write(pen, left, top + TEXT + height * factor, label, wide - GAP)
    return sheet


def _of(some: int, every: int) -> str:
    return f"{every} tasks" if some == every else f"the first {some} of {every} tasks"


def _pictures(task: Task) -> list[tuple[NDArray[np.uint8], str]]:
    """Return images [height, width, 3] of a task with the names of their classes, class by class."""
    split = task.train if len(task.train) else task.test
    each = max(1, PICTURES // task.classes)
    rows = [np.flatnonzero(split.y == label)[:each] for label in range(task.classes)]
    chosen = np.concatenate(rows)[:PICTURES]
    names = task.class_names or tuple(f"class {label}" for label in range(task.classes))
    pixels = _pixels(split, chosen)
    return [(image, names[label]) for image, label in zip(pixels, split.y[chosen].tolist(), strict=True)]


def _pixels(split: Split, rows: NDArray[np.int64]) -> NDArray[np.uint8]:
    """Return the images that `take` gives as bytes, [n, height, width, 3]."""
    x = split.take(rows).float()
    mean, std = getattr(split, "mean", None), getattr(split, "std", None)
    if mean is None or std is None:  # a user's own split is scaled from its darkest to its lightest value
        low, high = x.min(), x.max()
        x = (x - low) / (high - low).clamp(min=1e-12)
    else:
        x = x * torch.tensor(std).view(1, -1, 1, 1) + torch.tensor(mean).view(1, -1, 1, 1)
    colour = x[:, :3] if x.shape[1] >= 3 else x[:, :1].repeat(1, 3, 1, 1)
    found: NDArray[np.uint8] = (colour.clamp(0, 1) * 255).round().byte().permute(0, 2, 3, 1).numpy()
    return found


def _write(pen: Any, left: int, top: int, text: str, room: int) -> None:
    """Write a line of text, cut to the available width."""
    from PIL import ImageFont

    font = ImageFont.load_default()
    text = text.encode("latin-1", "replace").decode("latin-1")  # the font has no other characters
    while len(text) > 1 and pen.textlength(text, font=font) > room:
        text = text[:-1]
    pen.text((left, top), text, fill=INK, font=font)

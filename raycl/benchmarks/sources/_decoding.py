"""This module decodes image files into arrays of one size."""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from raycl.benchmarks import pictures
from raycl.benchmarks.files import checked
from raycl.benchmarks.prepared import (
    Blocks,
    printable,
)
from raycl.errors import UserError


def images_of(
    files: Sequence[Any], shape: tuple[int, int, int], load: Callable[[Any], NDArray[np.uint8]]
) -> Blocks:
    """Return image files as one array, read by as many threads as there are CPUs.

    Args:
        files: Paths, or whatever `load` accepts.
        shape: The (channels, height, width) of each image.
        load: A function that returns one file as uint8 of that shape, and raises UserError for a file that is
            not an image.
    """
    token = hashlib.sha256(repr((shape, *(_seen(file) for file in files))).encode()).hexdigest()
    threads = os.cpu_count() or 1

    def make(start: int, stop: int) -> NDArray[np.uint8]:
        with pictures.quiet(), ThreadPoolExecutor(threads) as pool:
            return np.stack(list(pool.map(load, files[start:stop])))

    return Blocks((len(files), *shape), np.uint8, make, token)


def _seen(file: Any) -> Any:
    if isinstance(file, Path):
        facts = file.stat()
        return str(file), facts.st_size, facts.st_mtime_ns
    return file


def decoded(
    file: Path | IO[bytes],
    name: str,
    *,
    mode: str = "RGB",
    side: int = 0,
    square: bool = True,
    own: bool = False,
) -> NDArray[np.uint8]:
    """Return an image file as uint8 [channels, height, width].

    Args:
        file: The path or the open file.
        name: The name of the file, for messages.
        mode: "RGB" or "L"; other modes are converted, and levels of more than 8 bits are scaled.
        side: The size to resize to in pixels, bilinear and antialiased; 0 keeps the size.
        square: Whether both sides become `side`; otherwise the shorter side does and the central square is
            used.
        own: Whether it is a user's own picture, which is rotated as its EXIF data say and whose transparent
            parts become white. Published sets are read as their papers did, without these steps.

    Raises:
        UserError: The file is not an image that can be read.
    """
    picture = _picture(file, printable(name), mode, own)
    if side and square:
        picture = picture.resize((side, side), _bilinear())
    elif side:
        picture = _middle(picture, side, printable(name))
    found = np.asarray(picture, np.uint8)
    return found[None] if found.ndim == 2 else np.ascontiguousarray(found.transpose(2, 0, 1))


def _picture(file: Path | IO[bytes], name: str, mode: str, own: bool) -> Any:
    from PIL import Image, UnidentifiedImageError

    again = "" if own else ": fetch it again"
    if isinstance(file, Path) and checked(file)[0] == 0:
        raise UserError(f"{name} cannot be read (it is empty){again}")
    try:
        # The file is opened here because Pillow maps a file that it opens by name, and then distorts TIFFs
        # that have to be rotated by 90 degrees.
        with _bytes_of(file) as raw, Image.open(raw) as image:
            return (pictures.upright(image) if own else pictures.eight_bits(image)).convert(mode)
    except UserError as error:
        raise UserError(f"{name}: {error}") from None
    except UnidentifiedImageError:
        raise UserError(f"{name} cannot be read (not an image){again}") from None
    except Image.DecompressionBombError:
        most = 2 * (Image.MAX_IMAGE_PIXELS or 0)
        raise UserError(
            f"{name} cannot be read (it has more than {most:,} pixels): make it smaller"
        ) from None
    except MemoryError:
        raise UserError(f"{name} cannot be read (it is larger than this machine's memory)") from None
    except Exception as error:  # a damaged picture may raise anything
        lines = str(error).splitlines() or [type(error).__name__]
        raise UserError(f"{name} cannot be read ({printable(lines[0])}){again}") from None


def _bytes_of(file: Path | IO[bytes]) -> contextlib.AbstractContextManager[IO[bytes]]:
    return open(file, "rb") if isinstance(file, Path) else contextlib.nullcontext(file)


def _bilinear() -> Any:
    from PIL import Image

    return Image.Resampling.BILINEAR


def _middle(picture: Any, side: int, name: str) -> Any:
    """Return the picture with its shorter side resized to `side`, cut to the central square."""
    width, height = picture.size
    scale = side / min(width, height)
    wide, high = max(side, round(width * scale)), max(side, round(height * scale))
    if wide * high > pictures.MOST_PIXELS:
        raise UserError(f"{name} is {width} x {height} pixels, which is too long and narrow: crop it")
    left, top = (wide - side) // 2, (high - side) // 2
    return picture.resize((wide, high), _bilinear()).crop((left, top, left + side, top + side))

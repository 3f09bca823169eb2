"""This module converts pictures of any bit depth to 8 bits per channel by scaling; it never clips levels."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from raycl.errors import UserError

if TYPE_CHECKING:
    from PIL.Image import Image

MOST_PIXELS = 10**8  # in a picture whose shorter side was resized; a larger one must be a narrow strip
_ORIENTATION = 0x0112  # the tag of the orientation in EXIF and TIFF
_SAVE = "save it with 8 or 16 bits"


def eight_bits(image: Image) -> Image:
    """Return the picture with 16-bit integers and floats in [0, 1] scaled to 0..255 and rounded.

    Raises:
        UserError: The picture contains 32-bit integers, whose white level is not defined, or floats outside
            [0, 1]. The message does not name the file.
    """
    from PIL import Image as Images

    if image.mode.startswith("I;16") or (image.mode == "I" and image.format == "PPM"):  # PGM uses 0..65535
        levels = np.asarray(image).astype(np.float64) / _white(image)
    elif image.mode == "F":
        levels = np.asarray(image).astype(np.float64)
        low, high = float(levels.min()), float(levels.max())
        if not (low >= 0 and high <= 1):  # the negation also rejects NaN
            raise UserError(f"it contains floats in [{low:g}, {high:g}]: scale them to [0, 1], or {_SAVE}")
    elif image.mode == "I":
        raise UserError(f"it contains 32-bit or signed integers, which have no fixed white level: {_SAVE}")
    else:
        return image
    if "transparency" in image.info:
        raise UserError("it is transparent and has more than 8 bits: save it without transparency")
    return Images.fromarray(_rounded(1 - levels if _inverted(image) else levels))


def _rounded(levels: NDArray[np.float64]) -> NDArray[np.uint8]:
    return np.rint(np.clip(levels, 0, 1) * 255).astype(np.uint8)


def _tag(image: Image, number: int) -> Any:
    found = getattr(image, "tag_v2", {}).get(number)
    return found[0] if isinstance(found, tuple) else found


def _white(image: Image) -> int:
    return 4095 if _tag(image, 258) == 12 else 65535  # TIFF's bits per sample


def _inverted(image: Image) -> bool:
    return bool(_tag(image, 262) == 0)  # in this TIFF 0 is white, which Pillow respects for 8 bits only


def upright(image: Image) -> Image:
    """Return a user's own picture as it should be seen.

    It is rotated as its EXIF data say, and transparent parts become white.

    Raises:
        UserError: The file contains several pictures, and it is not clear which one to use. The message does
            not name the file.
    """
    from PIL import Image as Images

    # The MPO files of phones contain a preview or a depth map after the picture, which is ignored.
    if image.format != "MPO" and (frames := getattr(image, "n_frames", 1)) > 1:
        raise UserError(f"it contains {frames} pictures: save the one to be used in a file of its own")
    image.load()  # Pillow rotates a TIFF when it loads it, and then removes the orientation tag
    turned = _turned(eight_bits(image), image.getexif().get(_ORIENTATION, 1))
    if turned.has_transparency_data:
        layer = turned.convert("RGBA")
        turned = Images.alpha_composite(Images.new("RGBA", layer.size, "white"), layer)
    return turned


def _turned(image: Image, orientation: Any) -> Image:
    from PIL.Image import Transpose as T

    ways = {
        2: T.FLIP_LEFT_RIGHT,
        3: T.ROTATE_180,
        4: T.FLIP_TOP_BOTTOM,
        5: T.TRANSPOSE,
        6: T.ROTATE_270,
        7: T.TRANSVERSE,
        8: T.ROTATE_90,
    }
    way = ways.get(orientation)
    return image if way is None else image.transpose(way)


@contextmanager
def quiet() -> Iterator[None]:
    """Silence Pillow's warnings, such as those about large pictures and odd EXIF data.

    A picture that cannot be read still raises an error.
    """
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield

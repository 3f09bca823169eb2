"""Pictures of any depth as 8 bits a channel: levels are scaled or refused, and never clipped."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from raycl.errors import UserError

if TYPE_CHECKING:
    from PIL.Image import Image

MOST_PIXELS = 10**8  # of a picture after its shorter side was resized: more is a strip, and no picture
_ORIENTATION = 0x0112  # of EXIF and TIFF
_SAVE = "save it with 8 or 16 bits"


def eight_bits(image: Image) -> Image:
    """The picture, whole numbers of 16 bits and floats in [0, 1] scaled to 0..255 and rounded.

    Raises:
        UserError: 32-bit whole numbers, whose white nobody knows, or floats outside [0, 1]; names no file.
    """
    from PIL import Image as Images

    if image.mode.startswith("I;16") or (image.mode == "I" and image.format == "PPM"):  # of PGM: 0..65535
        levels = np.asarray(image).astype(np.float64) / _white(image)
    elif image.mode == "F":
        levels = np.asarray(image).astype(np.float64)
        low, high = float(levels.min()), float(levels.max())
        if not (low >= 0 and high <= 1):  # refuses NaN too
            raise UserError(f"it holds floats in [{low:g}, {high:g}]: scale them to [0, 1], or {_SAVE}")
    elif image.mode == "I":
        raise UserError(f"it holds 32-bit or signed whole numbers, which have no fixed white: {_SAVE}")
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
    return bool(_tag(image, 262) == 0)  # TIFF: zero is white, which Pillow heeds for 8 bits alone


def upright(image: Image) -> Image:
    """A user's own picture as it is meant to be seen: turned as its EXIF says, transparency over white.

    Raises:
        UserError: it holds several pictures, of which nobody says which one counts; names no file.
    """
    from PIL import Image as Images

    # A phone's MPO keeps a preview or a map of depths behind the picture.
    if image.format != "MPO" and (frames := getattr(image, "n_frames", 1)) > 1:
        raise UserError(f"it holds {frames} pictures: save the one that counts, in a file of its own")
    image.load()  # a TIFF is turned when it is loaded, and says so
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
    """Pillow's warnings (large pictures, odd EXIF) are not the user's business: what fails is told."""
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield

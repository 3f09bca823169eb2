"""SVG files in half of their size, which look the same."""

from __future__ import annotations

import hashlib
import re
from collections import Counter

_NUMBER = re.compile(r"-?\d+\.\d+")
_STYLE = re.compile(r' style="([^"]*)"')
SMALL = 10.0  # points; shapes within this distance of their origin, such as markers, keep their precision


def shrunk(svg: str) -> str:
    """Return an SVG element of Matplotlib with fewer characters.

    Coordinates are rounded to a tenth of a point, except those of small shapes; spaces between tags and in
    paths are removed; and a style that several elements have becomes a class. The name of a class is a digest
    of its style, so that it means the same in every file.
    """
    text = re.sub(r' d="([^"]*)"', lambda found: f' d="{_path(found[1])}"', svg)
    text = re.sub(r'( [xy]=")([^"]*)"', lambda found: f'{found[1]}{_rounded(found[2])}"', text)
    text = re.sub(r">\s+<", "><", text)
    return _with_classes(text)


def _path(commands: str) -> str:
    numbers = [abs(float(number)) for number in re.findall(r"-?\d+(?:\.\d+)?", commands)]
    rounded = commands if max(numbers, default=0.0) < SMALL else _rounded(commands)
    return re.sub(r"\s*([A-Za-z])\s*", r"\1", rounded).strip()


def _rounded(numbers: str) -> str:
    return _NUMBER.sub(lambda found: f"{round(float(found[0]), 1):g}", numbers)


def _with_classes(svg: str) -> str:
    """Replace styles that occur several times by classes."""
    styles = Counter(_STYLE.findall(svg))
    names = {
        style: f"k{hashlib.sha256(style.encode()).hexdigest()[:8]}"
        for style, times in styles.items()
        if times > 1 and style
    }
    if not names or "</style>" not in svg:
        return svg
    rules = "".join(f".{name}{{{style}}}" for style, name in names.items())
    text = svg.replace("</style>", f"{rules}</style>", 1)
    return _STYLE.sub(lambda found: f' class="{names[found[1]]}"' if found[1] in names else found[0], text)

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

    Coordinates are rounded to a tenth of a point, except those of small shapes. Spaces between tags and in
    paths are removed, and so are rotations by 0, groups without attributes, and the style where a shape is
    used if the shape has it itself. A style that several elements have becomes a class, whose name is a
    digest of the style, so that it means the same in every file.
    """
    text = re.sub(r' d="([^"]*)"', lambda found: f' d="{_path(found[1])}"', svg)
    text = re.sub(r'( [xy]=")([^"]*)"', lambda found: f'{found[1]}{_rounded(found[2])}"', text)
    text = re.sub(r">\s+<", "><", text)
    text = re.sub(r' transform="rotate\(-?0 [^"]*"', "", text)
    return _with_classes(_without_plain_groups(_without_repeated_styles(text)))


def _without_repeated_styles(svg: str) -> str:
    """Remove the styles of the uses of shapes that have the same style themselves.

    An opacity would apply to both, the shape and its use, and stays.
    """
    shapes = dict(re.findall(r'<path id="([^"]*)"[^>]*? style="([^"]*)"', svg))

    def without(found: re.Match[str]) -> str:
        use, shape, style = found[0], found[1], found[2]
        if style != shapes.get(shape) or re.search(r"(^|[;\s])opacity:", style):
            return use
        return use.replace(f' style="{style}"', "")

    return re.sub(r'<use xlink:href="#([^"]*)"[^>]*? style="([^"]*)"[^>]*>', without, svg)


def _without_plain_groups(svg: str) -> str:
    """Remove the groups that have no attributes, and keep what is in them."""
    kept: list[bool] = []  # of the groups that are open

    def without(found: re.Match[str]) -> str:
        if found[0] == "</g>":
            return "</g>" if kept.pop() else ""
        if not found[0].endswith("/>"):
            kept.append(found[0] != "<g>")
        return "" if found[0] in ("<g>", "<g/>") else found[0]

    return re.sub(r"</?g(?=[\s/>])[^>]*>", without, svg)


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

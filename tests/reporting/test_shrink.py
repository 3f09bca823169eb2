"""Small SVG files: the same elements, styles and texts, with coordinates to a tenth of a point."""

from __future__ import annotations

import re
from xml.etree import ElementTree

from matplotlib.figure import Figure

from raycl.reporting.plots.look import look, svg
from raycl.reporting.plots.shrink import shrunk

NUMBER = re.compile(r"-?\d+(?:\.\d+)?")
KEPT = ("fill", "stroke", "transform", "clip-path", "viewBox", "width", "height")


def drawn() -> str:
    with look():
        figure = Figure(figsize=(5, 3), layout="constrained")
        for place, ax in enumerate(figure.subplots(2, 3).flat):
            ax.plot([0, 1, 2, 3], [0.1234, 0.5, 0.777, place / 10], marker="o", label="a < b  c")
            ax.fill_between([0, 1, 2], [0, 0, 0.2], [1, 0.9, 1], alpha=0.2)
            ax.set_title(f"panel {place}")
        return svg(figure, "", "six panels")


def styles_of(text: str) -> list[dict[str, str]]:
    """The style of each element in the order of the file, with classes resolved.

    Groups that say nothing are passed over, and a use without a style has that of its shape.
    """
    rules = dict(re.findall(r"\.(k\w+)\{([^}]*)\}", text))
    found, shapes = [], dict[str, str]()
    for element in ElementTree.fromstring(text).iter():
        style = element.get("style") or rules.get(element.get("class", ""), "")
        shapes[f"#{element.get('id')}"] = style
        style = style or shapes.get(element.get("{http://www.w3.org/1999/xlink}href", ""), "")
        if not (element.tag.endswith("}g") and not element.attrib):
            kept = {key: element.get(key, "") for key in KEPT} | {"style": style, "tag": element.tag}
            kept["transform"] = re.sub(r"^rotate\(-?0 .*", "", kept["transform"])
            found.append(kept)
    return found


def test_elements_styles_and_texts_stay_as_they_are() -> None:
    before = drawn()
    after = shrunk(before)
    assert styles_of(after) == styles_of(before)
    words = [(e.text or "").strip() for e in ElementTree.fromstring(before).iter() if e.tag.endswith("text")]
    assert [
        (e.text or "").strip() for e in ElementTree.fromstring(after).iter() if e.tag.endswith("text")
    ] == words
    assert "panel 5" in words


def test_coordinates_move_by_less_than_a_tenth_of_a_point() -> None:
    before, after = drawn(), shrunk(drawn())
    for attribute in ("d", "x", "y"):
        pattern = re.compile(rf' {attribute}="([^"]*)"')
        old, new = pattern.findall(before), pattern.findall(after)
        assert len(old) == len(new) > 10
        for a, b in zip(old, new, strict=True):
            xs, ys = NUMBER.findall(a), NUMBER.findall(b)
            assert re.findall("[A-Za-z]", a) == re.findall("[A-Za-z]", b)
            assert max(abs(float(x) - float(y)) for x, y in zip(xs, ys, strict=True)) <= 0.051
    radius = [path for path in re.findall(r' d="([^"]*C[^"]*)"', after) if len(NUMBER.findall(path)) > 20]
    assert radius and any(
        "." in number and len(number.partition(".")[2]) == 2 for number in NUMBER.findall(radius[0])
    )


def test_a_file_has_half_of_its_bytes_and_is_not_shrunk_twice() -> None:
    before = drawn()
    after = shrunk(before)
    assert len(after) < 0.55 * len(before) and shrunk(after) == after
    assert "<g>" not in after and after.count("<g") == after.count("</g>")


def test_an_opacity_that_applies_twice_stays() -> None:
    shape = '<svg><path id="a" d="M0 0" style="{0}"/><use xlink:href="#a" x="1" y="2" style="{0}"/></svg>'
    for style in ("opacity: 0.5", "fill: #000000; opacity: 0.5"):
        assert shrunk(shape.format(style)).count(style) == 2
    for style in ("fill-opacity: 0.5", "fill: #000000; stroke-opacity: 0.5"):
        assert shrunk(shape.format(style)).count(style) == 1
    other = shape.format("fill: #000000").replace("#000000", "#ffffff", 1)
    assert shrunk(other).count("fill:") == 2

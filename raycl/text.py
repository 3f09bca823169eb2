"""How numbers and names are written in tables, on the terminal and in plots.

What a user wrote may hold anything: its control characters become spaces, and its width is counted in columns
of a terminal, of which a Chinese character takes two and a combining accent none.
"""

from __future__ import annotations

import io
import math
import textwrap
from collections.abc import Sequence
from datetime import UTC, datetime

from rich.cells import cell_len

ABSENT = "-"
COLUMNS = 80
_FILL = "\ue000"  # second column of a wide character while lines are broken; no printable text holds it


def fraction(value: float | None) -> str:
    """.842 of 0.8421; 1.000; - where there is none."""
    if value is None or math.isnan(value):
        return ABSENT
    text = f"{value + 0.0:.3f}"  # -0.0 + 0.0 is 0.0
    return text.replace("0.", ".", 1) if text.startswith(("0.", "-0.")) else text


def signed(value: float | None) -> str:
    """+.002, -.007; .000 without a sign where it is exactly zero."""
    text = fraction(value)
    return f"+{text}" if value is not None and value > 0 else text


def seconds(value: float | None) -> str:
    """1.9 below 100 s, else whole seconds."""
    if value is None:
        return ABSENT
    return f"{value:.1f}" if value < 99.95 else f"{value:.0f}"


def quantity(value: float | None, unit: str = "") -> str:
    """9 k or 37 kB: thousands without decimals, millions and more with one. 1 kB = 1000 B."""
    if value is None:
        return ABSENT
    for power, prefix in ((12, "T"), (9, "G"), (6, "M"), (3, "k")):
        if value >= 999.5 * 10 ** (power - 3):
            scaled = value / 10**power
            decimals = 0 if power == 3 or scaled >= 99.95 else 1
            return f"{scaled:.{decimals}f} {prefix}{unit}"
    return f"{value:.0f} {unit}".rstrip()


def clock(value: float) -> str:
    """0:22, 12:34, 1:02:03, 3 d 04 h."""
    whole = max(0, round(value))
    if whole >= 48 * 3600:
        return f"{whole // 86400} d {whole % 86400 // 3600:02d} h"
    hours, minutes = divmod(whole // 60, 60)
    return f"{hours}:{minutes:02d}:{whole % 60:02d}" if hours else f"{minutes}:{whole % 60:02d}"


def about(value: float) -> str:
    """40 s, 3 min, 5 h, 4 days: a duration nobody knows exactly."""
    for size, limit, unit in ((1, 90, "s"), (60, 90, "min"), (3600, 48, "h")):
        if value < limit * size:
            return f"{max(1, round(value / size))} {unit}"
    return f"{round(value / 86400)} days"


def moment(unix: float) -> str:
    """2026-03-01 14:05 UTC."""
    return datetime.fromtimestamp(unix, UTC).strftime("%Y-%m-%d %H:%M UTC")


def plain_value(value: object) -> str:
    """A setting as a reader wants it: four significant digits."""
    if isinstance(value, float):
        return f"{value:.4g}"
    return str(value)


def printable(text: str) -> str:
    """Each control character, line break or half of a surrogate pair becomes a space."""
    return text if text.isprintable() else "".join(c if c.isprintable() else " " for c in text)


def one_line(text: str) -> str:
    """Control characters and line breaks become spaces, and several spaces one."""
    return " ".join(printable(text).split())


def width_of(text: str) -> int:
    """Columns that a terminal takes for it."""
    return len(text) if text.isascii() else cell_len(text)


def padded(text: str, width: int) -> str:
    """With spaces behind it, `width` columns wide or wider."""
    return text + " " * (width - width_of(text))


def cut(text: str, width: int) -> str:
    """As many of its first characters as `width` columns hold."""
    for end, letter in enumerate(text):
        width -= width_of(letter)
        if width < 0:
            return text[:end]
    return text


def clip(text: str, width: int) -> str:
    """`text` in `width` columns: the middle gives way, because variants differ at their ends."""
    text = one_line(text)
    if width_of(text) <= width:
        return text
    tail = cut(text[::-1], max(0, (width - 2) // 3))[::-1]
    return cut(cut(text, width - 2 - width_of(tail)) + ".." + tail, width)


def clipped(labels: Sequence[str], width: int) -> list[str]:
    """All labels in `width` columns, different ones staying different."""
    found: list[str] = []
    for number, label in enumerate(labels, start=1):
        short = clip(label, width)
        if short in found:
            mark = f"~{number}"
            short = clip(label, width - len(mark)) + mark
        found.append(short)
    return found


def wrapped(text: str, indent: str = "  ", width: int = COLUMNS) -> list[str]:
    """Lines of at most `width` columns, all but the first indented."""
    text = printable(text)
    if not text.isascii():
        text = "".join(c + _FILL * (width_of(c) - 1) for c in text)
        width -= _FILL in text  # for a wide character that its line's end parts from its second column
    lines = textwrap.wrap(text, width, subsequent_indent=indent, break_on_hyphens=False)
    return [line.replace(_FILL, "") for line in lines] or [""]


def counted(n: int, noun: str) -> str:
    """1 seed, 3 seeds."""
    return f"{n} {noun}" if n == 1 else f"{n} {noun}s"


class Lines(io.StringIO):
    """Lines of a writer that end in a line feed alone.

    Python 3.11's writer leaves a carriage return within a text unquoted unless it ends lines with one itself.
    """

    def write(self, line: str) -> int:
        return super().write(line.removesuffix("\r\n") + "\n")

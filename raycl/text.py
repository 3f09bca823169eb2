"""Functions that write numbers and names in tables, on the terminal and in plots.

A string that a user wrote may contain anything. Its control characters become spaces, and its width is
counted in columns of a terminal, of which a Chinese character takes two and a combining accent none.
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
# The second column of a wide character while lines are broken; no printable string contains it.
_FILL = "\ue000"


def fraction(value: float | None) -> str:
    """Write a fraction with three decimals: ``.842`` for 0.8421, ``1.000``, or ``-`` for None and NaN."""
    if value is None or math.isnan(value):
        return ABSENT
    text = f"{value + 0.0:.3f}"  # Adding 0.0 turns -0.0 into 0.0.
    return text.replace("0.", ".", 1) if text.startswith(("0.", "-0.")) else text


def signed(value: float | None) -> str:
    """Write a fraction with its sign: ``+.002``, ``-.007``; ``.000`` without a sign for exactly zero."""
    text = fraction(value)
    return f"+{text}" if value is not None and value > 0 else text


def seconds(value: float | None) -> str:
    """Write seconds with one decimal below 100 s, such as ``1.9``, and without decimals above."""
    if value is None:
        return ABSENT
    return f"{value:.1f}" if value < 99.95 else f"{value:.0f}"


def quantity(value: float | None, unit: str = "") -> str:
    """Write a quantity with a prefix: thousands without decimals, such as ``9 k`` or ``37 kB``.

    Millions and more have one decimal. 1 kB is 1000 B.
    """
    if value is None:
        return ABSENT
    for power, prefix in ((12, "T"), (9, "G"), (6, "M"), (3, "k")):
        if value >= 999.5 * 10 ** (power - 3):
            scaled = value / 10**power
            decimals = 0 if power == 3 or scaled >= 99.95 else 1
            return f"{scaled:.{decimals}f} {prefix}{unit}"
    return f"{value:.0f} {unit}".rstrip()


def clock(value: float) -> str:
    """Write a duration in seconds as a clock does: ``0:22``, ``12:34``, ``1:02:03`` or ``3 d 04 h``."""
    whole = max(0, round(value))
    if whole >= 48 * 3600:
        return f"{whole // 86400} d {whole % 86400 // 3600:02d} h"
    hours, minutes = divmod(whole // 60, 60)
    return f"{hours}:{minutes:02d}:{whole % 60:02d}" if hours else f"{minutes}:{whole % 60:02d}"


def about(value: float) -> str:
    """Write an approximate duration in seconds: ``40 s``, ``3 min``, ``5 h`` or ``4 days``."""
    for size, limit, unit in ((1, 90, "s"), (60, 90, "min"), (3600, 48, "h")):
        if value < limit * size:
            return f"{max(1, round(value / size))} {unit}"
    return f"{round(value / 86400)} days"


def moment(unix: float) -> str:
    """Write a Unix time, such as ``2026-03-01 14:05 UTC``."""
    return datetime.fromtimestamp(unix, UTC).strftime("%Y-%m-%d %H:%M UTC")


def plain_value(value: object) -> str:
    """Write the value of a setting for a reader; floats have four significant digits."""
    if isinstance(value, float):
        return f"{value:.4g}"
    return str(value)


def printable(text: str) -> str:
    """Replace each control character, line break and half of a surrogate pair by a space."""
    return text if text.isprintable() else "".join(c if c.isprintable() else " " for c in text)


def one_line(text: str) -> str:
    """Replace control characters and line breaks by spaces, and several spaces by one."""
    return " ".join(printable(text).split())


def width_of(text: str) -> int:
    """Return the number of columns that a terminal takes for a string."""
    return len(text) if text.isascii() else cell_len(text)


def padded(text: str, width: int) -> str:
    """Append spaces until the string is at least `width` columns wide."""
    return text + " " * (width - width_of(text))


def cut(text: str, width: int) -> str:
    """Return as many of the first characters as fit into `width` columns."""
    for end, letter in enumerate(text):
        width -= width_of(letter)
        if width < 0:
            return text[:end]
    return text


def clip(text: str, width: int) -> str:
    """Shorten a string to `width` columns.

    The middle is replaced by dots, because names of variants often differ only at their ends.
    """
    text = one_line(text)
    if width_of(text) <= width:
        return text
    tail = cut(text[::-1], max(0, (width - 2) // 3))[::-1]
    return cut(cut(text, width - 2 - width_of(tail)) + ".." + tail, width)


def clipped(labels: Sequence[str], width: int) -> list[str]:
    """Shorten all labels to `width` columns; different labels stay different."""
    found: list[str] = []
    for number, label in enumerate(labels, start=1):
        short = clip(label, width)
        if short in found:
            mark = f"~{number}"
            short = clip(label, width - len(mark)) + mark
        found.append(short)
    return found


def wrapped(text: str, indent: str = "  ", width: int = COLUMNS) -> list[str]:
    """Break a string into lines of at most `width` columns, all but the first of which are indented."""
    text = printable(text)
    if not text.isascii():
        text = "".join(c + _FILL * (width_of(c) - 1) for c in text)
        width -= _FILL in text  # A line may end between a wide character and its second column.
    lines = textwrap.wrap(text, width, subsequent_indent=indent, break_on_hyphens=False)
    return [line.replace(_FILL, "") for line in lines] or [""]


def counted(n: int, noun: str) -> str:
    """Write a number with its noun in the right form: ``1 seed``, ``3 seeds``."""
    return f"{n} {noun}" if n == 1 else f"{n} {noun}s"


class Lines(io.StringIO):
    """A text buffer for `csv.writer` whose lines end in a line feed only.

    The writer itself has to end its lines with a carriage return, because Python 3.11's writer otherwise
    leaves a carriage return within a value unquoted.
    """

    def write(self, line: str) -> int:
        return super().write(line.removesuffix("\r\n") + "\n")

"""How numbers and names are written in tables, on the terminal and in plots."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence
from datetime import UTC, datetime

ABSENT = "-"
COLUMNS = 80


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


def one_line(text: str) -> str:
    """Control characters and line breaks become spaces."""
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())


def clip(text: str, width: int) -> str:
    """`text` in `width` columns: the middle gives way, because variants differ at their ends."""
    text = one_line(text)
    if len(text) <= width:
        return text
    tail = max(0, (width - 2) // 3)
    return (text[: width - 2 - tail] + ".." + text[len(text) - tail :])[:width]


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
    return textwrap.wrap(text, width, subsequent_indent=indent, break_on_hyphens=False) or [""]


def counted(n: int, noun: str) -> str:
    """1 seed, 3 seeds."""
    return f"{n} {noun}" if n == 1 else f"{n} {noun}s"

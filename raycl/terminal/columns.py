"""Lists and paragraphs in the width of the terminal."""

from __future__ import annotations

import shutil
import textwrap
from collections.abc import Sequence

from raycl.text import COLUMNS, width_of

LEAST, MOST = 40, 160
GAP = 2


def width() -> int:
    """Return the columns of the terminal, or those that COLUMNS says; 80 where there is no terminal."""
    return min(MOST, max(LEAST, shutil.get_terminal_size((COLUMNS, 24)).columns))


def paragraph(text: str, indent: int = 0, further: int = 2) -> list[str]:
    """Break a text into lines.

    Args:
        text: The text.
        indent: The number of spaces in front of each line.
        further: The number of spaces in front of each line but the first, besides `indent`.
    """
    return textwrap.wrap(
        text,
        width(),
        initial_indent=" " * indent,
        subsequent_indent=" " * (indent + further),
        break_on_hyphens=False,
    )


def named_texts(rows: Sequence[tuple[str, str]], indent: int = 0) -> list[str]:
    """Return lines with a column of names and one of texts, which are broken and never cut."""
    room = max((width_of(name) for name, _ in rows), default=0) + GAP
    lines = []
    for name, text in rows:
        first, *others = paragraph(text or " ", indent + room, 0) or [""]
        lines.append(f"{' ' * indent}{name}{' ' * (room - width_of(name))}{first.strip()}".rstrip())
        lines += others
    return lines

"""Strings in aligned columns, for tables on the terminal and in reports."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from raycl.text import COLUMNS, padded, width_of

GAP = 2  # Spaces between columns.


class Column(NamedTuple):
    """The layout of a column.

    Attributes:
        right: Whether strings are aligned at the right edge, as numbers are.
        width: The width of the column; a longer string shifts the rest of its row. None means the width of
            the longest string.
        gap: The number of spaces before the column, unless it is the first.
    """

    right: bool = False
    width: int | None = None
    gap: int = GAP


def names_and_numbers(columns: int, gap: int = GAP) -> list[Column]:
    """Return a layout with names in the first column and numbers in all others."""
    return [Column(), *[Column(right=True, gap=gap)] * (columns - 1)]


def lines(rows: Iterable[Sequence[str]], columns: Sequence[Column]) -> list[str]:
    """Return a line for each row; a row has one string for each column."""
    return [line.rstrip() for line in grid(rows, columns)]


def line(row: Sequence[str], columns: Sequence[Column]) -> str:
    """Return the line of a single row."""
    return lines([row], columns)[0]


def grid(rows: Iterable[Sequence[str]], columns: Sequence[Column]) -> list[str]:
    """Return the lines with trailing spaces.

    All lines have the same width unless a string is longer than its column.
    """
    rows = list(rows)
    widths = _widths(rows, columns)
    return [_joined(row, columns, widths) for row in rows]


def room_beside(rows: Iterable[Sequence[str]], columns: Sequence[Column]) -> int:
    """Return how many columns of the terminal are left for names before these columns."""
    return COLUMNS - sum(_widths(list(rows), columns)) - sum(column.gap for column in columns)


def pairs(cells: Sequence[tuple[str, str | None]], gap: int = 1) -> list[str]:
    """Align pairs of strings: numbers to the right, and the strings after them to the left.

    Args:
        cells: Pairs of a number and a string such as its deviation. None in place of the second string marks
            a word, which takes the place of both.
        gap: The number of spaces between the two.
    """
    numbers = [(number, second) for number, second in cells if second is not None]
    found = iter(lines(numbers, [Column(right=True), Column(gap=gap)]))
    return [text if second is None else next(found) for text, second in cells]


def _widths(rows: Sequence[Sequence[str]], columns: Sequence[Column]) -> list[int]:
    texts = zip(*rows, strict=True) if rows else [()] * len(columns)
    return [
        max(map(width_of, mine), default=0) if column.width is None else column.width
        for mine, column in zip(texts, columns, strict=True)
    ]


def _joined(row: Sequence[str], columns: Sequence[Column], widths: Sequence[int]) -> str:
    joined = ""
    for n, (text, column, width) in enumerate(zip(row, columns, widths, strict=True)):
        joined += " " * (column.gap if n else 0)
        joined += " " * (width - width_of(text)) + text if column.right else padded(text, width)
    return joined

"""Texts in columns, as tables on the terminal and in reports have them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from raycl.text import COLUMNS, padded, width_of

GAP = 2  # between columns


class Column(NamedTuple):
    """How the texts of a column stand.

    Attributes:
        right: at its right edge, as numbers do.
        width: a longer text pushes on what follows it in its row; None is the width of the longest text.
        gap: spaces before it, unless it is the first.
    """

    right: bool = False
    width: int | None = None
    gap: int = GAP


def names_and_numbers(columns: int, gap: int = GAP) -> list[Column]:
    """Names in the first column, numbers in all others."""
    return [Column(), *[Column(right=True, gap=gap)] * (columns - 1)]


def lines(rows: Iterable[Sequence[str]], columns: Sequence[Column]) -> list[str]:
    """A line for each row, which has a text for each column."""
    return [line.rstrip() for line in grid(rows, columns)]


def line(row: Sequence[str], columns: Sequence[Column]) -> str:
    """A row alone."""
    return lines([row], columns)[0]


def grid(rows: Iterable[Sequence[str]], columns: Sequence[Column]) -> list[str]:
    """The lines with the spaces behind them: all are of one width where no text is longer than its column."""
    rows = list(rows)
    widths = _widths(rows, columns)
    return [_joined(row, columns, widths) for row in rows]


def room_beside(rows: Iterable[Sequence[str]], columns: Sequence[Column]) -> int:
    """Columns of the terminal that are left for names before these."""
    return COLUMNS - sum(_widths(list(rows), columns)) - sum(column.gap for column in columns)


def pairs(cells: Sequence[tuple[str, str | None]], gap: int = 1) -> list[str]:
    """Numbers to the right, and what stands beside them to the left; None beside a word, which spans both."""
    numbers = [(number, beside) for number, beside in cells if beside is not None]
    found = iter(lines(numbers, [Column(right=True), Column(gap=gap)]))
    return [text if beside is None else next(found) for text, beside in cells]


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

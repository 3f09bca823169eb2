"""Selection of cells by a pattern, for ``--only`` on the command line and for `resources` of a study.

A pattern is the name of a label, of a cell, or of a cell in one order, as a study writes it or as the tables
print it. It may contain ``*``, ``?`` and ``[abc]``, and several patterns may be separated by commas. Names
can contain commas, brackets and stars too. Therefore a string that is a name is always read as that name.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

LONGEST = 20_000  # Largest number of characters of a pattern.
CLIPPED = ".."  # The tables print this in place of the middle of a long name.


@dataclass(frozen=True)
class Naming:
    """The names of a cell.

    Attributes:
        label: Label of the cell.
        benchmarks: Spellings of its benchmark: the canonical name, and the name as the study writes it.
        order: Index of the order of the tasks if the study has several orders, else None.
    """

    label: str
    benchmarks: tuple[str, ...]
    order: int | None = None

    @property
    def places(self) -> tuple[str, ...]:
        """What may follow the label: each spelling of the benchmark, with and without the order."""
        printed = [text for name in self.benchmarks for text in (name, f"{name} (subset)")]
        return tuple(printed + [f"{text}/order {self.order}" for text in printed if self.order is not None])

    @property
    def spellings(self) -> tuple[str, ...]:
        """The label alone, and the label with each of `places`."""
        return (self.label, *(f"{self.label}/{place}" for place in self.places))


def chosen(pattern: str, cells: Sequence[Naming]) -> tuple[set[int], list[str]]:
    """Return the indices of the cells that a pattern matches, and the parts of it that match none."""
    if len(pattern) > LONGEST:
        return set(), [pattern]
    tables = [_Names(cell) for cell in cells]
    pieces = pattern.split(",")
    commas = max((text.count(",") for names in tables for text in names.exact), default=0)
    found: set[int] = set()
    lost: list[str] = []
    start = 0
    while start < len(pieces):
        # The longest part is tried first, since names may contain commas.
        for end in range(min(len(pieces), start + commas + 1), start, -1):
            part = ",".join(pieces[start:end])
            if part.strip() and (meant := _meant(part, tables)):
                found |= meant
                break
        else:
            end = _balanced(pieces, start)
            if part := ",".join(pieces[start:end]).strip():
                lost.append(part)
        start = end
    if not found and not lost:
        lost.append(pattern)
    return found, lost


def labels_chosen(pattern: str, labels: Sequence[str]) -> list[str]:
    """Return the labels that a pattern matches, in their own order."""
    found, _ = chosen(pattern, [Naming(label, ()) for label in labels])
    return [label for n, label in enumerate(labels) if n in found]


class _Names:
    """The names of a cell, in the forms in which they are compared."""

    def __init__(self, cell: Naming) -> None:
        self.exact = frozenset(cell.spellings)
        self.label = _squeezed(cell.label)
        self.places = tuple(dict.fromkeys(map(_squeezed, cell.places)))
        self.all = (self.label, *(f"{self.label}/{place}" for place in self.places))


def _meant(part: str, tables: Sequence[_Names]) -> set[int]:
    """Return the cells that a part matches, by the first reading that matches any; names precede patterns."""
    plain = _squeezed(part)
    literal = plain.replace("[", "[[]")

    def under_label(pattern: str) -> Callable[[_Names], bool]:
        return lambda names: any(
            pattern.startswith(f"{head}/") and _fits(names.places, pattern[len(head) + 1 :])
            for head in {names.label, names.label.replace("[", "[[]")}
        )

    readings: list[Callable[[_Names], bool]] = [
        lambda names: part in names.exact,
        lambda names: part.strip() in names.exact,
        lambda names: plain in names.all,
        under_label(literal),
        under_label(plain),
        lambda names: _fits(names.all, literal),
        lambda names: _fits(names.all, plain),
    ]
    if CLIPPED in plain and any(piece.strip("./ *?") for piece in plain.split(CLIPPED)):
        shortened = literal.replace(CLIPPED, "*")
        readings.append(lambda names: any(fnmatchcase(name, shortened) for name in names.all))
    for reading in readings:
        if found := {n for n, names in enumerate(tables) if reading(names)}:
            return found
    return set()


def _fits(names: Iterable[str], pattern: str) -> bool:
    """Return whether a pattern matches any name, or the part of any name before a slash."""
    if not any(letter in pattern for letter in "*?["):
        return any(name == pattern or name.startswith(f"{pattern}/") for name in names)
    return any(fnmatchcase(name, pattern) or fnmatchcase(name, f"{pattern}/*") for name in names)


def _squeezed(text: str) -> str:
    """Remove the spaces that the tables print around slashes, and normalise Unicode."""
    return re.sub(r"\s*/\s*", "/", " ".join(unicodedata.normalize("NFC", text).split()))


def _balanced(pieces: Sequence[str], start: int) -> int:
    """Return the end of the part that begins at `start`: the first comma outside brackets and quotes."""
    depth, quote = 0, ""
    for end in range(start, len(pieces)):
        for letter in pieces[end]:
            if quote:
                quote = "" if letter == quote else quote
            elif letter in "'\"":
                quote = letter
            else:
                depth += (letter in "([{") - (letter in ")]}")
        if depth <= 0 and not quote:
            return end + 1
    return start + 1

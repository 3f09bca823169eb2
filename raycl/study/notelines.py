"""Notes on a study as lines: which cells they are about, and those on the study as a whole."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence

from raycl.errors import nearest
from raycl.study.cells import Cell

STUDY = "study: "  # prefix of a note that is about the whole study, whichever cell carries it
NAMED = 2  # number of cells that a note names; further ones are only counted


def lines_of(cells: Iterable[Cell]) -> list[str]:
    """Return the distinct notes of cells, each after the names of its cells: ``spg/digits_split: ...``."""
    about: dict[str, list[str]] = {}
    for cell in cells:
        name = f"{cell.label}/{cell.shown}"
        for text in cell.notes:
            names = about.setdefault(text, [])
            if name not in names:  # the orders of a benchmark share their notes
                names.append(name)
    return [
        text.removeprefix(STUDY) if text.startswith(STUDY) else f"{_joined(names)}: {text}"
        for text, names in about.items()
    ]


def _joined(names: Sequence[str]) -> str:
    more = len(names) - NAMED
    if more > 0:
        return f"{', '.join(names[:NAMED])} and {more} more"
    return " and ".join(names)


def unmatched(pattern: str, labels: Iterable[str]) -> str:
    """Return the note on a pattern of `resources` that matches no cell."""
    hint = nearest(pattern.partition("/")[0], labels)
    return f"{STUDY}resources[{pattern!r}] matches no cell and has no effect{hint}"


def with_notes(cells: Sequence[Cell], about_study: Iterable[str]) -> list[Cell]:
    """Return the cells with further notes, which the first one carries in front of its own."""
    found, more = list(cells), tuple(about_study)
    if found and more:
        found[0] = dataclasses.replace(found[0], notes=(*more, *found[0].notes))
    return found

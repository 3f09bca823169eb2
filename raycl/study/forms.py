"""What a study has in two forms: as a paper has it, and as one machine finishes it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic, TypeVar

from raycl.oldnames import accept_keywords

T = TypeVar("T")


@accept_keywords(desk="small")
@dataclass(frozen=True)
class Form(Generic[T]):
    """A study, or any part of one, in two forms, of which a study's file takes one for each of its studies.

    ``PAPER = Form(full=Study(...), small=Study(...))`` beside the files of a paper, and in each of them
    ``STUDY = PAPER.full.with_(...)`` and ``SMALL = PAPER.small.with_(...)``.

    Attributes:
        full: as the paper has it.
        small: what one machine finishes.
    """

    full: T
    small: T

"""The two forms of a study: at the scale of a paper, and at a scale that one machine can finish."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic, TypeVar

from raycl.oldnames import accept_keywords

T = TypeVar("T")


@accept_keywords(desk="small")
@dataclass(frozen=True)
class Form(Generic[T]):
    """A study, or any part of one, in two forms.

    A module next to the study files of a paper defines ``PAPER = Form(full=Study(...), small=Study(...))``;
    each study file then writes ``STUDY = PAPER.full.with_(...)`` and ``SMALL = PAPER.small.with_(...)``.

    Attributes:
        full: The form at the scale of the paper.
        small: The form that one machine can finish.
    """

    full: T
    small: T

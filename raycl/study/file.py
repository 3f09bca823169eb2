"""Reading the study that a file defines."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

from raycl import oldnames, userfiles
from raycl.errors import SCREEN, NoStudy, UserError, quoted
from raycl.study.overrides import overridden
from raycl.study.values import Study


def read_study(path: str | Path, overrides: Sequence[str] = (), small: bool = False) -> Study:
    """The STUDY of a file, ``--set`` overrides applied; the files beside it are found by its own imports.

    Args:
        small: read SMALL instead, the form that one machine finishes.

    Raises:
        UserError: no such file, it does not run, or it defines no STUDY (no SMALL).
    """
    file, place = Path(path), _place(path)
    try:
        found = file.is_file()
    except OSError as error:  # its name is too long
        raise UserError(f"{place}: {error.strerror}") from None
    if not found:
        what = "is a folder, not a study file" if file.is_dir() else "there is no such study file"
        raise UserError(f"{place}: {what}")
    if file.suffix != ".py":
        raise UserError(f"{place}: a study is a Python file that ends in .py")
    folder = file.absolute().parent
    userfiles.refresh()
    try:
        module = userfiles.load(folder, file.stem)
    except UserError as error:
        said = str(error)
        raise UserError(said if said.startswith(str(path)) else f"{place}: {said}") from None
    wanted = "SMALL" if small else "STUDY"
    if small and not hasattr(module, "SMALL") and hasattr(module, "DESK"):
        oldnames.note("DESK", "SMALL")
        wanted = "DESK"
    study = getattr(module, wanted, None)
    if not isinstance(study, Study):
        has = f"defines no {wanted}" if study is None else f"{wanted} is {type(study).__name__}, not a Study"
        kind = NoStudy if study is None else UserError
        raise kind(f"{place}: {has}; write {wanted} = Study(...)")
    # Tables of several papers bear the same number, and their experiments must not be one.
    paper = study.paper if isinstance(study.paper, str) else ""
    named = not isinstance(study.name, str) or study.name  # what is no name is told when it is planned
    name = study.name if named else "_".join(filter(None, (paper, file.stem, "small" * small)))
    study = dataclasses.replace(study, name=name, folder=folder, file=place)
    return overridden(study, overrides)


def _place(path: str | Path) -> str:
    """How messages name a study's file: as it was written, if that can be read on a screen."""
    text = str(path)
    return text if text.isprintable() and text == text.strip() and len(text) <= SCREEN else quoted(text)

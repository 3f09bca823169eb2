"""Reading of the study that a Python file defines."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

from raycl import oldnames, userfiles
from raycl.errors import SCREEN, NoStudy, UserError, nearest, quoted
from raycl.study.given import with_names
from raycl.study.overrides import overridden
from raycl.study.values import Study


def read_study(path: str | Path, overrides: Sequence[str] = (), small: bool = False) -> Study:
    """Return the STUDY of a file, with ``--set`` overrides applied.

    The file can import other files of its own folder.

    Args:
        path: The study's file.
        overrides: Texts such as ``search.trials=4``.
        small: Whether to read SMALL instead, the form of the study that one machine can finish.

    Raises:
        UserError: If there is no such file, it cannot be executed, or it defines no STUDY (or SMALL).
    """
    file, place = Path(path), _place(path)
    try:
        found = file.is_file()
    except OSError as error:  # such as a name that is too long
        raise UserError(f"{place}: {error.strerror}") from None
    if not found:
        if file.is_dir():
            raise UserError(f"{place}: is a folder, not a study file")
        near = nearest(file.name, _beside(file))
        raise UserError(f"{place}: there is no such study file{near}")
    if file.suffix != ".py":
        raise UserError(f"{place}: a study file must be a Python file whose name ends in .py")
    folder = file.absolute().parent
    userfiles.refresh()
    try:
        module = userfiles.load(folder, file.stem)
    except UserError as error:
        message = str(error)
        raise UserError(message if message.startswith(str(path)) else f"{place}: {message}") from None
    wanted = "SMALL" if small else "STUDY"
    if small and not hasattr(module, "SMALL") and hasattr(module, "DESK"):
        oldnames.note("DESK", "SMALL")
        wanted = "DESK"
    study = getattr(module, wanted, None)
    if not isinstance(study, Study):
        has = f"defines no {wanted}" if study is None else f"{wanted} is {type(study).__name__}, not a Study"
        kind = NoStudy if study is None else UserError
        raise kind(f"{place}: {has}; write {wanted} = Study(...)")
    # The paper is part of the name, because files of two papers may be called alike ("table1"), and their
    # experiments must stay apart.
    paper = study.paper if isinstance(study.paper, str) else ""
    named = not isinstance(study.name, str) or study.name  # a wrong type is reported by check_study
    name = study.name if named else "_".join(filter(None, (paper, file.stem, "small" * small)))
    study = dataclasses.replace(study, name=name, folder=folder, file=place)
    return overridden(with_names(study), overrides)


def _beside(file: Path) -> list[str]:
    """Return the names of the Python files in the folder of a file."""
    try:
        return sorted(path.name for path in file.parent.glob("*.py"))
    except OSError:
        return []


def _place(path: str | Path) -> str:
    """Return the study's file as messages name it: as the user wrote it, if that can be printed."""
    text = str(path)
    return text if text.isprintable() and text == text.strip() and len(text) <= SCREEN else quoted(text)

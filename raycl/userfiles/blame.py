"""Conversion of exceptions from a user's file or class into one line that names the file and line."""

from __future__ import annotations

import contextlib
import inspect
import re
import sys
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from raycl.errors import SCREEN, UserError, fault_of, nearest, screen_line
from raycl.installed import is_own_file
from raycl.userfiles.folders import PREFIX, SHIPPED, file_of, short

_FOLDER = re.compile(rf"{PREFIX}\.f[0-9a-f]{{12}}(\.)?")
_FRAME = re.compile(r'^\s*File "([^"<][^"]*)", line (\d+)', re.MULTILINE)


def is_own(kind: Any) -> bool:
    """Return whether a class or a function is a user's, and not one of raycl's."""
    module: str = kind.__module__
    return module != "builtins" and module.partition(".")[0] != "raycl"


@contextlib.contextmanager
def blamed(kind: Any) -> Iterator[None]:
    """Turn an exception from a user's class or function into a `UserError` of one line: file, line and error.

    An exception from one of raycl's own classes is raised unchanged.

    Raises:
        UserError: Instead of any other exception, except KeyboardInterrupt and GeneratorExit.
    """
    try:
        yield
    except (KeyboardInterrupt, GeneratorExit):
        raise
    except UserError as error:
        if not is_own(kind) or f"{short(kind.__module__)}.py" in str(error):
            raise
        raise UserError(f"{where(kind)}: {error}") from None
    except BaseException as error:
        if not is_own(kind):
            raise
        raise UserError(fault(error) or f"{where(kind)}: {_described(error)}") from None


def fault(error: BaseException) -> str:
    """Return an error with the innermost line of a user's file that led to it: ``mine.py:7: NameError: …``.

    The result is "" if no line of a user's file is in the traceback.
    """
    if isinstance(error, SyntaxError) and error.filename and is_own_file(Path(error.filename)):
        return f"{shown(Path(error.filename))}:{error.lineno}: {type(error).__name__}: {error.msg}"
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        if frame.filename.startswith("<"):
            continue
        if is_own_file(Path(frame.filename).absolute()):
            return f"{shown(Path(frame.filename))}:{frame.lineno}: {_described(error)}"
    return ""


def located(trace: str, most: int = SCREEN) -> str:
    """Return the error of a traceback as one line, with the innermost line of a user's file that led to it.

    The traceback is a text that may come from another node, so that it is searched for the files that were
    sent there first. A text that is not a traceback becomes one line without a place.

    Args:
        trace: The traceback.
        most: Largest number of characters.

    Returns:
        Text such as ``mine.py:7: NameError: name 'x' is not defined``.
    """
    line = fault_of(trace, most)
    frames = [(Path(file), number) for file, number in _FRAME.findall(trace)]
    sent = [(file, number) for file, number in frames if SHIPPED in file.parts]
    others = {"site-packages", "dist-packages"}  # of another Python, where the text comes from one
    own = sent or [each for each in frames if is_own_file(each[0]) and not others & {*each[0].parts}]
    if not own:
        return line
    file, number = own[-1]
    if sent:
        file = Path(*file.parts[file.parts.index(SHIPPED) + 1 :])
    place = f"{shown(file)}:{number}: "
    return line if place in line else screen_line(f"{place}{line}", most + len(place))


def import_fault(error: BaseException, folder: Path, name: str) -> str:
    """Return one line that says why the module `name` of a folder cannot be imported."""
    if line := fault(error):
        return line
    file = file_of(folder, name)
    if isinstance(error, ValueError | SyntaxError) and "null byte" in str(error):
        return f"{shown(file)}: it is not a Python file: it contains a null byte"
    if isinstance(error, UnicodeDecodeError):
        return f"{shown(file)}: it is not UTF-8 text: save it as UTF-8"
    if isinstance(error, OSError):
        return f"{shown(file)} cannot be read: {error.strerror or error}"
    return f"{shown(file)}: {_described(error)}"


def where(kind: Any) -> str:
    """Return where a class or a function is defined: ``mine.py:4 (class Mine)``."""
    file = str(getattr(sys.modules.get(kind.__module__), "__file__", "") or short(kind.__module__))
    try:
        line = f":{inspect.getsourcelines(kind)[1]}"
    except (OSError, TypeError):
        line = ""
    noun = "class" if isinstance(kind, type) else "function"
    return f"{shown(Path(file))}{line} ({noun} {kind.__qualname__})"


def shown(path: Path) -> str:
    """Return a path as its user would write it: relative to the current folder if it is inside it."""
    with contextlib.suppress(OSError, ValueError):
        return str(path.absolute().relative_to(Path.cwd()))
    return str(path)


def _described(error: BaseException) -> str:
    if isinstance(error, SystemExit):
        code = "" if error.code is None else repr(error.code)
        return f"it calls sys.exit({code}), which does not end a study"
    text = f"{type(error).__name__}: {first_line(error)}".removesuffix(": ")
    return text + _meant(error) if isinstance(error, NameError) else text


def _meant(error: NameError) -> str:
    """Return a hint at a name that is known where the unknown one was used, or ""."""
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
    known = {*frames[-1].f_globals, *frames[-1].f_locals} if frames else set()
    return nearest(error.name, sorted(name for name in known if not name.startswith("__")))


def first_line(error: BaseException) -> str:
    """Return the first line of an error's message, without the internal names of users' folders."""
    line = next(iter(str(error).strip().splitlines()), "")
    return _FOLDER.sub(lambda found: "" if found[1] else "its folder", line)

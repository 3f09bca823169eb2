"""How a command ends that does not come to its end: one line on the screen, and an exit code.

What raycl did not foresee leaves its whole traceback in a file of the temporary folder.
"""

from __future__ import annotations

import contextlib
import errno
import os
import platform
import select
import sys
import tempfile
import traceback
from datetime import UTC, datetime

from raycl import __version__, userfiles
from raycl.errors import SCREEN, UserError, redacted, screen_line, typed_path

DONE, FAILED, BAD_INPUT, INTERRUPTED = 0, 1, 2, 130
LINE = 1000  # characters of a line of our own
_FULL = {errno.ENOSPC, errno.EDQUOT}


def open_streams() -> None:
    """Give a process its three standard streams where it was started without one.

    Else the next file that is opened would take the number, and what is printed would end up in it.
    """
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:
            with contextlib.suppress(OSError):
                os.open(os.devnull, os.O_RDWR)  # takes the lowest number that is free
    for name in ("stdin", "stdout", "stderr"):
        if getattr(sys, name) is None:
            mode = "r" if name == "stdin" else "w"
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: SIM115


def say(text: str) -> None:
    """A line of ours on the error stream, wherever that leads."""
    with contextlib.suppress(OSError, ValueError):
        sys.stderr.write(f"raycl: {_own(text)}\n")
        sys.stderr.flush()


def ended(error: BaseException, verbose: bool = False, lasting: bool = False) -> int:
    """Say why a command ended; gives its exit code.

    Args:
        verbose: show the traceback of what was not foreseen.
        lasting: the command does more than to print, so that it is not complete where nobody reads it.
    """
    with contextlib.suppress(KeyboardInterrupt):
        return _ended(error, verbose, lasting)
    return INTERRUPTED


def _ended(error: BaseException, verbose: bool, lasting: bool) -> int:
    if isinstance(error, UserError):
        say(str(error))
        return BAD_INPUT
    if isinstance(error, KeyboardInterrupt):
        say("interrupted")
        return INTERRUPTED
    if isinstance(error, BrokenPipeError) and not _read(1):  # `raycl report | head`
        _silence()
        if lasting:
            say("nobody reads the output any more, so it stopped; what is finished stays")
        return FAILED if lasting else DONE
    if isinstance(error, OSError) and error.filename is None and error.errno in _FULL:
        _silence()
        say(f"the output cannot be written: {error.strerror}")
        return BAD_INPUT
    if verbose:
        with contextlib.suppress(OSError, ValueError):
            traceback.print_exception(error)
    where = _logged(error)
    told = f" (traceback in {where})" if where else ""
    if line := _users(error):
        say(f"{screen_line(redacted(line), 2 * SCREEN)}{told}")
        return BAD_INPUT
    if isinstance(error, OSError) and error.filename is not None:  # a disk, a permission: not of our making
        say(f"{screen_line(typed_path(_text(error.filename)))}: {error.strerror}{told}")
        return BAD_INPUT
    told = f"traceback in {where}; please report it" if where else "--verbose shows where; please report it"
    said = screen_line(redacted(_said(error)))
    say(f"internal error: {type(error).__name__}{f': {said}' if said else ''} ({told})")
    return FAILED


def _users(error: BaseException) -> str:
    """The line of a user's own file, such as a view, that led to an error, and its words; "" if none did."""
    try:
        return userfiles.fault(error)
    except Exception:  # of an exception class of the user's
        return ""


def _own(text: str) -> str:
    """Our own words: each line without control characters, and no longer than anybody reads."""
    lines = text.splitlines() or [""]
    indents = [line[: len(line) - len(line.lstrip())] for line in lines]
    return "\n".join(indent + screen_line(line, LINE) for indent, line in zip(indents, lines, strict=True))


def _said(error: BaseException) -> str:
    try:
        return str(error)
    except Exception:  # of an exception class of the user's
        return ""


def _text(filename: object) -> str:
    return os.fsdecode(filename) if isinstance(filename, str | bytes) else str(filename)


def _read(number: int) -> bool:
    """Whether anybody can read what is written to a stream of this process."""
    try:
        poll = select.poll()
        poll.register(number, select.POLLOUT)
        return not any(event & (select.POLLERR | select.POLLHUP) for _, event in poll.poll(0))
    except (OSError, AttributeError):
        return False


def _silence() -> None:
    """Print no more: Python would try once again when it ends, and complain."""
    with contextlib.suppress(OSError, ValueError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, 1)
        os.close(nowhere)


def _logged(error: BaseException) -> str:
    """The file, as one types it, that now has the whole traceback; "" where none can be written."""
    head = (
        f"raycl {__version__}, Python {platform.python_version()}, {platform.platform()}\n"
        f"{datetime.now(UTC):%Y-%m-%d %H:%M:%S} UTC\n{' '.join(sys.argv)}\n\n"
    )
    try:
        trace = "".join(traceback.format_exception(error))
        handle, path = tempfile.mkstemp(prefix="raycl-error-", suffix=".txt")
        with open(handle, "w", encoding="utf-8", errors="backslashreplace") as file:
            file.write(redacted(head + trace))
    except Exception:  # no room, no memory, an exception that cannot be written
        return ""
    return typed_path(path)

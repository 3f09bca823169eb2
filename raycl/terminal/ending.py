"""Handling of commands that end with an error: one line on the screen and an exit code.

Unforeseen errors also leave their whole traceback in a file of the temporary folder.
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
LINE = 1000  # largest number of characters in a line of a message
_FULL = {errno.ENOSPC, errno.EDQUOT}


def open_streams() -> None:
    """Open those of the three standard streams that the process was started without.

    Otherwise the next file that is opened would take the stream's number, and printed text would end up in
    that file.
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
    """Write a message to the error stream, and ignore a stream that cannot be written."""
    with contextlib.suppress(OSError, ValueError):
        sys.stderr.write(f"raycl: {_own(text)}\n")
        sys.stderr.flush()


def ended(error: BaseException, verbose: bool = False, lasting: bool = False) -> int:
    """Print why a command ended, and return its exit code.

    Args:
        error: The exception that ended the command.
        verbose: Whether to show the traceback of an unforeseen error.
        lasting: Whether the command does more than print, so that it is incomplete if its output is closed.
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
            say("the output was closed, so the command stopped; finished runs are kept")
        return FAILED if lasting else DONE
    if isinstance(error, OSError) and error.filename is None and error.errno in _FULL:
        _silence()
        say(f"the output cannot be written: {error.strerror}")
        return BAD_INPUT
    if verbose:
        with contextlib.suppress(OSError, ValueError):
            traceback.print_exception(error)
    where = _logged(error)
    traced = f" (traceback in {where})" if where else ""
    if line := _users(error):
        say(f"{screen_line(redacted(line), 2 * SCREEN)}{traced}")
        return BAD_INPUT
    if isinstance(error, OSError) and error.filename is not None:  # a full disk or a permission: not a bug
        say(f"{screen_line(typed_path(_text(error.filename)))}: {error.strerror}{traced}")
        return BAD_INPUT
    traced = f"traceback in {where}; please report it" if where else "--verbose shows where; please report it"
    message = screen_line(redacted(_message_of(error)))
    say(f"internal error: {type(error).__name__}{f': {message}' if message else ''} ({traced})")
    return FAILED


def _users(error: BaseException) -> str:
    """Return the line of a user's own file that caused an error, with its message; "" if none did."""
    try:
        return userfiles.fault(error)
    except Exception:  # the user's own exception class may raise when it is printed
        return ""


def _own(text: str) -> str:
    """Return a message without control characters, and with each line cut to a readable length."""
    lines = text.splitlines() or [""]
    indents = [line[: len(line) - len(line.lstrip())] for line in lines]
    return "\n".join(indent + screen_line(line, LINE) for indent, line in zip(indents, lines, strict=True))


def _message_of(error: BaseException) -> str:
    try:
        return str(error)
    except Exception:  # the user's own exception class may raise when it is printed
        return ""


def _text(filename: object) -> str:
    return os.fsdecode(filename) if isinstance(filename, str | bytes) else str(filename)


def _read(number: int) -> bool:
    """Return whether a stream of this process still has a reader."""
    try:
        poll = select.poll()
        poll.register(number, select.POLLOUT)
        return not any(event & (select.POLLERR | select.POLLHUP) for _, event in poll.poll(0))
    except (OSError, AttributeError):
        return False


def _silence() -> None:
    """Redirect the output to nowhere, because Python flushes it once more at exit and would complain."""
    with contextlib.suppress(OSError, ValueError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, 1)
        os.close(nowhere)


def _logged(error: BaseException) -> str:
    """Write the whole traceback to a file, and return its path as one types it; "" if this fails."""
    head = (
        f"raycl {__version__}, Python {platform.python_version()}, {platform.platform()}\n"
        f"{datetime.now(UTC):%Y-%m-%d %H:%M:%S} UTC\n{' '.join(sys.argv)}\n\n"
    )
    try:
        trace = "".join(traceback.format_exception(error))
        handle, path = tempfile.mkstemp(prefix="raycl-error-", suffix=".txt")
        with open(handle, "w", encoding="utf-8", errors="backslashreplace") as file:
            file.write(redacted(head + trace))
    except Exception:  # no disk space, no memory, or an exception that cannot be printed
        return ""
    return typed_path(path)

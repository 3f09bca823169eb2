"""Errors that a user can correct, and helpers that keep messages to one line."""

from __future__ import annotations

import difflib
import itertools
import re
import shlex
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

TRACEBACK = "Traceback (most recent call last)"  # How Python begins the text of a traceback.
SCREEN = 200  # Characters of another library's message that are shown on the screen.


class UserError(ValueError):
    """Raised for a mistake in a study, a file or a folder; names the value, the place and the remedy."""


class NotPrepared(UserError):
    """Raised if published data are not in the data folder; the message says how to prepare them."""


class NoStudy(UserError):
    """Raised for a readable file that does not define a study, such as a helper module."""


@dataclass(frozen=True)
class Obstacle:
    """Why something cannot be done on this machine, and what to do about it.

    Attributes:
        reason: One line without a full stop.
        remedies: One line each, such as a command.
    """

    reason: str
    remedies: tuple[str, ...] = ()

    @classmethod
    def of(cls, message: str) -> Obstacle:
        """Parse the message of an error: the reason is its first line, and the remedies are the others."""
        reason, *remedies = [line.strip() for line in message.splitlines() if line.strip()]
        return cls(reason, tuple(remedies))

    def __str__(self) -> str:
        return " -> ".join([self.reason, *self.remedies])


def nearest(name: object, known: Iterable[str]) -> str:
    """Return a hint such as ``; did you mean 'hat'?``, or "" if no known name is close."""
    close = closest(name, known) if isinstance(name, str) else []
    return f"; did you mean {close[0]!r}?" if close else ""


def closest(name: str, known: Iterable[str], most: int = 1) -> list[str]:
    """Return the known names that are closest to `name`, best first; none for a very long name."""
    if len(name) > 10 * SCREEN:
        return []
    return difflib.get_close_matches(name, list(known), n=most, cutoff=0.5)


def redacted(text: str) -> str:
    """Return the text with passwords in addresses replaced: ``postgresql://user:***@host``."""
    return re.sub(r"(://[^/@\s:]*):[^/\s]*@", r"\1:***@", text)


def screen_line(text: str, most: int = SCREEN) -> str:
    """Return a text as one line of at most `most` characters, without control characters."""
    if len(text) > 100 * most:  # Only the two ends will be shown, so that the middle need not be processed.
        text = f"{text[: 50 * most]} {text[-50 * most :]}"
    line = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    if len(line) <= most:
        return line
    tail = most // 4
    return f"{line[: most - tail - 5].rstrip()} ... {line[-tail:].lstrip()}"


def quoted(value: object, most: int = SCREEN // 2) -> str:
    """Return the repr of a value, cut if it is long; for a value without a repr, its type."""
    try:
        text = repr(value[: 10 * most] if isinstance(value, str) else value)
    except Exception:  # An integer may have more than 4300 digits, or a user's class may fail.
        return f"a value of type {type(value).__name__}"
    return text if len(text) <= most else f"{text[: most - 4]} ..."


def fault_of(trace: str, most: int = SCREEN) -> str:
    """Return the last part of a traceback, the error and its message, as one line.

    Args:
        trace: The traceback.
        most: Largest number of characters. The default is for the screen; files get longer lines.
    """
    lines = [line for line in trace.strip().splitlines() if line.strip()]
    heads = [n for n, line in enumerate(lines) if TRACEBACK in line]
    if heads:
        message = itertools.dropwhile(lambda line: line[0].isspace(), lines[heads[-1] + 1 :])
        return screen_line(" ".join(message), most) or screen_line(lines[-1], most)
    return screen_line(lines[-1], most) if lines else "no message"


def typed_path(path: Path | str) -> str:
    """Return a path quoted for a shell."""
    return shlex.quote(str(path))

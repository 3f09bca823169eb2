"""What a user did wrong, said in one line; everything else may raise what it likes."""

from __future__ import annotations

import difflib
import itertools
import re
import shlex
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

SCREEN = 200  # characters of somebody else's message on the screen


class UserError(ValueError):
    """A mistake in a study, a file or a folder: names the value, the place and the remedy."""


class NotPrepared(UserError):
    """Data that are published and not in the data folder; the message says how to prepare them."""


class NoStudy(UserError):
    """A file that can be read, and defines no study: it may be a helper of others."""


@dataclass(frozen=True)
class Obstacle:
    """What keeps something from being done here, and what to do about it.

    Attributes:
        reason: one line, without a full stop.
        remedies: a line each, such as a command.
    """

    reason: str
    remedies: tuple[str, ...] = ()

    @classmethod
    def of(cls, message: str) -> Obstacle:
        """The obstacle that the message of an error names: reason in the first line, remedies below it."""
        reason, *remedies = [line.strip() for line in message.splitlines() if line.strip()]
        return cls(reason, tuple(remedies))

    def __str__(self) -> str:
        return " -> ".join([self.reason, *self.remedies])


def nearest(name: object, known: Iterable[str]) -> str:
    """A hint such as ``; did you mean 'hat'?``, or nothing when no known name is close."""
    close = closest(name, known) if isinstance(name, str) else []
    return f"; did you mean {close[0]!r}?" if close else ""


def closest(name: str, known: Iterable[str], most: int = 1) -> list[str]:
    """The known names that are closest to `name`, best first; what is too long to compare has none."""
    if len(name) > 10 * SCREEN:
        return []
    return difflib.get_close_matches(name, list(known), n=most, cutoff=0.5)


def redacted(text: str) -> str:
    """The text without passwords that stand in addresses: ``postgresql://user:***@host``."""
    return re.sub(r"(://[^/@\s:]*):[^/\s]*@", r"\1:***@", text)


def screen_line(text: str, most: int = SCREEN) -> str:
    """Somebody else's text as one line of at most `most` characters, without control characters."""
    if len(text) > 100 * most:  # only its ends can be shown
        text = f"{text[: 50 * most]} {text[-50 * most :]}"
    line = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    if len(line) <= most:
        return line
    tail = most // 4
    return f"{line[: most - tail - 5].rstrip()} ... {line[-tail:].lstrip()}"


def quoted(value: object, most: int = SCREEN // 2) -> str:
    """A value as Python writes it, cut where it is long; of one that cannot be written, its type."""
    try:
        text = repr(value[: 10 * most] if isinstance(value, str) else value)
    except Exception:  # a whole number of 4301 digits, or a class of the user's
        return f"a value of type {type(value).__name__}"
    return text if len(text) <= most else f"{text[: most - 4]} ..."


def fault_of(trace: str, most: int = SCREEN) -> str:
    """What a traceback says in the end, in one line: ``RuntimeError: of my own``.

    Args:
        most: characters; the default is for the screen, and files have all of it.
    """
    lines = [line for line in trace.strip().splitlines() if line.strip()]
    heads = [n for n, line in enumerate(lines) if "Traceback (most recent call last)" in line]
    if heads:
        said = itertools.dropwhile(lambda line: line[0].isspace(), lines[heads[-1] + 1 :])
        return screen_line(" ".join(said), most) or screen_line(lines[-1], most)
    return screen_line(lines[-1], most) if lines else "no message"


def typed_path(path: Path | str) -> str:
    """A path as one types it into a shell."""
    return shlex.quote(str(path))

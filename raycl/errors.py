"""What a user did wrong, said in one line; everything else may raise what it likes."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable


class UserError(ValueError):
    """A mistake in a study, a file or a folder: names the value, the place and the remedy."""


def nearest(name: str, known: Iterable[str]) -> str:
    """A hint such as ``; did you mean 'hat'?``, or nothing when no known name is close."""
    close = difflib.get_close_matches(name, list(known), n=1, cutoff=0.5)
    return f"; did you mean {close[0]!r}?" if close else ""


def redacted(text: str) -> str:
    """The text without passwords that stand in addresses: ``postgresql://user:***@host``."""
    return re.sub(r"(://[^/@\s:]*):[^/\s]*@", r"\1:***@", text)

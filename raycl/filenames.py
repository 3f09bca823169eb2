"""File names made of names that a user gives, and the check of the name of a study."""

from __future__ import annotations

import hashlib
import re

from raycl.errors import UserError

LONGEST = 100  # Bound of a study's name in bytes, so that file names have room for a suffix.


def check_study_name(name: str, place: str) -> None:
    """Check that a study's name can be used for its page, its folder of artefacts and its experiment.

    Args:
        name: The name.
        place: Where it was written, for the message.

    Raises:
        UserError: If it cannot be used.
    """
    if why := _unfit(name):
        raise UserError(
            f"{place}: name = {name[:60]!a} {why}; it is used in file names: give the study a short name= of "
            "letters, digits, spaces, '_', '-' and '.'"
        )


def _unfit(name: str) -> str:
    if not name.strip():
        return "is empty"
    if wrong := next((c for c in name if c in "/\\" or not c.isprintable()), ""):
        return f"contains {wrong!a}"
    if name != name.strip():
        return "begins or ends with a space"
    if name.startswith(("-", ".")):
        return f"begins with {name[0]!r}"
    return f"is longer than {LONGEST} bytes" if len(name.encode()) > LONGEST else ""


def file_name(text: str) -> str:
    """Return a file name, without its extension, for any string.

    The result does not lead to another folder, and does not look like an option of a command. A string that
    is a suitable name is returned unchanged; otherwise a hash is added, which keeps the result unique.
    """
    if not _unfit(text):
        return text
    digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:8]
    name = (
        re.sub(r"[^\w.=,-]+", "_", text).strip("_").lstrip("-.").encode()[:LONGEST].decode("utf-8", "ignore")
    )
    return f"{name}_{digest}" if name else digest

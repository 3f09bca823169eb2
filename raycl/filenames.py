"""Names that a user gives become names of files: those of studies are checked, all are made harmless."""

from __future__ import annotations

import hashlib
import re

from raycl.errors import UserError

LONGEST = 100  # bytes of a study's name, so that a file's has room for more


def check_study_name(name: str, place: str) -> None:
    """See that a study's name can name its page, its folder of artefacts and its experiment.

    Args:
        place: for the message.

    Raises:
        UserError: it cannot.
    """
    if why := _unfit(name):
        raise UserError(
            f"{place}: name = {name[:60]!a} {why}; it names files: give the study a short name= of letters, "
            "digits, spaces, '_', '-' and '.'"
        )


def _unfit(name: str) -> str:
    if not name.strip():
        return "is empty"
    if wrong := next((c for c in name if c in "/\\" or not c.isprintable()), ""):
        return f"holds {wrong!a}"
    if name != name.strip():
        return "begins or ends with a space"
    if name.startswith(("-", ".")):
        return f"begins with {name[0]!r}"
    return f"is longer than {LONGEST} bytes" if len(name.encode()) > LONGEST else ""


def file_name(text: str) -> str:
    """A file's name, without its ending, for any text: it leads to no other folder, and is no option.

    Texts that are good names stand for themselves; of others a hash keeps two apart.
    """
    if not _unfit(text):
        return text
    digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:8]
    name = (
        re.sub(r"[^\w.=,-]+", "_", text).strip("_").lstrip("-.").encode()[:LONGEST].decode("utf-8", "ignore")
    )
    return f"{name}_{digest}" if name else digest

"""The program that begins each submitted job on the head: it checks raycl there, and becomes ``raycl run``.

It is sent together with the study's files and executed by its file name. It uses the standard library alone,
because another raycl may be installed there, or none.
"""

from __future__ import annotations

import hashlib
import os
import socket
import sys
from collections.abc import Sequence
from pathlib import Path

BAD_INPUT = 2  # exit code


def digest(package: Path) -> str:
    """Return 8 hexadecimal digits that change with any Python file of a package."""
    found = hashlib.sha256()
    for file in sorted(package.rglob("*.py")):
        found.update(file.relative_to(package).as_posix().encode() + b"\0" + file.read_bytes())
    return found.hexdigest()[:8]


def begin(words: Sequence[str]) -> int:
    """Replace this process by raycl, or return an exit code.

    Args:
        words: raycl's version and `digest` on the machine that submits, then the words of the command.
    """
    version, source, *command = words
    where = f"{socket.gethostname()}, where Ray's head runs the job"
    try:
        import raycl

        found, home = str(raycl.__version__), Path(str(raycl.__file__)).parent
    except Exception as error:  # anything may be called raycl there
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        _say(
            f"raycl cannot be imported by {sys.executable} on {where} ({reason}); install raycl {version} "
            "there, and start the head in its environment"
        )
        return BAD_INPUT
    if found != version:
        _say(
            f"raycl {found} is installed on {where}, and {version} on the machine that submits; install the "
            "same version on both"
        )
        return BAD_INPUT
    if digest(home) != source:
        _say(
            f"note: the files of raycl {found} on {where}, differ from those on the machine that submits; "
            "those of the head are used"
        )
    os.execv(sys.executable, [sys.executable, "-m", "raycl", *command])


def _say(line: str) -> None:
    sys.stderr.write(f"raycl: {line}\n")
    sys.stderr.flush()


if __name__ == "__main__":
    sys.exit(begin(sys.argv[1:]))

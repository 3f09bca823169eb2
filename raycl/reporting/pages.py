"""The page of a study in the folder of its store, which is made only if it would show something else."""

from __future__ import annotations

import hashlib
from pathlib import Path

from raycl import remembering
from raycl.reporting import render
from raycl.results.contents import content_key
from raycl.specs import key_of
from raycl.study.agenda import Agenda
from raycl.study.values import Study

PAGES = "page"


def publish_page(study: Study, agenda: Agenda, path: Path, command: str) -> bool:
    """Write the html report of a study to a file, unless the file already holds it.

    A page is known by the key of its content and by its own bytes; drawing it anew takes seconds.

    Args:
        study: The study.
        agenda: The agenda of the study, with its results.
        path: The file.
        command: The command that runs the study again.

    Returns:
        Whether the page was made.
    """
    content = content_key(study, agenda)
    place = str(path.absolute())
    wanted = None if content is None else key_of([content, command])
    if wanted is not None and remembering.recall(PAGES, place) == f"{wanted} {_digest(path)}".encode():
        return False
    render(study, agenda, "html", path=path, command=command)
    if wanted is not None:
        remembering.keep(PAGES, place, f"{wanted} {_digest(path)}".encode())
    return True


def _digest(path: Path) -> str:
    """Return the SHA-256 of a file; "" if it cannot be read."""
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError:
        return ""

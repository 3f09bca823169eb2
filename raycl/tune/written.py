"""Notes of what MLflow already contains, so that a finished study is not written to it again.

Only the database in the folder of a store is noted. A note holds as long as the study's results and the
database's file are the same; whatever else writes to the database makes the study be compared with it again.
"""

from __future__ import annotations

import json
import os

from raycl import remembering
from raycl.results.contents import content_key
from raycl.study.agenda import Agenda
from raycl.study.values import Study

NOTES = "mlflow"


def links(study: Study, agenda: Agenda) -> tuple[dict[str, str], str] | None:
    """Return the links to a study's pages if MLflow has all of its results, else None.

    Returns:
        By benchmark the link to the comparison of its cells, and the link to its runs.
    """
    noted = remembering.recall(NOTES, _place(study, agenda))
    if noted is None or (now := _state(study, agenda)) is None:
        return None
    try:
        found = json.loads(noted)
        return (dict(found["compare"]), str(found["runs"])) if found["state"] == now else None
    except (ValueError, KeyError, TypeError):
        return None


def note(study: Study, agenda: Agenda, compare: dict[str, str], runs: str) -> None:
    """Note that MLflow has all results of a study."""
    if (now := _state(study, agenda)) is not None:
        plain = {"state": now, "compare": compare, "runs": runs}
        remembering.keep(NOTES, _place(study, agenda), json.dumps(plain).encode())


def _place(study: Study, agenda: Agenda) -> str:
    return f"{agenda.store.root} {study.name}"


def _state(study: Study, agenda: Agenda) -> list[object] | None:
    """Return what a note depends on; None if the database is elsewhere, or not known well enough."""
    content = content_key(study, agenda)
    if content is None or os.environ.get("MLFLOW_TRACKING_URI"):
        return None
    try:
        status = (agenda.store.root / "mlflow.db").stat()
    except OSError:
        return None
    return [content, status.st_ino, status.st_size, status.st_mtime_ns]

"""Mending of MLflow's database in a store that was moved or copied, where it names its old folder.

MLflow writes the absolute address of the artefacts into each experiment and each run, and has no command that
changes it.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
from pathlib import Path

from raycl.tune.database import BUSY

FOLDER = "mlflow-artifacts"


def mend_artefacts(store: Path) -> int:
    """Let the database in a store name the artefacts in the same store, and return how many runs it mended.

    Only addresses that end as those of raycl do are changed.

    Args:
        store: The folder of the store.

    Raises:
        sqlite3.Error: If the database cannot be read or written.
    """
    path = store / "mlflow.db"
    if os.environ.get("MLFLOW_TRACKING_URI") or not path.is_file():
        return 0
    here = (store.resolve() / FOLDER).as_uri()
    with contextlib.closing(sqlite3.connect(path, timeout=BUSY)) as opened:
        tables = {row[0] for row in opened.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
        if not {"experiments", "runs"} <= tables:
            return 0
        places = opened.execute("SELECT DISTINCT artifact_location FROM experiments").fetchall()
        old = {_root(place) for (place,) in places if place} - {"", here}
        mended = 0
        with opened:  # one transaction
            for root in old:
                for table, column in _columns_of(tables):
                    done = opened.execute(
                        f"UPDATE {table} SET {column} = ? || substr({column}, ?) "
                        f"WHERE substr({column}, 1, ?) = ?",
                        (here, len(root) + 1, len(root) + 1, f"{root}/"),
                    )
                    mended += done.rowcount if table == "runs" else 0
    return mended


def _columns_of(tables: set[str]) -> list[tuple[str, str]]:
    """Return the tables and columns in which a database names artefacts."""
    places = [("experiments", "artifact_location"), ("runs", "artifact_uri")]
    return places + [("logged_models", "artifact_location")] * ("logged_models" in tables)


def _root(place: str) -> str:
    """Return the address of the folder of artefacts that holds this place; "" for any other place."""
    root, found, _ = place.rpartition(f"/{FOLDER}/")
    return f"{root}/{FOLDER}" if found and root.startswith("file:") else ""

"""Whole runs, written into MLflow's SQLite database in one transaction each, and found there in one query.

MLflow's client needs three requests for a run that is finished already, with about forty statements and seven
transactions. Here it is one transaction of a few inserts, which is ten times as fast. To find the existing
runs, the client makes objects of all their metrics, parameters and tags, of which three tags are needed.

Only runs that do not exist yet are written like this. All of this is done only if the database has the
revision, and the tables the columns, that this module was tested with. Everything else is left to MLflow's
client.
"""

from __future__ import annotations

import contextlib
import math
import os
import re
import sqlite3
import uuid
from collections.abc import Iterator, Sequence
from pathlib import Path
from urllib.parse import quote

from raycl.tune.database import BUSY
from raycl.tune.projection import Projection, milliseconds

_COLUMNS = {
    "runs": (
        "run_uuid", "name", "source_type", "source_name", "entry_point_name", "user_id", "status",
        "start_time", "end_time", "source_version", "lifecycle_stage", "artifact_uri", "experiment_id",
        "deleted_time",
    ),
    "tags": ("key", "value", "run_uuid"),
    "params": ("key", "value", "run_uuid"),
    "metrics": ("key", "value", "timestamp", "run_uuid", "step", "is_nan"),
    "latest_metrics": ("key", "value", "timestamp", "step", "is_nan", "run_uuid"),
}  # fmt: skip
# Revisions of MLflow's tables, as Alembic numbers them; a new one is added once it is tested.
_REVISIONS = {"dc11669786a5"}
_NAME = re.compile(r"[\w.\- :/]{1,250}", re.ASCII)  # names that MLflow accepts without a question
_LONGEST = 5_000  # characters of a value; MLflow cuts longer ones in ways of its own


class WholeRuns:
    """Reader and writer of whole runs of one experiment.

    Args:
        path: The SQLite database.
        experiment: MLflow's id of the experiment.
    """

    def __init__(self, path: Path, experiment: str) -> None:
        self._path, self._experiment = path, experiment
        self._opened: sqlite3.Connection | None = None
        self._known_tables = True

    def write(self, what: Projection, tags: dict[str, str]) -> str | None:
        """Write a run that does not exist yet.

        Args:
            what: What the run should contain; it has no artefacts, and is not running.
            tags: All tags of the run.

        Returns:
            MLflow's id of the run; None if MLflow's client has to write it.

        Raises:
            sqlite3.Error: If the database cannot be written.
        """
        if what.artefacts or what.status == "RUNNING" or not _plain(what, tags):
            return None
        connection = self._connection()
        if connection is None:
            return None
        with _transaction(connection):
            found = connection.execute(
                "SELECT artifact_location FROM experiments WHERE experiment_id = ? AND lifecycle_stage = ?",
                (int(self._experiment), "active"),
            ).fetchone()
            if found is None or not re.fullmatch(r"[^?#]+", found[0] or ""):
                return None
            run_id = uuid.uuid4().hex
            for table, rows in self._rows(run_id, found[0], what, tags).items():
                marks = ", ".join("?" * len(_COLUMNS[table]))
                names = ", ".join(_COLUMNS[table])
                connection.executemany(f"INSERT INTO {table} ({names}) VALUES ({marks})", rows)
        return run_id

    def tags(self, names: Sequence[str]) -> list[tuple[str, ...]] | None:
        """Return the values of some tags of all runs that are not deleted.

        Args:
            names: Names of the tags.

        Returns:
            For each run, MLflow's id of the run and the value of each tag, "" where it has none; None if
            MLflow's client has to be asked.

        Raises:
            sqlite3.Error: If the database cannot be read.
        """
        connection = self._connection()
        if connection is None:
            return None
        places = range(len(names))
        values = "".join(f", coalesce(tag{n}.value, '')" for n in places)
        joined = " ".join(
            f"LEFT JOIN tags AS tag{n} ON tag{n}.run_uuid = runs.run_uuid AND tag{n}.key = ?" for n in places
        )
        return connection.execute(
            f"SELECT runs.run_uuid{values} FROM runs {joined} "
            "WHERE runs.experiment_id = ? AND runs.lifecycle_stage = ?",
            (*names, int(self._experiment), "active"),
        ).fetchall()

    def close(self) -> None:
        """Close the database; the next use opens it again."""
        if self._opened is not None:
            self._opened.close()
            self._opened = None

    def _connection(self) -> sqlite3.Connection | None:
        """Return the open database; None if its tables are not those that this module knows."""
        if self._opened is None and self._known_tables:
            opened = _existing(self._path)
            try:
                opened.execute("PRAGMA foreign_keys = ON")
                self._known_tables = _known_tables(opened)
            except BaseException:  # such as a lock of another process; the next use looks again
                opened.close()
                raise
            self._opened = opened
        return self._opened if self._known_tables else None

    def _rows(
        self, run_id: str, artefacts: str, what: Projection, tags: dict[str, str]
    ) -> dict[str, list[tuple[object, ...]]]:
        """Return the rows of a run by table, in the order in which they are written."""
        points = dict.fromkeys((n, v, milliseconds(at), step) for n, v, at, step in what.points)
        latest: dict[str, tuple[int, int, float]] = {}
        for name, value, at, step in points:
            latest[name] = max(latest.get(name, (step, at, value)), (step, at, value))
        times = milliseconds(what.started), milliseconds(what.ended)
        place = f"{artefacts.rstrip('/')}/{run_id}/artifacts"
        run = (
            run_id, what.name, "UNKNOWN", "", "", "unknown", what.status, *times, "", "active", place,
            int(self._experiment), None,
        )  # fmt: skip
        return {
            "runs": [run],
            "params": [(key, str(value), run_id) for key, value in what.params.items()],
            "metrics": [(n, v, at, run_id, step, False) for n, v, at, step in points],
            "latest_metrics": [(n, v, at, step, False, run_id) for n, (step, at, v) in latest.items()],
            "tags": [(key, value, run_id) for key, value in ({"mlflow.runName": what.name} | tags).items()],
        }


def _existing(path: Path) -> sqlite3.Connection:
    """Open a database; where there is none, SQLite would otherwise create an empty one.

    The driver's own thread writes the rest when the recorder's thread has ended.
    """
    uri = f"file:{quote(os.fsencode(path.absolute()))}?mode=rw"
    return sqlite3.connect(uri, uri=True, timeout=BUSY, isolation_level=None, check_same_thread=False)


def _known_tables(connection: sqlite3.Connection) -> bool:
    """Return whether the tables of a database are those that this module was tested with."""
    revisions = {row[0] for row in connection.execute("SELECT version_num FROM alembic_version")}
    return revisions <= _REVISIONS and all(
        {row[1] for row in connection.execute(f"PRAGMA table_info({table})")} == set(columns)
        for table, columns in _COLUMNS.items()
    )


def _plain(what: Projection, tags: dict[str, str]) -> bool:
    """Return whether MLflow would store all names and values of a run as they are."""
    texts = [*map(str, what.params.values()), *tags.values(), what.name]
    names = {*what.params, *tags, *(point[0] for point in what.points)}
    return (
        all(map(_NAME.fullmatch, names))
        and all(len(text) <= _LONGEST for text in texts)
        and all(math.isfinite(point[1]) for point in what.points)
    )


@contextlib.contextmanager
def _transaction(connection: sqlite3.Connection) -> Iterator[None]:
    """Commit what is done inside the ``with`` block, or undo it if it raises."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
    except BaseException:
        connection.execute("ROLLBACK")
        raise
    connection.execute("COMMIT")

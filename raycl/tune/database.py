"""MLflow's database beside a store: there whole, or not at all."""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import sqlite3
from pathlib import Path
from urllib.parse import quote

from raycl.errors import UserError

# MLflow and SQLAlchemy are imported where they are needed: they take seconds.

FILE = "sqlite:///"
BUSY = 20.0  # seconds for which somebody else may write to a database
_PLAIN = re.compile(r"[\w/.,=+-]+", re.ASCII)  # what means itself in every URI


def make_database(uri: str) -> None:
    """Make the SQLite database that a URI names, unless it is there; other URIs are none of our business.

    MLflow makes its tables and then alters them in dozens of steps. A driver killed between two of them, or a
    second one that begins at the same moment, would leave a database that nothing can open any more. So it is
    made under another name, and takes its own when it is complete.
    """
    path = database_file(uri)
    if path is None:
        return
    if os.path.lexists(path):
        _try(path)
        return
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    path.parent.mkdir(parents=True, exist_ok=True)
    # Not by `raycl.wholefiles`: MLflow itself writes the draft, and a database that has come meanwhile stays.
    draft = path.with_name(f".{path.name}-{os.getpid()}-{secrets.token_hex(4)}")
    draft.touch()  # where it cannot be written that is known now: MLflow tries for two minutes
    try:
        root = (path.parent / "mlflow-artifacts").as_uri()
        made = SqlAlchemyStore(database_uri(draft), root)  # type: ignore[no-untyped-call]
        made.engine.dispose()
        try:
            os.link(draft, path)  # unlike a rename, it leaves one alone that has come meanwhile
        except FileExistsError:
            pass
        except OSError:  # a file system without links
            if not path.exists():
                os.replace(draft, path)
    finally:
        for end in ("", "-journal", "-wal", "-shm"):
            with contextlib.suppress(OSError):
                Path(f"{draft}{end}").unlink(missing_ok=True)


def _try(path: Path) -> None:
    """Look into a database that is there, once, because MLflow tries for two minutes where it cannot.

    Raises:
        OSError, sqlite3.Error: it is no database, or nobody can read it now.
    """
    if not path.is_file():  # a pipe would be waited for
        raise OSError(f"{path} is no file" if path.exists() else f"{path} is a link to nothing")
    with contextlib.closing(sqlite3.connect(path, timeout=BUSY)) as opened:
        opened.execute("SELECT count(*) FROM sqlite_master").fetchone()


def database_uri(path: Path) -> str:
    """The URI of an SQLite database in a file, whatever stands in its name.

    Raises:
        UserError: there is none that SQLAlchemy takes for that file.
    """
    uri = f"{FILE}{path}"
    if _PLAIN.fullmatch(str(path)):
        return uri
    # The longer scheme means the same, and MLflow makes no folder of a quoted name for it.
    for tried in (f"sqlite+pysqlite:///{quote(os.fsencode(path))}", uri):
        if database_file(tried) == path:
            return tried
    raise UserError(
        f"{str(path)!a} has signs that MLflow's database cannot have in its path; name another with "
        "--store DIR, or a server in MLFLOW_TRACKING_URI"
    )


def database_file(uri: str) -> Path | None:
    """The file of the SQLite database that a URI names; None of any other URI."""
    import sqlalchemy

    try:
        read = sqlalchemy.engine.make_url(uri)
        if read.get_backend_name() != "sqlite" or read.database in (None, "", ":memory:"):
            return None
        return None if str(read.database).startswith("file:") else Path(str(read.database))
    except (sqlalchemy.exc.ArgumentError, ValueError):
        return None

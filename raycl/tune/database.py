"""MLflow's database in the folder of a store, which is created as a whole or not at all."""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import sqlite3
from pathlib import Path
from urllib.parse import quote

from raycl.errors import UserError

# MLflow and SQLAlchemy are imported where they are needed, because their import takes seconds.

FILE = "sqlite:///"
BUSY = 20.0  # seconds to wait while another process writes to a database
_PLAIN = re.compile(r"[\w/.,=+-]+", re.ASCII)  # paths that need no quoting in a URI


def make_database(uri: str) -> None:
    """Create the SQLite database that a URI names, unless it exists; do nothing for any other URI.

    MLflow creates its tables and then alters them in dozens of steps. A driver that is killed between two of
    them, or a second driver that begins at the same moment, would leave a database that nothing can open any
    more. The database is therefore created under another name, and renamed when it is complete.

    Raises:
        OSError, sqlite3.Error: If an existing file is not a database or cannot be read.
    """
    path = database_file(uri)
    if path is None:
        return
    if os.path.lexists(path):
        _try(path)
        return
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    path.parent.mkdir(parents=True, exist_ok=True)
    # `raycl.wholefiles` does not apply here, because MLflow itself writes the draft, and a database that
    # another driver has created meanwhile must stay.
    draft = path.with_name(f".{path.name}-{os.getpid()}-{secrets.token_hex(4)}")
    draft.touch()  # fails at once if the folder cannot be written, where MLflow would try for two minutes
    try:
        root = (path.parent / "mlflow-artifacts").as_uri()
        made = SqlAlchemyStore(database_uri(draft), root)  # type: ignore[no-untyped-call]
        made.engine.dispose()
        try:
            os.link(draft, path)  # unlike a rename, a link never replaces an existing file
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
    """Read from an existing database once, because MLflow would retry a failure for two minutes.

    Raises:
        OSError, sqlite3.Error: If it is not a database, or cannot be read now.
    """
    if not path.is_file():  # reading a pipe would block
        raise OSError(f"{path} is not a file" if path.exists() else f"{path} is a broken link")
    with contextlib.closing(sqlite3.connect(path, timeout=BUSY)) as opened:
        opened.execute("SELECT count(*) FROM sqlite_master").fetchone()


def database_uri(path: Path) -> str:
    """Return the URI of an SQLite database in a file, whose path may contain any characters.

    Raises:
        UserError: If SQLAlchemy has no URI for that file.
    """
    uri = f"{FILE}{path}"
    if _PLAIN.fullmatch(str(path)):
        return uri
    # The longer scheme means the same, but MLflow does not create a folder with the quoted name for it.
    for tried in (f"sqlite+pysqlite:///{quote(os.fsencode(path))}", uri):
        if database_file(tried) == path:
            return tried
    raise UserError(
        f"{str(path)!a} has characters that the path of MLflow's database cannot have; name another folder "
        "with --store DIR, or a server in MLFLOW_TRACKING_URI"
    )


def database_file(uri: str) -> Path | None:
    """Return the file of the SQLite database that a URI names; None for any other URI."""
    import sqlalchemy

    try:
        read = sqlalchemy.engine.make_url(uri)
        if read.get_backend_name() != "sqlite" or read.database in (None, "", ":memory:"):
            return None
        return None if str(read.database).startswith("file:") else Path(str(read.database))
    except (sqlalchemy.exc.ArgumentError, ValueError):
        return None

"""MLflow's database beside a store: there whole, or not at all."""

from __future__ import annotations

import contextlib
import os
import secrets
from pathlib import Path

FILE = "sqlite:///"


def make_database(uri: str) -> None:
    """Make the SQLite database that a URI names, unless it is there; other URIs are none of our business.

    MLflow makes its tables and then alters them in dozens of steps. A driver killed between two of them, or a
    second one that begins at the same moment, would leave a database that nothing can open any more. So it is
    made under another name, and takes its own when it is complete.
    """
    path = Path(uri.removeprefix(FILE))
    if not uri.startswith(FILE) or path.exists():
        return
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}-{os.getpid()}-{secrets.token_hex(4)}")
    try:
        root = (path.parent / "mlflow-artifacts").as_uri()
        made = SqlAlchemyStore(f"{FILE}{draft}", root)  # type: ignore[no-untyped-call]
        made.engine.dispose()
        try:
            os.link(draft, path)  # unlike a rename, it leaves one alone that has come meanwhile
        except FileExistsError:
            pass
        except OSError:  # a file system without links
            if not path.exists():
                os.replace(draft, path)
    finally:
        for left in path.parent.glob(f"{draft.name}*"):
            with contextlib.suppress(OSError):
                left.unlink(missing_ok=True)

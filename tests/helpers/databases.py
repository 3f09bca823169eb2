"""MLflow's empty tables, made once in a process and copied from then on."""

from __future__ import annotations

import contextlib
import functools
import logging
import sqlite3
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any


def copy_empty_databases() -> Callable[[], None]:
    """Copy MLflow's tables into each new database of this process, and return what ends that.

    MLflow makes them in dozens of steps, which take seconds. Commands in processes of their own, such as
    those of `test_resuming.py`, go that way.
    """
    from mlflow.store.db import utils

    real, made = _made()

    def copied(engine: Any) -> None:
        path = engine.url.database
        if engine.dialect.name != "sqlite" or not path or Path(path).stat().st_size:
            real(engine)
            return
        with contextlib.closing(sqlite3.connect(path)) as database:
            made.backup(database)

    utils._initialize_tables = copied  # type: ignore[assignment]

    def end() -> None:
        utils._initialize_tables = real

    return end


@functools.cache
def _made() -> tuple[Callable[[Any], None], sqlite3.Connection]:
    """MLflow's own function, and a database in memory that it has made."""
    import sqlalchemy
    from mlflow.store.db import utils

    made = sqlite3.connect(":memory:", check_same_thread=False)
    real: Any = utils._initialize_tables
    logging.disable(logging.INFO)  # MLflow says that it makes tables
    engine = sqlalchemy.create_engine("sqlite://", creator=lambda: made, poolclass=sqlalchemy.StaticPool)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # SQLAlchemy warns of what MLflow does
        real(engine)
    logging.disable(logging.NOTSET)
    return real, made

"""The doctor's check of whether MLflow's server or database answers."""

from __future__ import annotations

import contextlib
import sqlite3
from pathlib import Path
from urllib.parse import urlsplit

from raycl.errors import redacted
from raycl.tune.database import database_file
from raycl.tune.doctor.report import DoctorReport
from raycl.tune.fitness.facts import Facts
from raycl.tune.fitness.judging import Fault

# MLflow and SQLAlchemy are imported where they are needed, because they may not be installed.

SECONDS = 10  # seconds that a database has to answer


def look_at_mlflow(report: DoctorReport, store: Path, facts: Facts) -> None:
    """Check whether the tracking server or database answers, without creating one."""
    if "mlflow" not in facts.packages:
        return
    from raycl.tune.experiment import tracking_uri

    uri = tracking_uri(store)
    called = redacted(uri)
    try:
        scheme = urlsplit(uri).scheme.partition("+")[0]
        if scheme == "sqlite":
            state = _ask_sqlite(uri)
        elif scheme in ("postgresql", "mysql", "mssql"):
            state = _ask_database(uri)
        else:
            state = _ask_server(uri)
    except Exception as error:  # every library has exceptions of its own
        reason = redacted(" ".join(str(error).split())[:200]) or type(error).__name__
        report.rows.append(("MLflow", f"{called}: does not answer"))
        report.findings.append(
            Fault("miss", f"MLflow at {called}", f"does not answer ({reason})", _cure(reason))
        )
        return
    report.rows.append(("MLflow", f"{called}: {state}"))


def _cure(reason: str) -> str:
    if "401" in reason or "not authenticated" in reason.lower():
        return "set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD"
    if "password authentication failed" in reason or "Access denied" in reason:
        return "put the right password into MLFLOW_TRACKING_URI"
    if "403" in reason or "host header" in reason.lower():
        return "start it with --allowed-hosts that include the host and port of MLFLOW_TRACKING_URI"
    return "start it, or unset MLFLOW_TRACKING_URI to keep the database in the store's folder"


def _ask_sqlite(uri: str) -> str:
    file = database_file(uri)
    if file is None:
        return "answers"  # a database in memory
    if not file.exists():
        return "made by the first run"
    with contextlib.closing(
        sqlite3.connect(f"{file.absolute().as_uri()}?mode=ro", uri=True, timeout=SECONDS)
    ) as known:
        count = known.execute("SELECT count(*) FROM experiments").fetchone()[0]
    return _answers(count)


def _ask_database(uri: str) -> str:
    import sqlalchemy

    limit = {} if uri.startswith("mssql") else {"connect_timeout": SECONDS}
    engine = sqlalchemy.create_engine(uri, connect_args=limit)
    try:
        with engine.connect() as known:
            if not sqlalchemy.inspect(known).has_table("experiments"):
                return "answers, and is empty: the first run makes its tables"
            count = known.execute(sqlalchemy.text("SELECT count(*) FROM experiments")).scalar_one()
            return _answers(count)
    finally:
        engine.dispose()


def _answers(count: int) -> str:
    return f"answers, {count} experiment{'' if count == 1 else 's'}"


def _ask_server(uri: str) -> str:
    from mlflow.tracking import MlflowClient

    MlflowClient(tracking_uri=uri).search_experiments(max_results=1)
    return "answers"

"""Ray and MLflow that cannot be used: one line of ours, exit code 2, and none of their tracebacks."""

from __future__ import annotations

import http.server
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import raycl.tune.tracking  # so that the forked commands need not  # noqa: F401
from tests.helpers.warm import typed

pytestmark = pytest.mark.slow  # these tests start clusters, servers or drivers of their own

STUDY = """
from raycl import *

STUDY = Study(methods={"finetune": {}}, benchmarks=["digits_split"],
              network="mlp(hidden=8)", fit={"epochs": 1}, search=None, final=Seeds(1))
"""


class Broken(http.server.BaseHTTPRequestHandler):
    """Answers everything with an error of its own."""

    def do_GET(self) -> None:
        self.send_response(500)
        self.end_headers()
        self.wfile.write(b"<html>Traceback (most recent call last)\n</html>" * 20)

    do_POST = do_GET

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "mine.py").write_text(STUDY)
    (tmp_path / "results").mkdir()
    return tmp_path


@pytest.fixture(scope="module")
def broken() -> Iterator[str]:
    """The address of a server that answers 500."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Broken) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.fixture(scope="module")
def dead() -> Iterator[str]:
    """An address where nobody listens, nor will."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield f"http://someone:secret@127.0.0.1:{taken.getsockname()[1]}"


def refused(folder: Path, *words: str, **environment: str) -> str:
    """The one line with which a command is refused."""
    said = typed(words, folder, environment, limit=300)
    assert said.code == 2 and "Traceback" not in said.out + said.err, said
    (line,) = said.err.splitlines()
    assert line.startswith("raycl: ") and len(line) < 600 and "secret" not in line
    return line


@pytest.mark.parametrize(
    "uri",
    [
        "BROKEN",
        "DEAD",
        "nosuch://x",
        "http://[::1",
        "http://127.0.0.1:99999999",
        "sqlite:////dev/null/x.db",
        "sqlite:///mine.py",
        "./mlruns",
        "uc://x",
    ],
)
def test_an_mlflow_that_cannot_be_used(folder: Path, broken: str, dead: str, uri: str) -> None:
    uri = {"BROKEN": broken, "DEAD": dead}.get(uri, uri)
    line = refused(folder, "sync", "mine.py", MLFLOW_TRACKING_URI=uri)
    assert "does not answer" in line and "unset MLFLOW_TRACKING_URI" in line


@pytest.mark.parametrize("uri", ["sqlite://", "sqlite:///:memory:"])
def test_a_database_in_memory_is_refused(folder: Path, uri: str) -> None:
    line = refused(folder, "sync", "mine.py", MLFLOW_TRACKING_URI=uri)
    assert "is lost when this process ends" in line


@pytest.mark.parametrize(
    ("make", "part"),
    [
        (lambda file: file.write_text("no database " * 1000), "file is not a database"),
        (lambda file: file.mkdir(), "is not a file"),
        (lambda file: file.symlink_to("/nowhere/x"), "is a broken link"),
        (lambda file: os.mkfifo(file), "is not a file"),
    ],
)
def test_a_database_beside_the_store_that_is_none(
    folder: Path, make: Callable[[Path], object], part: str
) -> None:
    make(folder / "results" / "mlflow.db")
    line = refused(folder, "run", "mine.py", "--local")
    assert (
        part in line and "move the file away; the results of the store are then written to a new one" in line
    )
    assert not list((folder / "results").glob("runs/??/*"))  # nothing was started


def test_an_outage_in_the_middle_shows_no_traceback_of_mlflow(folder: Path) -> None:
    import sqlite3

    assert typed(["sync", "mine.py"], folder, limit=300).code == 0
    with sqlite3.connect(folder / "results" / "mlflow.db") as opened:
        opened.execute("DROP TABLE metrics")
    said = typed(["run", "mine.py", "--local"], folder, limit=300)
    assert said.code == 0 and said.err == "" and "Traceback" not in said.out
    assert said.out.count("cannot be reached") == 1 and "run `raycl sync` later" in said.out
    assert "does not answer" in refused(folder, "sync", "mine.py")


def run_alone(folder: Path, **environment: str) -> str:
    """The one line with which `raycl run` is refused in a process of its own, in which no Ray is joined."""
    done = subprocess.run(
        [sys.executable, "-m", "raycl.cli", "run", "mine.py"],
        cwd=folder,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 2 and "Traceback" not in done.stdout + done.stderr, done
    (line,) = done.stderr.splitlines()
    return line


def test_a_ray_that_does_not_start(folder: Path) -> None:
    line = run_alone(folder, RAY_TMPDIR="/dev/null/x")
    assert line.startswith("raycl: Ray does not start on this machine ([Errno 20] Not a directory")
    assert "RAY_TMPDIR" in line and line.endswith("with --local")


def test_a_ray_that_does_not_load(folder: Path) -> None:
    (folder / "elsewhere" / "ray").mkdir(parents=True)
    (folder / "elsewhere" / "ray" / "__init__.py").write_text(
        "raise ImportError('libnothing.so:\\ncannot open')"
    )
    before = os.environ.get("PYTHONPATH", "")
    line = run_alone(folder, PYTHONPATH=f"{folder / 'elsewhere'}{os.pathsep}{before}")
    assert "Ray does not start on this machine (ImportError: libnothing.so: cannot open)" in line

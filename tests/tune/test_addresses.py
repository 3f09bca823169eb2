"""Real MLflow in folders of every name, from a cold store to its pages; and names in its filters."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest
from mlflow.tracking import MlflowClient

from raycl import Study
from raycl.cli import main
from raycl.runs.reports import TaskReport
from raycl.runs.result import Result
from raycl.runs.store import Store
from raycl.study.agenda import Agenda
from raycl.study.expand import cells_of
from raycl.tune.database import database_file, database_uri, make_database
from raycl.tune.experiment import tracking_uri
from raycl.tune.tracking import Tracking

pytestmark = pytest.mark.slow  # these tests start clusters, servers or drivers of their own

ODD = [
    "run%20one",
    "a#b",
    "q?x=1&y",
    "sp ace",
    "\u00fcn\u00ef \u6f22",
    "it's",
    'quo"te',
    "plus+at@colon:",
    "100%",
    "a%2Fb",
    "[x]",
    "back\\slash",
    "semi;colon",
    "%",
    "~",
]
pytestmark = pytest.mark.slow  # these tests start clusters, servers or drivers of their own

FILE = """
from raycl import Study

LABEL = "it's \\"a\\" `b` \\\\\\\\ %"
STUDY = Study(name="it's 100% #1?", methods={LABEL: {"method": "finetune"}, "finetune": {}},
              benchmarks=["digits_split"], search=None)
"""


def filled(root: Path, study: Study) -> Store:
    store = Store(root).open()
    for cell in cells_of(study):
        for seed in (1, 2, 3):
            rows = [
                TaskReport(
                    t,
                    dict.fromkeys(range(t + 1), 0.5),
                    dict.fromkeys(range(t + 1), 0.5),
                    {"main": 1},
                    9,
                    {"main": 1.0},
                    0.1,
                    7,
                    11,
                    44,
                    {},
                    1e9 + t,
                )
                for t in range(5)
            ]
            store.put(Result(cell.spec({}, seed), "done", tuple(rows), "", {"seconds": 5.0, "started": 1e9}))
    return store


@pytest.mark.parametrize("name", ODD)
def test_a_uri_means_the_file_that_it_was_made_for(name: str, tmp_path: Path) -> None:
    path = tmp_path / name / "mlflow.db"
    assert database_file(database_uri(path)) == path


def test_other_uris_mean_no_file() -> None:
    for uri in (
        "http://127.0.0.1:5000",
        "postgresql://a:b@c/d",
        "sqlite://",
        "sqlite:///:memory:",
        "file:///x",
        "",
        "nonsense",
        "sqlite:///file:x?uri=true",
        "databricks",
    ):
        assert database_file(uri) is None
        make_database(uri)  # none of its business
    assert database_file("sqlite:////a/b%20c.db") == Path("/a/b c.db")


def test_sync_and_reopening_in_folders_of_every_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """One cold database is made with all signs in its path at once; the others differ in the URI alone."""
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "".join(ODD).replace("/", "") / "run%20one"
    folder.mkdir(parents=True)
    (folder / "s.py").write_text(FILE)
    from raycl.study.file import read_study

    study = read_study(folder / "s.py")
    store = filled(folder / "st#ore?", study)
    for _ in range(2):
        assert main(["sync", str(folder / "s.py"), "--store", str(store.root)]) == 0
    assert study.name in capsys.readouterr().out
    client = MlflowClient(tracking_uri=tracking_uri(store.root))
    experiment = client.get_experiment_by_name(study.name)
    assert experiment is not None
    runs = client.search_runs([experiment.experiment_id], max_results=100)
    assert len(runs) == 2 + 6, "a cell was not found again, and made twice"
    tracking = Tracking.open(study, Agenda(cells_of(study), Store(store.root)))
    for state in tracking.agenda.states:  # as after a run that has just ended
        tracking.one(state, next(iter(state.results.values())).key)
    assert len(client.search_runs([experiment.experiment_id], max_results=100)) == 8
    parent = next(r for r in runs if r.data.tags["raycl.key"].startswith("cell it's"))
    assert [a.path for a in client.list_artifacts(parent.info.run_id)] == ["best.json", "matrices.json"]
    got = client.download_artifacts(parent.info.run_id, "matrices.json", str(tmp_path))
    assert Path(got).read_text().startswith("{")
    assert {p.name for p in store.root.iterdir()} == {"mlflow.db", "mlflow-artifacts", "runs", "summaries"}
    assert [p.name for p in (store.root / "mlflow-artifacts").iterdir()] == [study.name]
    assert sorted(p.name for p in tmp_path.iterdir() if p.is_dir()) == [folder.parent.name], "a stray folder"
    assert sorted(p.name for p in folder.iterdir() if p.name != "__pycache__") == ["s.py", "st#ore?"]
    assert main(["doctor", "--store", str(store.root)]) in (0, 1)
    assert "answers, 2 experiments" in " ".join(capsys.readouterr().out.split())


def test_pages_of_a_store_in_a_folder_of_an_odd_name(tmp_path: Path) -> None:
    root = tmp_path / "run%20one #1?"
    root.mkdir()
    make_database(database_uri(root / "mlflow.db"))
    with contextlib.closing(socket.socket()) as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    words = [sys.executable, "-m", "raycl.cli", "ui", "--store", str(root), "--port", str(port)]
    served = subprocess.Popen(
        words, cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    )
    try:
        asked = f"http://127.0.0.1:{port}/api/2.0/mlflow/experiments/get-by-name?experiment_name=Default"
        for _ in range(600):
            try:
                with urllib.request.urlopen(asked, timeout=5) as answer:
                    assert answer.status == 200 and b"Default" in answer.read()
                break
            except OSError:
                assert served.poll() is None
                time.sleep(0.2)
        else:
            raise AssertionError("no answer")
    finally:
        os.killpg(served.pid, signal.SIGTERM)
        served.wait(60)
    assert sorted(p.name for p in tmp_path.iterdir() if "%25" in p.name) == []

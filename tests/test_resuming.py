"""``kill -9`` and the same command again: the same bytes, nothing twice, in MLflow each run once."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from mlflow.tracking import MlflowClient

from tests.helpers.warm import typed

STUDY = """
from raycl import *
STUDY = Study(
    methods={"one": {"search": None}, "finetune": {"fit.lr": Float(0.01, 1, log=True)}, "hat": {}, "spg": {}},
    benchmarks=["digits_split"],
    network="mlp(hidden=16, drop1=0.0, drop2=0.0)",
    fit={"epochs": 4, "lr": 0.1, "stop": "never"},
    search=Search(trials=5, concurrency=3, startup_trials=3),
    final=Seeds(1, 2),
)
"""
ENVIRONMENT = {"PYTHONWARNINGS": "ignore"}
RUNS = 2 + 6 + 6 + 2  # spg has nothing to search here


def command(*words: str) -> list[str]:
    return [sys.executable, "-m", "raycl.cli", *words]


def start(folder: Path, *words: str) -> subprocess.Popen[bytes]:
    with (folder / "out").open("ab") as log:
        return subprocess.Popen(
            command(*words),
            cwd=folder,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            env=os.environ | ENVIRONMENT,
        )


def csv(folder: Path) -> bytes:
    said = typed(["report", "mine.py", "--format", "csv", "--no-times"], folder)
    assert said.code == 0, said.err
    return said.out.encode()


def finished(folder: Path) -> dict[str, float]:
    return {p.stem: p.stat().st_mtime for p in (folder / "results" / "runs").glob("??/*.json")}


def make(folder: Path) -> Path:
    folder.mkdir()
    (folder / "mine.py").write_text(STUDY)
    return folder


def once_in_mlflow(folder: Path, name: str = "mine") -> int:
    """Runs in MLflow; none may stand there twice."""
    client = MlflowClient(tracking_uri=f"sqlite:///{folder / 'results' / 'mlflow.db'}")
    experiment = client.get_experiment_by_name(name)
    assert experiment is not None
    runs = client.search_runs([experiment.experiment_id], max_results=5000)
    keys = [(r.data.tags.get("mlflow.parentRunId"), r.data.tags["raycl.key"]) for r in runs]
    assert len(keys) == len(set(keys))
    assert all(r.info.status == "FINISHED" for r in runs)
    return len(runs)


def killed(folder: Path, words: list[str], moments: list[int]) -> int:
    """Play, killing the driver at these numbers of finished runs; gives how many runs were computed twice."""
    twice = 0
    for moment in [*moments, None]:
        before = finished(folder)
        process = start(folder, *words)
        while process.poll() is None:
            if moment is not None and len(finished(folder)) >= moment:
                process.kill()  # SIGKILL: nothing can be tidied up
                break
            time.sleep(0.02)
        assert process.wait() == (0 if moment is None else -signal.SIGKILL), (folder / "out").read_text()
        after = finished(folder)
        twice += sum(after[key] != when for key, when in before.items())
    return twice


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Played in one process without interruption."""
    folder = make(tmp_path_factory.mktemp("whole") / "study")
    said = typed(["run", "mine.py", "--local"], folder, limit=900)
    assert said.code == 0, said.out + said.err
    return folder


@pytest.mark.slow
@pytest.mark.parametrize(
    "moments", [[6], pytest.param([2, 9], marks=pytest.mark.slow)], ids=["once", "twice"]
)
def test_a_driver_that_is_killed_goes_on(whole: Path, tmp_path: Path, moments: list[int]) -> None:
    folder = make(tmp_path / "study")
    assert killed(folder, ["run", "mine.py", "--local"], moments) == 0
    assert csv(folder) == csv(whole)
    assert once_in_mlflow(folder) == once_in_mlflow(whole) == RUNS + 4  # and a parent for each of four cells


@pytest.mark.release
def test_a_driver_on_ray_killed_at_five_moments(whole: Path, tmp_path: Path) -> None:
    folder = make(tmp_path / "study")
    assert killed(folder, ["run", "mine.py"], [0, 1, 4, 9, 13]) == 0
    assert csv(folder) == csv(whole)
    assert once_in_mlflow(folder) == RUNS + 4  # and a parent for each of four cells


@pytest.mark.release
def test_ctrl_c_on_ray(tmp_path: Path) -> None:
    folder = make(tmp_path / "study")
    process = start(folder, "run", "mine.py")
    while process.poll() is None and len(finished(folder)) < 3:
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does: to the whole group
    assert process.wait() == 130
    said = (folder / "out").read_text()
    assert f"of {RUNS} runs" in said and "resume with:  raycl run mine.py" in said and "Traceback" not in said


@pytest.mark.release
def test_a_cluster_by_its_address_gives_the_same_numbers(
    whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = make(tmp_path / "study")
    ray = [sys.executable, "-m", "ray.scripts.scripts"]
    head = [*ray, "start", "--head", "--port=6399", "--num-cpus=2", "--include-dashboard=false", "--block",
            "--node-ip-address=127.0.0.1", f"--temp-dir=/tmp/raycl-head-{os.getpid()}"]  # fmt: skip
    token = tmp_path / "token"
    token.write_text("a" * 64)
    monkeypatch.setenv("RAY_AUTH_MODE", "token")
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(token))
    environment = os.environ | {"RAY_USAGE_STATS_ENABLED": "0"}
    with (tmp_path / "head.log").open("wb") as log:
        process = subprocess.Popen(head, stdout=log, stderr=log, start_new_session=True, env=environment)
    try:
        deadline = time.monotonic() + 60
        while b"Ray runtime started" not in (tmp_path / "head.log").read_bytes():
            assert process.poll() is None and time.monotonic() < deadline, (tmp_path / "head.log").read_text()
            time.sleep(0.2)
        played = start(folder, "run", "mine.py", "--address", "127.0.0.1:6399")
        assert played.wait() == 0, (folder / "out").read_text()
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait()
    assert csv(folder) == csv(whole)

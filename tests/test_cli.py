"""The commands, as a user types them: what they print, where, and with which exit code."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from raycl.cli import main

pytestmark = pytest.mark.usefixtures("mlflow_tables")

STUDY = """
from raycl import *
STUDY = Study(
    methods={"one": {"search": None}, "hat": {}, "finetune": {}},
    benchmarks=["digits_split"],
    network="mlp(hidden=8, drop2=0.0)",
    fit={"epochs": 2, "lr": 0.1},
    search=Search(trials=2, concurrency=2, startup_trials=2),
    final=Seeds(1, 2),
)
"""

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Type a command in a folder with the study ``mine.py``; gives code, output, errors."""
    (tmp_path / "mine.py").write_text(STUDY)
    monkeypatch.chdir(tmp_path)

    def typed(*words: str) -> tuple[int, str, str]:
        capsys.readouterr()
        code = main(["--verbose", *words])  # warnings stay errors
        said = capsys.readouterr()
        return code, said.out, said.err

    return typed


def test_a_study_from_plan_to_report(run: Run, tmp_path: Path) -> None:
    code, out, _ = run("plan", "mine.py")
    assert code == 0 and "8 runs, 0 done, 8 to do" in out and not (tmp_path / "results").exists()
    code, out, err = run("run", "mine.py", "--local")
    assert code == 0 and err == ""
    assert out.count("/8 ") == 8 and "digits_split (5 tasks x 2 classes, dissimilar), 2 seeds" in out
    assert "results    ./results" in out and (tmp_path / "results" / "mine.html").stat().st_size > 10_000
    code, out, _ = run("run", "mine.py", "--local")
    assert code == 0 and "/8 " not in out  # nothing is computed twice
    code, out, _ = run("plan", "mine.py")
    assert "8 runs, 8 done" in out
    code, table, _ = run("report", "mine.py")
    assert code == 0 and max(map(len, table.splitlines())) <= 80
    code, csv, _ = run("report", "mine.py", "--format", "csv", "--no-times")
    assert csv.startswith("benchmark,") and "ct" not in csv.splitlines()[0].split(",")
    code, page, _ = run("report", "mine.py", "--format", "html", "--out", "page.html")
    assert page.strip() == "page.html" and "<svg" in (tmp_path / "page.html").read_text()
    code, out, _ = run("sync", "mine.py")
    assert code == 0 and "sqlite:///" in out and "compare-runs" in out
    code, out, _ = run("gc", "mine.py")
    assert code == 0 and out.startswith("0 unneeded files or folders (1 studies read)")
    code, out, _ = run("gc", "mine.py", "--yes")
    code, out, _ = run("plan", "mine.py")
    assert "8 runs, 8 done" in out


def test_gc_lists_and_deletes_what_no_study_needs(run: Run, tmp_path: Path) -> None:
    assert run("run", "mine.py", "--local", "--only", "finetune")[0] == 0
    (tmp_path / "other.py").write_text(STUDY.replace('"epochs": 2', '"epochs": 3'))
    assert run("run", "other.py", "--local", "--only", "finetune")[0] == 0
    runs = len(list((tmp_path / "results/runs").glob("??/*.json")))
    code, out, _ = run("gc", "mine.py")
    assert code == 0 and "would be deleted (--yes deletes them)" in out
    assert len(list((tmp_path / "results/runs").glob("??/*.json"))) == runs
    assert run("gc", "mine.py", "--yes")[0] == 0
    assert len(list((tmp_path / "results/runs").glob("??/*.json"))) == runs - 3
    assert "3 runs, 3 done" in run("plan", "mine.py", "--only", "finetune")[1]
    assert run("gc")[0] == 2  # no ./studies here: everything would be garbage


def test_methods_and_benchmarks_are_listed(run: Run) -> None:
    code, out, _ = run("methods")
    assert code == 0
    for name in ("finetune", "one", "mtl", "ewc", "hat", "spg", "supsup"):
        assert any(line.startswith(name + " ") for line in out.splitlines()), name
    code, out, _ = run("methods", "hat")
    assert "method.smax: float, default 400, searched in 25..800 (log)" in out and "clip" in out
    code, out, _ = run("benchmarks")
    assert "digits_split" in out and "permuted_mnist" in out
    code, out, _ = run("benchmarks", "digits_writers(tasks=3)", "--show")
    assert code == 0 and "3 tasks" in out and len(out.splitlines()) >= 3 + 5
    for command in (["methods"], ["benchmarks"], ["data", "list"]):
        assert max(map(len, run(*command)[1].splitlines())) <= 80


def test_data_is_listed_prepared_and_verified(
    run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("RAYCL_DATA", str(tmp_path / "data"))
    assert "made when first used" in run("data", "list")[1]
    assert run("data", "prepare", "digits")[0] == 0
    assert "present" in run("data", "list")[1]
    code, out, _ = run("data", "verify", "digits")
    assert code == 0 and "all checksums match" in out
    file = next((tmp_path / "data" / "digits").glob("*.npy"))
    file.write_bytes(file.read_bytes()[:-1])
    code, out, _ = run("data", "verify")
    assert code == 1 and "damaged" in out


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        (["run", "nowhere.py"], ["nowhere.py: there is no such study file"]),
        (["plan", "mine.py", "--only", "zat"], ["--only 'zat' matches no cell"]),
        (["plan", "mine.py", "--set", "search.trial=4"], ["unknown field 'trial'; did you mean 'trials'"]),
        (["plan", "mine.py", "--set", "network=mpl"], ["mine.py: network: unknown network 'mpl'"]),
        (["run", "mine.py", "--set", "benchmarks=['permuted_mnist']"], ["raycl data prepare mnist"]),
        (["run", "mine.py", "--local", "--store", "mine.py/x"], ["mine.py is a file", "--store DIR"]),
        (["run", "mine.py", "--address", "127.0.0.1:1"], ["no Ray cluster answers at --address 127.0.0.1:1"]),
        (["methods", "hatt"], ["unknown method 'hatt'; did you mean 'hat'"]),
        (["benchmarks", "digit_split"], ["did you mean 'digits_split'"]),
        (["data", "prepare", "mnits"], ["unknown data set 'mnits'; did you mean 'mnist'"]),
        (["data", "prepare", "mnist", "--from", "."], ["does not contain MNIST", "train-images-idx3-ubyte"]),
        (["bench", "scale"], ["raycl bench: ", "`python -m bench`", "`make bench`"]),
        (["ui"], ["mlflow.db", "raycl run"]),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(run: Run, words: list[str], parts: list[str]) -> None:
    code, _, err = run(*words)
    assert code == 2, err
    assert err.startswith("raycl: ") and "Traceback" not in err
    assert [part for part in parts if part not in err] == [], err


def test_only_plays_some_and_the_page_still_shows_all(run: Run, tmp_path: Path) -> None:
    assert run("run", "mine.py", "--local", "--only", "one")[0] == 0
    code, out, _ = run("run", "mine.py", "--local", "--only", "finetune")
    assert code == 0 and "finetune" in out and "\none " not in out
    assert re.search(
        r"^finetune +\.\d+ \.\d+ +[+-]?\.\d+ \.\d+ ", out, re.M
    )  # transfer from `one`, played before
    page = (tmp_path / "results" / "mine.html").read_text()
    assert "raycl run mine.py" in page and "--only" not in page
    assert "5 of 8 runs done" in re.sub(r"\s+", " ", page)


def test_a_blocked_cell_stops_no_other(run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    words = [
        "mine.py",
        "--only",
        "finetune",
        "--set",
        "benchmarks=['digits_split', 'permuted_mnist(tasks=2)']",
    ]
    code, out, err = run("run", *words, "--local")
    assert code == 1
    assert "blocked" in err and "raycl data prepare mnist" in err and "finetune" in out
    code, out, _ = run("plan", *words)
    assert code == 0 and "blocked" in out and "raycl data prepare mnist" in out


def test_a_damaged_result_is_said_set_aside_and_computed_again(run: Run, tmp_path: Path) -> None:
    assert run("run", "mine.py", "--local", "--only", "finetune")[0] == 0
    before = run("report", "mine.py", "--only", "finetune", "--format", "csv", "--no-times")[1]
    file = next((tmp_path / "results" / "runs").glob("??/*.json"))
    file.write_text(file.read_text()[:100])
    code, out, _ = run("run", "mine.py", "--local", "--only", "finetune")
    assert code == 0 and "is not a result of raycl (truncated or damaged at byte" in out
    assert (tmp_path / "results" / "damaged" / file.name).exists()
    assert run("report", "mine.py", "--only", "finetune", "--format", "csv", "--no-times")[1] == before


def test_a_failing_method_is_exit_code_1_and_named(run: Run, tmp_path: Path) -> None:
    (tmp_path / "bug.py").write_text(
        "from raycl import *\nfrom raycl.method import Method\n"
        "class Bug(Method):\n    def learn(self, task, fit):\n        raise RuntimeError('of my own')\n"
        "STUDY = Study(methods={'bug:Bug': {}, 'finetune': {}}, benchmarks=['digits_split'],\n"
        "              network='mlp(hidden=8)', fit={'epochs': 1}, search=None, final=Seeds(1))\n"
    )
    code, out, err = run("run", "bug.py", "--local")
    assert code == 1 and "RuntimeError: of my own" in err and "failures" in err and "Traceback" not in err
    assert "finetune" in out
    (failure,) = (tmp_path / "results" / "failures").glob("*.json")
    assert "Traceback" in json.loads(failure.read_text())["message"]


def test_load_gives_back_the_method_and_its_matrix(run: Run, tmp_path: Path) -> None:
    import numpy as np
    import torch

    from raycl import load, report
    from raycl.errors import UserError

    assert run("run", "mine.py", "--local", "--only", "finetune")[0] == 0
    key = next((tmp_path / "results" / "runs").glob("??/*.json")).stem
    method, a = load(key[:12])
    assert a.shape == (5, 5) and np.isnan(a[0, 1])
    assert method(torch.zeros(2, 1, 8, 8), 0).shape == (2, 2)
    assert "finetune" in report("mine.py", only="finetune")
    with pytest.raises(UserError, match="contains no run whose key"):
        load("zzz")


def start(folder: Path, *words: str) -> subprocess.Popen[str]:
    """A command in a process group of its own."""
    return subprocess.Popen(
        [sys.executable, "-m", "raycl.cli", *words],
        cwd=folder,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
        env=os.environ | {"PYTHONWARNINGS": "ignore"},
    )


def finished(folder: Path) -> int:
    return len(list((folder / "results" / "runs").glob("??/*.json")))


def wait_for(process: subprocess.Popen[str], folder: Path, runs: int, seconds: float = 180) -> None:
    deadline = time.monotonic() + seconds
    while finished(folder) < runs and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.02)


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_says_what_is_missing_and_how_to_go_on(tmp_path: Path, sent: signal.Signals) -> None:
    (tmp_path / "mine.py").write_text(STUDY.replace('"epochs": 2', '"epochs": 100, "stop": "never"'))
    process = start(tmp_path, "run", "mine.py", "--local")
    wait_for(process, tmp_path, 1)
    process.send_signal(sent)
    out, _ = process.communicate(timeout=60)
    assert process.returncode == 130, out
    assert "of 8 runs" in out and "resume with:  raycl run mine.py --local" in out and "Traceback" not in out

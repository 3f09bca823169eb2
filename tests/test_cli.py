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

import numpy as np
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


def test_a_method_is_shown_with_the_points_in_which_it_deviates(run: Run) -> None:
    from raycl.method import deviations_of
    from raycl.registry import method

    _, out, _ = run("methods", "hpg")  # which has those of SPG as well
    said = " ".join(out.partition("  not as published:\n")[2].split())
    assert said == " ".join(deviations_of(method("hpg"))) and "over each tensor" in said
    assert max(map(len, out.splitlines()[4:])) <= 80
    assert "not as published" not in run("methods", "finetune")[1]


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
        "class Bug(Method):\n    def learn(self, task, fit):\n"
        "        if not __import__('os').path.exists('mended'): raise RuntimeError('of my own')\n"
        "STUDY = Study(methods={'bug:Bug': {}, 'finetune': {}}, benchmarks=['digits_split'],\n"
        "              network='mlp(hidden=8)', fit={'epochs': 1}, search=None, final=Seeds(1))\n"
    )
    code, out, err = run("run", "bug.py", "--local")
    (failure,) = (tmp_path / "results" / "failures").glob("*.json")
    trace = failure.with_name(f"{failure.stem[:12]}.txt")
    place = f"(traceback in ./{trace.relative_to(tmp_path)})"
    assert (
        code == 1 and f"failed: bug.py:5: RuntimeError: of my own {place}" in err and "Traceback" not in err
    )
    assert "finetune" in out and "the same command tries 1 missing run again" in out
    assert ": raise RuntimeError('of my own')" in out, "without Ray the traceback is shown at once"
    assert "Traceback" in json.loads(failure.read_text())["message"]
    head, *lines = trace.read_text().splitlines()
    assert head == "bug:Bug on digits_split, network mlp(hidden=8), seed 1"
    assert lines[-1] == "RuntimeError: of my own" and f'"{tmp_path / "bug.py"}", line 5, in learn' in str(
        lines
    )
    assert (
        "  failed last time and will be tried again: bug.py:5: RuntimeError: of" in run("plan", "bug.py")[1]
    )
    assert run("gc", "bug.py", "--yes")[0] == 0 and trace.is_file(), "the study will try it again"
    (tmp_path / "mended").touch()
    code, out, _ = run("run", "bug.py", "--local")
    assert code == 0 and "the same command computes nothing;" in out
    assert not trace.exists() and not failure.exists()
    assert "computes all runs again" in run("run", "bug.py", "--local", "--fresh")[1]


def test_a_plan_measures_one_epoch_of_each_method_and_stores_nothing(run: Run, tmp_path: Path) -> None:
    (tmp_path / "times.py").write_text(
        "from raycl import *\nfrom raycl.method import Method\n"
        "class Bug(Method):\n    def learn(self, task, fit):\n        raise RuntimeError('of my own')\n"
        "STUDY = Study(methods={'times:Bug': {}, 'finetune': {}, 'l2r': {'method': 'ksm'}},\n"
        "              benchmarks=['digits_split'], network='mlp(hidden=8)', preset='spg',\n"
        "              fit={'epochs': 30_000}, search=None, final=Seeds(1, 2))\n"
    )
    assert "time unknown: --measure times an epoch of each method" in run("plan", "times.py")[1]
    code, out, err = run("plan", "times.py", "--measure")
    assert code == 0 and "timing one epoch of finetune / digits_split" in err
    assert "times:Bug / digits_split cannot be timed: times.py:5: RuntimeError: of my own" in err
    assert "l2r / digits_split cannot be timed: it needs basis masks" in err
    lines = {line.split()[0]: line.split()[-1] for line in out.splitlines() if "/ digits_split" in line}
    assert lines["finetune"].startswith("~") and lines["finetune"] == lines["l2r"] == lines["times:Bug"]
    # 30 000 epochs of 5 tasks with 4 batches each take far more than a second, and are not trained here.
    minutes, seconds = map(int, lines["finetune"][1:].split(":")[-2:])
    assert minutes or seconds, "the epoch was multiplied by the epochs of the study"
    assert "6 to do, ~" in out and not (tmp_path / "results").exists()


def test_load_gives_back_the_method_and_its_matrix(run: Run, tmp_path: Path) -> None:
    import numpy as np
    import torch

    from raycl import load, report
    from raycl.errors import UserError

    assert run("run", "mine.py", "--local", "--only", "finetune")[0] == 0
    key = next((tmp_path / "results" / "runs").glob("??/*.json")).stem
    model, a = load(key[:12])
    assert a.shape == (5, 5) and np.isnan(a[0, 1])
    assert model(torch.zeros(2, 1, 8, 8), 0).shape == (2, 2)
    assert "finetune" in report("mine.py", only="finetune")
    with pytest.raises(UserError, match="contains no run whose key"):
        load("zzz")


def test_weights_are_kept_on_request_and_exported(run: Run, tmp_path: Path) -> None:
    words = ("mine.py", "--only", "finetune")
    assert run("run", *words, "--local")[0] == 0
    code, out, _ = run("plan", *words, "--keep", "final")
    assert code == 0 and "2 finished runs have kept no weights" in " ".join(out.split())
    code, out, _ = run("run", *words, "--local", "--keep", "final")
    assert code == 0 and "2 finished runs have kept no weights, so they are trained again" in " ".join(
        out.split()
    )
    assert "nothing to do" in run("plan", *words, "--keep", "final")[1]
    key = next((tmp_path / "results" / "models").glob("??/*.pt")).stem
    code, out, err = run("export", key[:10], "out")
    assert code == 0 and "weights of run" in err
    assert {Path(line).name for line in out.splitlines()} == {
        "model.json",
        "weights.safetensors",
        "method.pt",
        "load.py",
    }
    assert run("export", "zzz", "out")[0] == 2


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


@pytest.mark.slow
@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_says_what_is_missing_and_how_to_go_on(tmp_path: Path, sent: signal.Signals) -> None:
    (tmp_path / "mine.py").write_text(STUDY.replace('"epochs": 2', '"epochs": 100, "stop": "never"'))
    process = start(tmp_path, "run", "mine.py", "--local")
    wait_for(process, tmp_path, 1)
    process.send_signal(sent)
    out, _ = process.communicate(timeout=60)
    assert process.returncode == 130, out
    assert "of 8 runs" in out and "resume with:  raycl run mine.py --local" in out and "Traceback" not in out


def test_networks_presets_and_metrics_are_listed_with_their_fields(run: Run) -> None:
    for command, name, field in (
        ("networks", "alexnet", "  net.drop1: float, default 0.2, searched in 0..0.6"),
        ("presets", "spg", "  fit.lr = 0.25 (float, default 0.05)"),
        ("metrics", "bwt", "  in MLflow: after each task"),
    ):
        code, out, _ = run(command)
        assert code == 0 and re.search(rf"^{name}\b", out, flags=re.M)
        assert max(map(len, out.splitlines())) <= 80 and "..." not in out
        code, out, _ = run(command, name)
        assert code == 0 and field in out.splitlines()
        code, _, err = run(command, "nosuch")
        assert code == 2 and "nosuch" in err and len(err.splitlines()) == 1
    assert run("presets", "spg+desk")[1].splitlines()[1] == "  fit.epochs = 10 (int, default 100)"
    assert "(raycl networks lists them)" in run("networks", "mpl")[2]


@pytest.mark.parametrize("columns", [60, 120])
def test_lists_use_the_width_of_the_terminal_and_cut_nothing(
    run: Run, monkeypatch: pytest.MonkeyPatch, columns: int
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    for command in ("methods", "benchmarks", "networks", "metrics"):
        out = run(command)[1]
        assert columns - 25 < max(map(len, out.splitlines())) <= columns, command
        assert "..." not in out
    said = " ".join(run("benchmarks")[1].split())
    assert "digits, one pseudo-writer per task: digit or parity; needs digits" in said


def test_what_own_data_must_contain_is_said_without_a_path(run: Run, tmp_path: Path) -> None:
    code, out, _ = run("benchmarks", "npz")
    said = " ".join(out.split())
    assert code == 0 and "x_train, x_test images [n, h, w], [n, h, w, 1 or 3]" in said
    assert "t_train, t_test may be there" in said and "classes The classes of each task" in said
    assert "mine/train/<class>/*" in run("benchmarks", "folder")[1]
    np.savez(tmp_path / "m.npz", x_train=np.zeros((8, 4, 4)), y_train=np.arange(8) % 4,
             x_test=np.ones((4, 4, 4)), y_test=np.arange(4))  # fmt: skip
    out = run("benchmarks", "npz(path='m.npz', tasks=2, val=0.0)")[1]
    assert "    x_train  [8, 1, 4, 4] uint8" in out.splitlines()


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            "benchmarks=",
            "benchmark=",
            "TypeError: Study() has no field 'benchmark'; did you mean 'benchmarks'?",
        ),
        ("final=Seeds(1, 2)", "final=3", "final = 3 should be Seeds(1, 2, 3) or 'best trial'"),
        (
            "search=Search(",
            "search=20, fit=dict(",
            "search = 20 should be Search(trials=20), Grid(...) or None",
        ),
        ('"mlp(hidden=8, drop2=0.0)"', '"mpl"', "did you mean 'mlp'? (raycl networks lists them)"),
    ],
)
def test_slips_in_a_study_get_the_right_word(
    run: Run, tmp_path: Path, old: str, new: str, message: str
) -> None:
    text = STUDY.replace('    fit={"epochs": 2, "lr": 0.1},\n', "").replace(old, new)
    (tmp_path / "slip.py").write_text(text)
    code, _, err = run("plan", "slip.py")
    assert code == 2 and message in err and len(err.splitlines()) == 1


def test_slips_on_the_command_line_get_the_right_word(run: Run) -> None:
    assert "did you mean '--address'?" in run("plan", "mine.py", "--adress", "auto")[2]
    code, _, err = run("report", "mine.py", "--store", "TYPO")
    assert code == 0 and err == "raycl: there is no folder TYPO; name it with --store\n"

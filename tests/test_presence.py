"""Two drivers on one store: each says that it is not alone, and neither breaks what the other does."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
import zipfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from mlflow.tracking import MlflowClient

from raycl.api import report
from raycl.study import driver_notice
from raycl.study.driver_notice import present
from tests.helpers.every_kind import STUDY
from tests.helpers.warm import typed

HOLD = """
import sys
from pathlib import Path
from raycl.study.driver_notice import present
with present(Path(sys.argv[1]), "theirs", print):
    print("here", flush=True)
    sys.stdin.readline()
"""


class Other:
    """A process that is present in a store until it is told to go, or killed."""

    def __init__(self, store: Path) -> None:
        self.process = subprocess.Popen([sys.executable, "-c", HOLD, str(store)], text=True,
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE)  # fmt: skip
        assert self.process.stdout is not None and self.process.stdout.readline() == "here\n"

    def __enter__(self) -> Other:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.communicate("go\n")

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()


def files(store: Path) -> list[Path]:
    return sorted((store / "drivers").glob("*"))


def told(store: Path) -> list[str]:
    """What a driver says that begins now."""
    lines: list[str] = []
    with present(store, "mine", lines.append):
        pass
    return lines


def until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline, "it never came about"
        time.sleep(0.01)


def elsewhere(store: Path, ago: float = 0.0) -> Path:
    """A file of a driver on another machine, whose last sign of life is so many seconds old."""
    path = store / "drivers" / "node7-4711-0.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    driver = driver_notice.Driver(
        "node7", 4711, "another machine", "1", "theirs", path.parent.stat().st_mtime
    )
    path.write_text(json.dumps(vars(driver)))
    seen = path.stat().st_mtime - ago
    os.utime(path, (seen, seen))
    return path


def test_a_driver_leaves_a_file_as_long_as_it_plays(tmp_path: Path) -> None:
    with present(tmp_path, "mine", pytest.fail):
        (path,) = files(tmp_path)
        plain = json.loads(path.read_text())
        assert (plain["pid"], plain["study"]) == (os.getpid(), "mine")
        assert abs(plain["since"] - path.stat().st_mtime) < 60
    assert files(tmp_path) == []


def test_one_that_raises_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), present(tmp_path, "mine", pytest.fail):
        raise KeyboardInterrupt
    assert files(tmp_path) == []


def test_another_driver_is_told_who_and_since_when(tmp_path: Path) -> None:
    with Other(tmp_path) as other:
        (line,) = told(tmp_path)
        pid = other.process.pid
        assert re.fullmatch(
            rf"another driver is using this store: theirs on \S+, process {pid}, since \d\d:\d\d; "
            "results stay correct, but runs may be computed twice",
            line,
        )
        assert len(files(tmp_path)) == 1  # the other's; it plays on
    assert told(tmp_path) == []


def test_what_a_killed_driver_left_is_removed_and_not_told(tmp_path: Path) -> None:
    other = Other(tmp_path)
    other.kill()
    assert len(files(tmp_path)) == 1
    assert told(tmp_path) == [] and files(tmp_path) == []
    other.process.communicate()


@pytest.mark.skipif(not driver_notice._place(), reason="the system does not say when a process began")
def test_a_number_that_another_process_has_got_since_is_no_driver(tmp_path: Path) -> None:
    with Other(tmp_path):
        (path,) = files(tmp_path)
        path.write_text(json.dumps(json.loads(path.read_text()) | {"born": "1"}))
        assert told(tmp_path) == []


def test_a_driver_on_another_machine_counts_by_its_signs_of_life(tmp_path: Path) -> None:
    path = elsewhere(tmp_path, ago=40.0)
    (line,) = told(tmp_path)
    assert "theirs on node7, process 4711" in line
    assert 35 < float(re.search(r"last sign of life (\d+) s ago", line)[1]) < 100  # type: ignore[index]
    elsewhere(tmp_path, ago=driver_notice.GONE + 60)
    assert told(tmp_path) == [] and not path.exists()


@pytest.mark.parametrize("hours", [-5, 5])
def test_clocks_that_differ_between_hosts_do_not_matter(
    tmp_path: Path, hours: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = time.time
    monkeypatch.setattr(driver_notice.time, "time", lambda: clock() + 3600 * hours)
    elsewhere(tmp_path)
    assert len(told(tmp_path)) == 1
    elsewhere(tmp_path, ago=driver_notice.GONE + 60)
    assert told(tmp_path) == []


ODD = {"host": "node7", "pid": 10**30, "place": "", "born": "", "study": "x", "since": 0}


@pytest.mark.parametrize(
    "content",
    [
        "",
        "{",
        "[1]",
        '{"host": "a"}',
        '"text"',
        "null",
        json.dumps(ODD | {"pid": "me"}),
        json.dumps(ODD | {"since": None}),
    ],
)
def test_a_file_that_is_none_of_ours_is_removed(tmp_path: Path, content: str) -> None:
    (tmp_path / "drivers").mkdir()
    (tmp_path / "drivers" / "x.json").write_text(content)
    assert told(tmp_path) == [] and files(tmp_path) == []


@pytest.mark.parametrize(
    "odd",
    [
        {"since": float("nan")},
        {"since": -float("inf")},
        {"since": 1e300},
        {"host": "\x1b[31mred\n", "study": "two\nlines"},
        {"place": driver_notice._place()},
    ],
)
def test_odd_words_of_another_driver_do_no_harm(tmp_path: Path, odd: dict[str, Any]) -> None:
    (tmp_path / "drivers").mkdir()
    (tmp_path / "drivers" / "x.json").write_text(json.dumps(ODD | odd))
    assert all(line.isprintable() for line in told(tmp_path))


def test_what_the_file_system_refuses_stops_no_study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "drivers").write_text("a file where a folder should be")
    monkeypatch.setattr(driver_notice, "BEAT", 0.001)
    with present(tmp_path, "mine", pytest.fail):
        until(lambda: threads() == 1)
        time.sleep(0.05)  # some beats, each of which fails
        assert threads() == 1
    assert threads() == 0


def threads() -> int:
    import threading

    return sum(thread.name == "raycl-driver-notice" for thread in threading.enumerate())


def test_signs_of_life_go_on_and_come_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(driver_notice, "BEAT", 0.01)
    with present(tmp_path, "mine", pytest.fail):
        (path,) = files(tmp_path)
        os.utime(path, (1.0, 1.0))
        until(lambda: path.stat().st_mtime > 1000)
        path.unlink()  # taken for dead by another machine
        until(path.exists)
        assert json.loads(path.read_text())["study"] == "mine"
    assert files(tmp_path) == []


# Two drivers at once. Each says that it is here while it reads the study, and waits for the other.
MEETING = """
import os, time
from pathlib import Path

Path(f"here-{os.getpid()}").touch()
until = time.monotonic() + 300
while len(list(Path().glob("here-*"))) < int(os.environ["DRIVERS"]) and time.monotonic() < until:
    time.sleep(0.01)
"""
PLAYED = (
    2 + 5 + 2 * (1 + 3 + 1) + 2
)  # jobs of masks, trials and seeds, backbones with parts and wholes, seeds


def drivers(folder: Path, *options: list[str]) -> list[str]:
    """What drivers say that play the study in a folder at the same time; all must succeed."""
    folder.mkdir()
    (folder / "mine.py").write_text(MEETING + STUDY)
    words = [sys.executable, "-m", "raycl.cli", "run", "mine.py"]
    environment = os.environ | {"DRIVERS": str(len(options)), "OMP_NUM_THREADS": "1"}
    outs = [(folder / f"out-{n}").open("w+") for n in range(len(options))]
    playing = [
        subprocess.Popen([*words, *more], cwd=folder, stdout=out, stderr=out, env=environment)
        for more, out in zip(options, outs, strict=True)
    ]
    codes = [process.wait(900) for process in playing]
    said = []
    for out in outs:
        with out:
            out.seek(0)
            said.append(out.read())
    assert codes == [0] * len(options), said
    return said


def table(folder: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.chdir(folder)
    monkeypatch.setenv("DRIVERS", "0")
    return report("mine.py", folder / "results", "csv", times=False)


def kept(folder: Path) -> set[str]:
    """Files of runs, masks, backbones and proposals; all are whole."""
    store = folder / "results"
    for path in store.rglob("[!.]*.json"):
        json.loads(path.read_text())
    for path in store.rglob("[!.]*.npz"):
        assert zipfile.ZipFile(path).testzip() is None
    assert not (store / "failures").exists() and not (store / "damaged").exists()
    assert files(store) == []
    rooms = ("runs", "masks", "backbones", "searches")
    return {
        p.relative_to(store).as_posix() for room in rooms for p in (store / room).rglob("*") if p.is_file()
    }


def in_mlflow(folder: Path) -> Counter[tuple[str, str]]:
    client = MlflowClient(tracking_uri=f"sqlite:///{folder / 'results' / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("mine")
    assert experiment is not None
    runs = client.search_runs([experiment.experiment_id], max_results=5000)
    assert {run.info.status for run in runs} == {"FINISHED"}
    return Counter((r.data.tags.get("mlflow.parentRunId", ""), r.data.tags["raycl.key"]) for r in runs)


def check_together(alone: Path, folder: Path, said: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """What must be true of a study that several drivers have played at the same time."""
    assert table(folder, monkeypatch) == table(alone, monkeypatch)
    assert kept(folder) == kept(alone)
    assert sum("another driver is using this store: mine on" in text for text in said) >= 1
    assert all("Traceback" not in text and "out of reach" not in text for text in said)
    played = [len(re.findall(r"^\d+/\d+ ", text, re.MULTILINE)) for text in said]
    assert PLAYED <= sum(played) <= len(said) * PLAYED and max(played) <= PLAYED
    monkeypatch.setenv("DRIVERS", "0")
    done = typed(["sync", "mine.py"], folder, limit=300)
    assert done.code == 0, done.err
    here, there = in_mlflow(folder), in_mlflow(alone)
    assert set(here.values()) == {1} and len(here) == len(there)


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Played by one driver."""
    folder = tmp_path_factory.mktemp("alone") / "study"
    folder.mkdir()
    (folder / "mine.py").write_text(STUDY)
    done = typed(["run", "mine.py", "--local"], folder, limit=900)
    assert done.code == 0, done.out + done.err
    said = done.out + done.err
    assert "another driver" not in said
    assert len(re.findall(r"^\d+/\d+ ", said, re.MULTILINE)) == PLAYED
    return folder


@pytest.mark.slow
def test_two_drivers_at_once_come_to_the_same(
    alone: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "study"
    check_together(alone, folder, drivers(folder, ["--local"], ["--local"]), monkeypatch)


@pytest.mark.release
def test_six_drivers_at_once_come_to_the_same(
    alone: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "study"
    check_together(alone, folder, drivers(folder, *[["--local"]] * 6), monkeypatch)


@pytest.mark.release
def test_a_driver_on_ray_beside_one_in_its_own_process(
    alone: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "study"
    check_together(alone, folder, drivers(folder, [], ["--local"]), monkeypatch)

"""Who only reads a store does not wait for a file that cannot be read; gc deletes nothing then."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from raycl import Study
from raycl.errors import UserError
from raycl.runs.reports import TaskReport
from raycl.runs.result import Result
from raycl.runs.store import Store
from raycl.study.expand import cells_of
from raycl.study.gc import collect_garbage
from tests.helpers.warm import typed

FILE = """
from raycl import Study
STUDY = Study(name="reach", methods={"finetune": {}}, benchmarks=["digits_split"], search=None)
"""
NOBODY = 65534


def placed(root: Path) -> tuple[Path, list[Path]]:
    """A study's file, and the files of its three runs in a store beside it."""
    store = Store(root / "results")
    file = root / "reach.py"
    file.write_text(FILE)
    (cell,) = cells_of(Study(methods={"finetune": {}}, benchmarks=["digits_split"], search=None))
    paths = []
    for seed in (1, 2, 3):
        spec = cell.spec({}, seed)
        rows = [
            TaskReport(t, dict.fromkeys(range(t + 1), 0.5), dict.fromkeys(range(t + 1), 0.5), {"main": 1}, 9,
                   {"main": 1.0}, 0.1, 7, 11, 44)
            for t in range(5)
        ]  # fmt: skip
        store.put(Result(spec, "done", tuple(rows), "", {"seconds": 5.0, "started": 1.0}))
        paths.append(store.root / "runs" / spec.key[:2] / f"{spec.key}.json")
    return file, paths


def asked(folder: Path, *words: str) -> tuple[int, str]:
    """A command as another user types it: its exit code, and what it says."""
    said = typed([*words, "--store", str(folder / "results")], folder, limit=300, user=NOBODY)
    return said.code, said.out + said.err


@pytest.fixture
def open_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that another user can enter, and what leads there."""
    if os.geteuid():
        pytest.skip("only root can ask as somebody else")
    for folder in (tmp_path, *tmp_path.parents):
        if folder.stat().st_uid == 0 and not folder.stat().st_mode & 0o005 and "pytest" in str(folder):
            folder.chmod(0o755)
    monkeypatch.setenv("RAYCL_DATA", str(tmp_path / "data"))
    return tmp_path


@pytest.mark.parametrize("command", [["plan"], ["report"], ["report", "--format", "csv"], ["gc"]])
def test_files_of_somebody_else_are_left_out_at_once(command: list[str], open_folder: Path) -> None:
    file, paths = placed(open_folder)
    for path in paths[:2]:
        path.chmod(0o600)
    began = time.monotonic()
    code, said = asked(open_folder, *command, str(file))
    assert time.monotonic() - began < 100.0
    assert code == 0 and said.count("cannot be read (Permission denied)") == 1, said
    assert "Traceback" not in said
    assert all(path.exists() for path in paths) and not (open_folder / "results" / "damaged").exists()


def test_a_store_that_cannot_be_read_is_one_line(open_folder: Path) -> None:
    file, _ = placed(open_folder)
    (open_folder / "results").chmod(0o700)
    for command in ("plan", "report", "gc"):
        code, said = asked(open_folder, command, str(file))
        assert code == 2 and said.count("\n") == 1, said
        assert "(Permission denied); name a" in said and "with --store DIR" in said


def test_gc_deletes_nothing_where_it_could_not_read_everything(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file, paths = placed(tmp_path)
    (paths[0].parent / f"{'ab' * 32}.json").write_text("{}")  # of no study
    paths[1].write_text("torn")
    with pytest.raises(UserError, match="nothing was deleted"):
        collect_garbage(tmp_path / "results", [file], yes=True)
    assert (paths[0].parent / f"{'ab' * 32}.json").exists() and paths[0].exists()
    assert (tmp_path / "results" / "damaged" / paths[1].name).exists()
    assert collect_garbage(tmp_path / "results", [file], yes=True) == 0  # what is missing now is known to be
    assert not (paths[0].parent / f"{'ab' * 32}.json").exists() and paths[0].exists()
    capsys.readouterr()


def test_gc_follows_no_link(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file, _ = placed(tmp_path)
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "precious").write_text("x")
    (tmp_path / "results" / "checkpoints").mkdir()
    (tmp_path / "results" / "checkpoints" / ("ab" * 32)).symlink_to(outside)
    assert collect_garbage(tmp_path / "results", [file], yes=True) == 0
    assert (outside / "precious").exists() and not (
        tmp_path / "results" / "checkpoints" / ("ab" * 32)
    ).exists()
    capsys.readouterr()


@pytest.mark.parametrize(
    "stand",
    [lambda p: p.write_text(""), lambda p: os.mkfifo(p), lambda p: p.symlink_to("/dev/zero")],
    ids=["file", "pipe", "device"],
)
@pytest.mark.parametrize("name", ["runs", "searches", "damaged"])
def test_something_else_in_the_place_of_a_folder(
    name: str, stand: Callable[[Path], None], tmp_path: Path
) -> None:
    file, paths = placed(tmp_path)
    lines: list[str] = []
    store = Store(tmp_path / "results", lines.append, wait=False)
    place = tmp_path / "results" / name
    if place.exists():
        os.rename(place, tmp_path / "away")
    stand(place)
    key = paths[0].stem
    if name == "damaged":
        paths[0].write_text("torn")
        assert store.get(key) is None
        assert len(lines) == 1 and "cannot be moved" in lines[0] and paths[0].exists()
    else:
        assert store.get(key) is None if name == "runs" else store.proposal("ab" * 32, 0) is None
    result = Result(cells_of(Study(methods={"finetune": {}}, benchmarks=["digits_split"], search=None))[0]
                    .spec({}, 1), "diverged", (), "x", {})  # fmt: skip
    if name == "runs":
        with pytest.raises(UserError, match="cannot be written"):
            store.put(result)
    assert file.exists()

"""Summaries give the results that the files of a store give, as long as those have not changed."""

from __future__ import annotations

import copy
import dataclasses
import gc
import json
import os
import pickle
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from raycl import Float, Search, Seeds, Study
from raycl.cli import main
from raycl.errors import UserError
from raycl.runs import lines, summaries
from raycl.runs import store as stores
from raycl.runs.reports import TaskReport
from raycl.runs.result import PackedReports, Result
from raycl.runs.store import Store
from raycl.runs.summaries import Summaries
from raycl.study.expand import cells_of
from raycl.study.file import read_study
from tests.helpers.tiny import in_process

(CELL,) = cells_of(Study(methods={"finetune": {}}, benchmarks=["digits_split"], search=None))


def report(task: int, value: float = 0.1) -> TaskReport:
    scores = {t: value + t / 7 for t in range(task + 1)}
    return TaskReport(
        task, dict(scores), scores, {"main": 3}, 9, {"main": 1 / 3}, 0.1, 7, 11, 44, {"é": [1]}, 9.0
    )


RESULTS = [
    Result(
        CELL.spec({}, 1),
        "done",
        (report(0), report(1)),
        "",
        {"seconds": 2.0, "cpu": "ë\u2028", "left": ["x"]},
    ),
    Result(CELL.spec({}, 2), "diverged", (report(0),), "the loss is inf\r\nafter", {"seconds": 0.1}),
    Result(CELL.spec({}, 3), "invalid", (), "no such width", {}),
    Result(
        dataclasses.replace(CELL.spec({}, 4), part=3),
        "done",
        (dataclasses.replace(report(3), val={3: 0.5}, test={3: 0.25}),),
        "",
        {},
    ),
]
DONE = RESULTS[0]


@pytest.fixture
def filled(tmp_path: Path) -> Path:
    store = Store(tmp_path / "store").open()
    for result in RESULTS:
        store.put(result)
    return store.root


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The keys of the results whose own files are looked for."""
    found: list[str] = []
    whole = stores.read_plain

    def noted(path: Path) -> dict[str, Any]:
        found.append(path.stem)
        return whole(path)

    monkeypatch.setattr(stores, "read_plain", noted)
    return found


def file_of(root: Path, result: Result) -> Path:
    return root / "runs" / result.key[:2] / f"{result.key}.json"


def summaries_of(root: Path) -> Summaries:
    return Summaries(root, Store(root).whole)


def lines_of(root: Path) -> list[bytes]:
    return [
        line for file in sorted((root / "summaries").iterdir()) for line in file.read_bytes().splitlines()
    ]


@pytest.mark.parametrize("result", RESULTS, ids=lambda result: result.status)
def test_a_result_is_the_same_from_its_line_and_from_its_file(
    filled: Path, read: list[str], result: Result
) -> None:
    summed = Store(filled).get(result.key, result.spec)
    assert read == [] and summed is not None
    shutil.rmtree(filled / "summaries")
    whole = Store(filled).get(result.key, result.spec)
    assert read == [result.key] and whole is not None
    assert summed == whole == result
    assert summed.spec is whole.spec is result.spec
    for split in ("val", "test"):
        assert summed.acc(split) == whole.acc(split) == result.acc(split)  # type: ignore[arg-type]
    assert summed.reports[-1:] == whole.reports[-1:] == result.reports[-1:]


def test_a_start_reads_no_file_of_a_run(tmp_path: Path, read: list[str]) -> None:
    study = Study(
        name="again", methods={"finetune": {}, "hat": {}}, benchmarks=["digits_split"],
        network="mlp(hidden=8)", fit={"epochs": 1}, search=None,
    )  # fmt: skip
    first = in_process(study, tmp_path)
    runs = 2 * 3
    assert len(lines_of(tmp_path)) == runs
    read.clear()
    again = in_process(study, tmp_path)
    assert again.ran == 0 and read == [] and len(lines_of(tmp_path)) == runs
    assert [r.result for s in again.states for r in s.runs] == [
        r.result for s in first.states for r in s.runs
    ]


VALUES = {"method.lamb": 0.1 + 0.2, "fit.optimizer": "sgd", "net.sizes": [3, 4]}
CELL_KEY = "c0ffee" + "0" * 58


@pytest.fixture
def proposed(tmp_path: Path) -> Path:
    store = Store(tmp_path / "store").open()
    for n in range(3):
        store.propose(CELL_KEY, n, VALUES | {"method.n": n}, {"method": "hat"})
    return store.root


def proposals_of(store: Store) -> list[dict[str, Any] | None]:
    return [store.proposal(CELL_KEY, n) for n in range(3)]


def test_a_start_reads_no_file_of_a_proposal(tmp_path: Path, read: list[str]) -> None:
    study = Study(
        name="again", methods={"finetune": {"fit.lr": Float(1e-3, 1e-1, log=True)}},
        benchmarks=["digits_split"], network="mlp(hidden=8)", fit={"epochs": 1},
        search=Search(trials=3), final=Seeds(1, 2),
    )  # fmt: skip
    first = in_process(study, tmp_path)
    for whole in (False, True):
        if whole:
            shutil.rmtree(tmp_path / "summaries")
        read.clear()
        again = in_process(study, tmp_path)
        assert again.ran == 0 and bool(read) is whole
        assert [(r.params, r.result) for s in again.states for r in s.runs] == [
            (r.params, r.result) for s in first.states for r in s.runs
        ]
    read.clear()
    assert in_process(study, tmp_path).ran == 0 and read == [], "what was read has no line then"


def test_a_proposal_is_the_same_from_its_line_and_from_its_file(proposed: Path, read: list[str]) -> None:
    summed = proposals_of(Store(proposed))
    assert summed == [VALUES | {"method.n": n} for n in range(3)] and read == []
    shutil.rmtree(proposed / "summaries")
    assert proposals_of(Store(proposed)) == summed and len(read) == 3


def test_a_search_of_two_cells_has_one_line_for_each_proposal(proposed: Path, read: list[str]) -> None:
    for forgotten in (False, True, False):
        if forgotten:
            shutil.rmtree(proposed / "summaries")
        read.clear()
        store = Store(proposed).open()
        for _ in range(2):
            assert proposals_of(store) == [VALUES | {"method.n": n} for n in range(3)]
        assert len(lines_of(proposed)) == 3
        assert len(read) == (6 if forgotten else 0)


def _other_values(file: Path) -> None:
    text, status = file.read_text(), file.stat()
    file.write_text(text.replace('"sgd"', '"dgs"'))
    os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns))


def test_a_proposal_that_has_changed_is_read_and_checked(proposed: Path, read: list[str]) -> None:
    folder = proposed / "searches" / CELL_KEY[:2] / CELL_KEY
    _other_values(folder / "0000.json")
    _replaced(folder / "0001.json")
    (folder / "0002.json").unlink()
    lines: list[str] = []
    assert proposals_of(Store(proposed, lines.append)) == [None, VALUES | {"method.n": 1}, None]
    assert read == ["0000", "0001", "0002"]
    assert len(lines) == 1 and "digest" in lines[0]


def test_a_proposal_that_does_not_fit_is_made_again(proposed: Path, read: list[str]) -> None:
    store = Store(proposed).open()
    store.drop_proposal(CELL_KEY, 1, "it is outside")
    assert store.proposal(CELL_KEY, 1) is None
    store.propose(CELL_KEY, 1, VALUES, {})
    read.clear()
    assert Store(proposed).proposal(CELL_KEY, 1) == VALUES and read == []


def test_garbage_collection_keeps_the_proposals_of_what_is_there(proposed: Path) -> None:
    summaries_of(proposed).tidy(bool, lambda cell: cell == CELL_KEY)
    assert len(lines_of(proposed)) == 3
    summaries_of(proposed).tidy(bool, lambda cell: cell != CELL_KEY)
    assert lines_of(proposed) == []


def test_what_a_driver_has_read_is_in_the_summaries_then(filled: Path, read: list[str]) -> None:
    shutil.rmtree(filled / "summaries")
    for _ in range(2):
        store = Store(filled).open()
        assert [store.get(result.key, result.spec) for result in RESULTS] == RESULTS
    assert sorted(read) == sorted(result.key for result in RESULTS), "the second one has read files too"


def test_only_a_driver_writes_them(filled: Path, read: list[str]) -> None:
    shutil.rmtree(filled / "summaries")
    for store in (Store(filled), Store(filled, wait=False).look()):
        assert store.get(DONE.key, DONE.spec) == DONE
    assert not (filled / "summaries").exists() and len(read) == 2


def _same_size(file: Path) -> None:
    text, status = file.read_text(), file.stat()
    file.write_text(text.replace('"updates": 9', '"updates": 8'))
    os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns))


def _replaced(file: Path) -> None:
    status = file.stat()
    shutil.copy(file, file.with_suffix(".new"))
    os.replace(file.with_suffix(".new"), file)
    os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns))


@pytest.mark.parametrize("change", [_same_size, _replaced, os.unlink, lambda file: file.write_text("")])
def test_a_file_that_has_changed_is_read_and_checked(filled: Path, read: list[str], change: Any) -> None:
    """Even where its size and the time of its change are the same."""
    file = file_of(filled, DONE)
    change(file)
    lines: list[str] = []
    found = Store(filled, lines.append).get(DONE.key, DONE.spec)
    assert read == [DONE.key]
    assert found == (DONE if change is _replaced else None)
    assert len(lines) == (0 if change in (_replaced, os.unlink) else 1)


def test_a_summary_is_not_shared_by_a_copy_of_the_store(
    filled: Path, tmp_path: Path, read: list[str]
) -> None:
    shutil.copytree(filled, tmp_path / "copy")
    assert Store(tmp_path / "copy").get(DONE.key, DONE.spec) == DONE
    assert read == [DONE.key]


def _of(root: Path, result: Result) -> Path:
    return root / "summaries" / f"{result.key[0]}-{summaries.FORM}.lines"


@pytest.mark.parametrize(
    "damage",
    [
        lambda raw: raw[: len(raw) // 2],
        lambda raw: raw.replace(b'"done"', b'"lost"'),
        lambda raw: b"",
        lambda raw: b"\0" * 5000,
        lambda raw: b"\xff\n" * 50,
        lambda raw: b"torn" + raw,
        lambda raw: b"00000000" + raw[8:],
        lambda raw: raw.replace(b"\n", b""),
    ],
)  # fmt: skip
def test_lines_that_are_none_are_passed_over(filled: Path, read: list[str], damage: Any) -> None:
    file = _of(filled, DONE)
    file.write_bytes(damage(file.read_bytes()))
    lines: list[str] = []
    store = Store(filled, lines.append).open()
    assert store.get(DONE.key, DONE.spec) == DONE and lines == []
    assert DONE.key in read


@pytest.mark.parametrize("make", [os.mkdir, os.mkfifo, lambda path: os.symlink(path, path)])
@pytest.mark.parametrize("whole_folder", [False, True])
def test_what_stands_in_their_place_is_left_alone(
    filled: Path, read: list[str], make: Any, whole_folder: bool
) -> None:
    place = filled / "summaries" if whole_folder else _of(filled, DONE)
    shutil.rmtree(place) if whole_folder else place.unlink()
    make(place)
    lines: list[str] = []
    store = Store(filled, lines.append).open()
    assert store.get(DONE.key, DONE.spec) == DONE
    store.put(DONE)
    assert lines == [] and read == [DONE.key] and os.path.lexists(place)


def test_lines_of_other_checks_are_not_used(
    filled: Path, read: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The form depends on the sources of the checks, so that nothing has to be raised by hand."""
    before = len(lines_of(filled))
    for form, known in (("00000001", False), (summaries.FORM, True), ("00000001", True), ("00000002", False)):
        monkeypatch.setattr(summaries, "FORM", form)
        read.clear()
        store = Store(filled).open()
        assert [store.get(result.key, result.spec) for result in RESULTS] == RESULTS
        assert bool(read) is not known, form
    assert len(lines_of(filled)) == 2 * before, "lines of more than two versions are kept"


def test_of_two_lines_the_last_one_holds(filled: Path, read: list[str]) -> None:
    store = Store(filled).open()
    again = dataclasses.replace(DONE, provenance={"seconds": 5.0})
    store.forget(DONE.key)
    store.put(again)
    assert Store(filled).get(DONE.key, DONE.spec) == again and read == []


def test_a_torn_line_is_not_continued_after_a_file_was_begun_anew(filled: Path, read: list[str]) -> None:
    file = _of(filled, DONE)
    file.write_bytes(file.read_bytes() + b"01234567 torn")
    summaries_of(filled).tidy(bool, bool)
    Store(filled).open().put(DONE)
    assert Store(filled).get(DONE.key, DONE.spec) == DONE and read == []


def test_a_file_of_superseded_lines_is_begun_anew(filled: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lines, "SPARE", 3)
    store = Store(filled).open()
    for _ in range(10):
        store.put(DONE)
    many = len(lines_of(filled))
    store = Store(filled).open()
    assert store.get(DONE.key, DONE.spec) == DONE
    store.put(DONE)
    assert len(lines_of(filled)) == many - 9 and many == len(RESULTS) + 10


def test_a_long_file_is_read_when_that_is_the_shorter_way(
    filled: Path, read: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    specs = (CELL.spec({}, n) for n in range(10, 9999))
    others = [dataclasses.replace(DONE, spec=s) for s in specs if s.key[0] == DONE.key[0]][:6]
    store = Store(filled).open()
    for other in others:
        store.put(other)
    monkeypatch.setattr(summaries, "RESULT_WORTH", _of(filled, DONE).stat().st_size // 3)
    store = Store(filled)
    read.clear()
    for other in others:
        assert store.get(other.key, other.spec) == other
    assert 2 <= len(read) <= 4, "the first ones are read from their files, and the others from their lines"


def test_a_result_without_digest_is_read_each_time(filled: Path, read: list[str]) -> None:
    """Whether all its reports are there is then asked of its benchmark."""
    file = file_of(filled, DONE)
    plain = json.loads(file.read_text())
    del plain["digest"]
    file.write_text(json.dumps(plain | {"format": "raycl-run/1"}))
    for many in (1, 2):
        store = Store(filled).open()
        assert store.get(DONE.key, DONE.spec) == DONE
        assert store.unsealed == {DONE.key} and read == [DONE.key] * many


def test_garbage_collection_keeps_the_lines_of_what_is_there(
    tmp_path: Path, read: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    file, store = tmp_path / "mine.py", tmp_path / "results"
    text = (
        "from raycl import Seeds, Study\n"
        "STUDY = Study(methods={'finetune': {'fit.lr': %s}}, final=Seeds(1, 2),\n"
        " benchmarks=['digits_split'], network='mlp(hidden=8)', fit={'epochs': 1}, search=None)\n"
    )
    for lr in ("0.01", "0.1"):
        file.write_text(text % lr)
        in_process(read_study(file), store)
    assert len(lines_of(store)) == 4
    assert main(["gc", "mine.py"]) == 0 and len(lines_of(store)) == 4
    assert main(["gc", "mine.py", "--yes"]) == 0
    kept = {path.stem for path in store.glob("runs/??/*.json")}
    assert len(kept) == 2 and {line[9:73].decode() for line in lines_of(store)} == kept
    read.clear()
    assert in_process(read_study(file), store).ran == 0 and read == []
    assert "2 unneeded files" in capsys.readouterr().out


@pytest.mark.parametrize("make", [os.mkdir, os.mkfifo])
def test_what_takes_the_place_of_lines_later_does_no_harm(filled: Path, read: list[str], make: Any) -> None:
    """The file stays open, so that nothing else is read, and nothing blocks."""
    store = Store(filled).open()
    store._summaries._results.places(DONE.key[0], writes=True)
    _of(filled, DONE).unlink()
    make(_of(filled, DONE))
    assert store.get(DONE.key, DONE.spec) == DONE and read == []
    store.put(DONE)
    found = store.get(DONE.key, DONE.spec)
    assert found == DONE and isinstance(found.reports, PackedReports), "they have no line to stay in"


def _lined(store: Store, how: str) -> Sequence[TaskReport]:
    """The reports of `DONE` as a driver has them that has put the result, or has read it."""
    if how == "read":
        shutil.rmtree(store.root / "summaries")
    if how == "put":
        store.put(DONE)
    found = store.get(DONE.key, DONE.spec)
    assert found is not None and isinstance(found.reports, summaries.LinedReports)
    return found.reports


def _begun_anew(root: Path) -> None:
    summaries_of(root).tidy(bool, bool)


def _next_driver(root: Path) -> None:
    store = Store(root).open()
    for result in RESULTS:
        store.put(result)


@pytest.mark.parametrize("how", ["put", "read", "summed"])
@pytest.mark.parametrize("change", [_begun_anew, _next_driver, lambda root: shutil.rmtree(root)])
def test_reports_stay_in_their_line_whatever_becomes_of_the_store(
    filled: Path, read: list[str], how: str, change: Any
) -> None:
    reports = _lined(Store(filled).open(), how)
    read.clear()
    change(filled)
    assert reports == DONE.reports and reports[1:] == DONE.reports[1:] and read == []


@pytest.mark.parametrize("act", [copy.copy, copy.deepcopy, lambda found: pickle.loads(pickle.dumps(found))])
def test_a_copy_of_reports_has_its_own_memory(filled: Path, act: Any) -> None:
    reports = _lined(Store(filled).open(), "summed")
    again = act(reports)
    assert isinstance(again, PackedReports) and again == DONE.reports and again.accs == DONE.accs()
    assert isinstance(reports, summaries.LinedReports)
    with pytest.raises(TypeError, match="cannot be copied"):
        act(reports._file)
    assert reports == DONE.reports, "the file was closed by a copy"


def _zeros(path: Path) -> None:
    with path.open("r+b") as file:
        file.write(b"0" * path.stat().st_size)


def test_reports_whose_line_was_damaged_are_read_from_the_file(filled: Path, read: list[str]) -> None:
    for how, damage in (("summed", _zeros), ("put", _zeros), ("put", lambda path: os.truncate(path, 0))):
        reports = _lined(Store(filled).open(), how)
        damage(_of(filled, DONE))
        read.clear()
        assert reports == DONE.reports and read == [DONE.key]


def test_an_older_line_that_takes_the_place_of_a_line_is_not_read(filled: Path) -> None:
    """As a copy of an older summary does that is written into the file."""
    shutil.rmtree(filled / "summaries")
    store = Store(filled).open()
    store.put(DONE)
    older = _of(filled, DONE).read_bytes()
    shutil.rmtree(filled / "summaries")
    other = dataclasses.replace(DONE, reports=(report(0, 0.2), report(1, 0.3)))
    store = Store(filled).open()
    store.put(other)
    found = store.get(DONE.key, DONE.spec)
    _of(filled, DONE).write_bytes(older)
    assert found is not None and isinstance(found.reports, summaries.LinedReports)
    assert found == other


def test_files_that_are_replaced_again_and_again_do_not_all_stay_open(
    filled: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lines, "MOST_REPLACED", 3)
    store, held = Store(filled).open(), []
    for n in range(8):
        result = dataclasses.replace(DONE, provenance={"seconds": float(n)})
        store.put(result)
        held.append((result, store.get(DONE.key, DONE.spec)))
        store.put(RESULTS[1])
        _of(filled, DONE).unlink()
    kinds = [type(found.reports) for _, found in held if found is not None]
    assert kinds == [summaries.LinedReports] * 4 + [PackedReports] * 4
    assert all(found == result for result, found in held)


def test_files_of_which_nothing_is_removed_are_not_written_anew(filled: Path) -> None:
    before = [file.stat().st_ino for file in sorted((filled / "summaries").iterdir())]
    summaries_of(filled).tidy(bool, bool)
    assert [file.stat().st_ino for file in sorted((filled / "summaries").iterdir())] == before


def test_reports_that_cannot_be_read_any_more_are_not_replaced_by_others(filled: Path) -> None:
    store = Store(filled).open()
    reports = _lined(store, "put")
    _zeros(_of(filled, DONE))
    other = dataclasses.replace(DONE, reports=(report(0), report(1, 0.2)))
    store.put(other)
    file = file_of(filled, DONE)
    for message in ("was changed there", "was removed from the store"):
        with pytest.raises(UserError, match=message):
            list(reports)
        file.unlink(missing_ok=True)
    kept = store.get(DONE.key, DONE.spec)
    assert kept is not None and kept.reports == other.reports, "what is in use is not asked of the file"


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="needs /proc")
def test_files_of_lines_are_closed_with_their_store(filled: Path) -> None:
    gc.collect()
    before = len(os.listdir("/proc/self/fd"))
    store = Store(filled).open()
    for _ in range(3):
        for result in RESULTS:
            assert store.get(result.key, result.spec) == result
            store.put(result)
            _of(filled, result).unlink()
    assert before < len(os.listdir("/proc/self/fd")) <= before + 2 * len(RESULTS)
    gc.disable()  # the store is in no cycle
    try:
        del store
    finally:
        gc.enable()
    assert len(os.listdir("/proc/self/fd")) == before


def test_a_line_that_is_half_written_holds_no_reports(filled: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = os.write
    monkeypatch.setattr(lines.os, "write", lambda handle, line: whole(handle, line[: len(line) // 2]))
    store = Store(filled).open()
    store.put(DONE)
    monkeypatch.undo()
    found = store.get(DONE.key, DONE.spec)
    assert found == DONE and isinstance(found.reports, PackedReports)


def test_after_a_failed_write_lines_are_written_again_later(
    filled: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.rmtree(filled / "summaries")
    store = Store(filled).open()
    (filled / "summaries").write_text("")
    store.put(DONE)
    (filled / "summaries").unlink()
    store.put(DONE)
    assert not (filled / "summaries").exists(), "it tries at each result"
    monkeypatch.setattr(lines, "PAUSE", 0.0)
    store.put(DONE)
    assert len(lines_of(filled)) == 1


def test_a_line_belongs_to_the_file_that_its_driver_has_written(
    filled: Path, read: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another driver may put the same run at the same time, with other seconds."""
    first, second = Store(filled).open(), Store(filled).open()
    other = dataclasses.replace(DONE, provenance={"seconds": 5.0})
    publish = stores.publish

    def overtaken(*arguments: Any) -> Any:
        found = publish(*arguments)
        monkeypatch.undo()
        second.put(other)
        return found

    monkeypatch.setattr(stores, "publish", overtaken)
    first.put(DONE)
    assert Store(filled).get(DONE.key) == other
    assert Store(filled).get(DONE.key, DONE.spec) == other


def test_a_result_that_is_read_is_not_added_again_and_again(
    filled: Path, read: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the file of its line is too long to look for it."""
    monkeypatch.setattr(summaries, "RESULT_WORTH", 1)
    before = len(lines_of(filled))
    for _ in range(3):
        assert Store(filled).open().get(DONE.key, DONE.spec) == DONE
    assert read == [DONE.key] * 3 and len(lines_of(filled)) == before


def test_a_result_that_is_asked_for_without_its_run_leaves_its_line_alone(
    filled: Path, read: list[str]
) -> None:
    """The line cannot be used then, as it does not name the run, and still holds."""
    before = len(lines_of(filled))
    store = Store(filled).open()
    for result in RESULTS:  # the files of lines are read
        assert store.get(result.key, result.spec) == result
    again = Store(filled).open()
    again._summaries._results.places(DONE.key[0], writes=True)
    assert again.get(DONE.key) == DONE
    assert read == [DONE.key] and len(lines_of(filled)) == before


def test_runs_that_are_not_finished_are_not_looked_for(filled: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(summaries.Summaries, "find", None)
    spec = CELL.spec({}, 99)
    assert Store(filled).get(spec.key, spec) is None


def test_others_of_the_group_may_write(tmp_path: Path) -> None:
    before = os.umask(0o002)
    try:
        Store(tmp_path).open().put(DONE)
        summaries_of(tmp_path).tidy({DONE.key}.__contains__, bool)
    finally:
        os.umask(before)
    assert _of(tmp_path, DONE).stat().st_mode & 0o777 == 0o664


def test_a_link_is_not_written_through(filled: Path, tmp_path: Path) -> None:
    (tmp_path / "other").write_text("mine")
    _of(filled, DONE).unlink()
    _of(filled, DONE).symlink_to(tmp_path / "other")
    Store(filled).open().put(DONE)
    assert (tmp_path / "other").read_text() == "mine"

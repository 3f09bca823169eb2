"""The store: whole files or none, and what is no result is set aside and said."""

from __future__ import annotations

import dataclasses
import errno
import json
import os
import pickle
import time
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from raycl import Study
from raycl.archives import Artefact, archive, digest_of_arrays
from raycl.errors import UserError
from raycl.plainfiles import lines_of
from raycl.runs.reports import TaskReport
from raycl.runs.result import Result, SharedProvenance
from raycl.runs.store import Store
from raycl.specs import RunSpec
from raycl.study.expand import cells_of
from raycl.wholefiles import publish


@pytest.fixture
def result() -> Result:
    (cell,) = cells_of(Study(methods={"finetune": {}}, benchmarks=["digits_split"], search=None))
    report = TaskReport(
        0, {0: 0.5}, {0: 0.25}, {"main": 3}, 9, {"main": 1.5, "method": 0.5}, 0.1, 7, 11, 44, {"a": [1]}, 9.0
    )
    return Result(cell.spec({}, 1), "done", (report,), "", {"seconds": 2.0})


def path_of(store: Store, result: Result) -> Path:
    return store.root / "runs" / result.key[:2] / f"{result.key}.json"


def test_a_result_comes_back_as_it_was(tmp_path: Path, result: Result) -> None:
    Store(tmp_path).put(result)
    again = Store(tmp_path).get(result.key)
    assert again == result
    assert again is not None and again.ct == 2.0 and again.acc() == 0.25 and again.acc("val") == 0.5
    assert list(Store(tmp_path).finished()) == [result.key]


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda text: text[: len(text) // 2], "truncated or damaged at byte"),
        (lambda text: "", "truncated or damaged at byte 0"),
        (lambda text: '{"format": "other"}', "another format or another run"),
        (lambda text: text.replace('"seed": 1', '"seed": 2'), "the digest does not match"),
        (lambda text: text.replace('"updates"', '"steps"'), "the digest does not match"),
        (lambda text: "[1]", "it holds a list, expected an object"),
    ],
)
def test_what_is_no_result_is_set_aside_and_said(tmp_path: Path, result: Result, damage, said: str) -> None:
    lines: list[str] = []
    store = Store(tmp_path, lines.append)
    store.put(result)
    file = path_of(store, result)
    file.write_text(damage(file.read_text()))
    fresh = Store(tmp_path, lines.append)
    assert fresh.get(result.key) is None
    assert len(lines) == 1 and said in lines[0] and file.name in lines[0] and "damaged/" in lines[0]
    assert not file.exists() and (tmp_path / "damaged" / file.name).exists()


def test_a_failure_is_no_result(tmp_path: Path, result: Result) -> None:
    store = Store(tmp_path)
    store.put(Result(result.spec, "failed", (), "Traceback: boom"))
    assert store.get(result.key) is None
    failure = store.failure(result.key)
    assert failure is not None and failure.message == "Traceback: boom"
    store.put(result)
    assert store.failure(result.key) is None


def test_publishing_clears_the_checkpoint(tmp_path: Path, result: Result) -> None:
    folder = tmp_path / "checkpoints" / result.key
    folder.mkdir(parents=True)
    (folder / "state.pt").write_bytes(b"x")
    Store(tmp_path).put(result)
    assert not folder.exists()


def test_publish_leaves_the_old_file_whole_when_it_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "a" / "b.json"
    publish(file, "old")
    monkeypatch.setattr(os, "replace", lambda *_: (_ for _ in ()).throw(OSError("disk")))
    with pytest.raises(OSError, match="disk"):
        publish(file, "new")
    assert file.read_text() == "old" and [p.name for p in file.parent.iterdir()] == ["b.json"]


def test_a_store_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"cannot be written .*--store DIR"):
        Store(tmp_path / "file" / "below").open()


def test_a_damaged_ledger_is_set_aside(tmp_path: Path) -> None:
    lines: list[str] = []
    store = Store(tmp_path, lines.append)
    store.propose("ab12", 0, {"x": 1}, {})
    assert store.proposal("ab12", 0) == {"x": 1}
    (tmp_path / "searches/ab/ab12/0000.json").write_text("{")
    assert store.proposal("ab12", 0) is None and len(lines) == 1


def test_what_no_run_can_come_to_is_published_as_a_failure(tmp_path: Path, result: Result) -> None:
    (report,) = result.reports
    reports = (dataclasses.replace(report, stored_bytes=12.5),)  # type: ignore[arg-type]
    for bad, said in (
        (dataclasses.replace(result, provenance={"x": float("nan")}), "not JSON compliant"),
        (dataclasses.replace(result, reports=reports), "report 1: stored_bytes = '12.5' is not an integer"),
        (dataclasses.replace(result, reports=()), "its status is done, but it has no reports"),
        (dataclasses.replace(result, provenance={"x": {1, 2}}), "set is not JSON serializable"),
    ):
        published = Store(tmp_path).put(bad)
        assert published.status == "failed" and said in published.message
        assert Store(tmp_path).get(bad.key) is None
        assert Store(tmp_path).failure(bad.key) == published


def test_json_keys_are_canonical(result: Result) -> None:
    plain = json.loads(json.dumps(result.spec.to_json()))
    assert RunSpec.from_json(dict(reversed(plain.items()))).key == result.key


def refusing(monkeypatch: pytest.MonkeyPatch, times: int, number: int) -> list[int]:
    """A disk that refuses the first so many files that are put in place."""
    refused: list[int] = []
    replace = os.replace

    def refuse(*names: str) -> None:
        if len(refused) < times:
            refused.append(number)
            raise OSError(number, os.strerror(number))
        replace(*names)

    monkeypatch.setattr(os, "replace", refuse)
    return refused


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS, errno.EIO, errno.ESTALE])
def test_a_store_out_of_reach_is_waited_for_and_said_once(
    tmp_path: Path, result: Result, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    lines: list[str] = []
    monkeypatch.setattr(time, "sleep", lambda seconds: None)
    refused = refusing(monkeypatch, 5, number)
    Store(tmp_path, lines.append).put(result)
    assert len(refused) == 5
    assert Store(tmp_path).get(result.key) == result
    assert [os.strerror(number) in line for line in lines] == [True, False]
    assert "can be written again" in lines[1]
    assert not list(tmp_path.rglob(".*json-*")), "a half-written file is left"


def test_a_store_out_of_reach_for_long_is_an_error_of_one_line(
    tmp_path: Path, result: Result, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("raycl.runs.patience.PATIENCE", 0.0)
    refusing(monkeypatch, 1000, errno.ENOSPC)
    with pytest.raises(UserError, match=r"out of reach .*No space left.*same command again"):
        Store(tmp_path).put(result)


def test_what_does_not_pass_is_raised(
    tmp_path: Path, result: Result, monkeypatch: pytest.MonkeyPatch
) -> None:
    refusing(monkeypatch, 1, errno.ENAMETOOLONG)
    with pytest.raises(UserError, match=r"cannot be written \(File name too long\); fix it"):
        Store(tmp_path).put(result)


def test_a_result_that_cannot_be_read_now_is_not_set_aside(
    tmp_path: Path, result: Result, monkeypatch: pytest.MonkeyPatch
) -> None:
    Store(tmp_path).put(result)
    opened, refused = os.open, []

    def stale(path: Path, *more: int) -> int:
        if str(path).endswith(".json") and len(refused) < 2:
            refused.append(path)
            raise OSError(errno.ESTALE, os.strerror(errno.ESTALE))
        return opened(path, *more)

    monkeypatch.setattr(time, "sleep", lambda seconds: None)
    monkeypatch.setattr(os, "open", stale)
    assert Store(tmp_path).get(result.key) == result and len(refused) == 2
    assert not (tmp_path / "damaged").exists()


@pytest.mark.parametrize(("kind", "folder"), [(Artefact.MASK, "masks"), (Artefact.BACKBONE, "backbones")])
def test_artefacts_are_found_where_stores_have_always_had_them(
    tmp_path: Path, kind: Artefact, folder: str
) -> None:
    store = Store(tmp_path)
    assert not store.has(kind, "abcd")
    publish(tmp_path / folder / "ab" / "abcd.npz", archive({"format": 2}, {}))
    assert store.has(kind, "abcd") and kind.path(store.root, "abcd").is_file()
    store.forget_artefact(kind, "abcd")
    assert not store.has(kind, "abcd") and not kind.path(store.root, "abcd").exists()


def test_a_backbone_is_looked_for_each_time(tmp_path: Path) -> None:
    """A run counts as finished only as long as its artefact is there; a mask is looked for once."""
    store = Store(tmp_path)
    for kind in (Artefact.BACKBONE, Artefact.MASK):
        path = kind.path(store.root, "abcd")
        publish(path, archive({"format": 2}, {}))
        assert store.has(kind, "abcd")
        path.unlink()
        assert store.has(kind, "abcd") == (kind is Artefact.MASK)


@pytest.mark.parametrize("kind", Artefact)
def test_a_run_goes_with_the_artefact_that_it_left(tmp_path: Path, kind: Artefact, result: Result) -> None:
    lines: list[str] = []
    for lose in (
        lambda store: store.drop(kind, result.key, "of no use"),
        lambda store: store.has(kind, result.key),  # torn
    ):
        store = Store(tmp_path, lines.append)
        store.put(result)
        publish(kind.path(store.root, result.key), b"torn")
        lose(store)
        assert not store.has(kind, result.key)
        assert (store.get(result.key) is None) == (kind is Artefact.BACKBONE)
    assert len(lines) == 2 and "(of no use); moved to" in lines[0] and "(truncated); moved to" in lines[1]


@pytest.mark.parametrize("name", ["runs", "searches", "masks", "backbones"])
def test_what_stands_in_a_folders_place_is_told(tmp_path: Path, name: str) -> None:
    for make in (lambda p: p.write_text(""), lambda p: p.symlink_to("/nowhere/x"), os.mkfifo):
        place = tmp_path / name
        make(place)
        for use in (Store(tmp_path).open, Store(tmp_path, wait=False).look):
            with pytest.raises(UserError, match=f"{name} is not a folder; move it away"):
                use()
        place.unlink()
    Store(tmp_path).open()


def test_a_file_has_a_line_for_each_entry(tmp_path: Path) -> None:
    plain = {"a": {"b": [1.5, None]}, "reports": [{"task": 0}, {"task": 1}], "none": [], "text": 'a "b"\n'}
    text = lines_of(plain)
    assert json.loads(text) == plain and lines_of({}) == "{}"
    assert text.splitlines()[1:5] == [
        ' "a": {"b": [1.5, null]},',
        ' "reports": [',
        '  {"task": 0},',
        '  {"task": 1}',
    ]


ABOUT = {"seconds": 2.5, "started": 1.0, "device": "cpu", "threads": 1, "numerics": "strict"}


@pytest.mark.parametrize(
    "more",
    [
        {},
        {"threads": True},
        {"threads": 1.0},
        {"left": ["a"]},
        {"seconds": 0.0, "commit": ""},
        {"a": (True,)},
    ],
)
def test_a_shared_provenance_has_the_same_entries(more: dict[str, Any]) -> None:
    """1, 1.0 and True are equal, and different entries."""
    about = ABOUT | more
    found = [SharedProvenance(each) for each in (ABOUT, about, ABOUT)][1]
    assert found == about == found and list(found) == list(about) and len(found) == len(about)
    assert repr(found) == repr(about) == repr(pickle.loads(pickle.dumps(found)))
    with pytest.raises(KeyError, match="absent"):
        found["absent"]


def test_what_a_driver_keeps_of_a_provenance_is_small(result: Result) -> None:
    """350 bytes, where a dictionary has 720; also with a list, and with a text that no other run has."""
    abouts = [
        {f"entry {i}": "text" for i in range(10)} | {"seconds": n + 0.5, "left": ["a"], "text": f"of run {n}"}
        for n in range(100)
    ]
    kept = [dataclasses.replace(result, provenance=abouts[0]).packed()]
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        kept += [dataclasses.replace(result, provenance=about).packed() for about in abouts]
        grown = tracemalloc.get_traced_memory()[0] - before
        small = [result.packed() for _ in abouts]
        without = tracemalloc.get_traced_memory()[0] - before - grown
    finally:
        tracemalloc.stop()
    assert len(kept) == len(small) + 1 and (grown - without) / len(abouts) < 350


def test_the_digest_of_arrays_depends_on_each_of_their_properties() -> None:
    """Bytes alone do not tell a row from a column, or a signed integer from one without a sign."""
    numbers = np.arange(6, dtype=np.int32)
    found = [
        {"a": numbers},
        {"a": numbers.reshape(2, 3)},
        {"a": numbers.reshape(3, 2)},
        {"a": numbers.view(np.uint32)},
        {"a": numbers[::-1]},
        {"b": numbers},
        {"a": numbers, "b": numbers[:0]},
    ]
    assert len({digest_of_arrays(arrays) for arrays in found}) == len(found)
    turned = np.asfortranarray(numbers.reshape(2, 3))
    assert digest_of_arrays({"a": turned}) == digest_of_arrays(found[1]), "the order in memory does not count"

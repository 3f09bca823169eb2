"""A file is there whole, or as it was before."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from raycl.wholefiles import publish


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("synced", [True, False])
def test_a_file_replaces_the_one_that_was_there_and_leaves_no_draft(tmp_path: Path, synced: bool) -> None:
    path = tmp_path / "below" / "file"
    for content in ("first, ä", b"second"):
        publish(path, content, synced=synced)
        assert path.read_bytes() == (content.encode() if isinstance(content, str) else content)
    assert names(tmp_path / "below") == ["file"]


def test_the_whole_content_is_handed_to_the_system_before_it_is_synced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes: list[int] = []
    monkeypatch.setattr(os, "fsync", lambda handle: sizes.append(os.fstat(handle).st_size))
    publish(tmp_path / "file", "content")
    assert sizes == [len("content")]


@pytest.mark.parametrize("synced", [True, False])
def test_a_file_has_its_whole_content_when_it_is_put_in_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, synced: bool
) -> None:
    sizes, replace = list[int](), os.replace

    def noted(draft: Path, path: Path) -> None:
        sizes.append(draft.stat().st_size)
        replace(draft, path)

    monkeypatch.setattr(os, "replace", noted)
    state = publish(tmp_path / "file", "content", synced=synced)
    assert sizes == [state.st_size] == [len("content")]


@pytest.mark.parametrize("step", ["fsync", "chmod", "replace"])
@pytest.mark.parametrize("error", [OSError, KeyboardInterrupt])
def test_what_is_cut_off_leaves_the_file_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str, error: type[BaseException]
) -> None:
    publish(tmp_path / "file", "before")

    def refuse(*given: object) -> None:
        raise error

    monkeypatch.setattr(os, step, refuse)
    with pytest.raises(error):
        publish(tmp_path / "file", "after")
    assert (tmp_path / "file").read_text() == "before" and names(tmp_path) == ["file"]


@pytest.mark.parametrize(
    ("mode", "mask", "wanted"), [(0o644, 0o077, 0o644), (0o600, 0o002, 0o600), (None, 0o027, 0o640)]
)
def test_permissions_are_those_asked_for_or_what_any_new_file_gets(
    tmp_path: Path, mode: int | None, mask: int, wanted: int
) -> None:
    before = os.umask(mask)
    try:
        publish(tmp_path / "file", "x", mode=mode)
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "file").stat().st_mode) == wanted

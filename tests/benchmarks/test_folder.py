"""A user's own folder of pictures."""

from __future__ import annotations

import hashlib
import os
import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from raycl import registry
from raycl.benchmarks import data_root, folder
from raycl.benchmarks.base import splits_hash
from raycl.errors import UserError
from raycl.registry import load
from raycl.tasks import ArraySplit

pytestmark = pytest.mark.usefixtures("empty")

KINDS = ("ant", "bee", "cat", "dog")


def pictures(root: Path, count: int, start: int = 0, kinds: tuple[str, ...] = KINDS) -> None:
    """So many pictures of each class, of three formats and different shapes."""
    for label, kind in enumerate(kinds):
        (root / kind).mkdir(parents=True)
        for number in range(start, start + count):
            pixels = np.random.default_rng([label, number]).integers(
                0, 256, (20, 24 + number, 3), dtype=np.uint8
            )
            suffix = ("png", "JPEG", "bmp")[number % 3]
            image = Image.fromarray(pixels)
            (image.convert("L") if number == 4 else image).save(root / kind / f"{number}.{suffix}")


@pytest.fixture
def mine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    pictures(tmp_path / "mine", 10)
    return tmp_path / "mine"


def sizes(name: str) -> list[tuple[int, int, int]]:
    return [(len(t.train), len(t.val), len(t.test)) for t in load(name).tasks]


def test_a_share_of_each_class_is_held_out(mine: Path) -> None:
    benchmark = load("folder(path='mine', tasks=2, size=16)")
    assert benchmark.name == "folder(name='mine', size=16, tasks=2)"
    assert benchmark.input_shape == (3, 16, 16)
    assert [task.class_names for task in benchmark.tasks] == [("ant", "bee"), ("cat", "dog")]
    assert sizes("folder(path='mine', tasks=2, size=16, val=0.25)") == [(12, 4, 4)] * 2
    for task in benchmark.tasks:
        rows = [set(split.rows) for split in (task.train, task.val, task.test)]  # type: ignore[attr-defined]
        assert sum(map(len, rows)) == len(set.union(*rows)) == 20
        assert np.bincount(task.test.y).tolist() == [2, 2]
    assert splits_hash(benchmark) == "73db6d5022550e74"
    assert splits_hash(load("folder(path='mine', tasks=2, size=16, data_seed=1)")) == "9d234f6596e0a08e"


def test_pictures_are_cut_square_and_normalised(mine: Path) -> None:
    benchmark = load("folder(path='mine', tasks=1, size=16, val=0)")
    (task,) = benchmark.tasks
    assert isinstance(task.train, ArraySplit)
    row = task.train.images[0]  # ant/0.png, 24 x 20
    scaled = Image.open(mine / "ant" / "0.png").resize((19, 16), Image.Resampling.BILINEAR)
    assert (row == np.asarray(scaled.crop((1, 0, 17, 16))).transpose(2, 0, 1)).all()
    grey = task.train.images[4]
    assert (grey[0] == grey[1]).all() and (grey[1] == grey[2]).all()
    x = task.train.take(slice(None))
    assert torch.allclose(x.mean((0, 2, 3)), torch.zeros(3), atol=1e-5)
    assert torch.allclose(x.std((0, 2, 3), correction=0), torch.ones(3), atol=1e-5)


def test_train_and_test_folders_are_kept_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    pictures(tmp_path / "two" / "train", 6)
    pictures(tmp_path / "two" / "test", 3, start=100)
    assert sizes("folder(path='two', tasks=2, val=0, test=0.5)") == [(12, 0, 6)] * 2
    task = load("folder(path='two', tasks=2, val=0)").tasks[1]
    assert isinstance(task.train, ArraySplit) and isinstance(task.test, ArraySplit)
    assert {i.tobytes() for i in task.train.images}.isdisjoint(i.tobytes() for i in task.test.images)
    shutil.rmtree(tmp_path / "two" / "test" / "bee")
    with pytest.raises(UserError, match="class bee is in only one of train/ and test/"):
        load("folder(path='two', tasks=2)")


def test_it_is_known_by_content_and_read_once(mine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    name = "folder(path='mine', tasks=2)"
    first = registry.recipe(name).identity()
    one = load(name)
    assert load(name) is one
    (made,) = (path for path in (data_root() / "folder").iterdir() if path.is_dir())
    assert made.name == f"{first['sha256']}-32-2"
    with monkeypatch.context() as patch:  # another process finds the note, and reads no picture
        folder._checksum.cache_clear()
        patch.setattr(hashlib, "file_digest", None)
        assert registry.recipe(name).identity() == first
    moved = mine.rename(mine.parent / "moved")
    assert registry.recipe("folder(path='moved', tasks=2)").identity() == first
    file = moved / "bee" / "3.png"
    Image.fromarray(np.zeros((20, 20, 3), np.uint8)).save(file)
    assert registry.recipe("folder(path='moved', tasks=2)").identity() != first
    (moved / "bee" / "0.png").rename(moved / "ant" / "x.png")
    third = registry.recipe("folder(path='moved', tasks=2)").identity()
    os.utime(file, ns=(1, 1))  # touched, not changed
    assert registry.recipe("folder(path='moved', tasks=2)").identity() == third


def test_a_task_of_it_travels_as_a_name(mine: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    task = load("folder(path='mine', tasks=2)", order=1).tasks[1]
    packed = pickle.dumps(task)
    assert len(packed) < 2000
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert torch.equal(pickle.loads(packed).test.take(slice(None)), task.test.take(slice(None)))


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("folder", "benchmark folder: path is missing"),
        ("folder(path='none')", "benchmark folder: cannot read "),
        ("folder(path='bare')", "bare does not contain folders of images, one for each class"),
        ("folder(path='bad', tasks=1)", "bad/bee/x.png cannot be read (not an image)"),
        ("folder(path='hollow')", "hollow/bee does not contain an image (.jpg"),
        (
            "folder(path='few', tasks=2)",
            "class ant has too few images, so none is left for train; set val and test",
        ),
        ("folder(path='mine', tasks=3)", "tasks = 3 must be 1 to 2: there are 4 classes"),
        ("folder(path='mine', size=4)", "size = 4 is outside 8..1024"),
        ("folder(path='mine', test=0)", "test = 0 is outside 0.01..0.9"),
    ],
)
@pytest.mark.usefixtures("mine")
def test_unfit_folders_are_refused_in_words(tmp_path: Path, name: str, message: str) -> None:
    (tmp_path / "bare").mkdir()
    (tmp_path / "bare" / "loose.png").write_bytes(b"")
    pictures(tmp_path / "bad", 5, kinds=("ant", "bee"))
    (tmp_path / "bad" / "bee" / "x.png").write_bytes(b"\x89PNG no")
    pictures(tmp_path / "hollow", 2, kinds=("ant",))
    (tmp_path / "hollow" / "bee").mkdir()
    pictures(tmp_path / "few", 1)
    with pytest.raises(UserError) as error:
        load(name)
    assert message in str(error.value)
    assert "\n" not in str(error.value)

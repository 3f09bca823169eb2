"""A user's own data: the npz recipe, the helpers, and a recipe in a user's own file."""

from __future__ import annotations

import os
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch

from raycl import registry
from raycl.benchmarks import data_root, split_by_class, whole
from raycl.benchmarks.arrays import as_images, statistics
from raycl.benchmarks.transforms import Rotate
from raycl.errors import UserError
from raycl.registry import load
from raycl.tasks import Benchmark, Task

pytestmark = pytest.mark.usefixtures("empty")


def given(classes: int = 6, shape: tuple[int, ...] = (5, 4)) -> dict[str, np.ndarray]:
    draw = np.random.default_rng(0)
    made = {}
    for part, count in (("train", 20), ("test", 5)):
        made[f"x_{part}"] = draw.integers(0, 256, (classes * count, *shape), dtype=np.uint8)
        made[f"y_{part}"] = np.tile(np.arange(classes), count)
    return made


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    np.savez_compressed(tmp_path / "mine.npz", **given())
    return tmp_path / "mine.npz"


def test_an_npz_file_is_split_by_class(file: Path) -> None:
    benchmark = load("npz(path='mine.npz', tasks=3)")
    assert benchmark.name == "npz(name='mine.npz', tasks=3)"
    assert benchmark.input_shape == (1, 5, 4)
    assert benchmark.classes == (2, 2, 2)
    assert [(len(t.train), len(t.val), len(t.test)) for t in benchmark.tasks] == [(36, 4, 10)] * 3
    raw = given()
    x = torch.cat([split.take(slice(None)) for t in benchmark.tasks for split in (t.train, t.val)])
    assert x.mean().item() == pytest.approx(0, abs=1e-5)
    assert x.std(correction=0).item() == pytest.approx(1, abs=1e-5)
    task = benchmark.tasks[1]
    wanted = raw["x_test"][np.isin(raw["y_test"], (2, 3))] / 255
    scaled = (wanted - raw["x_train"].mean() / 255) / (raw["x_train"].std() / 255)
    assert np.allclose(task.test.take(slice(None))[:, 0].numpy(), scaled, atol=1e-5)
    assert set(task.test.y.tolist()) == {0, 1}


def test_an_npz_file_is_unpacked_once_and_known_by_content(file: Path) -> None:
    first = registry.recipe("npz(path='mine.npz', tasks=2)").identity()
    one = load("npz(path='mine.npz', tasks=2)")
    assert load("npz(path='mine.npz', tasks=2)") is one
    assert [folder.name for folder in (data_root() / "npz").iterdir()] == [first["sha256"]]
    np.savez(file, **given(classes=4))
    os.utime(file, ns=(1, 1))
    assert registry.recipe("npz(path='mine.npz', tasks=2)").identity() != first
    assert load("npz(path='mine.npz', tasks=2)").classes == (2, 2)
    assert one.classes == (3, 3)


def test_a_task_of_it_travels_as_a_name(file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    task = load("npz(path='mine.npz', tasks=3)", order=1).tasks[2]
    packed = pickle.dumps(task)
    assert len(packed) < 2000
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    again = pickle.loads(packed)
    assert (again.name, again.index) == (task.name, 2)
    assert torch.equal(again.val.take(slice(None)), task.val.take(slice(None)))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"y_test": None}, "it does not contain an array y_test (it contains: x_train, y_train, x_test)"),
        ({"x_train": np.zeros((120, 5, 4)) + 3}, "x_train contains floats in [3, 3]; scale them to [0, 1]"),
        ({"x_train": np.full((120, 5, 4), np.nan)}, "x_train contains 2400 NaN: replace or remove them"),
        ({"x_train": np.zeros((120, 5, 4), np.int32)}, "x_train is int32; expected: uint8 in 0..255"),
        ({"x_train": np.zeros((120, 5, 4, 2), np.uint8)}, "x_train has shape (120, 5, 4, 2); expected"),
        (
            {"x_test": np.zeros((30, 4, 4), np.uint8)},
            "x_train contains samples of shape (1, 5, 4) and x_test of (1, 4, 4)",
        ),
        (
            {"y_train": np.zeros(7, int)},
            "y_train has shape (7,); expected: (120,), one label for each sample",
        ),
        ({"y_train": np.zeros(120)}, "y_train contains float64; labels must be integers"),
        ({"y_test": np.zeros(30, int)}, "label 1 occurs in only one of y_train and y_test"),
    ],
)
def test_unfit_files_are_refused_in_words(file: Path, change: dict[str, np.ndarray], message: str) -> None:
    np.savez(file, **{k: v for k, v in (given() | change).items() if v is not None})
    with pytest.raises(UserError) as error:
        load("npz(path='mine.npz', tasks=2)")
    assert message in str(error.value)
    assert "benchmark npz: " in str(error.value)
    assert "\n" not in str(error.value)


def test_a_class_that_validation_would_take_whole_is_refused(file: Path) -> None:
    labels = np.tile(np.arange(5), 24)
    labels[0] = 5  # the only image of its class
    np.savez(file, **given() | {"y_train": labels})
    with pytest.raises(UserError, match=r"class 5: val = 0.9 holds out all of its training images \(1\)"):
        load("npz(path='mine.npz', tasks=2, val=0.9)")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("npz", "benchmark npz: path is missing"),
        ("npz(path='none.npz')", "benchmark npz: cannot read "),
        ("npz(path='bad.npz')", "benchmark npz: "),
        ("npz(path='mine.npz', tasks=4)", "tasks = 4 must be 1 to 3: there are 6 classes"),
        ("npz(path='mine.npz', val=2)", "val = 2 is outside 0..0.9"),
    ],
)
@pytest.mark.usefixtures("file")
def test_bad_settings_are_refused_in_words(name: str, message: str) -> None:
    Path("bad.npz").write_bytes(b"PK\3\4 no")
    with pytest.raises(UserError) as error:
        load(name)
    assert message in str(error.value)


@pytest.mark.parametrize(
    ("shape", "wanted"),
    [
        ((9, 7), (9, 1, 1, 7)),
        ((9, 7, 6), (9, 1, 7, 6)),
        ((9, 7, 6, 3), (9, 3, 7, 6)),
        ((9, 7, 6, 1), (9, 1, 7, 6)),
        ((9, 3, 7, 6), (9, 3, 7, 6)),
        ((9, 1, 7, 3), (9, 1, 7, 3)),
    ],
)
def test_layouts_are_recognised(shape: tuple[int, ...], wanted: tuple[int, ...]) -> None:
    x = np.arange(np.prod(shape)).reshape(shape).astype(np.uint8)
    images = as_images(x)
    assert images.shape == wanted
    assert images.flags.c_contiguous
    if shape[-1] == 3 and shape[1] not in (1, 3):
        assert (images[:, 2] == x[..., 2]).all()


def test_floats_are_rounded_to_255ths() -> None:
    assert as_images(np.array([[0.0, 0.5, 1.0, 0.3]], np.float32)).tolist() == [[[[0, 128, 255, 76]]]]


def test_statistics_are_those_of_the_floats() -> None:
    images = np.random.default_rng(1).integers(0, 256, (1500, 3, 4, 4), dtype=np.uint8)
    images[:, 2] = 9
    mean, std = statistics(images)
    pixels = images / 255
    assert mean == pytest.approx(pixels.mean((0, 2, 3)))
    assert std[:2] == pytest.approx(pixels.std((0, 2, 3))[:2])
    assert std[2] == pytest.approx(1)  # flat: nothing to divide by


def test_uneven_classes_and_labels_with_gaps() -> None:
    raw = given(classes=5)
    raw["y_train"], raw["y_test"] = raw["y_train"] * 10 + 3, raw["y_test"] * 10 + 3
    benchmark = split_by_class("mine", **raw, tasks=2, val=0, mean=(0.0,), std=(1.0,))
    assert benchmark.classes == (3, 2)
    assert [task.name for task in benchmark.tasks] == ["classes 3 13 23", "classes 33 43"]
    assert len(benchmark.tasks[0].val) == 0
    assert benchmark.tasks[0].val.take(slice(None)).shape == (0, 1, 5, 4)
    assert np.unique(benchmark.tasks[1].train.y).tolist() == [0, 1]


def test_whole_shows_the_same_images_in_each_task() -> None:
    benchmark = whole("turned", **given(shape=(6, 6)), transforms=[[], [Rotate(90)]])
    one, two = benchmark.tasks
    assert benchmark.classes == (6, 6)
    turned = torch.rot90(one.train.take(slice(None)), 1, (2, 3))
    inner = (slice(None), slice(None), slice(1, -1), slice(1, -1))
    assert torch.allclose(two.train.take(slice(None))[inner], turned[inner], atol=1e-4)
    assert one.train.y is two.train.y


OWN = """
from dataclasses import dataclass
import numpy as np
from raycl.benchmarks import Recipe, split_by_class
from raycl.tasks import Benchmark

@dataclass(frozen=True, kw_only=True)
class Mine(Recipe):
    tasks: int = 2

    def build(self, seed: int) -> Benchmark:
        x, y = np.full((80, 4, 4), seed, np.uint8), np.arange(80) % 8
        return split_by_class("mine", x, y, x, y, tasks=self.tasks, mean=(0.5,), std=(0.5,))
"""


def test_a_recipe_of_a_users_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "own_benchmark_file.py").write_text(OWN)
    monkeypatch.syspath_prepend(tmp_path)
    benchmark = load("own_benchmark_file:Mine(tasks=4)", seed=255)
    assert benchmark.name == "own_benchmark_file:Mine(tasks=4)"
    assert benchmark.classes == (2, 2, 2, 2)
    assert (benchmark.tasks[0].train.take(slice(None)) == 1).all()  # it saw the seed
    again = pickle.loads(pickle.dumps(benchmark))
    assert isinstance(again, Benchmark)
    assert again.name == benchmark.name
    with pytest.raises(UserError, match="unknown field 'task'; did you mean 'tasks'"):
        load("own_benchmark_file:Mine(task=4)")


@pytest.mark.parametrize("name", ["digits_permuted(tasks=250)", "digits_mixed(size=28)"])
def test_benchmarks_and_tasks_travel_as_names(name: str) -> None:
    benchmark = load(name, seed=3, order=2)
    assert len(pickle.dumps(benchmark)) < 2000
    for packed in (pickle.dumps(benchmark.tasks[4]), pickle.dumps(list(benchmark.tasks[:5]))):
        assert len(packed) < 2000
    again = pickle.loads(pickle.dumps(benchmark.tasks[4]))
    assert isinstance(again, Task)
    assert (again.index, again.name) == (4, benchmark.tasks[4].name)
    assert torch.equal(again.test.take(slice(None)), benchmark.tasks[4].test.take(slice(None)))


def test_numbers_of_runs_and_orders_are_not_negative() -> None:
    with pytest.raises(UserError, match="order = -1 must not be negative"):
        load("digits_split", order=-1)

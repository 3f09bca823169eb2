"""Tasks of a user's own data: chosen classes, a column, the seed's order, validation, torch's Datasets."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import TensorDataset

from raycl import Seeds, Study, registry
from raycl.benchmarks import save_npz
from raycl.errors import UserError
from raycl.registry import load
from raycl.study.expand import cells_of
from raycl.tasks import ArraySplit

pytestmark = pytest.mark.usefixtures("empty")
CLASSES = 6


def arrays(**more: Any) -> dict[str, Any]:
    """Images whose pixels are ten times their label, in the order of the labels 0, 1, .., 5, 0, 1, .."""
    made: dict[str, Any] = {}
    for part, count in (("train", 20), ("test", 5)):
        y = np.tile(np.arange(CLASSES), count)
        made |= {f"x_{part}": np.repeat(10 * y, 16).reshape(-1, 4, 4).astype(np.uint8), f"y_{part}": y}
    return made | more


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    np.savez("mine.npz", **arrays())
    return tmp_path / "mine.npz"


def shown(split: Any, label: int) -> set[int]:
    """Return the original labels of the images that a split calls by a label of its task."""
    assert isinstance(split, ArraySplit)
    return {int(split.images[row].max()) // 10 for row in split.rows[split.y == label]}


def key(text: str) -> str:
    study = Study(methods={"finetune": {}}, benchmarks=[text], search=None, final=Seeds(1), preset="spg")
    return str(cells_of(study)[0].spec({}, 1).key)


def test_chosen_classes_become_the_tasks_in_the_order_in_which_they_are_written(file: Path) -> None:
    made = load("npz(path='mine.npz', classes=[[5, 0], [2, 3, 0]], titles=['odd', 'even'])")
    assert [task.classes for task in made.tasks] == [2, 3]
    assert [task.name for task in made.tasks] == ["odd", "even"]
    assert made.tasks[0].class_names == ("5", "0")
    for split in (made.tasks[1].train, made.tasks[1].val, made.tasks[1].test):
        assert [shown(split, label) for label in range(3)] == [{2}, {3}, {0}]


def test_titles_are_in_no_key_and_classes_are(file: Path) -> None:
    plain = key("npz(path='mine.npz', classes=[[0, 1], [2, 3]])")
    assert key("npz(path='mine.npz', classes=((0, 1), (2, 3)), titles=['a', 'b'], name='x')") == plain
    assert key("npz(path='mine.npz', classes=[[0, 1], [3, 2]])") != plain


def test_pictures_are_chosen_by_the_names_of_their_folders(tmp_path: Path) -> None:
    for n, kind in enumerate(("ant", "bee", "cat", "dog", "7")):
        (tmp_path / "photos" / kind).mkdir(parents=True)
        for number in range(10):
            Image.new("RGB", (8, 8), (20 * n + number, 0, 0)).save(
                tmp_path / "photos" / kind / f"{number}.png"
            )
    text = f"folder(path='{tmp_path}/photos', size=8, classes=[['dog', 'ant'], ['cat', 7]])"
    made = load(text)
    assert [task.class_names for task in made.tasks] == [("dog", "ant"), ("cat", "7")]
    with pytest.raises(UserError, match=r"task 1: there is no class 'dig'; did you mean 'dog'\? \(the data"):
        load(text.replace("dog", "dig"))


def test_a_column_says_the_task_of_each_image_and_tasks_may_share_labels(file: Path) -> None:
    columns = {
        f"t_{part}": np.arange(CLASSES * n) // CLASSES % 2 * 3 + 1 for part, n in (("train", 20), ("test", 5))
    }
    np.savez("tasks.npz", **arrays(**columns))
    made = load("npz(path='tasks.npz', val=0.2)")
    assert [(task.index, task.name, task.classes) for task in made.tasks] == [
        (0, "task 1", 6),
        (1, "task 4", 6),
    ]
    assert made.similar is None
    for task, value in zip(made.tasks, (1, 4), strict=True):
        assert isinstance(task.train, ArraySplit) and isinstance(task.test, ArraySplit)
        assert {*columns["t_train"][task.train.rows]} == {*columns["t_train"][task.val.rows]} == {value}
        assert {*columns["t_test"][task.test.rows]} == {value}
        assert len(task.val) == 12 and len(task.train) == 48  # a fifth of each class in each task
    assert key("npz(path='tasks.npz')") != key("npz(path='mine.npz', tasks=2)")


@pytest.mark.parametrize(
    ("columns", "settings", "message"),
    [
        ({"t_train": np.zeros(120, int)}, "", "it contains t_train but no t_test: save both or neither"),
        ({"x_val": np.zeros((6, 4, 4), np.uint8)}, "", "it contains x_val but no y_val"),
        (
            {"x_val": np.zeros((6, 4, 4), np.uint8), "y_val": np.full(6, 9)},
            "",
            "label 9 occurs in y_val but not in y_train",
        ),
        ({"mean": [125.0], "std": [60.0]}, "", "mean = [125.0] must be 1 numbers in [0, 1], one per channel"),
        (
            {"t_train": np.arange(120) % 6, "t_test": np.arange(30) % 6},
            "",
            "task 0 of t_train has 1 class, and a task needs at least 2",
        ),
        ({}, ", classes=[[0, 1], [2]]", "classes: task 2 = [2] needs at least two different classes"),
        ({}, ", classes=[[0, 8]]", "classes: task 1: there is no class 8 (the data have: 0, 1, 2, 3, 4, 5)"),
        ({}, ", classes=[[0, 1]], tasks=2", "tasks = 2, but classes has 1 tasks: leave tasks out"),
        ({}, ", classes=[[0, 1]], class_order='seeded'", "draws the classes of each task: leave out classes"),
        ({}, ", tasks=3, titles=['a']", "titles has 1 names for 3 tasks: give one for each task"),
        ({}, ", tasks=3, class_order='random'", "class_order = 'random' is not one of 'id', 'seeded'"),
    ],
)
def test_settings_that_do_not_fit_are_refused_in_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, columns: dict[str, Any], settings: str, message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    np.savez("mine.npz", **arrays(**columns))
    with pytest.raises(UserError) as error:
        load(f"npz(path='mine.npz'{settings})")
    assert message in str(error.value)


def test_validation_and_normalisation_of_the_file_are_used(file: Path) -> None:
    further = {
        "x_val": np.full((6, 4, 4), 200, np.uint8),
        "y_val": np.arange(6),
        "mean": [0.25],
        "std": [0.5],
    }
    np.savez("full.npz", **arrays(**further))
    made = load("npz(path='full.npz', tasks=3)")
    for task in made.tasks:
        assert isinstance(task.val, ArraySplit) and isinstance(task.train, ArraySplit)
        assert len(task.train) == 40 and len(task.val) == 2
        assert {int(task.val.images[row].max()) for row in task.val.rows} == {200}
        assert (task.train.mean, task.train.std) == ((0.25,), (0.5,))


def test_the_last_images_of_each_class_are_held_out_on_request(file: Path) -> None:
    task = load("npz(path='mine.npz', tasks=1, val_from='last')").tasks[0]
    assert isinstance(task.val, ArraySplit)
    assert task.val.rows.tolist() == list(range(120 - 2 * CLASSES, 120))  # two of twenty of each class
    drawn = load("npz(path='mine.npz', tasks=1)").tasks[0]
    assert len(drawn.val) == len(task.val) and drawn.val.rows.tolist() != task.val.rows.tolist()


def test_the_order_of_classes_follows_the_seed_of_the_run(file: Path) -> None:
    text = "npz(path='mine.npz', tasks=3, class_order='seeded')"
    named = [[task.class_names for task in load(text, seed=seed).tasks] for seed in (1, 2, 1)]
    assert named[0] == named[2] != named[1]
    assert sorted(name for names in named[1] for name in names) == list("012345")


def test_a_file_without_further_arrays_keeps_the_key_that_it_had(file: Path) -> None:
    import hashlib

    recipe = registry.recipe("npz(path='mine.npz', tasks=3)")
    assert recipe.identity() == {"sha256": hashlib.sha256(file.read_bytes()).hexdigest()}


def test_datasets_of_torch_are_written_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    calls: list[str] = []

    def data(part: str) -> TensorDataset:
        calls.append(part)
        made = {name: torch.as_tensor(values) for name, values in arrays().items()}
        return TensorDataset(made[f"x_{part}"].float() / 255, made[f"y_{part}"])

    for _ in range(2):
        assert save_npz("mine.npz", lambda: data("train"), lambda: data("test")) == Path("mine.npz")
    assert calls == ["train", "test"]
    made = load("npz(path='mine.npz', tasks=3)")
    assert shown(made.tasks[1].train, 0) == {2}
    pictures = [(Image.new("L", (4, 4), 9 * n), n % 2, n // 4) for n in range(8)]
    save_npz("tasks.npz", pictures, pictures)
    assert [task.name for task in load("npz(path='tasks.npz', val=0.0)").tasks] == ["task 0", "task 1"]


@pytest.mark.parametrize(
    ("items", "message"),
    [
        (
            [(np.zeros((4, 4)), 0), (np.zeros((5, 4)), 1)],
            "train[1] is an image of shape (1, 5, 4), and train[0]",
        ),
        (
            [(np.full((4, 4), -2.0), 0)],
            "train[0]: the image contains floats in [-2, -2]; scale them to [0, 1]",
        ),
        ([np.zeros((4, 4))], "train[0] is ndarray; expected: (image, label) or (image, label, task)"),
        ([(np.zeros((4, 4)), "cat")], "train[0] has label 'cat'; expected: an integer"),
        ([], "train has no samples"),
    ],
)
def test_samples_that_cannot_be_used_are_named(tmp_path: Path, items: list[Any], message: str) -> None:
    with pytest.raises(UserError) as error:
        save_npz(tmp_path / "mine.npz", items, items)
    assert message in str(error.value)
    assert not any(tmp_path.iterdir())

"""Six small data sets, a task each, on the real pictures."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
import torch

from raycl import registry
from raycl.benchmarks import sources
from raycl.benchmarks.base import splits_hash
from raycl.benchmarks.pools import COLOURS
from raycl.benchmarks.visual import Pad
from raycl.errors import UserError
from raycl.registry import load
from raycl.tasks import ArraySplit, Task


@pytest.fixture(scope="module")
def _root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("visual")


@pytest.fixture
def six(_root: Path, real_data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All six sources, from the real files."""
    monkeypatch.setenv("RAYCL_DATA", str(_root))
    for source in registry.recipe("small_visual").needs():
        sources.prepare(source, real_data)


def splits(task: Task) -> tuple[ArraySplit, ArraySplit, ArraySplit]:
    for split in (task.train, task.val, task.test):
        assert isinstance(split, ArraySplit)
    return task.train, task.val, task.test  # type: ignore[return-value]


@pytest.mark.usefixtures("six")
def test_a_data_set_a_task_and_equally_many_of_each_class() -> None:
    benchmark = load("small_visual")
    assert [task.kind for task in benchmark.tasks] == list(registry.recipe("small_visual").needs())
    assert [task.name for task in benchmark.tasks][::4] == ["CIFAR-100", "Omniglot"]
    assert [task.index for task in benchmark.tasks] == list(range(6))
    assert benchmark.classes == (100, 10, 10, 10, 8, 20)  # the small sets of Omniglot hold 8 alphabets
    counts = [tuple(len(split) for split in splits(task)) for task in benchmark.tasks]
    assert counts == [(2000, 0, 600)] * 5 + [(400, 0, 80)]  # all there is of Tiny ImageNet's 20 classes
    for task in benchmark.tasks:
        for split in (task.train, task.test):
            assert len(np.unique(np.bincount(split.y, minlength=task.classes))) == 1
    assert [len(task.val) for task in load("small_visual(val=0.1)").tasks] == [200] * 5 + [40]


@pytest.mark.usefixtures("six")
def test_which_image_is_where_never_changes() -> None:
    assert splits_hash(load("small_visual")) == "073d369a0bacf0a4"
    assert splits_hash(load("small_visual", seed=1)) == "073d369a0bacf0a4"
    assert splits_hash(load("small_visual(val=0.1)")) == "8462d050ba7ca1c7"


@pytest.mark.usefixtures("six")
def test_no_picture_is_in_two_splits_or_tasks() -> None:
    seen: list[set[bytes]] = [set(), set(), set()]
    total = 0
    for task in load("small_visual(val=0.1)").tasks:
        for part, split in zip(seen, splits(task), strict=True):
            part.update(split.images[row].tobytes() for row in split.rows)
            total += len(split)
    assert sum(map(len, seen)) == total  # nor twice in one
    assert not any(a & b for a, b in itertools.combinations(seen, 2))


@pytest.mark.usefixtures("six")
def test_omniglot_is_tested_on_other_drawers() -> None:
    task, drawers = load("small_visual").tasks[4], sources.arrays("omniglot")["drawers"]
    train, _, test = splits(task)
    assert set(drawers[train.rows]) == set(range(15))
    assert set(drawers[test.rows]) == set(range(15, 20))
    alphabets = sources.arrays("omniglot")["alphabets"]
    names_of = sources.facts("omniglot")["alphabet_names"]
    assert [task.class_names[y] for y in train.y] == [names_of[a] for a in alphabets[train.rows]]  # type: ignore[index]


@pytest.mark.usefixtures("six")
def test_all_are_of_one_shape_and_normalised_as_their_source() -> None:
    benchmark = load("small_visual")
    for task in benchmark.tasks:
        train, _, test = splits(task)
        assert train.take(slice(0, 4)).shape == test.take(slice(0, 4)).shape == (4, 3, 32, 32)
    grey = ((0.1307,) * 3, (0.3081,) * 3)
    wanted = [COLOURS["cifar"], COLOURS["cifar"], grey, grey, grey, COLOURS["imagenet"]]
    assert [(splits(task)[0].mean, splits(task)[0].std) for task in benchmark.tasks] == wanted
    digits = benchmark.tasks[3].train
    assert isinstance(digits, ArraySplit)
    x = digits.take(slice(0, 3))
    plain = torch.from_numpy(digits.images[digits.rows[:3]]) / 255
    for channel in range(3):
        inner = x[:, channel : channel + 1, 2:-2, 2:-2]
        assert torch.allclose(inner, (plain - 0.1307) / 0.3081, atol=1e-5)
    assert torch.allclose(x[:, :, :2], torch.tensor(-0.1307 / 0.3081))  # the border is black


def test_a_border_is_black_and_of_its_width() -> None:
    assert Pad(1)(torch.ones(1, 1, 1, 1)).flatten().tolist() == [0, 0, 0, 0, 1, 0, 0, 0, 0]


def test_nonsense_and_absence_are_said_in_words(empty: Path) -> None:
    with pytest.raises(UserError, match=r"val = 1 is outside 0\.\.0\.9"):
        registry.recipe("small_visual(val=1)")
    with pytest.raises(
        UserError, match="benchmark small_visual needs CIFAR-100, which is not in data folder"
    ):
        load("small_visual")

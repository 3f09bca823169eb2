"""MNIST's benchmarks, on real data where RAYCL_TEST_DATA names a folder that holds MNIST/raw."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import torch

from raycl import registry
from raycl.benchmarks import sources
from raycl.benchmarks.base import splits_hash
from raycl.errors import UserError
from raycl.registry import load
from raycl.tasks import ArraySplit, Benchmark


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    given = os.environ.get("RAYCL_TEST_DATA", "")
    if not given:
        pytest.skip("RAYCL_TEST_DATA does not name a folder with real data")
    root = tmp_path_factory.mktemp("mnist")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAYCL_DATA", str(root))
        sources.prepare("mnist", Path(given))
    return root


@pytest.fixture
def mnist(prepared: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAYCL_DATA", str(prepared))


def sizes(benchmark: Benchmark) -> list[tuple[int, int, int]]:
    return [(len(task.train), len(task.val), len(task.test)) for task in benchmark.tasks]


@pytest.mark.usefixtures("mnist")
def test_the_whole_set() -> None:
    assert sources.subset("mnist") == ""
    benchmark = load("permuted_mnist(tasks=2)")
    assert sizes(benchmark) == [(54000, 6000, 10000)] * 2
    assert benchmark.subset == ""
    assert benchmark.input_shape == (1, 28, 28)
    train = sources.arrays("mnist")["train_images"]
    assert train.mean() / 255 == pytest.approx(0.1307, abs=1e-4)
    assert train.std() / 255 == pytest.approx(0.3081, abs=1e-4)


@pytest.mark.usefixtures("mnist")
def test_two_digits_a_task() -> None:
    benchmark = load("mnist_split(val=0)")
    assert sizes(benchmark) == [
        (12665, 0, 2115), (12089, 0, 2042), (11263, 0, 1874), (12183, 0, 1986), (11800, 0, 1983)
    ]  # fmt: skip
    held = sizes(load("mnist_split"))
    assert [train + val for train, val, _ in held] == [train for train, _, _ in sizes(benchmark)]
    assert sum(val for _, val, _ in held) == 6000


@pytest.mark.usefixtures("mnist")
def test_limits_are_owned_up_to() -> None:
    benchmark = load("permuted_mnist(limit_train=1000, limit_test=500)")
    assert sizes(benchmark) == [(900, 100, 500)] * 10
    assert benchmark.subset == "1000 of 60000 training images, 500 of 10000 test images"
    counts = np.bincount(benchmark.tasks[0].test.y)
    assert counts.min() > 25  # of a shuffle, not of a sorted file


@pytest.mark.usefixtures("mnist")
def test_each_angle_is_in_its_tasks_name() -> None:
    benchmark = load("rotated_mnist(limit_train=100)")
    drawn = [task.name for task in benchmark.tasks]
    assert drawn[:2] == ["turned by 121 degrees", "turned by 126 degrees"]
    assert len(set(drawn)) == 10
    assert benchmark.tasks[0].train.take(slice(0, 3)).shape == (3, 1, 28, 28)


def test_angles_are_distinct_whole_degrees() -> None:
    every = registry.recipe("rotated_mnist(tasks=359)").angles()  # type: ignore[attr-defined]
    assert sorted(every) == list(range(1, 360))
    assert registry.recipe("rotated_mnist").angles() == every[:10]  # type: ignore[attr-defined]
    assert registry.recipe("rotated_mnist(data_seed=1)").angles() != every[:10]  # type: ignore[attr-defined]


def test_a_window_shows_the_tasks_of_the_whole_sequence() -> None:
    every = registry.recipe("rotated_mnist(tasks=20)").angles()  # type: ignore[attr-defined]
    window = registry.recipe("rotated_mnist").window(5, 3)
    assert window.angles() == every[5:8]  # type: ignore[attr-defined]
    with pytest.raises(UserError, match=r"first = 357 is outside 0\.\.356"):
        registry.recipe("rotated_mnist").window(357, 3)


@pytest.mark.usefixtures("mnist")
@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("permuted_mnist(tasks=2)", "245f4ea6cd6445cc"),
        ("permuted_mnist(tasks=2, val=0.0)", "6d1101120c7d9ead"),
        ("rotated_mnist(tasks=2)", "245f4ea6cd6445cc"),
        ("mnist_split", "97325688860ac272"),
        ("mnist_split(val=0.0)", "47390b78398a061d"),
        ("permuted_mnist(limit_train=1000, limit_test=500, tasks=10)", "25ebd800775a6e6a"),
    ],
)
def test_which_image_is_where_never_changes(name: str, wanted: str, seed: int) -> None:
    """The training seed changes nothing: the sequences are fixed."""
    assert splits_hash(load(name, seed=seed)) == wanted


@pytest.mark.usefixtures("mnist")
def test_no_image_occurs_twice_so_that_disjoint_rows_are_disjoint_images() -> None:
    arrays = sources.arrays("mnist")
    seen = [set(map(bytes, arrays[f"{part}_images"].reshape(-1, 784))) for part in ("train", "test")]
    assert [len(images) for images in seen] == [60_000, 10_000]
    assert not seen[0] & seen[1]
    for benchmark in (load("mnist_split"), load("permuted_mnist(tasks=2)")):
        for task in benchmark.tasks:
            train, val = task.train, task.val
            assert isinstance(train, ArraySplit) and isinstance(val, ArraySplit)
            assert not np.intersect1d(train.rows, val.rows).size


@pytest.mark.usefixtures("mnist")
def test_a_batch_of_a_permuted_task_is_the_images_permuted_then_normalised() -> None:
    """Bit for bit, though the bytes are permuted before they become floats."""
    split = load("permuted_mnist(tasks=2)").tasks[1].train
    assert isinstance(split, ArraySplit)
    rows = np.array([5, 0, 5, 31])
    pixels = torch.from_numpy(split.images[split.rows[rows]]).float().div(255)
    (permute,) = split.transforms
    wanted = permute(pixels).sub(torch.tensor(0.1307)).div(torch.tensor(0.3081))
    assert torch.equal(split.take(rows), wanted)


@pytest.mark.usefixtures("mnist")
def test_classes_are_named() -> None:
    assert load("mnist_split").tasks[2].class_names == ("4", "5")
    assert load("rotated_mnist").tasks[0].class_names == tuple("0123456789")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("rotated_mnist(tasks=360)", "tasks = 360 is outside 1..359"),
        ("permuted_mnist(tasks=0)", "tasks = 0 is outside 1..1000"),
        ("mnist_split(val=1)", "val = 1 is outside 0..0.9"),
        ("mnist_split(limit_train=-5)", "limit_train = -5 is outside 0..60000"),
        ("mnist_split(limit_test=70000)", "limit_test = 70000 is outside 0..10000"),
    ],
)
def test_nonsense_is_refused_in_words(name: str, message: str) -> None:
    with pytest.raises(UserError) as error:
        registry.recipe(name)
    assert message in str(error.value)

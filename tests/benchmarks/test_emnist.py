"""EMNIST: upright whatever it is read from, one part alone if need be; and PRM's ten tasks of it."""

from __future__ import annotations

import gzip
import struct
import zipfile
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from raycl.benchmarks import sources
from raycl.benchmarks.base import splits_hash
from raycl.errors import UserError
from raycl.registry import load, recipe
from raycl.tasks import ArraySplit, Benchmark


def idx(values: NDArray[np.uint8]) -> bytes:
    """An array in the format of MNIST's files."""
    return struct.pack(f">HBB{values.ndim}I", 0, 8, values.ndim, *values.shape) + values.tobytes()


def write_emnist(
    folder: Path, division: str, classes: int, counts: dict[str, int], packed: bool = False
) -> dict[str, NDArray[np.uint8]]:
    """The idx files of a division with so many images of each class in each part; returns upright images."""
    draw, made = np.random.default_rng(0), {}
    folder.mkdir(parents=True, exist_ok=True)
    for part, count in counts.items():
        upright = draw.integers(0, 256, (count * classes, 28, 28), dtype=np.uint8)
        labels = np.tile(np.arange(classes, dtype=np.uint8), count)
        made[part] = upright
        for kind, values in (("images-idx3", upright.transpose(0, 2, 1)), ("labels-idx1", labels)):
            data = idx(np.ascontiguousarray(values))
            name = f"emnist-{division}-{part}-{kind}-ubyte"
            (folder / (f"{name}.gz" if packed else name)).write_bytes(
                gzip.compress(data, 1) if packed else data
            )
    return made


def pixels(benchmark: Benchmark) -> list[list[set[bytes]]]:
    """The images of each split of each task."""
    found = []
    for task in benchmark.tasks:
        splits = (task.train, task.val, task.test)
        assert all(isinstance(split, ArraySplit) for split in splits)
        found.append(
            [{s.images[row].tobytes() for row in s.rows} for s in splits if isinstance(s, ArraySplit)]
        )
    return found


def assert_disjoint(benchmark: Benchmark) -> None:
    """No image, by its pixels, occurs twice in the benchmark."""
    every = [images for task in pixels(benchmark) for images in task]
    rows = sum(len(s) for task in benchmark.tasks for s in (task.train, task.val, task.test))
    assert len(set().union(*every)) == sum(map(len, every)) == rows


def sizes(benchmark: Benchmark) -> list[tuple[int, int, int]]:
    """Images of train, val and test in each task."""
    return [(len(task.train), len(task.val), len(task.test)) for task in benchmark.tasks]


@pytest.mark.parametrize("below", ["EMNIST/raw", "raw", ""])
@pytest.mark.parametrize("packed", [False, True])
def test_images_stand_upright(tmp_path: Path, empty: Path, below: str, packed: bool) -> None:
    made = write_emnist(tmp_path / "given" / below, "balanced", 47, {"train": 2, "test": 1}, packed)
    sources.prepare("emnist_balanced", tmp_path / "given")
    arrays = sources.arrays("emnist_balanced")
    for part in ("train", "test"):
        assert np.array_equal(arrays[f"{part}_images"][:, 0], made[part])
        assert arrays[f"{part}_labels"].tolist() == list(range(47)) * (2 if part == "train" else 1)
    assert sources.subset("emnist_balanced") == (
        "94 of 112,800 training and 47 of 18,800 test images of EMNIST balanced"
    )
    assert "".join(sources.facts("emnist_balanced")["class_names"]) == (  # type: ignore[call-overload]
        "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabdefghnqrt"
    )


def test_every_division_is_read_from_the_one_archive(tmp_path: Path, empty: Path) -> None:
    made = {}
    (tmp_path / "given").mkdir()
    with zipfile.ZipFile(tmp_path / "given" / "gzip.zip", "w") as archive:
        for division, classes in (("balanced", 47), ("byclass", 62), ("mnist", 10)):
            counts = {"train": 2, "test": 1}
            made[division] = write_emnist(
                tmp_path / "parts" / division, division, classes, counts, packed=True
            )
            for file in (tmp_path / "parts" / division).iterdir():
                archive.write(file, f"gzip/{file.name}")
    for division, images in made.items():
        sources.prepare(f"emnist_{division}", tmp_path / "given")
        assert np.array_equal(sources.arrays(f"emnist_{division}")["train_images"][:, 0], images["train"])
    names = sources.facts("emnist_byclass")["class_names"]
    assert names[36] == "a" and len(names) == 62  # type: ignore[index,arg-type]


def test_damaged_and_foreign_files_are_said_in_one_line(tmp_path: Path, empty: Path) -> None:
    given = tmp_path / "given"
    write_emnist(given, "mnist", 10, {"train": 3, "test": 1})
    labels = given / "emnist-mnist-train-labels-idx1-ubyte"
    good = labels.read_bytes()
    for content, message in (
        (good[:-3], "the EMNIST mnist files cannot be read: fetch them again"),
        (idx(np.full(30, 11, np.uint8)), "the train images and labels are not EMNIST mnist's"),
        (idx(np.zeros(7, np.uint8)), "the train images and labels are not EMNIST mnist's"),
    ):
        labels.write_bytes(content)
        with pytest.raises(UserError, match=f"^[^\n]*{message}$"):
            sources.prepare("emnist_mnist", given)
    (given / "gzip.zip").write_bytes(b"no archive")
    with pytest.raises(UserError, match=r"^[^\n]*gzip\.zip is damaged [^\n]*: fetch it again$"):
        sources.prepare("emnist_balanced", given)
    (given / "gzip.zip").unlink()
    with pytest.raises(UserError, match="does not contain EMNIST balanced: expected emnist-balanced-train"):
        sources.prepare("emnist_balanced", given)
    assert sources.status("emnist_mnist") == "absent"


def test_real_digits_resemble_mnists(real_data: Path, empty: Path) -> None:
    for name in ("emnist_mnist", "mnist"):
        sources.prepare(name, real_data)
    assert sources.subset("emnist_mnist") == "test part only (10,000 images) of EMNIST mnist"
    found, mnist = sources.arrays("emnist_mnist"), sources.arrays("mnist")
    assert found["train_images"].shape == (0, 1, 28, 28)
    images, labels = found["test_images"][:, 0], found["test_labels"]
    assert np.bincount(labels).tolist() == [1000] * 10
    means = np.stack([mnist["train_images"][:, 0][mnist["train_labels"] == d].mean(0) for d in range(10)])

    def right(seen: NDArray[np.uint8]) -> float:
        """Accuracy of the nearest mean image of MNIST."""
        x, m = seen.reshape(len(seen), -1).astype(np.float64), means.reshape(10, -1)
        distance = (m**2).sum(1) - 2 * x @ m.T
        return float((distance.argmin(1) == labels).mean())

    assert right(images) > 0.5 and right(images.transpose(0, 2, 1)) < 0.25


def test_ten_tasks_of_the_papers_size(tmp_path: Path, empty: Path) -> None:
    # Enough for the paper's counts; equal pixels in both parts must cost the training part an image.
    made = write_emnist(tmp_path, "balanced", 47, {"train": 180, "test": 50})
    file = tmp_path / "emnist-balanced-train-images-idx3-ubyte"
    data = bytearray(file.read_bytes())
    copies = 40 * 28 * 28
    data[16 : 16 + copies] = made["test"][:40].transpose(0, 2, 1).tobytes()
    file.write_bytes(bytes(data))
    sources.prepare("emnist_balanced", tmp_path)
    benchmark = load("emnist_10")
    assert sizes(benchmark) == [recipe("emnist_10").counts()] * 10 == [(500, 200, 200)] * 10
    assert benchmark.classes == (5,) * 7 + (4,) * 3
    for task in benchmark.tasks:
        for split, count in ((task.train, 500), (task.val, 200), (task.test, 200)):
            assert np.bincount(split.y).tolist() == [count // task.classes] * task.classes
    assert benchmark.tasks[2].class_names == ("A", "B", "C", "D", "E")
    assert benchmark.tasks[-1].class_names == ("n", "q", "r", "t")
    assert_disjoint(benchmark)
    assert splits_hash(benchmark) == "129c87eb110f7d6e"
    assert splits_hash(load("emnist_10(data_seed=1)")) == "2985be7e87b12658"
    assert benchmark.tasks[0].train.take(slice(0, 1)).min() == pytest.approx(-0.1307 / 0.3081, abs=1e-3)


def test_smaller_data_are_scaled_in_the_papers_proportions(tmp_path: Path, empty: Path) -> None:
    write_emnist(tmp_path, "balanced", 47, {"train": 28, "test": 20})
    sources.prepare("emnist_balanced", tmp_path)
    # Classes in tasks of four need 175 training images where 28 are: a share of 0.16.
    assert sizes(load("emnist_10")) == [(80, 30, 30)] * 7 + [(80, 32, 32)] * 3
    assert load("emnist_10").subset.startswith("1,316 of 112,800 training")


def test_a_test_part_alone_makes_no_tasks(tmp_path: Path, empty: Path) -> None:
    write_emnist(tmp_path, "balanced", 47, {"test": 20})
    sources.prepare("emnist_balanced", tmp_path)
    assert sources.subset("emnist_balanced") == "test part only (940 images) of EMNIST balanced"
    with pytest.raises(
        UserError, match=r"^benchmark emnist_10: [^\n]* too few training or test images[^\n]*$"
    ):
        load("emnist_10")

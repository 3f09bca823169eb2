"""SVHN and USPS in their published formats, and any labelled source in blocks of classes."""

from __future__ import annotations

import bz2
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.io import savemat

from raycl.benchmarks import sources
from raycl.benchmarks.base import splits_hash
from raycl.errors import UserError
from raycl.registry import load, recipe
from tests.benchmarks.test_emnist import sizes, write_emnist

TRAIN, TEST = 20, 5  # images of each class


def write_svhn(folder: Path) -> dict[str, NDArray[np.uint8]]:
    """The two MATLAB files, in which the digit 0 is called 10; returns images [n, height, width, 3]."""
    draw, made = np.random.default_rng(0), {}
    folder.mkdir(parents=True, exist_ok=True)
    for part, count in (("train", TRAIN), ("test", TEST)):
        made[part] = draw.integers(0, 256, (10 * count, 32, 32, 3), dtype=np.uint8)
        labels = np.tile(np.array([10, *range(1, 10)], np.uint8), count)[:, None]
        savemat(folder / f"{part}_32x32.mat", {"X": made[part].transpose(1, 2, 3, 0), "y": labels})
    return made


def write_usps(folder: Path) -> dict[str, NDArray[np.float64]]:
    """The two files in LIBSVM's format, labels from 1, pixels in [-1, 1]; returns the pixels."""
    draw, made = np.random.default_rng(0), {}
    folder.mkdir(parents=True, exist_ok=True)
    for name, count in (("usps.bz2", TRAIN), ("usps.t.bz2", TEST)):
        made[name] = draw.integers(-1000, 1001, (10 * count, 256)) / 1000
        lines = [
            f"{1 + i % 10} " + " ".join(f"{k + 1}:{value}" for k, value in enumerate(row)) + " "
            for i, row in enumerate(made[name])
        ]
        (folder / name).write_bytes(bz2.compress("\n".join(lines).encode() + b"\n"))
    return made


def test_svhn_is_read_in_colour_with_0_as_0(tmp_path: Path, empty: Path) -> None:
    made = write_svhn(tmp_path / "svhn")
    sources.prepare("svhn", tmp_path)
    arrays = sources.arrays("svhn")
    for part in ("train", "test"):
        assert np.array_equal(arrays[f"{part}_images"], made[part].transpose(0, 3, 1, 2))
        assert arrays[f"{part}_labels"][:12].tolist() == [*range(10), 0, 1]
    assert sources.subset("svhn") == (
        "200 of 73,257 training and 50 of 26,032 test images, not the published SVHN"
    )


def test_usps_is_read_with_bright_ink(tmp_path: Path, empty: Path) -> None:
    made = write_usps(tmp_path)
    sources.prepare("usps", tmp_path)
    arrays = sources.arrays("usps")
    wanted = (made["usps.bz2"].reshape(-1, 1, 16, 16) + 1) / 2 * 255
    assert np.abs(arrays["train_images"] - wanted).max() < 1.001  # torchvision cuts off
    assert arrays["test_labels"].tolist() == [i % 10 for i in range(50)]
    assert (
        sources.subset("usps") == "200 of 7,291 training and 50 of 2,007 test images, not the published USPS"
    )


@pytest.mark.parametrize(
    ("name", "file", "content"),
    [
        ("svhn", "train_32x32.mat", b"no matrix" * 100),
        ("svhn", "test_32x32.mat", b""),
        ("usps", "usps.bz2", b"no archive"),
        ("usps", "usps.t.bz2", bz2.compress(b"1 1:0.5\n")),
    ],
)
def test_damaged_files_are_named(tmp_path: Path, empty: Path, name: str, file: str, content: bytes) -> None:
    (write_svhn if name == "svhn" else write_usps)(tmp_path)
    (tmp_path / file).write_bytes(content)
    with pytest.raises(UserError, match=rf"^[^\n]*{file} cannot be read [^\n]*: fetch it again$"):
        sources.prepare(name, tmp_path)
    assert sources.status(name) == "absent"
    (tmp_path / file).unlink()
    with pytest.raises(UserError, match=f"does not contain {name.upper()}"):
        sources.prepare(name, tmp_path)


def test_foreign_labels_are_refused(tmp_path: Path, empty: Path) -> None:
    write_svhn(tmp_path)
    x = np.zeros((32, 32, 3, 4), np.uint8)
    savemat(tmp_path / "test_32x32.mat", {"X": x, "y": np.array([[1], [2], [3], [11]], np.uint8)})
    with pytest.raises(UserError, match="its images and labels are not SVHN's"):
        sources.prepare("svhn", tmp_path)


def test_blocks_of_classes(tmp_path: Path, empty: Path) -> None:
    write_svhn(tmp_path)
    write_usps(tmp_path)
    write_emnist(tmp_path, "byclass", 62, {"train": 4, "test": 1})
    for name in ("svhn", "usps", "emnist_byclass"):
        sources.prepare(name, tmp_path)
    svhn, usps, letters = (load(f"split(source='{name}')") for name in ("svhn", "usps", "emnist_byclass"))
    assert str(recipe("split(source='svhn')")) == "split"
    assert sizes(svhn) == sizes(usps) == [(36, 4, 10)] * 5
    assert [task.name for task in svhn.tasks][:2] == ["classes 0 1", "classes 2 3"]
    assert svhn.tasks[2].class_names == ("4", "5")
    assert svhn.input_shape == (3, 32, 32) and usps.input_shape == (1, 16, 16)
    first: Any = svhn.tasks[0].train
    assert first.mean == (125.3 / 255, 123.0 / 255, 113.9 / 255)  # CIFAR's, measured on nothing
    assert usps.tasks[0].train.mean == (0.1307,)  # type: ignore[attr-defined]
    assert letters.classes == (13, 13, 12, 12, 12)  # the larger tasks first
    assert letters.tasks[0].class_names[9:] == ("9", "A", "B", "C")
    assert sizes(load("split(source='svhn', tasks=2, val=0)")) == [(100, 0, 25)] * 2
    assert splits_hash(svhn) == splits_hash(load("split", seed=1)) == "79abe07a4fd0ba36"
    assert splits_hash(load("split(data_seed=1)")) == "fb8b48d74991ba79"
    assert splits_hash(letters) == "ea0560fdb7cc191f"


def test_sources_of_real_data(real_data: Path, empty: Path) -> None:
    for name in ("fashion_mnist", "cifar10", "emnist_mnist"):
        sources.prepare(name, real_data)
    fashion = load("split(source='fashion_mnist', val=0.1)")
    assert sum(train + val for train, val, _ in sizes(fashion)) == 20_000
    assert [test for _, _, test in sizes(fashion)] == [2000] * 5
    assert fashion.tasks[1].class_names == ("pullover", "dress")
    assert sizes(load("split(source='cifar10')")) == [(540, 60, 120)] * 5
    assert splits_hash(fashion) == "4a68bdac461222c6"
    with pytest.raises(UserError) as error:
        load("split(source='emnist_mnist')")
    assert str(error.value) == (
        "benchmark split(source='emnist_mnist'): the prepared EMNIST mnist has no training images of 10 "
        "of its 10 classes: prepare the complete data set"
    )


def test_what_has_no_sense_is_refused() -> None:
    for text, message in (
        ("split(source='svnh')", "source = 'svnh' is none of svhn, usps, mnist"),
        ("split(tasks=6)", "tasks = 6 is outside 1..5"),
        ("split(source='cifar100', tasks=51)", "tasks = 51 is outside 1..50"),
        ("split(val=1)", "val = 1 is outside 0..0.9"),
    ):
        with pytest.raises(UserError, match=message):
            recipe(text)
    assert recipe("split(source='usps')").needs() == ("usps",)

"""`raycl data prepare --from` a folder in which something lies that is no file of the data set: one line."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from raycl.benchmarks import data_root, sources
from raycl.errors import UserError

pytestmark = pytest.mark.usefixtures("empty")

FILES = {  # that the sources ask for first
    "mnist": ("train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte",
              "t10k-labels-idx1-ubyte"),
    "fashion_mnist": ("train-images-idx3-ubyte.gz", "train-labels-idx1-ubyte.gz",
                      "t10k-images-idx3-ubyte.gz", "t10k-labels-idx1-ubyte.gz"),
    "emnist_balanced": ("gzip.zip",),
    "usps": ("usps.bz2", "usps.t.bz2"),
    "svhn": ("train_32x32.mat", "test_32x32.mat"),
    "omniglot": ("images_background.zip", "images_evaluation.zip"),
    "tiny_imagenet": ("tiny-imagenet-200.zip",),
    "cifar10": ("cifar-10-python.tar.gz",),
    "cifar100": ("cifar100_part.npz",),
    "femnist": ("train/a.json", "test/a.json"),
    "imagenet32": (*(f"train_data_batch_{i}" for i in range(1, 11)), "val_data"),
}  # fmt: skip


def encrypted(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("images_background/Greek/character01/0394_01.png", bytes(99))
        archive.writestr("tiny-imagenet-200/wnids.txt", bytes(99))
        archive.writestr("x_train.npy", bytes(99))
    raw = bytearray(path.read_bytes())
    for mark, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        at = raw.find(mark)
        while at >= 0:
            raw[at + offset] |= 1
            at = raw.find(mark, at + 1)
    path.write_bytes(raw)


def objects(path: Path) -> None:
    with open(path, "wb") as file:
        np.savez(file, allow_pickle=True, x_train=np.array([{}]))


def noise(path: Path) -> None:
    path.write_bytes(np.random.default_rng(0).bytes(999))


MAKERS = [os.mkfifo, Path.touch, encrypted, objects, noise, Path.mkdir,
          lambda path: path.symlink_to("/nowhere/annex"), lambda path: path.symlink_to(path.name),
          lambda path: path.symlink_to("/dev/zero"),
          lambda path: path.write_text("version https://git-lfs.github.com/spec/v1\n")]  # fmt: skip


@pytest.mark.parametrize("name", FILES)
def test_what_is_no_file_of_the_data_set_is_one_line(name: str, tmp_path: Path) -> None:
    for number, make in enumerate(MAKERS):
        given = tmp_path / f"{number}"
        for file in FILES[name]:
            (given / file).parent.mkdir(parents=True, exist_ok=True)
            make(given / file)  # type: ignore[operator]
        with pytest.raises(UserError) as error:
            sources.prepare(name, given)
        line = str(error.value)
        assert line.isprintable() and len(line) < 500, line
        assert "allow_pickle" not in line and "safely" not in line, line
        assert not (data_root() / name / "manifest.json").exists()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (os.mkfifo, "x.jpg is a pipe and not a file"),
        (lambda path: path.symlink_to("/annex"), "x.jpg is a link to /annex, which does not exist"),
        (Path.touch, "x.jpg cannot be read (it is empty): fetch it again"),
        (lambda path: path.write_bytes(b"\xff\xd8\xff\xe0" + bytes(9)), "x.jpg cannot be read ("),
    ],
)
def test_sets_of_pictures_name_the_picture(
    make: Callable[[Path], object], message: str, tmp_path: Path
) -> None:
    for part in ("train", "test"):
        place = tmp_path / "flowers" / part / "1"
        place.mkdir(parents=True)
        make(place / "x.jpg")
    with pytest.raises(UserError) as error:
        sources.prepare("flowers", tmp_path)
    assert message in str(error.value)


def test_names_that_are_no_utf8_are_printed(tmp_path: Path) -> None:
    given = Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9"))
    for part in ("train", "test"):
        (given / "flowers" / part / "1").mkdir(parents=True)
        (given / "flowers" / part / "1" / "x.jpg").touch()
    with pytest.raises(UserError, match=r"caf\\xe9/flowers/train/1/x.jpg cannot be read"):
        sources.prepare("flowers", given)
    (given / "train-images-idx3-ubyte").touch()
    with pytest.raises(UserError, match=r"caf\\xe9 does not contain MNIST"):
        sources.prepare("mnist", given)

"""Prepared data: written once by whoever comes first, mapped by all, and never trusted blindly."""

from __future__ import annotations

import gzip
import json
import shutil
import struct
from collections import namedtuple
from pathlib import Path

import numpy as np
import pytest

from raycl.benchmarks import data_root, prepared, sources
from raycl.errors import Obstacle, UserError
from raycl.registry import load

pytestmark = pytest.mark.usefixtures("empty")


def files(folder: Path) -> dict[str, tuple[int, int]]:
    return {f.name: (f.stat().st_ino, f.stat().st_mtime_ns) for f in folder.iterdir() if f.name != ".lock"}


def test_the_data_root_is_absolute(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RAYCL_DATA", "here")
    assert data_root() == tmp_path / "here"
    monkeypatch.delenv("RAYCL_DATA")
    assert data_root() == Path.home() / ".cache" / "raycl"
    assert prepared.shown(data_root()) == "~/.cache/raycl"


def test_digits_prepare_themselves_and_the_manifest_says_what_is_there() -> None:
    assert sources.status("digits") == "absent"
    assert sources.missing("digits") is None
    arrays = sources.arrays("digits")
    assert sources.status("digits") == "present"
    assert sources.verify("digits") == []
    folder = sources.prepare("digits")
    manifest = json.loads((folder / "manifest.json").read_text())
    assert manifest["format"] == prepared.FORMAT
    assert manifest["subset"] == ""
    assert "CC BY" in manifest["licence"]
    for name, entry in manifest["arrays"].items():
        assert entry["file"] == f"{name}-{entry['sha256'][:16]}.npy"
        assert (entry["shape"], entry["dtype"]) == (list(arrays[name].shape), str(arrays[name].dtype))
        assert isinstance(arrays[name].base, np.memmap)
    assert {array.dtype.name for array in arrays.values()} == {"uint8", "int64"}
    assert sources.source("digits").size == pytest.approx(
        sum(entry["bytes"] for entry in manifest["arrays"].values()), rel=0.05
    )


def test_preparing_again_writes_nothing() -> None:
    before = files(sources.prepare("digits"))
    assert files(sources.prepare("digits")) == before


def test_a_write_to_a_map_stays_out_of_the_file() -> None:
    arrays = sources.arrays("digits")
    arrays["images_8"][:] = 7
    arrays["labels"][:] = 7
    assert sources.verify("digits") == []
    assert sources.arrays("digits")["labels"].max() == 9


@pytest.mark.parametrize("name", ["digits_split", "digits_permuted(size=28)", "digits_writers(channels=3)"])
def test_take_hands_out_a_copy(name: str) -> None:
    task = load(name).tasks[1]
    for rows in (slice(None), np.array([3, 0, 3]), slice(0, 0)):
        first = task.train.take(rows)
        again = first.clone()
        first.mul_(0).add_(5)
        assert (task.train.take(rows) == again).all()
    assert sources.verify("digits") == []


def test_what_a_killed_process_left_is_no_obstacle() -> None:
    folder = data_root() / "digits"
    folder.mkdir(parents=True)
    (folder / ".labels.tmp").write_bytes(b"half")
    (folder / "labels-0000000000000000.npy").write_bytes(b"half")
    assert sources.status("digits") == "partial"
    assert len(sources.arrays("digits")["labels"]) == 1797
    assert not list(folder.glob("*.tmp")) + list(folder.glob(".*.tmp"))


def test_every_damage_is_found_and_mended() -> None:
    folder = sources.prepare("digits")
    (labels,) = folder.glob("labels-*.npy")
    good = labels.read_bytes()
    for content in (good[:50], b"", b"x" * len(good), good[:-1] + b"\1"):
        labels.write_bytes(content)
        with pytest.raises(UserError, match=r"^scikit-learn's digits: [^\n]*raycl data prepare digits$"):
            sources.arrays("digits")
        assert len(sources.verify("digits")) == 1
        assert sources.status("digits") == "partial"
        sources.prepare("digits")
        assert labels.read_bytes() == good
    labels.unlink()
    assert sources.status("digits") == "partial"
    assert "is missing; write it again with: raycl data prepare digits" in str(sources.missing("digits"))
    (folder / "manifest.json").write_text("{")
    assert "manifest.json cannot be read" in str(sources.missing("digits"))
    sources.prepare("digits")
    assert sources.status("digits") == "present"


def test_a_full_disk_is_said_before_anything_is_written(monkeypatch: pytest.MonkeyPatch) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(10, 10, 1_000_000))
    with pytest.raises(
        UserError, match=r"digits needs 3 MB, .* has 1 MB left: free some space, or set RAYCL_DATA"
    ):
        sources.prepare("digits")
    assert not list((data_root() / "digits").glob("*.npy"))


def test_a_folder_that_cannot_be_made_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("RAYCL_DATA", str(tmp_path / "file"))
    with pytest.raises(UserError, match=r"cannot write data folder .*file/digits: .*, or set RAYCL_DATA"):
        sources.arrays("digits")


def test_mnist_that_is_not_here_is_said_with_the_remedy(empty: Path) -> None:
    with pytest.raises(UserError) as error:
        load("permuted_mnist")
    assert str(error.value) == (
        f"benchmark permuted_mnist needs MNIST, which is not in data folder {empty}\n"
        "       raycl data prepare mnist            downloads 11 MB\n"
        "       raycl data prepare mnist --from DIR reads a folder that contains train-images-idx3-ubyte(.gz)"
    )
    assert sources.status("mnist") == "absent"
    assert sources.missing("mnist") == Obstacle("MNIST, which is not prepared", ("raycl data prepare mnist",))


def test_unknown_sources_and_needless_folders_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"unknown data set 'minst'; did you mean 'mnist'\?"):
        sources.status("minst")
    with pytest.raises(UserError, match="run the command without --from"):
        sources.prepare("digits", tmp_path)


def idx(values: np.ndarray) -> bytes:
    return struct.pack(f">HBB{values.ndim}I", 0, 8, values.ndim, *values.shape) + values.tobytes()


def fake_mnist(folder: Path, packed: bool) -> dict[str, np.ndarray]:
    """60 + 20 random images in the published format."""
    draw = np.random.default_rng(0)
    made = {}
    folder.mkdir(parents=True)
    for part, count in (("train", 60), ("t10k", 20)):
        made[part] = draw.integers(0, 256, (count, 28, 28), dtype=np.uint8)
        contents = {"images-idx3": made[part], "labels-idx1": (np.arange(count) % 10).astype(np.uint8)}
        for name, values in contents.items():
            data = idx(values)
            target = folder / f"{part}-{name}-ubyte{'.gz' if packed else ''}"
            target.write_bytes(gzip.compress(data) if packed else data)
    return made


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("below", ["", "raw", "MNIST/raw"])
def test_mnist_is_read_from_a_folder(tmp_path: Path, below: str, packed: bool) -> None:
    made = fake_mnist(tmp_path / "given" / below, packed)
    folder = sources.prepare("mnist", tmp_path / "given")
    assert folder == data_root() / "mnist"
    arrays = sources.arrays("mnist")
    assert arrays["train_images"].shape == (60, 1, 28, 28)
    assert (arrays["train_images"][:, 0] == made["train"]).all()
    assert (arrays["test_images"][:, 0] == made["t10k"]).all()
    assert arrays["test_labels"].tolist() == [i % 10 for i in range(20)]
    assert arrays["test_labels"].dtype == np.int64


def test_data_that_are_not_the_published_ones_are_owned_up_to(tmp_path: Path) -> None:
    from raycl import registry

    assert registry.recipe("mnist_split").identity() == {}
    fake_mnist(tmp_path / "given", True)
    sources.prepare("mnist", tmp_path / "given")
    note = "60 of 60,000 training and 20 of 10,000 test images, not the published MNIST"
    assert sources.subset("mnist") == note
    assert load("mnist_split").subset == note
    assert registry.recipe("mnist_split").identity() == {
        "subset": f"mnist: {note} [{sources.fingerprint('mnist')}]"
    }


def test_bad_mnist_folders_are_said_in_one_line(tmp_path: Path) -> None:
    given = tmp_path / "given"
    fake_mnist(given, True)
    images = given / "train-images-idx3-ubyte.gz"
    whole = images.read_bytes()
    fewer = (given / "t10k-images-idx3-ubyte.gz").read_bytes()
    short = gzip.compress(gzip.decompress(whole)[:-9])
    for content, message in (
        (whole[:-20], "is damaged: fetch it again"),
        (b"not gzip", "is damaged: fetch it again"),
        (short, "cannot be read: fetch them again"),
        (fewer, "images and labels are not MNIST's"),
    ):
        images.write_bytes(content)
        with pytest.raises(UserError, match=f"^[^\n]*{message}$"):
            sources.prepare("mnist", given)
        assert sources.status("mnist") == "absent"
    images.unlink()
    with pytest.raises(UserError, match="does not contain MNIST: expected train-images-idx3-ubyte"):
        sources.prepare("mnist", given)


def test_no_network_is_said_in_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import torchvision.datasets

    def refuse(*_: object, **__: object) -> None:
        print("Failed to download (trying next)")  # noqa: T201
        raise RuntimeError("Error downloading train-images:\nTried mirror, got:\n<urlopen error>")

    monkeypatch.setattr(torchvision.datasets, "MNIST", refuse)
    with pytest.raises(UserError, match=r"^MNIST cannot be downloaded \(<urlopen error>\); .* --from DIR$"):
        sources.prepare("mnist")
    assert capsys.readouterr().out == ""

"""ImageNet at 32 x 32 and at 224 x 224, and ImageNet-to-Sketch: small files of the published formats."""

from __future__ import annotations

import functools
import gzip
import io
import os
import pickle
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from raycl import registry
from raycl.benchmarks import prepared, sources
from raycl.benchmarks.base import splits_hash
from raycl.benchmarks.imagenet import spread
from raycl.benchmarks.prepared import Contents
from raycl.errors import UserError
from raycl.registry import load
from raycl.tasks import ArraySplit, Benchmark

pytestmark = pytest.mark.usefixtures("empty")


def batch(count: int, seed: int, labels: Sequence[int], mean: bool = True) -> dict[str, object]:
    """A batch with the published keys: pixels plane by plane, labels 1 .. 1000."""
    pixels = np.random.default_rng(seed).integers(0, 256, (count, 3072), dtype=np.uint8)
    made: dict[str, object] = {"data": pixels, "labels": list(labels)}
    return made | {"mean": pixels.mean(axis=0)} if mean else made


def write(file: Path, content: object, packed: bool = False) -> None:
    data = pickle.dumps(content, protocol=2)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(gzip.compress(data) if packed else data)


@functools.cache
def small_batches() -> tuple[dict[str, object], ...]:
    """Two training batches, 2 images of each class in all, and one image of each to validate with."""
    order = np.random.default_rng(0).permutation(np.tile(np.arange(1, 1001), 2)).tolist()
    return (
        batch(900, 1, order[:900]),
        batch(1100, 2, order[900:]),
        batch(1000, 3, list(range(1, 1001)), mean=False),
    )


@pytest.fixture
def given(tmp_path: Path) -> Path:
    """A folder for --from: one batch gzipped, validation in a folder of its own, as the archives unpack."""
    first, second, val = small_batches()
    write(tmp_path / "given" / "Imagenet32_train" / "train_data_batch_1", first)
    write(tmp_path / "given" / "Imagenet32_train" / "train_data_batch_2.gz", second, packed=True)
    write(tmp_path / "given" / "Imagenet32_val" / "val_data", val)
    lines = [f"n{label:08d} {label} some_thing_{label}\n" for label in range(1, 1001)]
    (tmp_path / "given" / "map_clsloc.txt").write_text("".join(lines))
    return tmp_path / "given"


def test_batches_are_read_plane_by_plane(given: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prepared, "BLOCK_BYTES", 700 * 3072)  # blocks end in the middle of a batch
    sources.prepare("imagenet32", given)
    arrays = sources.arrays("imagenet32")
    first, second, val = small_batches()
    assert (arrays["train_images"].reshape(-1, 3072) == np.concatenate([first["data"], second["data"]])).all()  # type: ignore[arg-type]
    assert (arrays["val_images"][5, 1, 2, 3], arrays["val_labels"][5]) == (val["data"][5, 1024 + 67], 5)  # type: ignore[index]
    assert (arrays["train_labels"] + 1).tolist() == [*first["labels"], *second["labels"]]  # type: ignore[misc]
    assert sources.facts("imagenet32")["class_names"][0] == "some thing 1"  # type: ignore[index]
    assert sources.subset("imagenet32") == (
        "2,000 of 1,281,167 training and 1,000 of 50,000 validation images of ImageNet at 32 x 32"
    )


def test_work_that_was_cut_off_goes_on(given: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prepared, "BLOCK_BYTES", 400 * 3072)

    def stop(what: str, done: int, of: int) -> None:
        if what == "train_images" and done == 1200:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        sources.prepare("imagenet32", given, stop)
    assert sources.status("imagenet32") == "partial"
    seen: list[int] = []
    sources.prepare(
        "imagenet32", given, lambda what, done, of: seen.append(done) if what == "train_images" else None
    )
    assert seen == [1200, 1600, 2000]
    assert sources.verify("imagenet32") == []
    assert (
        sources.arrays("imagenet32")["train_images"][:900].reshape(900, 3072) == small_batches()[0]["data"]
    ).all()


class Evil:
    def __reduce__(self) -> object:
        return os.mkdir, ("evil",)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (batch(3, 0, [1, 2, 1001]), "expected bytes [n, 3072], labels 1..1000"),
        (batch(3, 0, [0, 1, 2]), "expected bytes [n, 3072], labels 1..1000"),
        (batch(3, 0, [1, 2]), "expected bytes [n, 3072], labels 1..1000"),
        ({"data": np.zeros((2, 3072)), "labels": [1, 2]}, "expected bytes [n, 3072], labels 1..1000"),
        ({"labels": [1]}, "is not a batch of ImageNet at 32 x 32 (KeyError('data')): fetch it again"),
        ({"data": Evil(), "labels": [1]}, "(it would call posix.mkdir): fetch it again"),
        ([1, 2], "does not contain a dictionary: fetch it again"),
    ],
)
def test_unfit_batches_are_refused_in_one_line(
    given: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: object, message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    write(given / "Imagenet32_train" / "train_data_batch_1", content)
    with pytest.raises(UserError) as error:
        sources.prepare("imagenet32", given)
    assert message in str(error.value)
    assert "train_data_batch_1" in str(error.value)
    assert "\n" not in str(error.value)
    assert not (tmp_path / "evil").exists()


def test_a_folder_without_batches_is_said(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="does not contain ImageNet at 32 x 32: expected train_data_batch_1"):
        sources.prepare("imagenet32", tmp_path)


def sizes(benchmark: Benchmark) -> set[tuple[int, int, int]]:
    return {(len(t.train), len(t.val), len(t.test)) for t in benchmark.tasks}


def test_tasks_at_32_in_seeded_order(given: Path) -> None:
    sources.prepare("imagenet32", given)
    benchmark = load("imagenet32_100")
    assert benchmark.classes == (10,) * 100
    assert sizes(benchmark) == {(19, 1, 10)}  # 10000 : 1000 of 20
    assert splits_hash(benchmark) == "572d3fe9d8f0c2b4"
    assert splits_hash(load("imagenet32_100", seed=1)) == "34bc4d4189056c0b"
    names_of = {name for task in benchmark.tasks for name in task.class_names}
    assert len(names_of) == 1000
    task = benchmark.tasks[3]
    assert isinstance(task.train, ArraySplit)
    labels = sources.arrays("imagenet32")["train_labels"][task.train.rows]
    assert [task.class_names[y] for y in task.train.y] == [f"some thing {label + 1}" for label in labels]
    assert load("imagenet32_50(tasks=2)").classes == (20, 20)
    assert load("imagenet32_200(tasks=2)").classes == (5, 5)


def test_scrambled_is_the_plain_reading_of_planes_as_pixels(given: Path) -> None:
    sources.prepare("imagenet32", given)
    plain, odd = (load(f"imagenet32_100(tasks=1{more})").tasks[0].train for more in ("", ", scrambled=True"))
    assert isinstance(plain, ArraySplit) and isinstance(odd, ArraySplit)
    assert (plain.rows == odd.rows).all()
    flat = plain.images[plain.rows[4]].reshape(3072)
    misread = torch.from_numpy(flat.reshape(32, 32, 3).transpose(2, 0, 1) / 255).float()
    mean, std = (torch.tensor(v).view(3, 1, 1) for v in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    assert torch.allclose(odd.take(slice(4, 5))[0], (misread - mean) / std, atol=1e-6)


def whole_imagenet32() -> Contents:
    """Labels of a set of the published size, most classes full, with pictures of one pixel."""
    each = np.full(1000, 1300)
    each[::10] -= 188
    each[:33] -= 1
    assert each.sum() == 1_281_167
    arrays = {"train_labels": np.repeat(np.arange(1000), each), "val_labels": np.repeat(np.arange(1000), 50)}
    for part in ("train", "val"):
        arrays[f"{part}_images"] = np.zeros((len(arrays[f"{part}_labels"]), 3, 1, 1), np.uint8)
    return Contents(arrays)


def test_the_whole_set_at_32_makes_tasks_of_the_papers_size() -> None:
    sources.source("imagenet32").folder.fill(whole_imagenet32)
    labels = sources.arrays("imagenet32")["train_labels"]
    benchmark = load("imagenet32_100")
    assert registry.recipe("imagenet32_100").counts() == (10_000, 1000, 500)
    assert sizes(benchmark) == {(10_000, 1000, 500)}
    assert sizes(load("imagenet32_50")) == {(20_000, 2000, 1000)}
    assert sizes(load("imagenet32_200")) == {(5000, 500, 250)}
    for task in benchmark.tasks[:5]:
        assert isinstance(task.train, ArraySplit) and isinstance(task.val, ArraySplit)
        kinds = np.unique(labels[task.train.rows])
        there = np.array([(labels == kind).sum() for kind in kinds])
        for split, share in ((task.train, 10_000), (task.val, 1000)):
            drawn = np.array([(labels[split.rows] == kind).sum() for kind in kinds])
            assert (abs(drawn - share * there / there.sum()) <= 2).all()  # every class gives its share
        assert not set(task.train.rows) & set(task.val.rows)
        assert np.bincount(task.test.y).tolist() == [50] * 10


def test_a_spread_sample_is_stratified_and_without_repeats() -> None:
    rows = np.arange(100, 130)
    assert spread(rows, 30).tolist() == rows.tolist()
    assert spread(rows, 3).tolist() == [105, 115, 125]
    assert spread(rows, 0).tolist() == []
    assert all(len(set(spread(rows, count))) == count for count in range(31))


def picture(width: int, height: int, number: int, suffix: str = "JPEG") -> tuple[bytes, Image.Image]:
    """A file, and what is in it."""
    coarse = np.random.default_rng(number).integers(0, 256, (4, 4, 3), dtype=np.uint8)
    out = io.BytesIO()
    Image.fromarray(coarse).resize((width, height), Image.Resampling.BILINEAR).save(out, suffix)
    return out.getvalue(), Image.open(io.BytesIO(out.getvalue())).convert("RGB")


def folders(root: Path, parts: dict[str, int], classes: int, width: int = 40, height: int = 30) -> None:
    """So many pictures of each class in each part."""
    for index, (part, count) in enumerate(parts.items()):
        for label in range(classes):
            folder = root / part / f"n{label:08d}"
            folder.mkdir(parents=True)
            for number in range(count):
                data, _ = picture(width, height, 10_000 * index + 100 * label + number)
                (folder / f"{number}.JPEG").write_bytes(data)


def test_large_pictures_keep_their_middle(tmp_path: Path) -> None:
    folders(tmp_path / "given", {"train": 1, "val": 1}, 2)
    wide, shown = picture(512, 300, 7)
    (tmp_path / "given" / "train" / "n00000001" / "0.JPEG").write_bytes(wide)
    (tmp_path / "given" / "train" / ".DS_Store").write_bytes(b"")
    (tmp_path / "given" / "train" / "n00000001" / "notes.txt").write_text("passed by")
    (tmp_path / "given" / "LOC_synset_mapping.txt").write_text(
        "n00000000 tench, Tinca tinca\nn00000001 goldfish\n"
    )
    sources.prepare("imagenet", tmp_path / "given")
    arrays = sources.arrays("imagenet")
    assert arrays["train_images"].shape == (2, 3, 256, 256)
    scaled = shown.resize((437, 256), Image.Resampling.BILINEAR).crop((90, 0, 346, 256))
    assert (arrays["train_images"][1] == np.asarray(scaled).transpose(2, 0, 1)).all()
    assert sources.facts("imagenet")["class_names"] == ["tench", "goldfish"]
    assert "256" in str(sources.facts("imagenet")["resized"])
    assert sources.subset("imagenet") == (
        "2 of 1,000 classes, 2 of 1,281,167 training and 2 of 50,000 val images of ImageNet"
    )


def test_cut_pictures_are_squashed(tmp_path: Path) -> None:
    folders(tmp_path / "cubs_cropped", {"train": 1, "test": 1}, 2, 300, 150)
    sources.prepare("cubs", tmp_path)
    _, shown = picture(300, 150, 100)
    squashed = shown.resize((224, 224), Image.Resampling.BILINEAR)
    assert (sources.arrays("cubs")["train_images"][1] == np.asarray(squashed).transpose(2, 0, 1)).all()


def test_unfit_folders_are_said_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(
        UserError,
        match=r"does not contain Cars: expected stanford_cars_cropped/\{train,test\}/<class>/\*\.jpg",
    ):
        sources.prepare("cars", tmp_path)
    folders(tmp_path / "cars", {"train": 1}, 3)
    folders(tmp_path / "cars", {"test": 1}, 2)
    with pytest.raises(UserError, match=r"class n00000002 is in only one of train/ and test/$"):
        sources.prepare("cars", tmp_path)
    (tmp_path / "cars" / "test" / "n00000002").mkdir()
    with pytest.raises(UserError, match=r"test/n00000002 does not contain an image \(\.jpg"):
        sources.prepare("cars", tmp_path)
    (tmp_path / "cars" / "test" / "n00000002" / "broken.jpg").write_bytes(b"\xff\xd8\xff broken")
    with pytest.raises(
        UserError, match=r"^[^\n]*broken\.jpg cannot be read \(not an image\): fetch it again$"
    ):
        sources.prepare("cars", tmp_path)


@pytest.mark.parametrize("name", ["imagenet", "imagenet32", "cubs", "cars", "flowers", "wikiart", "sketch"])
def test_nothing_is_fetched_and_the_place_and_terms_are_said(name: str) -> None:
    with pytest.raises(
        UserError, match=rf"raycl data prepare {name} --from DIR reads a folder that contains"
    ) as error:
        sources.prepare(name)
    assert "get it from" in str(error.value)
    assert any(terms in str(error.value) for terms in ("research", "licence", "CC BY"))


def test_tasks_at_224_follow_one_fixed_order(tmp_path: Path) -> None:
    folders(tmp_path, {"train": 10, "val": 1}, 20)
    sources.prepare("imagenet", tmp_path)
    benchmark = load("imagenet_100(tasks=2)")
    order = np.random.RandomState(1).permutation(20)
    assert benchmark.tasks[0].class_names == tuple(f"n{label:08d}" for label in order[:10])
    assert benchmark.input_shape == (3, 224, 224)
    assert sizes(benchmark) == {(100, 0, 10)}
    assert sizes(load("imagenet_100(tasks=2, val=0.1)")) == {(90, 10, 10)}
    assert splits_hash(benchmark) == "103b1585e87d344d"
    window = load(str(registry.recipe("imagenet_100").window(1, 1)))
    assert window.tasks[0].class_names == benchmark.tasks[1].class_names
    split, other = benchmark.tasks[0].train, window.tasks[0].train
    assert isinstance(split, ArraySplit) and isinstance(other, ArraySplit)
    plain = split.images[split.rows[:2]][:, :, 16:240, 16:240] / 255
    mean, std = (np.array(v).reshape(3, 1, 1) for v in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    assert np.allclose(split.take(slice(0, 2)).numpy(), (plain - mean) / std, atol=1e-5)
    drawn = split.augmented(np.arange(2), np.random.default_rng(0))
    assert drawn.shape == (2, 3, 224, 224)
    assert not torch.allclose(drawn, split.take(slice(0, 2)), atol=0.1)
    with pytest.raises(UserError, match=r"20 classes of imagenet are prepared; use imagenet_100\(tasks=2\)$"):
        load("imagenet_100")


def test_a_data_set_a_task(tmp_path: Path) -> None:
    places = {
        "cubs": "cubs_cropped",
        "cars": "cars",
        "flowers": "flowers",
        "wikiart": "wikiart",
        "sketch": "sketches",
    }
    for number, (source, place) in enumerate(places.items()):
        folders(tmp_path / place, {"train": 4, "test": 2}, 2 + number)
        sources.prepare(source, tmp_path)
    assert registry.recipe("imagenet_to_sketch(imagenet=False)").needs() == tuple(places)
    benchmark = load("imagenet_to_sketch(imagenet=False)")
    assert [task.name for task in benchmark.tasks] == ["CUBS", "Cars", "Flowers", "WikiArt", "Sketch"]
    assert [task.index for task in benchmark.tasks] == list(range(5))
    assert benchmark.classes == (2, 3, 4, 5, 6)
    assert [len(task.train) for task in benchmark.tasks] == [8, 12, 16, 20, 24]
    assert splits_hash(benchmark) == "8e1c7d17aed4e27f"
    for task in benchmark.tasks:
        assert isinstance(task.train, ArraySplit)
        shown = task.train.take(slice(0, 2))
        assert (
            shown.shape
            == task.train.augmented(np.arange(2), np.random.default_rng(0)).shape
            == (2, 3, 224, 224)
        )
        assert task.test.augment is None  # type: ignore[attr-defined]
    birds = benchmark.tasks[0].train
    assert isinstance(birds, ArraySplit)
    plain, drawn = birds.take(slice(None)), birds.augmented(np.arange(8), np.random.default_rng(0))
    for one, other in zip(plain, drawn, strict=True):  # mirrored or not, and nothing else
        assert torch.equal(one, other) or torch.equal(one.flip(2), other)
    assert sizes(load("imagenet_to_sketch(imagenet=False, val=0.25)")) >= {(6, 2, 4)}
    assert "2 of 200 classes" in benchmark.subset
    assert registry.recipe("imagenet_to_sketch").needs()[0] == "imagenet"
    with pytest.raises(
        UserError, match="benchmark imagenet_to_sketch needs ImageNet, which is not in data folder"
    ):
        load("imagenet_to_sketch")

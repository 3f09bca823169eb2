"""Tiny ImageNet: every layout in which it is found, and the benchmarks made of it."""

from __future__ import annotations

import io
import itertools
import shutil
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from raycl import registry
from raycl.benchmarks import sources
from raycl.benchmarks.base import splits_hash
from raycl.benchmarks.prepared import Contents
from raycl.errors import UserError
from raycl.registry import load
from raycl.tasks import ArraySplit, Benchmark

TOP = "tiny-imagenet-200"
WNIDS = [f"n{number * 77_777_773 % 10**8:08d}" for number in range(1, 201)]  # not in alphabetical order


def jpeg(number: int, grey: bool = False) -> bytes:
    """64 x 64, of a colour and texture of its own."""
    draw = np.random.default_rng(number)
    coarse = draw.integers(0, 256, (8, 8) if grey else (8, 8, 3), dtype=np.uint8)
    out = io.BytesIO()
    Image.fromarray(coarse).resize((64, 64), Image.Resampling.BILINEAR).save(out, "JPEG", quality=90)
    return out.getvalue()


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """3 + 2 images a class as the published archive lays them out, unpacked; the second is grey on disk."""
    root = tmp_path_factory.mktemp("tiny") / TOP
    (root / "val" / "images").mkdir(parents=True)
    notes = []
    for label, wnid in enumerate(WNIDS):
        (root / "train" / wnid / "images").mkdir(parents=True)
        for number in (0, 2, 10):
            file = root / "train" / wnid / "images" / f"{wnid}_{number}.JPEG"
            file.write_bytes(jpeg(label * 100 + number, grey=number == 2))
        (root / "train" / wnid / f"{wnid}_boxes.txt").write_text(f"{wnid}_0.JPEG\t0\t0\t63\t63\n")
        for number in (label, 9800 + label):  # the classes take turns
            (root / "val" / "images" / f"val_{number}.JPEG").write_bytes(jpeg(50_000 + number))
            notes.append(f"val_{number}.JPEG\t{wnid}\t0\t0\t63\t63\n")
    (root / "val" / "val_annotations.txt").write_text("".join(notes))
    (root / "test" / "images").mkdir(parents=True)
    (root / "test" / "images" / "test_0.JPEG").write_bytes(b"nobody reads this")
    (root / "wnids.txt").write_text("\n".join(WNIDS) + "\n")
    words = [f"{wnid}\tthing {label}, object {label}" for label, wnid in enumerate(WNIDS)]
    (root / "words.txt").write_text("\n".join(["n00001740\tentity", *words]) + "\n")
    return root


def by_class_folders(original: Path, root: Path) -> None:
    """The layout that torchvision's ImageFolder reads."""
    notes = (original / "val" / "val_annotations.txt").read_text().splitlines()
    told = dict(line.split("\t")[:2] for line in notes)
    for file in original.glob("train/*/images/*"):
        target = root / "train" / file.parts[-3] / file.name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(file, target)
    for file in original.glob("val/images/*"):
        target = root / "val" / told[file.name] / file.name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(file, target)
    for name in ("wnids.txt", "words.txt"):
        shutil.copy(original / name, root / name)


def packed(original: Path, given: Path, layout: str) -> Path:
    """A folder for --from that holds the set in this layout."""
    given.mkdir()
    if layout == "unpacked":
        shutil.copytree(original, given / TOP)
    elif layout == "zip":
        with zipfile.ZipFile(given / f"{TOP}.zip", "w") as archive:
            for file in sorted(original.rglob("*")):
                archive.write(file, f"{TOP}/{file.relative_to(original)}")
    else:
        by_class_folders(original, given / "set")
        if layout == "folders":
            (given / "set").rename(given / "tiny_imagenet_part")
        else:
            mode = "w:gz" if layout.endswith("gz") else "w"
            with tarfile.open(given / f"tiny_imagenet_part.{layout}", mode) as tar:  # type: ignore[call-overload]
                for name in ("train", "val", "wnids.txt", "words.txt"):
                    tar.add(given / "set" / name, name)
            shutil.rmtree(given / "set")
    return given


@pytest.mark.parametrize("layout", ["unpacked", "zip", "folders", "tar", "tar.gz"])
@pytest.mark.usefixtures("empty")
def test_every_layout_gives_the_same_arrays(original: Path, tmp_path: Path, layout: str) -> None:
    sources.prepare("tiny_imagenet", packed(original, tmp_path / "given", layout))
    arrays = sources.arrays("tiny_imagenet")
    assert arrays["train_labels"].tolist() == np.repeat(np.arange(200), 3).tolist()
    assert arrays["val_labels"].tolist() == np.repeat(np.arange(200), 2).tolist()
    for label, number, row in ((0, 0, 0), (7, 2, 22), (7, 10, 23), (199, 10, 599)):  # by number: 2 before 10
        picture = Image.open(io.BytesIO(jpeg(label * 100 + number, grey=number == 2))).convert("RGB")
        wanted = np.asarray(picture).transpose(2, 0, 1)
        assert (arrays["train_images_64"][row] == wanted).all()
        small = np.asarray(picture.resize((32, 32), Image.Resampling.BILINEAR)).transpose(2, 0, 1)
        assert (arrays["train_images_32"][row] == small).all()
    picture = Image.open(io.BytesIO(jpeg(50_000 + 9807)))
    assert (arrays["val_images_64"][15] == np.asarray(picture).transpose(2, 0, 1)).all()
    assert sorted(WNIDS) != WNIDS
    facts = sources.facts("tiny_imagenet")
    assert facts["wnids"] == WNIDS
    assert facts["class_names"] == [f"thing {label}" for label in range(200)]
    assert sources.subset("tiny_imagenet") == (
        "600 of 100,000 training and 400 of 10,000 validation images of 200 of 200 classes of Tiny ImageNet"
    )
    assert splits_hash(load("tiny_20")) == "8d52d5f0b7f82602"
    assert splits_hash(load("tiny_20", seed=1)) == "e4023c0eb094e3e6"


@pytest.mark.usefixtures("empty")
def test_without_the_list_of_classes_their_order_is_owned_up_to(original: Path, tmp_path: Path) -> None:
    given = packed(original, tmp_path / "given", "folders")
    for name in ("wnids.txt", "words.txt"):
        (given / "tiny_imagenet_part" / name).unlink()
    sources.prepare("tiny_imagenet", given)
    assert sources.facts("tiny_imagenet")["class_names"] == sorted(WNIDS)
    assert sources.subset("tiny_imagenet").endswith("; without wnids.txt: classes in alphabetical order")


@pytest.mark.usefixtures("empty")
def test_unfit_folders_are_said_in_one_line(original: Path, tmp_path: Path) -> None:
    given = tmp_path / "given"
    given.mkdir()
    with pytest.raises(UserError, match=r"does not contain Tiny ImageNet: expected tiny-imagenet-200\.zip"):
        sources.prepare("tiny_imagenet", given)
    (given / "tiny-imagenet-200.zip").write_bytes(b"PK\3\4 cut off")
    with pytest.raises(UserError, match=r"^[^\n]*tiny-imagenet-200\.zip is damaged [^\n]*: fetch it again$"):
        sources.prepare("tiny_imagenet", given)
    root = Path(shutil.copytree(original, given / TOP))
    picture = root / "train" / WNIDS[3] / "images" / f"{WNIDS[3]}_10.JPEG"
    picture.write_bytes(picture.read_bytes()[:300])
    with pytest.raises(
        UserError, match=rf"^[^\n]*{WNIDS[3]}_10\.JPEG cannot be read [^\n]*: fetch it again$"
    ):
        sources.prepare("tiny_imagenet", given)
    notes = root / "val" / "val_annotations.txt"
    whole = notes.read_text()
    notes.write_text(whole.replace("val_5.JPEG", "val_x.JPEG"))
    with pytest.raises(UserError, match=r"val_annotations\.txt does not name the class of val_5\.JPEG$"):
        sources.prepare("tiny_imagenet", given)
    notes.write_text(whole.replace(WNIDS[5], "n99999999"))
    with pytest.raises(
        UserError, match=r"does not contain Tiny ImageNet: class n99999999 is not in wnids\.txt$"
    ):
        sources.prepare("tiny_imagenet", given)
    assert sources.status("tiny_imagenet") != "present"


@pytest.mark.usefixtures("empty")
def test_it_is_not_fetched_and_says_where_it_is() -> None:
    with pytest.raises(UserError, match="is not downloaded by raycl\n") as error:
        sources.prepare("tiny_imagenet")
    assert "cs231n.stanford.edu/tiny-imagenet-200.zip" in str(error.value)
    assert "non-commercial research" in str(error.value)


def labelled(classes: int, train: int, val: int) -> Contents:
    """Labels of a set of this size, with pictures of one pixel: benchmarks only count them."""
    arrays: dict[str, np.ndarray] = {}
    for part, each in (("train", train), ("val", val)):
        arrays[f"{part}_labels"] = np.repeat(np.arange(classes), each)
        arrays[f"{part}_images_32"] = arrays[f"{part}_images_64"] = np.zeros(
            (classes * each, 3, 1, 1), np.uint8
        )
    wnids = WNIDS[:classes]
    return Contents(arrays, "" if classes == 200 else "a part", {"class_names": wnids, "wnids": wnids})


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("tiny_10", (9000, 1000, 1000)),
        ("tiny_20", (4500, 500, 500)),
        ("tiny_50", (1800, 200, 200)),
        ("tiny_100", (900, 100, 100)),
        ("tiny64_20", (4500, 500, 500)),
    ],
)
@pytest.mark.usefixtures("empty")
def test_the_whole_set_makes_tasks_of_the_papers_size(name: str, wanted: tuple[int, int, int]) -> None:
    sources.source("tiny_imagenet").folder.fill(lambda: labelled(200, 500, 50))
    benchmark = load(name)
    assert benchmark.subset == ""
    assert registry.recipe(name).counts() == wanted
    assert {(len(t.train), len(t.val), len(t.test)) for t in benchmark.tasks} == {wanted}
    assert sum(benchmark.classes) == 200


@pytest.mark.usefixtures("empty")
def test_of_fewer_classes_fewer_tasks_are_made() -> None:
    sources.source("tiny_imagenet").folder.fill(lambda: labelled(45, 10, 2))
    assert load("tiny_20(tasks=4)").classes == (10,) * 4
    with pytest.raises(UserError, match=r"45 classes of tiny_imagenet are prepared; use tiny_20\(tasks=4\)$"):
        load("tiny_20")
    assert load("tiny64_20(first=3, tasks=1)").classes == (10,)
    with pytest.raises(UserError, match="45 classes of tiny_imagenet are prepared"):
        load("tiny64_20(first=3, tasks=2)")


@pytest.fixture(scope="module")
def _subset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("subset")


@pytest.fixture
def subset(_subset: Path, real_data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The real pictures, 20 + 4 a class."""
    monkeypatch.setenv("RAYCL_DATA", str(_subset))
    sources.prepare("tiny_imagenet", real_data)


GOLDEN = {
    ("tiny_10", 0): "6c43eb886708b14d",
    ("tiny_10", 1): "a94707faca41f62f",
    ("tiny_20", 0): "3456370bed0f5103",
    ("tiny_20", 1): "9a58a020417117fe",
    ("tiny_50", 0): "7722dfbdc3c15580",
    ("tiny_50", 1): "28475ce6c95d5c8e",
    ("tiny_100", 0): "094e0ee801a4e758",
    ("tiny_100", 1): "b465b97b895ad0c3",
    ("tiny64_20", 0): "15ad5fc9d2ada538",
    ("tiny64_20", 1): "15ad5fc9d2ada538",  # one fixed order: the run's seed changes nothing
}


@pytest.mark.parametrize(("name", "seed"), GOLDEN)
@pytest.mark.usefixtures("subset")
def test_which_image_is_where_never_changes(name: str, seed: int) -> None:
    assert splits_hash(load(name, seed=seed)) == GOLDEN[name, seed]


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("tiny_10", (360, 40, 80)),
        ("tiny_20", (180, 20, 40)),
        ("tiny_50", (72, 8, 16)),
        ("tiny_100", (36, 4, 8)),
        ("tiny64_20", (180, 20, 40)),
    ],
)
@pytest.mark.usefixtures("subset")
def test_the_subset_keeps_the_papers_proportions(name: str, wanted: tuple[int, int, int]) -> None:
    benchmark = load(name)
    assert {(len(t.train), len(t.val), len(t.test)) for t in benchmark.tasks} == {wanted}
    assert benchmark.subset.startswith("4,000 of 100,000 training and 800 of 10,000 validation images")


def seen(benchmark: Benchmark) -> list[set[bytes]]:
    """The pictures of train, val and test, over all tasks."""
    parts: list[set[bytes]] = [set(), set(), set()]
    for task in benchmark.tasks:
        for part, split in zip(parts, (task.train, task.val, task.test), strict=True):
            assert isinstance(split, ArraySplit)
            found = {split.images[row].tobytes() for row in split.rows}
            assert not part & found  # no picture is in two tasks either
            part |= found
    return parts


@pytest.mark.parametrize("name", ["tiny_10", "tiny64_20"])
@pytest.mark.usefixtures("subset")
def test_no_picture_is_in_two_splits(name: str) -> None:
    parts = seen(load(name))
    assert [len(part) for part in parts] == [3600, 400, 800]  # and the source holds none twice
    assert not any(a & b for a, b in itertools.combinations(parts, 2))


@pytest.mark.usefixtures("subset")
def test_classes_are_named_and_normalised_as_imagenet() -> None:
    task = load("tiny_20").tasks[0]
    names_of = sources.facts("tiny_imagenet")["class_names"]
    assert isinstance(names_of, list)
    assert names_of[:3] == ["Egyptian cat", "reel", "volleyball"]
    split = task.test
    assert isinstance(split, ArraySplit)
    labels = sources.arrays("tiny_imagenet")["val_labels"][split.rows]
    assert [task.class_names[y] for y in split.y] == [names_of[label] for label in labels]
    raw = torch.from_numpy(split.images[split.rows[:2]]) / 255
    mean, std = (torch.tensor(v).view(3, 1, 1) for v in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    assert torch.allclose(split.take(slice(0, 2)), (raw - mean) / std, atol=1e-6)


@pytest.mark.usefixtures("subset")
def test_the_order_is_drawn_once_and_tasks_cut_it_short() -> None:
    whole, few = load("tiny_20"), load("tiny_20(tasks=3)")
    assert [task.name for task in few.tasks] == [task.name for task in whole.tasks[:3]]
    assert splits_hash(few) == splits_hash(Benchmark("", whole.tasks[:3], (3, 32, 32)))
    orders = {tuple(task.name for task in load("tiny_20", seed=seed).tasks) for seed in range(3)}
    assert len(orders) == 3


@pytest.mark.usefixtures("subset")
def test_windows_come_from_one_fixed_sequence() -> None:
    whole = load("tiny64_20")
    window = load(str(registry.recipe("tiny64_20").window(15, 5)))
    assert [task.name for task in window.tasks] == [task.name for task in whole.tasks[15:]]
    for one, other in zip(window.tasks, whole.tasks[15:], strict=True):
        assert torch.equal(one.train.take(slice(0, 4)), other.train.take(slice(0, 4)))
    first = "classes " + " ".join(map(str, np.random.RandomState(1).permutation(200)[:10]))
    assert whole.tasks[0].name == first
    with pytest.raises(UserError, match=r"tasks = 6 is outside 1\.\.5"):
        registry.recipe("tiny64_20").window(15, 6)


@pytest.mark.usefixtures("subset")
def test_only_training_images_at_64_are_cropped_at_random() -> None:
    task = load("tiny64_20").tasks[0]
    assert isinstance(task.train, ArraySplit) and isinstance(task.test, ArraySplit)
    drawn = [task.train.augmented(np.arange(3), np.random.default_rng(seed)) for seed in (0, 0, 1)]
    assert drawn[0].shape == (3, 3, 64, 64)
    assert torch.equal(drawn[0], drawn[1])
    assert not torch.equal(drawn[0], drawn[2])
    assert task.test.augment is None


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("tiny_10(tasks=11)", "tasks = 11 is outside 1..10"),
        ("tiny_100(val=1)", "val = 1 is outside 0..0.9"),
        ("tiny64_20(first=20)", "first = 20 is outside 0..19"),
    ],
)
def test_nonsense_is_refused_in_words(name: str, message: str) -> None:
    with pytest.raises(UserError) as error:
        registry.recipe(name)
    assert message in str(error.value)

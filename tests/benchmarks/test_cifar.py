"""CIFAR's files and tasks: the official pickles written small, and the parts that are here."""

from __future__ import annotations

import gzip
import pickle
import tarfile
from pathlib import Path

import numpy as np
import pytest

from raycl import registry
from raycl.benchmarks import sources
from raycl.benchmarks.base import splits_hash
from raycl.errors import UserError
from raycl.registry import load
from raycl.tasks import ArraySplit, Benchmark, Task

FINE = [f"fine {i}" for i in range(100)]
COARSE = [f"coarse {i}" for i in range(20)]
TEN = [f"class {i}" for i in range(10)]


def pixels(n: int, seed: int) -> np.ndarray:
    return np.random.Generator(np.random.PCG64(seed)).integers(0, 256, (n, 3072), dtype=np.uint8)


def write_hundred(folder: Path, each: int = 3, packed: bool = False) -> Path:
    """The three official files, `each` training images and one test image a class; coarse = fine // 5."""
    folder.mkdir(parents=True)
    for part, count in (("train", each), ("test", 1)):
        labels = [i % 100 for i in range(100 * count)]
        batch = {
            "filenames": ["x.png"] * len(labels),
            "batch_label": "training batch 1 of 1",
            "fine_labels": labels,
            "coarse_labels": [label // 5 for label in labels],
            "data": pixels(len(labels), count),
        }
        put(folder / part, batch, packed)
    put(folder / "meta", {"fine_label_names": FINE, "coarse_label_names": COARSE}, packed)
    return folder


def write_ten(folder: Path, each: int = 4) -> Path:
    folder.mkdir(parents=True)
    for number in range(1, 6):
        batch = {"labels": [i % 10 for i in range(10 * each)], "data": pixels(10 * each, number)}
        put(folder / f"data_batch_{number}", batch)
    put(folder / "test_batch", {"labels": list(range(10)), "data": pixels(10, 9)})
    put(folder / "batches.meta", {"label_names": TEN, "num_vis": 3072})
    return folder


def put(file: Path, content: object, packed: bool = False) -> None:
    data = pickle.dumps(content, protocol=2)
    file.with_name(file.name + (".gz" if packed else "")).write_bytes(gzip.compress(data) if packed else data)


def rows(task: Task) -> tuple[ArraySplit, ArraySplit, ArraySplit]:
    assert isinstance(task.train, ArraySplit) and isinstance(task.val, ArraySplit)
    assert isinstance(task.test, ArraySplit)
    return task.train, task.val, task.test


def sizes(benchmark: Benchmark) -> set[tuple[int, ...]]:
    return {tuple(len(split) for split in rows(task)) for task in benchmark.tasks}


@pytest.mark.usefixtures("empty")
@pytest.mark.parametrize("how", ["folder", "inside", "gzipped", "archive"])
def test_official_pickles_are_read_however_they_lie(tmp_path: Path, how: str) -> None:
    given = tmp_path / "given"
    folder = write_hundred(given / "cifar-100-python", packed=how == "gzipped")
    if how == "archive":
        with tarfile.open(given / "cifar-100-python.tar.gz", "w:gz") as archive:
            archive.add(folder, "cifar-100-python")
        for file in folder.iterdir():
            file.unlink()
        folder.rmdir()
    sources.prepare("cifar100", folder if how == "inside" else given)
    arrays = sources.arrays("cifar100")
    assert (arrays["train_images"].reshape(300, -1) == pixels(300, 3)).all()  # plane after plane
    assert arrays["train_labels"].tolist() == [i % 100 for i in range(300)]
    assert (arrays["train_coarse"] == arrays["train_labels"] // 5).all()
    assert sources.facts("cifar100") == {"class_names": FINE, "coarse_names": COARSE}
    assert sources.subset("cifar100") == "300 of 50,000 training and 100 of 10,000 test images of CIFAR-100"


@pytest.mark.usefixtures("empty")
def test_the_five_batches_of_cifar10_follow_one_another(tmp_path: Path) -> None:
    write_ten(tmp_path / "cifar-10-batches-py")
    sources.prepare("cifar10", tmp_path)
    images = sources.arrays("cifar10")["train_images"].reshape(200, -1)
    assert (images == np.concatenate([pixels(40, number) for number in range(1, 6)])).all()
    benchmark = load("cifar10_5(val=0.25)")
    assert sizes(benchmark) == {(30, 10, 2)}
    assert benchmark.tasks[1].class_names == ("class 2", "class 3")
    assert splits_hash(benchmark) == "d46f602bb4bb53f2"


class Evil:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return print, ("never",)


@pytest.mark.usefixtures("empty")
@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("train", b"no pickle", "is not a file of the data set"),
        ("train", pickle.dumps(Evil()), "would call builtins.print"),
        ("train", pickle.dumps([1, 2]), "does not contain a dictionary"),
        (
            "train",
            pickle.dumps({"data": np.zeros((2, 3072), np.uint8)}),
            "the files are not those of CIFAR-100",
        ),
        ("meta", pickle.dumps({}), "the files are not those of CIFAR-100"),
        (
            "train",
            pickle.dumps({"data": pixels(2, 0), "fine_labels": [0, 100], "coarse_labels": [0, 0]}),
            "the train images and labels are not CIFAR-100's",
        ),
    ],
)
def test_bad_files_are_said_in_one_line_and_nothing_is_called(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, content: bytes, message: str
) -> None:
    folder = write_hundred(tmp_path / "cifar-100-python")
    (folder / name).write_bytes(content)
    with pytest.raises(UserError) as error:
        sources.prepare("cifar100", tmp_path)
    assert message in str(error.value) and "\n" not in str(error.value)
    assert capsys.readouterr().out == ""
    assert sources.status("cifar100") == "absent"


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """CIFAR-100 in small, 20 training images and one test image a class."""
    root = tmp_path_factory.mktemp("cifar")
    write_hundred(root / "given" / "cifar-100-python", each=20)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAYCL_DATA", str(root / "data"))
        sources.prepare("cifar100", root / "given")
    return root / "data"


GOLDEN = {
    ("cifar100_10", 0): "780f7e4525ff8c43",
    ("cifar100_10", 1): "811226f196b2e8cc",
    ("cifar100_10(class_order='id')", 0): "595f1fafc4cb3940",
    ("cifar100_20", 0): "32494e7e2ec974f2",
    ("cifar100_20", 1): "5c4626df41b25983",
    ("cifar100_5", 0): "e285bd05f051c6c1",
    ("cifar100_20_fixed", 0): "1cca0cd0716f07b2",
    ("cifar100_20_fixed(val=0.1)", 0): "66a58e9130ccc732",
    ("cifar100_super", 0): "a76fd5b938522b03",
    ("cifar100_super(first=10)", 0): "3dfe8c084991d97b",
}


@pytest.mark.parametrize(("name", "seed"), GOLDEN)
def test_which_image_is_where_never_changes(
    small: Path, monkeypatch: pytest.MonkeyPatch, name: str, seed: int
) -> None:
    monkeypatch.setenv("RAYCL_DATA", str(small))
    assert splits_hash(load(name, seed)) == GOLDEN[name, seed]


@pytest.mark.parametrize(
    ("name", "tasks", "classes", "counts"),
    [
        ("cifar100_10", 10, 10, (180, 20, 10)),
        ("cifar100_20", 20, 5, (90, 10, 5)),
        ("cifar100_5", 5, 20, (340, 60, 20)),
        ("cifar100_20_fixed", 20, 5, (100, 0, 5)),
        ("cifar100_20_fixed(first=15, tasks=5)", 5, 5, (100, 0, 5)),
        ("cifar100_super", 20, 5, (100, 0, 5)),
        ("cifar100_super(tasks=3, val=0.1)", 3, 5, (90, 10, 5)),
    ],
)
def test_counts(
    small: Path,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    tasks: int,
    classes: int,
    counts: tuple[int, int, int],
) -> None:
    monkeypatch.setenv("RAYCL_DATA", str(small))
    benchmark = load(name)
    assert benchmark.classes == (classes,) * tasks and benchmark.input_shape == (3, 32, 32)
    assert sizes(benchmark) == {counts}
    for task in benchmark.tasks:
        for split in rows(task):
            assert set(split.y) <= set(range(classes))
        assert len(task.class_names) == classes


def labels_of(task: Task) -> list[int]:
    return [int(name.removeprefix("fine ")) for name in task.class_names]


def test_orders_of_classes(small: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAYCL_DATA", str(small))
    by_id = load("cifar100_10(class_order='id')")
    assert [labels_of(task) for task in by_id.tasks] == [list(range(i, i + 10)) for i in range(0, 100, 10)]
    fixed = load("cifar100_20_fixed")
    assert labels_of(fixed.tasks[0]) == [26, 86, 2, 55, 75]  # NumPy's RandomState(0), as SupSup froze it
    last = load("cifar100_20_fixed(first=15, tasks=5)")
    assert [labels_of(task) for task in last.tasks] == [labels_of(task) for task in fixed.tasks[15:]]
    seen = {seed: [tuple(labels_of(task)) for task in load("cifar100_10", seed).tasks] for seed in (1, 2)}
    assert seen[1] != seen[2] and all(sorted(sum(order, ())) == list(range(100)) for order in seen.values())


def test_superclasses_in_the_order_of_their_labels_and_one_moved_to_the_front(
    small: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAYCL_DATA", str(small))
    names = [task.name for task in load("cifar100_super").tasks]
    assert names == COARSE
    assert [task.name for task in load("cifar100_super(first=10)").tasks] == [
        COARSE[9], *COARSE[:9], *COARSE[10:]
    ]  # fmt: skip
    assert labels_of(load("cifar100_super").tasks[3]) == [15, 16, 17, 18, 19]


def test_each_superclass_has_statistics_of_its_own_training_images(
    small: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAYCL_DATA", str(small))
    for task in load("cifar100_super(tasks=2)").tasks:
        x = task.train.take(slice(None)).double()
        assert x.mean((0, 2, 3)).abs().max() < 1e-5
        assert (x.std((0, 2, 3), unbiased=False) - 1).abs().max() < 1e-5
        assert rows(task)[0].mean == rows(task)[2].mean


@pytest.mark.usefixtures("small")
def test_training_images_are_cropped_and_flipped_and_others_are_not(
    small: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAYCL_DATA", str(small))
    task = load("cifar100_20_fixed").tasks[0]
    train, _, test = rows(task)
    chosen = np.arange(20)
    rng = np.random.Generator(np.random.PCG64(0))
    assert not bool((train.augmented(chosen, rng) == train.take(chosen)).all())
    assert test.augment is None
    assert rows(load("cifar100_10").tasks[0])[0].augment is None


def test_the_parts_that_are_here(real_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAYCL_DATA", str(tmp_path))
    for name in ("cifar10", "cifar100"):
        sources.prepare(name, real_data)
    assert sources.subset("cifar100").startswith("10,000 of 50,000 training and 2,000 of 10,000 test images")
    wanted = {
        "cifar100_10": (900, 100, 200),
        "cifar100_20": (450, 50, 100),
        "cifar100_5": (1700, 300, 400),
        "cifar100_20_fixed": (500, 0, 100),
        "cifar100_super": (500, 0, 100),
        "cifar10_5": (510, 90, 120),
    }
    assert {name: sizes(load(name)) for name in wanted} == {name: {counts} for name, counts in wanted.items()}
    first = load("cifar100_super").tasks[0]
    assert first.name == "aquatic_mammals" and set(first.class_names) >= {"beaver", "dolphin", "whale"}
    for source in ("cifar10", "cifar100"):
        arrays = sources.arrays(source)
        images = [
            arrays[f"{part}_images"].reshape(len(arrays[f"{part}_labels"]), -1) for part in ("train", "test")
        ]
        together = np.concatenate(images)
        assert len(np.unique(together, axis=0)) == len(together)  # so disjoint rows are disjoint images
    parts: list[set[int]] = [set(), set()]
    for task in load("cifar100_10", 1).tasks:
        train, val, _ = rows(task)
        parts[0] |= set(train.rows.tolist())
        parts[1] |= set(val.rows.tolist())
    assert not parts[0] & parts[1] and len(parts[0] | parts[1]) == 10_000


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("cifar100_10(class_order='random')", "class_order"),
        ("cifar100_5(norm='own')", "norm"),
        ("cifar100_20_fixed(first=16, tasks=5)", "tasks = 5 is outside 1..4"),
        ("cifar100_super(first=0)", "first = 0 is outside 1..20"),
        ("cifar10_5(val=1.0)", "val = 1 is outside 0..0.9"),
    ],
)
def test_nonsense_is_refused_in_words(name: str, message: str) -> None:
    with pytest.raises(UserError) as error:
        load(name)
    assert message in str(error.value) and "\n" not in str(error.value)


@pytest.mark.usefixtures("empty")
def test_one_task_of_cifar10_and_then_five_superclasses(tmp_path: Path) -> None:
    write_ten(tmp_path / "given" / "cifar-10-batches-py")
    write_hundred(tmp_path / "given" / "cifar-100-python", each=20)
    for source in registry.recipe("cifar_to_super").needs():
        sources.prepare(source, tmp_path / "given")
    benchmark = load("cifar_to_super(val=0.1)")
    assert [task.name for task in benchmark.tasks] == ["CIFAR-10", *COARSE[:5]]
    assert [task.index for task in benchmark.tasks] == list(range(6))
    assert benchmark.classes == (10, 5, 5, 5, 5, 5)
    alone = load("cifar100_super(tasks=5, norm='cifar', val=0.1)")
    first = rows(benchmark.tasks[0])
    for task, same in zip(benchmark.tasks[1:], alone.tasks, strict=True):
        for split, other in zip(rows(task), rows(same), strict=True):
            assert np.array_equal(split.rows, other.rows) and np.array_equal(split.y, other.y)
            assert split.mean == first[0].mean  # one mean for all tasks, as for ImageNet-to-Sketch
    assert [len(split) for split in first] == [180, 20, 10]
    assert splits_hash(benchmark) == "077b1ece2a132547"

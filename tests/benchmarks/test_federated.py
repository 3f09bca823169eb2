"""FEMNIST and CelebA: their formats read right, and tasks of disjoint shards, users or groups of people."""

from __future__ import annotations

import gzip
import json
import shutil
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from raycl.benchmarks import Recipe, sources
from raycl.benchmarks.base import splits_hash
from raycl.benchmarks.federated import FcelebaTen, FcelebaTwenty, FemnistTen, FemnistTenPrm, distinct
from raycl.benchmarks.sources.base import SourceFiles
from raycl.benchmarks.sources.femnist import LeafIndex
from raycl.errors import UserError
from raycl.registry import load, recipe
from raycl.tasks import ArraySplit, Benchmark, Task
from tests.benchmarks.test_emnist import assert_disjoint, sizes

CAT = (
    "20 iid pseudo-users, 15 of them with training images, 11,417 training and 2,153 test images of "
    "FEMNIST's 805,263"
)


def write_leaf(file: Path, users: Mapping[str, tuple[Sequence[Any], Sequence[Any]]]) -> None:
    """A file in LEAF's format: (x, y) by user; gzipped if it is called so."""
    file.parent.mkdir(parents=True, exist_ok=True)
    found = {
        "users": list(users),
        "num_samples": [len(y) for _, y in users.values()],
        "user_data": {user: {"x": list(x), "y": list(y)} for user, (x, y) in users.items()},
    }
    data = json.dumps(found).encode()
    file.write_bytes(gzip.compress(data, 1) if file.suffix == ".gz" else data)


def write_femnist(folder: Path, writers: int) -> NDArray[np.uint8]:
    """Writers of every second character, once for each part; returns the images, bright ink, in order."""
    draw, made = np.random.default_rng(0), []
    for part in ("train", "test"):
        for number in (0, 1):
            users = {}
            for writer in range(number * writers // 2, (number + 1) * writers // 2):
                ink = (draw.random((31, 784)) < 0.2) * 255
                made.append(ink)
                labels = list(range(writer % 2, 62, 2))
                users[f"f{writer:04}_{writer % 50:02}"] = ((1 - ink / 255).tolist(), labels)
            write_leaf(folder / part / f"all_data_{number}_niid_0_keep_0_{part}_9.json", users)
    return np.concatenate(made).astype(np.uint8).reshape(-1, 1, 28, 28)


def face(number: int, smiling: bool) -> Image.Image:
    """A picture of CelebA's size, different from all others: white at the top, black at the foot, blue at the
    left, and in the middle green where it smiles and red where it does not."""
    draw = np.random.default_rng(number)
    pixels = np.zeros((218, 178, 3), np.uint8)
    pixels[:, :, 1 if smiling else 0] = (
        draw.integers(120, 256, (7, 6)).repeat(32, 0).repeat(32, 1)[:218, :178]
    )
    pixels[:, :24] = (0, 0, 255)
    pixels[:24] = 255
    pixels[-24:] = 0
    return Image.fromarray(pixels)


def write_faces(folder: Path, labels: Sequence[bool], archive: bool = False) -> list[str]:
    """JPEG files by number, or a zip of them; returns their names."""
    names = [f"{number:06}.jpg" for number in range(1, len(labels) + 1)]
    (folder / "img_align_celeba").mkdir(parents=True)
    for number, (name, smiling) in enumerate(zip(names, labels, strict=True)):
        face(number, smiling).save(folder / "img_align_celeba" / name, quality=90)
    if archive:
        with zipfile.ZipFile(folder / "img_align_celeba.zip", "w") as packed:
            for name in names:
                packed.write(folder / "img_align_celeba" / name, f"img_align_celeba/{name}")
        shutil.rmtree(folder / "img_align_celeba")
    return names


def write_fceleba(folder: Path, users: int, train: int, test: int, archive: bool = False) -> None:
    """Faces, and an index of LEAF's iid pseudo-users such as CAT's."""
    labels = [number % 2 == 0 for number in range(users * (train + test))]
    names = write_faces(folder, labels, archive)
    for part, start, count in (("train", 0, train), ("test", users * train, test)):
        given = {}
        for user in range(users):
            rows = range(start + user * count, start + (user + 1) * count)
            given[str(user)] = ([names[i] for i in rows], [float(labels[i]) for i in rows])
        write_leaf(folder / part / f"all_data_iid_01_05_keep_5_{part}_9.json", given)


def write_celeba(folder: Path, people: int, each: int) -> list[bool]:
    """Faces and the data set's own text files: four fifths of the people train, the others test."""
    labels = [number % 3 == 0 for number in range(people * each)]
    names = write_faces(folder, labels)
    rows = [f"{name} -1 {1 if smiling else -1:2d}  1" for name, smiling in zip(names, labels, strict=True)]
    texts = {
        "list_attr_celeba.txt": [str(len(names)), "Bald Smiling Young ", *rows],
        "identity_CelebA.txt": [f"{name} {7 * (i // each) + 3}" for i, name in enumerate(names)],
        "list_eval_partition.txt": [
            f"{name} {0 if 10 * (i // each) < 7 * people else 1 if 10 * (i // each) < 8 * people else 2}"
            for i, name in enumerate(names)
        ],
    }
    for name, lines in texts.items():
        (folder / name).write_text("\n".join(lines) + "\n")
    return labels


def splits(task: Task) -> list[ArraySplit]:
    return [split for split in (task.train, task.val, task.test) if isinstance(split, ArraySplit)]


def users_of(benchmark: Benchmark, source: str) -> list[set[int]]:
    """Whose images each task holds."""
    users = sources.arrays(source)["users"]
    return [{int(user) for split in splits(task) for user in users[split.rows]} for task in benchmark.tasks]


@dataclass(frozen=True, kw_only=True)
class FewWriters(FemnistTen):
    """Three small tasks, counts nominal."""

    count: ClassVar[int] = 3
    sizes: ClassVar[tuple[int, int, int]] = (40, 4, 8)
    tasks: int = 3


@dataclass(frozen=True, kw_only=True)
class FewBalanced(FemnistTenPrm):
    """Two small tasks, 2 + 1 + 1 images of each class."""

    count: ClassVar[int] = 2
    sizes: ClassVar[tuple[int, int, int]] = (124, 62, 62)
    tasks: int = 2


@dataclass(frozen=True, kw_only=True)
class FewFaces(FcelebaTen):
    """Three small tasks."""

    count: ClassVar[int] = 3
    sizes: ClassVar[tuple[int, int, int]] = (16, 4, 8)
    tasks: int = 3


@pytest.fixture(scope="module")
def prepared_cat(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder for CAT's files."""
    return tmp_path_factory.mktemp("cat")


@pytest.fixture
def cat(real_data: Path, prepared_cat: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """CAT's FEMNIST, prepared; the folder of the real data."""
    monkeypatch.setenv("RAYCL_DATA", str(prepared_cat))
    sources.prepare("femnist", real_data)
    return real_data


def test_cats_files_hold_the_numbers_of_their_npz(cat: Path) -> None:
    arrays, facts = sources.arrays("femnist"), sources.facts("femnist")
    assert (sources.subset("femnist"), facts["kind"]) == (CAT, "cat iid pseudo-users")
    names: Any = facts["user_names"]
    assert " ".join(names) == "6 7 14 20 26 25 13 32 8 19 17 1 24 29 34 16 21 27 0 5"
    with np.load(cat / "femnist_cat" / "femnist_cat.npz") as given:
        for part, number in (("train", 0), ("test", 1)):
            mine = arrays["part"] == number
            assert np.array_equal(arrays["images"][mine][:, 0], 255 - given[f"x_{part}"])
            assert np.array_equal(arrays["labels"][mine], given[f"y_{part}"])
            users = [int(names[user]) for user in arrays["users"][mine]]
            assert users == given[f"user_{part}"].astype(int).tolist()
    assert arrays["images"][:, :, 0].mean() < 1 < arrays["images"].mean() < 40  # ink is bright, borders black


@pytest.mark.usefixtures("cat")
def test_a_task_is_one_of_cats_users() -> None:
    benchmark = load("femnist_10")
    assert [task.name for task in benchmark.tasks][:3] == ["user 6", "user 7", "user 14"]
    assert users_of(benchmark, "femnist") == [{i} for i in range(10)]
    # 764 training images of which two are alike, 85 for testing: a tenth is held out.
    assert sizes(benchmark)[:2] == [(688, 76, 85), (679, 75, 84)]
    assert benchmark.subset == CAT and benchmark.classes == (62,) * 10 and benchmark.similar
    assert benchmark.tasks[0].class_names[10] == "A" and benchmark.tasks[0].class_names[61] == "z"
    assert sizes(load("femnist_20(tasks=15)"))[:10] == sizes(benchmark)
    for name in ("femnist_20(tasks=15)", "femnist_10_prm"):
        assert_disjoint(load(name))
    for task in load("femnist_10_prm").tasks:
        for split, most in zip(splits(task), (25, 25, 5), strict=True):
            assert np.bincount(split.y).max() <= most
        assert len(task.train) / len(task.val) == pytest.approx(4, rel=0.05)


@pytest.mark.usefixtures("cat")
def test_cats_files_hold_six_repeated_images() -> None:
    arrays = sources.arrays("femnist")
    train, test = (np.flatnonzero(arrays["part"] == part) for part in (0, 1))
    kept = distinct((arrays["images"], test), (arrays["images"], train))
    assert [len(rows) for rows in kept] == [2153, 11417 - 6]


@pytest.mark.usefixtures("cat")
def test_what_cats_files_cannot_give_is_refused_with_the_remedy() -> None:
    with pytest.raises(UserError) as error:
        load("femnist_20")
    assert str(error.value) == (
        "benchmark femnist_20: the prepared files have 15 users with training and test images, and a task "
        "needs 1: use femnist_20(tasks=15)"
    )
    with pytest.raises(
        UserError, match=r"^benchmark femnist_10[^\n]* are random samples and not people[^\n]*$"
    ):
        load("femnist_10(federated_mode='identity')")


@pytest.mark.usefixtures("cat")
@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("femnist_10", "4a4dd6e5d247f23b"),
        ("femnist_10(data_seed=1)", "6c6a6d793d25d503"),
        ("femnist_20(tasks=15)", "06f297f7ef517040"),
        ("femnist_10_prm", "e855cc7933ac2b39"),
        ("femnist_10_prm(data_seed=1)", "1b48a67dda93461f"),
    ],
)
def test_which_image_is_where_never_changes(name: str, wanted: str) -> None:
    assert splits_hash(load(name)) == wanted
    assert splits_hash(load(name, seed=1)) == wanted


def test_files_are_read_in_the_order_of_their_numbers(tmp_path: Path, empty: Path) -> None:
    sample = ([[1.0] * 783 + [0.0]], [7])
    for number in (10, 9, 2):
        write_leaf(
            tmp_path / "train" / f"all_data_{number}_iid_keep_0_train_9.json.gz", {str(number): sample}
        )
        write_leaf(tmp_path / "test" / f"all_data_{number}_iid_keep_0_test_9.json", {str(number): sample})
    sources.prepare("femnist", tmp_path)
    arrays = sources.arrays("femnist")
    assert sources.facts("femnist")["user_names"] == ["2", "9", "10"]
    assert arrays["users"].tolist() == [0, 1, 2] * 2
    assert arrays["part"].tolist() == [0] * 3 + [1] * 3
    assert arrays["images"][0, 0, -1, -2:].tolist() == [0, 255]


@pytest.mark.parametrize(
    ("x", "y", "message"),
    [
        ([[0.5] * 783], [1], r"its images have shape \(783,\) instead of \(784,\)"),
        ([[2.0] * 784], [1], r"its pixels are not in \[0, 1\]"),
        ([[float("nan")] * 784], [1], r"its pixels are not in \[0, 1\]"),
        ([[0.5] * 784], [62], "user a has a label outside 0..61"),
        ([[0.5] * 784], [1.5], "user a should have one integer label for each of 1 samples"),
        ([[0.5] * 784], [1, 2], "user a should have one integer label for each of 1 samples"),
    ],
)
def test_foreign_leaf_files_are_said_in_one_line(
    tmp_path: Path, empty: Path, x: list[Any], y: list[Any], message: str
) -> None:
    for part in ("train", "test"):
        write_leaf(tmp_path / part / "all_data_niid.json", {"a": (x, y)})
    with pytest.raises(UserError, match=rf"^[^\n]*is not in the expected LEAF format \({message}\)[^\n]*$"):
        sources.prepare("femnist", tmp_path)
    (tmp_path / "train" / "all_data_niid.json").write_text("{")
    with pytest.raises(UserError, match=r"^[^\n]*is not in the expected LEAF format[^\n]*$"):
        sources.prepare("femnist", tmp_path)
    shutil.rmtree(tmp_path / "test")
    with pytest.raises(UserError, match="does not contain FEMNIST: expected train/"):
        sources.prepare("femnist", tmp_path)


@pytest.fixture(scope="module")
def prepared_writers(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder with 24 writers of 62 images."""
    root = tmp_path_factory.mktemp("writers")
    written = write_femnist(root / "given", 24)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAYCL_DATA", str(root / "data"))
        sources.prepare("femnist", root / "given")
        assert np.array_equal(sources.arrays("femnist")["images"], written)
        assert sources.facts("femnist")["kind"] == "leaf writers"
        assert sources.subset("femnist") == "24 of 3,550 writers and 1,488 of 805,263 images of FEMNIST"
    return root / "data"


@pytest.fixture
def writers(prepared_writers: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The twenty-four writers."""
    monkeypatch.setenv("RAYCL_DATA", str(prepared_writers))


@pytest.mark.usefixtures("writers")
@pytest.mark.parametrize("mode", ["iid", "identity"])
@pytest.mark.parametrize("kind", [FewWriters, FewBalanced])
def test_writers_fill_the_counts_exactly(kind: type[Recipe], mode: str) -> None:
    settings: dict[str, Any] = {"federated_mode": mode}
    made = kind(**settings).build(0)
    wanted = kind(**settings).counts()
    assert sizes(made) == [wanted] * len(made.tasks)
    assert_disjoint(made)
    part = sources.arrays("femnist")["part"]
    for task in made.tasks:
        train, val, test = splits(task)
        assert not part[train.rows].any() and not part[val.rows].any() and part[test.rows].all()
        if kind is FewBalanced:
            assert [np.bincount(s.y, minlength=62).tolist() for s in (train, val, test)] == [
                [2] * 62, [1] * 62, [1] * 62
            ]  # fmt: skip
    users = users_of(made, "femnist")
    shared = sum(map(len, users)) - len(set.union(*users))
    assert shared == 0 if mode == "identity" else shared > 10
    again = kind(**settings, data_seed=1).build(0)
    assert splits_hash(again) != splits_hash(made)


@pytest.mark.usefixtures("writers")
def test_fewer_tasks_are_the_first_ones() -> None:
    for mode in ("iid", "identity"):
        whole, part = (FewWriters(federated_mode=mode, tasks=n).build(0) for n in (3, 2))  # type: ignore[arg-type]
        for ours, theirs in zip(part.tasks, whole.tasks[:2], strict=True):
            assert [s.rows.tolist() for s in splits(ours)] == [s.rows.tolist() for s in splits(theirs)]


@pytest.mark.usefixtures("writers")
def test_too_few_images_are_scaled_in_the_papers_proportions() -> None:
    # 744 training images where 34,100 are wanted: 67.6 + 6.8 in each of 10 tasks, and 13.5 for testing.
    assert sizes(load("femnist_10")) == [(67, 6, 13)] * 10
    # Two writers have 62 images: 0.9 * 0.9 of that are 54.8 + 5.5 and 11.
    grouped = load("femnist_10(federated_mode='identity')")
    assert sizes(grouped) == [(54, 5, 10)] * 10
    assert [len(users) for users in users_of(grouped, "femnist")] == [2] * 10
    # Balanced counts are cut short class by class: 12 images of each for 10 tasks, a fifth held out.
    balanced = load("femnist_10_prm")
    assert all(np.bincount(task.test.y, minlength=62).max() <= 2 for task in balanced.tasks)
    assert all(len(task.train) + len(task.val) in range(62, 125) for task in balanced.tasks)
    assert_disjoint(grouped)
    assert_disjoint(balanced)


@pytest.mark.usefixtures("writers")
def test_more_groups_than_people_are_refused() -> None:
    @dataclass(frozen=True, kw_only=True)
    class Many(FewWriters):
        count: ClassVar[int] = 25

    with pytest.raises(UserError, match=r"^[^\n]* the prepared files have too few people for 25 groups$"):
        Many(federated_mode="identity").build(0)


def test_equal_pixels_stay_with_the_test_part() -> None:
    images = np.zeros((6, 1, 2, 2), np.uint8)
    images[:, 0, 0, 0] = [1, 2, 1, 3, 2, 3]
    test, train = distinct((images, np.array([4, 5])), (images, np.array([0, 1, 2, 3])))
    assert (test.tolist(), train.tolist()) == ([4, 5], [0])


@pytest.mark.parametrize("archive", [False, True])
def test_faces_are_read_whole_and_in_colour(tmp_path: Path, empty: Path, archive: bool) -> None:
    write_fceleba(tmp_path, users=3, train=4, test=2, archive=archive)
    sources.prepare("celeba", tmp_path)
    arrays, facts = sources.arrays("celeba"), sources.facts("celeba")
    images, labels = arrays["images"].astype(int), arrays["labels"]
    assert images.shape == (18, 3, 32, 32) and labels.tolist() == [1, 0] * 9
    assert arrays["part"].tolist() == [0] * 12 + [1] * 6
    assert arrays["users"].tolist() == np.repeat(range(3), 4).tolist() + np.repeat(range(3), 2).tolist()
    assert facts["class_names"] == ["not smiling", "smiling"]
    assert (facts["kind"], sources.subset("celeba")) == (
        "cat iid pseudo-users", "18 of CelebA's 202,599 pictures (cat iid pseudo-users)"
    )  # fmt: skip
    red, green, blue = images[:, :, 8:24, 8:30].mean((2, 3)).T
    assert (
        ((green > 100) == (labels == 1)).all() and ((red > 100) == (labels == 0)).all() and (blue < 40).all()
    )
    # 178 x 218 squashed, not cropped: the borders on all four sides are still there.
    assert (images[:, :, :3, 5:] > 200).all() and (images[:, :, -3:, 5:] < 60).all()
    assert (images[:, 2, 5:27, :3] > 180).all() and (images[:, :2, 5:27, :2] < 60).all()


def test_an_index_without_pictures_is_said_in_one_line(tmp_path: Path, empty: Path, real_data: Path) -> None:
    with pytest.raises(UserError) as error:
        sources.prepare("celeba", real_data)
    assert str(error.value) == (
        f"{real_data}/fceleba_index lists 10,014 pictures of CelebA, which were not found: put "
        "img_align_celeba/ or img_align_celeba.zip (non-commercial research agreement, "
        f"mmlab.ie.cuhk.edu.hk/projects/CelebA.html) into {real_data}"
    )
    with pytest.raises(UserError, match="mmlab") as error:
        sources.prepare("celeba")
    assert str(error.value).startswith("CelebA is not downloaded by raycl\n")


def test_cats_own_index_is_read(real_data: Path) -> None:
    index = LeafIndex.find(SourceFiles(real_data, real_data), ("fceleba_index",))
    assert index is not None and index.pseudo_users
    found = index.read(list, 2)
    assert found.names == tuple(str(number) for number in range(93))
    assert np.bincount(found.parts).tolist() == [8991, 1023]
    assert sum(len(names) for names in found.inputs) == 10_014
    assert found.labels.mean() == pytest.approx(0.48, abs=0.03)  # about half of CelebA smiles


def test_lacking_and_foreign_faces_are_said_in_one_line(tmp_path: Path, empty: Path) -> None:
    write_fceleba(tmp_path, users=2, train=3, test=1)
    picture = tmp_path / "img_align_celeba" / "000002.jpg"
    good = picture.read_bytes()
    picture.unlink()
    with pytest.raises(
        UserError, match=r"^[^\n]*does not contain 1 of the 8 pictures that [^\n]*, such as 000002.jpg$"
    ):
        sources.prepare("celeba", tmp_path)
    picture.write_bytes(good[:300])
    with pytest.raises(UserError, match=r"^[^\n]*000002.jpg cannot be read [^\n]*fetch it again$"):
        sources.prepare("celeba", tmp_path)
    shutil.rmtree(tmp_path / "test")
    with pytest.raises(UserError, match="does not contain CelebA: expected an index"):
        sources.prepare("celeba", tmp_path)
    shutil.rmtree(tmp_path / "img_align_celeba")
    write_celeba(tmp_path, people=3, each=2)
    (tmp_path / "identity_CelebA.txt").write_text("000001.jpg 1\n")
    shutil.rmtree(tmp_path / "train")
    with pytest.raises(UserError, match=r"^[^\n]* do not fit together [^\n]*$"):
        sources.prepare("celeba", tmp_path)


def test_pseudo_users_of_faces_are_joined_until_they_suffice(tmp_path: Path, empty: Path) -> None:
    write_fceleba(tmp_path, users=17, train=6, test=2)
    sources.prepare("celeba", tmp_path)
    # 20 training and 8 test images take 4 users of 6 + 2 images, of which there are enough for 3 tasks.
    made = FewFaces().build(0)
    assert users_of(made, "celeba") == [{0, 1, 2, 3}, {4, 5, 6, 7}, {8, 9, 10, 11}]
    assert sizes(made) == [(16, 4, 8)] * 3
    assert_disjoint(made)
    for task in made.tasks:
        assert [np.bincount(split.y).tolist() for split in splits(task)] == [[8, 8], [2, 2], [4, 4]]
    # 20 tasks of 440 + 80 images are out of reach: each has a user of its own.
    assert isinstance(recipe("fceleba_20"), FcelebaTwenty)
    with pytest.raises(
        UserError,
        match=r"17 users with training and test images, and a task needs 1: use fceleba_20\(tasks=17\)$",
    ):
        load("fceleba_20")
    assert sizes(load("fceleba_20(tasks=17)"))[0] == (6, 0, 2)
    assert load("fceleba_10(norm='cifar')").tasks[0].train.mean == (125.3 / 255, 123.0 / 255, 113.9 / 255)  # type: ignore[attr-defined]
    assert load("fceleba_10").tasks[0].train.mean == (0.485, 0.456, 0.406)  # type: ignore[attr-defined]


def test_people_of_celeba_itself(tmp_path: Path, empty: Path) -> None:
    labels = write_celeba(tmp_path, people=40, each=7)
    sources.prepare("celeba", tmp_path)
    arrays = sources.arrays("celeba")
    assert arrays["labels"].tolist() == [int(label) for label in labels]
    assert arrays["users"].tolist() == np.repeat(range(40), 7).tolist()
    assert sources.facts("celeba")["user_names"][:2] == ["3", "10"]  # type: ignore[index]
    assert arrays["part"].tolist() == [0] * 32 * 7 + [1] * 8 * 7
    assert sources.subset("celeba") == "280 of CelebA's 202,599 pictures (celeba people)"
    for mode in ("iid", "identity"):
        made = FewFaces(federated_mode=mode).build(0)  # type: ignore[arg-type]
        assert sizes(made) == [(16, 4, 8)] * 3
        assert_disjoint(made)
        for task in made.tasks:
            assert [np.bincount(split.y).tolist() for split in splits(task)] == [[8, 8], [2, 2], [4, 4]]
        users = users_of(made, "celeba")
        if mode == "identity":
            assert sum(map(len, users)) == len(set.union(*users))
            held = {int(u) for task in made.tasks for u in arrays["users"][splits(task)[2].rows]}
            assert held & {int(u) for task in made.tasks for u in arrays["users"][splits(task)[0].rows]}
        else:
            for task in made.tasks:
                train, _, test = splits(task)
                assert not arrays["part"][train.rows].any() and arrays["part"][test.rows].all()


def test_what_has_no_sense_is_refused() -> None:
    for text, message in (
        ("femnist_10(tasks=11)", "tasks = 11 is outside 1..10"),
        ("femnist_10(federated_mode='both')", "federated_mode = 'both' is not one of 'iid', 'identity'"),
        ("fceleba_10(norm='task')", "norm = 'task' is not one of"),
    ):
        with pytest.raises(UserError, match=message):
            recipe(text)

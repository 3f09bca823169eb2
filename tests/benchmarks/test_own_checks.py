"""Benchmarks and arrays of a user's own that would give a number all the same: refused, or told."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
import pytest
import torch

from raycl.benchmarks import Recipe, as_images, checks, data_root, split_by_class, whole
from raycl.benchmarks.checks import digests
from raycl.benchmarks.loading import made_of
from raycl.errors import UserError
from raycl.registry import load
from raycl.tasks import ArraySplit, Benchmark, Task

pytestmark = pytest.mark.usefixtures("empty")

IMAGES = np.random.default_rng(0).integers(0, 256, (60, 1, 4, 4), dtype=np.uint8)


def part(start: int, stop: int, **changes: Any) -> ArraySplit:
    rows = np.arange(start, stop)
    return replace(ArraySplit(IMAGES, rows, rows % 3), **changes)


def benchmark(**changes: Any) -> Benchmark:
    """Two tasks, the second changed."""
    splits = {"train": part(0, 30), "val": part(30, 40), "test": part(40, 60)}
    first = Task(0, "one", 3, **splits)
    return Benchmark("mine", (first, replace(Task(1, "two", 3, **splits), **changes)), (1, 4, 4))


@dataclass(frozen=True, kw_only=True)
class Mine(Recipe):
    made: ClassVar[Any] = None
    number: int = 0

    def build(self, seed: int) -> Benchmark:
        return type(self).made  # type: ignore[no-any-return]


def loaded(made: Any, monkeypatch: pytest.MonkeyPatch, order: int = 0) -> Benchmark:
    from raycl import registry

    registry._loaded.cache_clear()
    monkeypatch.setattr(Mine, "made", made)
    return load(Mine(), order=order)


def split_with(**changes: Any) -> Callable[[], Benchmark]:
    return lambda: benchmark(train=part(0, 30, **changes))


class Odd:
    """Samples that are no array, of whatever a user's `take` returns."""

    def __init__(self, x: Any, y: Any = None) -> None:
        self.x, self.y = x, np.zeros(4, np.int64) if y is None else y

    def __len__(self) -> int:
        return 4

    def take(self, rows: Any, device: Any = "cpu") -> Any:
        return self.x[rows]


KINDS: list[tuple[Callable[[], Any], str]] = [
    (lambda: None, "build(self, seed) returned NoneType, not a Benchmark"),
    (lambda: [1], "build(self, seed) returned list, not a Benchmark"),
    (lambda: replace(benchmark(), tasks=()), "tasks = () must be a tuple of at least one Task"),
    (
        lambda: replace(benchmark(), input_shape=(4, 4)),
        "input_shape = (4, 4) must be three positive integers",
    ),
    (
        lambda: replace(benchmark(), input_shape=(1, 5, 4)),
        "task 1: train: a sample has shape (1, 4, 4); expected",
    ),
    (lambda: benchmark(index=0), "task 2: index = 0; expected: 1, its place in the sequence"),
    (lambda: benchmark(classes=2), "task 2: train: label 2 is outside 0..1, because classes = 2"),
    (lambda: benchmark(classes=0), "task 2: classes = 0 must be an integer of at least 1"),
    (lambda: benchmark(classes=3.0), "task 2: classes = 3.0 must be an integer"),
    (lambda: benchmark(class_names=("a",)), "task 2: class_names has 1 names for 3 classes"),
    (lambda: benchmark(test=part(0, 0)), "task 2: test is empty: give it at least one sample"),
    (lambda: benchmark(train=part(0, 0)), "task 2: train is empty: give it at least one sample"),
    (lambda: benchmark(val=None), "task 2: val is NoneType, which should have y, take and a length"),
    (split_with(y=np.full(30, -1)), "task 2: train: label -1 is outside 0..2"),
    (split_with(y=np.zeros(7, np.int64)), "task 2: train: y has shape (7,); expected: an array of 30 labels"),
    (split_with(y=np.zeros(30)), "task 2: train: y is float64; expected: int64 (convert integers with"),
    (split_with(y=np.zeros(30, np.uint8)), "task 2: train: y is uint8; expected: int64"),
    (split_with(y=[0] * 30), "task 2: train: y has type list; expected: an array of 30 labels"),
    (
        split_with(rows=np.arange(40, 70)),
        "task 2: train: row 69 is outside 0..59, because there are 60 images",
    ),
    (split_with(rows=np.arange(-1, 29)), "task 2: train: row -1 is outside 0..59"),
    (split_with(rows=np.ones(30, bool)), "task 2: train: rows must be a one-dimensional array of integers"),
    (split_with(images=IMAGES[:, 0]), "task 2: train: images have shape (60, 4, 4); expected: [n, channels"),
    (split_with(std=(0.0,)), "task 2: train: std = (0.0,) must be a tuple of numbers, above 0"),
    (split_with(std=(1.0, 1.0)), "task 2: train: mean and std have 1 and 2 numbers for 1 channels"),
    (split_with(mean=(float("nan"),)), "task 2: train: mean = (nan,) must be a tuple of numbers, one per"),
    (split_with(mean=0.5), "task 2: train: mean = 0.5 must be a tuple of numbers"),
    (lambda: benchmark(test=Odd(torch.zeros(4, 1, 3, 3))), "test: a sample has shape (1, 3, 3); expected"),
    (
        lambda: benchmark(test=Odd(torch.full((4, 1, 4, 4), torch.nan))),
        "test: a sample is float32 and must consist of",
    ),
    (
        lambda: benchmark(test=Odd(torch.zeros(4, 1, 4, 4).double())),
        "test: a sample is float64 and must consist of",
    ),
    (lambda: benchmark(test=Odd(np.zeros((4, 1, 4, 4)))), "test: a sample has type ndarray; expected"),
    (lambda: benchmark(test=Odd(torch.zeros(4, 1, 4, 4), np.full(4, 3))), "test: label 3 is outside 0..2"),
]


@pytest.mark.parametrize(("make", "message"), KINDS, ids=[message for _, message in KINDS])
def test_tasks_that_do_not_fit_their_own_words(
    make: Callable[[], Any], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(UserError) as error:
        loaded(make(), monkeypatch, order=1 if make() is None else 0)
    assert message in str(error.value) and "test_own_checks:Mine" in str(error.value)
    assert "\n" not in str(error.value)


def test_what_fits_is_left_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    found = loaded(benchmark(val=part(0, 0)), monkeypatch)
    assert found.classes == (3, 3) and found.notes == ()
    three = replace(part(0, 30), images=np.repeat(IMAGES, 3, 1), mean=(0.1, 0.2, 0.3), std=(1.0, 2.0, 3.0))
    task = Task(0, "one", 3, three, replace(three, rows=three.rows[:0], y=three.y[:0]), three)
    (note,) = loaded(Benchmark("mine", (task,), (3, 4, 4)), monkeypatch).notes
    assert (
        note == "30 of 30 test samples are also training samples of their task (same pixels), in 1 of 1 tasks"
    )


def test_test_samples_that_were_trained_on_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = "5 of 40 test samples are also training samples of their task ({}), in 1 of 2 tasks"
    shared = benchmark(test=part(25, 45))
    assert loaded(shared, monkeypatch).notes == (wanted.format("same pixels"),)
    copied = benchmark(test=replace(part(25, 45), images=IMAGES.copy()))
    assert loaded(copied, monkeypatch).notes == (wanted.format("same pixels"),)
    monkeypatch.setattr(checks, "MOST_BYTES", 10)  # where comparing pixels would take long
    assert loaded(shared, monkeypatch).notes == (wanted.format("same rows"),)
    assert loaded(copied, monkeypatch).notes == ()


def four(test: slice) -> dict[str, np.ndarray]:
    y = np.arange(60) % 4
    return {"x_train": IMAGES[:40], "y_train": y[:40], "x_test": IMAGES[test], "y_test": y[test]}


def test_helpers_tell_it_too() -> None:
    for make in (
        lambda some: split_by_class("mine", **some, tasks=2),
        lambda some: whole("mine", **some, transforms=[[], []]),
    ):
        assert make(four(slice(40, 60))).notes == ()
        assert make(four(slice(36, 56))).notes == (
            "4 of 20 test images are also training images (same pixels)",
        )
    x, y = np.zeros((8, 4, 4), np.uint8), np.arange(8) % 4
    same = split_by_class("mine", x, y, x, y, tasks=2, mean=(0.5,), std=(0.5,))
    assert same.notes == ("8 of 8 test images are also training images (same pixels)",)


def test_equal_pixels_share_a_number() -> None:
    twice = np.concatenate([IMAGES, IMAGES[::-1]])
    found = digests(twice)
    assert len(set(found.tolist())) == 60 and (found[:60] == found[:59:-1]).all()
    assert (digests(twice, np.array([3, 116])) == found[[3, 116]]).all()


@pytest.mark.parametrize("kind", [np.float32, np.float64, np.int64, np.bool_])
def test_images_that_would_be_divided_once_more_are_refused(kind: Any) -> None:
    with pytest.raises(UserError, match=r"ArraySplit: images are .* but should be uint8 in 0..255"):
        ArraySplit(np.zeros((4, 1, 2, 2), kind), np.arange(4), np.arange(4))


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (np.full((4, 2, 2), np.inf), "x contains floats in [inf, inf]; scale them to [0, 1]"),
        (np.array([[[0, np.nan]]]), "x contains 1 NaN: replace or remove them"),
        (
            np.full((4, 2, 2), 1 / 255),
            "x contains floats in [0.00392157, 0.00392157], which become at most three",
        ),
        (np.zeros((4, 2, 2), np.int64), "x is int64; expected: uint8 in 0..255, or floats in [0, 1]"),
        (np.zeros((4, 2, 2), complex), "x is complex128; expected: uint8"),
        (np.array([[["a"]]]), "x is <U1; expected: uint8"),
        ([[1, 2], [3]], "x is not an array of numbers (setting an array element with a sequence"),
        (torch.zeros(4, 2, 2, requires_grad=True), "x is not an array of numbers (Can't call numpy()"),
        (
            np.ma.masked_less(np.eye(3)[None] / 2, 0.1),
            "x is a masked array, whose masked values would be used",
        ),
        (np.zeros((4, 2, 2, 4), np.uint8), "x has shape (4, 2, 2, 4); expected: [n, height, width]"),
        (7, "x has shape (); expected"),
    ],
)
def test_arrays_that_are_no_images_are_refused(x: Any, message: str) -> None:
    with pytest.raises(UserError) as error:
        as_images(x)
    assert message in str(error.value) and "\n" not in str(error.value)


def test_truths_are_black_and_white_and_floats_are_rounded_in_pieces() -> None:
    assert as_images(np.eye(3, dtype=bool)[None]).tolist() == [[(np.eye(3) * 255).tolist()]]
    x = np.random.default_rng(0).random((300, 100, 80), np.float32)  # more than a piece
    assert (as_images(x)[:, 0] == np.rint(x * 255)).all()
    assert as_images(torch.zeros(2, 3, 3)).shape == (2, 1, 3, 3)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"mean": 0.5}, "mean = 0.5 and std = "),
        ({"std": (0.0,)}, "std above 0"),
        ({"mean": (float("nan"),)}, "must have 1 numbers"),
        ({"mean": (0.5, 0.5)}, "must have 1 numbers"),
        ({"tasks": 2.5}, "tasks = 2.5 must be 1 to 2: there are 4 classes"),
        (
            {"y_train": [[0]] * 40},
            "y_train has shape (40, 1); expected: (40,), one label for each sample; reshape it with "
            "y_train.reshape(-1)",
        ),
        ({"y_train": np.arange(40) % 4 - 1}, "y_train contains -1; labels must be integers from 0 to"),
        ({"y_train": np.arange(40) * 100_000}, "y_train contains 3900000; labels must be integers"),
        ({"y_train": np.arange(40) % 4 > 1}, "y_train contains bool; labels must be integers"),
    ],
)
def test_odd_arguments_of_the_helpers_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError) as error:
        split_by_class("mine", **{"tasks": 2, **four(slice(40, 60)), **changes})
    assert message in str(error.value)
    with pytest.raises(UserError, match="transforms is empty"):
        whole("mine", **four(slice(40, 60)), transforms=[])


@dataclass(frozen=True, kw_only=True)
class Counted(Mine):
    counted_by: ClassVar[str] = "its authors' Table 1"

    def counts(self) -> tuple[int, int, int]:
        return 31, 10, 20


@dataclass(frozen=True, kw_only=True)
class Prepared(Counted):
    source: ClassVar[str] = "mnist"

    def subset(self) -> str:
        return ""


def test_tasks_of_another_size_than_was_stated_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """The line says what to do: of prepared data, to delete and prepare them, as they are not made twice."""
    monkeypatch.setattr(Mine, "made", benchmark())
    said = (
        "task 1 has (30, 10, 20) images in train, val and test, but (31, 10, 20) are expected by its authors"
    )
    with pytest.raises(UserError) as own:
        made_of(Counted(), 1)
    assert said in str(own.value)
    assert str(own.value).endswith(
        "Table 1; Counted: build(self, seed) and counts(self) contradict each other"
    )
    with pytest.raises(UserError) as prepared:
        made_of(Prepared(), 1)
    remedy = f"delete the prepared data ({data_root() / 'mnist'}), then type: raycl data prepare mnist"
    assert said in str(prepared.value) and str(prepared.value).endswith(f"Table 1; {remedy}")
    monkeypatch.setattr(Counted, "counts", lambda self: (30, 10, 20))
    assert len(made_of(Counted(), 1).tasks) == 2

"""Facts about the digits benchmarks; the golden hashes pin every split, whatever NumPy's version."""

from __future__ import annotations

import hashlib
import itertools
from pathlib import Path

import numpy as np
import pytest
import torch

from raycl.benchmarks import sources
from raycl.benchmarks.base import splits_hash
from raycl.benchmarks.families import hand
from raycl.benchmarks.transforms import Permute
from raycl.errors import UserError
from raycl.registry import load
from raycl.tasks import ArraySplit, Benchmark, Task

pytestmark = pytest.mark.usefixtures("data")

ALL = [
    "digits_split",
    "digits_split(size=32, channels=3)",
    "digits_permuted",
    "digits_rotated",
    "digits_writers",
    "digits_writers(tasks=20, label='parity')",
    "digits_mixed",
    "digits_mixed(size=28)",
    "digits_mixed(label='parity', permuted=True)",
]


def splits(task: Task) -> tuple[ArraySplit, ArraySplit, ArraySplit]:
    for split in (task.train, task.val, task.test):
        assert isinstance(split, ArraySplit)
    return task.train, task.val, task.test  # type: ignore[return-value]


def sizes(benchmark: Benchmark) -> list[tuple[int, ...]]:
    return [tuple(len(split) for split in splits(task)) for task in benchmark.tasks]


def content(task: Task) -> str:
    seen = hashlib.sha256(task.name.encode() + task.kind.encode())
    for split in splits(task):
        seen.update(split.take(slice(None)).numpy().tobytes())
        seen.update(split.y.tobytes())
    return seen.hexdigest()


GOLDEN = {
    "digits_split": "1baf3a6264324408",
    "digits_permuted": "ed070345bdd50b5f",
    "digits_rotated": "ed070345bdd50b5f",
    "digits_writers": "af3112a415b5524c",
    "digits_writers(tasks=20, label='parity')": "3aa20791725a17d8",
    "digits_mixed": "de36a0600a65b829",
    "digits_mixed(label='parity', permuted=True)": "0402df8f19228630",
}


@pytest.mark.parametrize("name", GOLDEN)
def test_which_image_is_where_never_changes(name: str) -> None:
    assert splits_hash(load(name)) == GOLDEN[name]


def test_counts_are_the_catalogues() -> None:
    assert sizes(load("digits_split")) == [
        (216, 72, 72), (216, 72, 72), (218, 72, 73), (216, 72, 72), (212, 71, 71)
    ]  # fmt: skip
    assert sizes(load("digits_permuted")) == [(1078, 359, 360)] * 5
    assert sizes(load("digits_rotated(tasks=2)")) == [(1078, 359, 360)] * 2
    for train, val, test in sizes(load("digits_writers")):
        assert train in (107, 108)
        assert val in (35, 36)
        assert test == 36


@pytest.mark.parametrize(
    ("name", "classes"),
    [
        ("digits_split", (2,) * 5),
        ("digits_permuted(tasks=20)", (10,) * 20),
        ("digits_writers(tasks=30)", (10,) * 30),
        ("digits_writers(tasks=4, label='parity')", (2,) * 4),
    ],
)
def test_labels_are_counted_from_0_in_each_task(name: str, classes: tuple[int, ...]) -> None:
    benchmark = load(name)
    assert benchmark.classes == classes
    for task in benchmark.tasks:
        for split in splits(task):
            assert np.unique(split.y).tolist() == list(range(task.classes))


def test_split_pairs_neighbours_and_parity_is_odd_or_even() -> None:
    labels = sources.arrays("digits")["labels"]
    for task in load("digits_split").tasks:
        for split in splits(task):
            assert (labels[split.rows] == 2 * task.index + split.y).all()
    for task in load("digits_writers(label='parity')").tasks:
        for split in splits(task):
            assert (labels[split.rows] % 2 == split.y).all()


def test_the_source_holds_no_image_twice() -> None:
    images = sources.arrays("digits")["images_8"]
    assert images.shape == (1797, 1, 8, 8)
    assert len(np.unique(images.reshape(1797, -1), axis=0)) == 1797  # so disjoint rows are disjoint images


def test_no_image_is_in_two_splits_of_any_digits_benchmark() -> None:
    parts: tuple[set[int], set[int], set[int]] = (set(), set(), set())
    for name in ALL:
        for task in load(name).tasks:
            for part, split in zip(parts, splits(task), strict=True):
                part.update(split.rows.tolist())
    assert [len(part) for part in parts] == [1078, 359, 360]
    assert not any(a & b for a, b in itertools.combinations(parts, 2))


def test_writers_share_no_image() -> None:
    for part in range(3):
        rows = np.concatenate([splits(task)[part].rows for task in load("digits_writers").tasks])
        assert len(np.unique(rows)) == len(rows) == (1078, 359, 360)[part]


def test_writers_are_class_balanced() -> None:
    counts = np.array([np.bincount(task.train.y) for task in load("digits_writers").tasks])
    assert (counts.max(axis=0) - counts.min(axis=0) <= 1).all()


def test_writers_have_a_hand_of_their_own() -> None:
    assert hand(0, 0) == hand(0, 0)
    assert len({hand(seed, writer) for seed in (0, 1) for writer in range(10)}) == 20


@pytest.mark.parametrize(("size", "edge"), [(28, 2), (32, 0)])
def test_enlarging_repeats_pixels(size: int, edge: int) -> None:
    small = load("digits_split").tasks[0].train.take(slice(0, 4))
    large = load(f"digits_split(size={size})").tasks[0].train.take(slice(0, 4))
    inner = large[:, :, edge : size - edge, edge : size - edge]
    times = inner.shape[-1] // 8
    assert torch.equal(inner, small.repeat_interleave(times, 2).repeat_interleave(times, 3))
    if edge:
        assert torch.allclose(large[:, :, :edge], torch.tensor(-0.1307 / 0.3081))


def test_three_channels_are_three_times_the_one() -> None:
    grey = load("digits_writers(tasks=2)").tasks[1].test.take(slice(0, 5))
    colour = load("digits_writers(tasks=2, channels=3)").tasks[1].test.take(slice(0, 5))
    assert colour.shape == (5, 3, 8, 8)
    assert colour.is_contiguous()
    for channel in range(3):
        assert torch.equal(colour[:, channel : channel + 1], grey)


def test_pixels_are_scaled_then_normalised() -> None:
    raw = sources.arrays("digits")["images_8"]
    assert (raw.min(), raw.max()) == (0, 255)
    x = load("digits_split").tasks[0].train.take(slice(None))
    assert x.dtype == torch.get_default_dtype()
    assert x.min().item() == pytest.approx(-0.1307 / 0.3081)
    assert x.max().item() == pytest.approx((1 - 0.1307) / 0.3081)


def test_a_permutation_is_one_and_is_shared_by_the_splits() -> None:
    plain, seen = load("digits_rotated(tasks=1)").tasks[0], set()
    for task in load("digits_permuted(size=28)").tasks:
        orders = set()
        for split in splits(task):
            (permute,) = split.transforms
            assert isinstance(permute, Permute)
            orders.add(permute.order.tobytes())
            assert sorted(permute.order.tolist()) == list(range(784))
            assert (permute.order != np.arange(784)).any()  # the first task's too
        assert len(orders) == 1
        seen |= orders
    assert len(seen) == 5
    task = load("digits_permuted").tasks[0]
    x, y = plain.train.take(slice(0, 9)).flatten(1), task.train.take(slice(0, 9)).flatten(1)
    order = torch.from_numpy(splits(task)[0].transforms[0].order)  # type: ignore[attr-defined]
    assert torch.equal(y, x[:, order])


def test_many_permuted_tasks_share_one_data_set() -> None:
    tasks = load("digits_permuted(tasks=250)").tasks
    assert len({id(splits(task)[0].rows) for task in tasks}) == 1
    assert len({id(splits(task)[0].y) for task in tasks}) == 1
    assert len({id(splits(task)[0].images) for task in tasks}) == 1
    few = load("digits_permuted(tasks=2)").tasks  # and the first tasks are the same, however many follow
    assert torch.equal(few[1].test.take(slice(0, 3)), tasks[1].test.take(slice(0, 3)))


def test_the_data_seed_changes_the_permutation() -> None:
    one, two = load("digits_permuted(tasks=1)"), load("digits_permuted(tasks=1, data_seed=1)")
    assert not torch.equal(one.tasks[0].val.take(slice(None)), two.tasks[0].val.take(slice(None)))


def test_the_first_rotated_task_is_untouched() -> None:
    task = load("digits_rotated").tasks[0]
    raw = torch.from_numpy(sources.arrays("digits")["images_8"][splits(task)[0].rows[:7]])
    assert torch.equal(
        task.train.take(slice(0, 7)), raw.to(torch.get_default_dtype()).div(255).sub(0.1307).div(0.3081)
    )


def test_mixed_holds_both_families_shuffled() -> None:
    benchmark = load("digits_mixed")
    kinds = [task.kind for task in benchmark.tasks]
    assert sorted(kinds) == ["split"] * 5 + ["writers"] * 5
    assert kinds not in (sorted(kinds), sorted(kinds, reverse=True))
    assert all(task.classes == (2 if task.kind == "split" else 10) for task in benchmark.tasks)
    assert {content(t) for t in benchmark.tasks if t.kind == "split"}.isdisjoint(
        {content(t) for t in benchmark.tasks if t.kind == "writers"}
    )


def test_mixed_writers_may_tell_even_from_odd() -> None:
    labels = sources.arrays("digits")["labels"]
    digit, parity = load("digits_mixed"), load("digits_mixed(label='parity')")
    for one, other in zip(digit.tasks, parity.tasks, strict=True):
        assert one.kind == other.kind
        if one.kind == "split":
            assert content(one) == content(other)
            continue
        assert (one.classes, other.classes) == (10, 2)
        for split, same in zip(splits(other), splits(one), strict=True):
            assert sorted(split.rows.tolist()) == sorted(same.rows.tolist())  # the same images
            assert (labels[split.rows] % 2 == split.y).all()


@pytest.mark.parametrize("size", [8, 28])
def test_mixed_permuted_shows_the_split_tasks_alone_in_one_other_order_of_pixels(size: int) -> None:
    plain, permuted = load(f"digits_mixed(size={size})"), load(f"digits_mixed(size={size}, permuted=True)")
    orders = set()
    for one, other in zip(plain.tasks, permuted.tasks, strict=True):
        if one.kind == "writers":
            assert content(one) == content(other)
            continue
        for before, after in zip(splits(one), splits(other), strict=True):
            (permute,) = after.transforms
            assert isinstance(permute, Permute)
            orders.add(permute.order.tobytes())
            x, y = (split.take(slice(0, 9)).flatten(1) for split in (before, after))
            assert torch.equal(y, x[:, torch.from_numpy(permute.order)])
            assert not torch.equal(y, x)
            assert np.array_equal(before.y, after.y)
    assert len(orders) == 1


def test_the_data_seed_changes_the_permutation_of_mixed() -> None:
    one, two = (load(f"digits_mixed(permuted=True, data_seed={seed})").tasks for seed in (0, 1))
    orders = [next(splits(t)[0].transforms[0] for t in tasks if t.kind == "split") for tasks in (one, two)]
    assert not np.array_equal(orders[0].order, orders[1].order)  # type: ignore[attr-defined]


@pytest.mark.parametrize("name", ["digits_split", "digits_writers", "digits_mixed", ALL[-1]])
def test_an_order_moves_tasks_and_changes_none(name: str) -> None:
    own = [content(task) for task in load(name).tasks]
    orders = [own]
    for order in (1, 2):
        tasks = load(name, order=order).tasks
        assert [task.index for task in tasks] == list(range(len(tasks)))
        orders.append([content(task) for task in tasks])
    assert all(sorted(order) == sorted(own) for order in orders)
    assert len({tuple(order) for order in orders}) == 3


@pytest.mark.parametrize("name", ALL)
def test_the_training_seed_changes_no_digits(name: str) -> None:
    assert splits_hash(load(name, seed=7)) == splits_hash(load(name))


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("digits_permuted(tasks=0)", "benchmark digits_permuted: tasks = 0 is outside 1..1000"),
        ("digits_writers(tasks=31)", "benchmark digits_writers: tasks = 31 is outside 1..30"),
        ("digits_split(size=9)", "digits_split.size = 9 is not one of 8, 28, 32"),
        ("digits_split(channels=2)", "digits_split.channels = 2 is not one of 1, 3"),
        ("digits_rotated(tasks=5, step=90)", "step = 90: 5 such steps return to an earlier angle"),
        ("digits_rotated(step=0)", "step = 0: 5 such steps"),
        ("digits_permuted(data_seed=-1)", "data_seed = -1 is outside 0.."),
        ("digits_mixed(label='odd')", "digits_mixed.label = 'odd' is not one of 'digit', 'parity'"),
        ("digits_writers(label='odd')", "digits_writers.label = 'odd' is not one of 'digit', 'parity'"),
        ("digits_split(tasks=3)", "unknown field 'tasks' (known: size, channels)"),
        ("digit_split", "did you mean 'digits_split'?"),
    ],
)
def test_nonsense_is_refused_in_words(name: str, message: str) -> None:
    with pytest.raises(UserError) as error:
        load(name)
    assert message in str(error.value)


def test_the_name_is_the_shortest_one() -> None:
    assert load("digits_writers(tasks=10, size=28, label='digit')").name == "digits_writers(size=28)"
    assert load("digits_permuted(20)").name == "digits_permuted(tasks=20)"


def test_damage_is_said_in_one_line(empty: Path) -> None:
    (file,) = (sources.prepare("digits")).glob("images_8-*.npy")
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(UserError, match=r"^[^\n]*bytes instead of[^\n]*raycl data prepare digits$"):
        load("digits_split")
    sources.prepare("digits")  # the remedy
    assert len(load("digits_split").tasks) == 5

"""PRM's six sequences: the paper's orders, parts that can be told apart, every method on the mixed ones."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from raycl import registry
from raycl.benchmarks import sources
from raycl.benchmarks.base import splits_hash
from raycl.benchmarks.pools import shuffled
from raycl.errors import UserError
from raycl.method import Method
from raycl.registry import load, recipe
from raycl.runs import sequence
from raycl.tasks import ArraySplit, Benchmark, Task
from tests.benchmarks.test_emnist import assert_disjoint, sizes, write_emnist
from tests.benchmarks.test_federated import write_fceleba, write_femnist
from tests.helpers import toys

NEEDS = {
    "prm_1": ("emnist_balanced",),
    "prm_2": ("cifar100",),
    "prm_3": ("femnist",),
    "prm_4": ("celeba",),
    "prm_5": ("emnist_balanced", "femnist"),
    "prm_6": ("cifar100", "celeba"),
}


@pytest.fixture(scope="module")
def prepared_files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder for EMNIST, FEMNIST and CelebA, made of small files of their formats."""
    root = tmp_path_factory.mktemp("sequences")
    write_emnist(root / "emnist", "balanced", 47, {"train": 28, "test": 8})
    write_femnist(root / "femnist", 24)
    write_fceleba(root / "celeba", users=10, train=12, test=4)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAYCL_DATA", str(root / "data"))
        for source, folder in (("emnist_balanced", "emnist"), ("femnist", "femnist"), ("celeba", "celeba")):
            sources.prepare(source, root / folder)
    return root


@pytest.fixture
def written(prepared_files: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Everything but CIFAR-100."""
    monkeypatch.setenv("RAYCL_DATA", str(prepared_files / "data"))
    return prepared_files


@pytest.fixture(scope="module")
def prepared_mixed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder for real FEMNIST and CIFAR-100 beside written EMNIST and CelebA."""
    return tmp_path_factory.mktemp("mixed")


@pytest.fixture
def mixed(
    real_data: Path, prepared_files: Path, prepared_mixed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All four sources, two of them real."""
    monkeypatch.setenv("RAYCL_DATA", str(prepared_mixed))
    for source, folder in (
        ("emnist_balanced", prepared_files / "emnist"),
        ("celeba", prepared_files / "celeba"),
        ("femnist", real_data),
        ("cifar100", real_data),
    ):
        sources.prepare(source, folder)


@pytest.mark.parametrize("name", NEEDS)
def test_what_each_needs(name: str) -> None:
    assert recipe(name).needs() == NEEDS[name]
    if name in ("prm_5", "prm_6"):
        assert recipe(name).counts() is None  # the parts differ, and are checked one by one
    else:
        assert recipe(name).counts() == recipe(name).parts()[0].counts() is not None  # type: ignore[attr-defined]


@pytest.mark.usefixtures("written")
def test_orders_of_a_study_are_the_papers_three() -> None:
    own = [task.name for task in load("emnist_10").tasks]
    seen = []
    for order in range(3):
        benchmark = load("prm_1", order=order)
        wanted = [f"emnist_10: {own[place]}" for place in shuffled(10, 0, 1, order)]
        assert [task.name for task in benchmark.tasks] == wanted
        assert splits_hash(benchmark) == splits_hash(load(f"prm_1(order={order})"))
        assert [task.index for task in benchmark.tasks] == list(range(10))
        seen.append(tuple(wanted))
    assert len(set(seen)) == 3
    assert splits_hash(load("prm_1(order=1)", order=1)) == splits_hash(load("prm_1", order=2))


@pytest.mark.usefixtures("written")
def test_contents_do_not_depend_on_the_order() -> None:
    def contents(benchmark: Benchmark) -> dict[str, bytes]:
        return {
            task.name: b"".join(
                split.rows.tobytes() + split.y.tobytes()
                for split in (task.train, task.val, task.test)
                if isinstance(split, ArraySplit)
            )
            for task in benchmark.tasks
        }

    first, second = load("prm_5"), load("prm_5", order=2)
    assert contents(first) == contents(second)
    assert [t.name for t in first.tasks] != [t.name for t in second.tasks]
    assert load("prm_5", seed=1).tasks[3].name == first.tasks[3].name


@pytest.mark.usefixtures("written")
def test_two_families_in_one_sequence() -> None:
    benchmark = load("prm_5")
    assert Counter(task.kind for task in benchmark.tasks) == {"emnist_10": 10, "femnist_10_prm": 10}
    assert Counter(benchmark.classes) == {62: 10, 5: 7, 4: 3}
    kinds = [task.kind for task in benchmark.tasks]
    assert len(set(kinds[:10])) == 2  # shuffled, and not one after the other
    assert len({task.name for task in benchmark.tasks}) == 20
    assert (benchmark.similar, load("prm_1").similar, load("prm_3").similar) == (None, False, True)
    assert benchmark.subset.count("EMNIST balanced") == 1 and "24 of 3,550 writers" in benchmark.subset
    assert_disjoint(benchmark)
    for task in benchmark.tasks:
        assert len(task.class_names) == task.classes
    shown = load("prm_4").tasks[0]
    assert shown.train.mean == (125.3 / 255, 123.0 / 255, 113.9 / 255)  # type: ignore[attr-defined]
    assert shown.class_names == ("not smiling", "smiling")


@pytest.mark.usefixtures("written")
def test_which_image_is_where_never_changes() -> None:
    found = {name: splits_hash(load(name)) for name in ("prm_1", "prm_3", "prm_4", "prm_5")}
    assert found == {
        "prm_1": "ba11ebe646a3e2ed",
        "prm_3": "22a7abba8852f32a",
        "prm_4": "70129e34c6b47959",
        "prm_5": "730820c276180109",
    }
    assert splits_hash(load("prm_5(data_seed=1)")) == "483336ace11b2088"


def test_what_is_lacking_is_said_with_the_remedy(empty: Path) -> None:
    with pytest.raises(
        UserError, match=r"^benchmark emnist_10 needs EMNIST balanced, which is not in data folder"
    ):
        load("prm_5")
    with pytest.raises(UserError, match=r"order = -1 is outside 0\.\."):
        recipe("prm_2(order=-1)")


@pytest.mark.usefixtures("mixed")
def test_sequences_of_real_data() -> None:
    assert sizes(load("prm_2")) == [(900, 100, 200)] * 10
    benchmark = load("prm_6")
    assert Counter(benchmark.classes) == {10: 10, 2: 10}
    assert {task.train.mean for task in benchmark.tasks} == {  # type: ignore[attr-defined]
        (125.3 / 255, 123.0 / 255, 113.9 / 255)
    }
    found = {name: splits_hash(load(name)) for name in ("prm_2", "prm_3", "prm_5", "prm_6")}
    assert found == {
        "prm_2": "9c85ac05c9b86419",
        "prm_3": "fffc476ce3d65a6e",
        "prm_5": "cf062f192ff61baf",
        "prm_6": "fd6fa6c0870f0bfc",
    }
    assert splits_hash(load("prm_2", seed=1)) == found["prm_2"]


def few(benchmark: Benchmark, count: int = 8) -> Benchmark:
    """The same tasks with a few images each."""

    def cut(split: object) -> ArraySplit:
        assert isinstance(split, ArraySplit)
        some = np.linspace(0, len(split) - 1, min(count, len(split))).astype(int)
        return replace(split, rows=split.rows[some], y=split.y[some])

    def small(task: Task) -> Task:
        return replace(task, train=cut(task.train), val=cut(task.val), test=cut(task.test))

    return Benchmark(benchmark.name, tuple(small(task) for task in benchmark.tasks), benchmark.input_shape)


def wants_nothing(name: str) -> bool:
    """Whether the method needs no masks that another run must make first."""
    return registry.method(name).required_masks.__func__ is Method.required_masks.__func__  # type: ignore[attr-defined]


@pytest.mark.usefixtures("mixed")
@pytest.mark.parametrize("name", [name for name in registry.method_names() if wants_nothing(name)])
@pytest.mark.parametrize("on", ["prm_5", "prm_6"])
def test_every_method_learns_tasks_of_different_kinds(name: str, on: str) -> None:
    network = "mlp(hidden=16)"
    if not toys.works_on(name, "mlp"):
        pytest.skip(f"{name} does not work on mlp")
    benchmark = few(load(on))
    own = {"head": "own"} if getattr(registry.method(name).Config(), "head", "own") == "shared" else {}
    subject = toys.method(name, benchmark, network, **own)
    reports = list(sequence.run_sequence(subject, benchmark, toys.fit_for(name, epochs=1), evaluate="ends"))
    accuracies = reports[-1].test
    assert sorted(accuracies) == list(range(20))
    assert all(math.isfinite(value) and 0 <= value <= 1 for value in accuracies.values())

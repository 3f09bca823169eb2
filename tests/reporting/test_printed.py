"""Every printed number stands under names of the catalogue, in our units."""

from __future__ import annotations

import csv
from typing import Any

import numpy as np
import pytest

from raycl.benchmarks import sources
from raycl.benchmarks.cifar import Cifar100Super
from raycl.errors import UserError
from raycl.papers.printed import DATA, datasets, printed, printed_numbers
from raycl.results.grammar import Item, parse_metric, parse_place

PAPERS = ("spg", "prm", "impresslearn", "ksm")


@pytest.mark.parametrize(
    ("paper", "rows", "arithmetic"),
    [("spg", 461, 0), ("prm", 335, 21), ("impresslearn", 129, 123), ("ksm", 337, 0)],
)
def test_every_row_is_mapped_or_arithmetic(paper: str, rows: int, arithmetic: int) -> None:
    found = printed_numbers(paper)
    assert len(found) == rows and sum(p.arithmetic for p in found) == arithmetic
    for p in found:
        if not p.arithmetic:
            assert parse_metric(p.metric) and Item(p.method.partition("[")[0])
            mean = p.benchmark in ("mean(spg_all)", "mean(twenty_tasks)")
            assert mean or parse_place(p.benchmark.partition("#")[0])
    places = [(p.table, p.benchmark, p.method, p.metric) for p in found if not p.arithmetic]
    assert len(places) == len(set(places))


@pytest.mark.parametrize(
    ("place", "value", "std"),
    [
        (("spg", "6", "cifar100_10", "spg[importance_epoch=1]", "acc"), 0.65, 0.01),
        (("spg", "6", "femnist_20", "spg", "epochs_mean"), 50.0, None),  # the tail of the row that survives
        (("spg", "9", "fceleba_20", "si", "ct_fits"), 180.0, 60.0),
        (("prm", "2", "prm_1", "one", "ps"), 0.006, None),  # percentage points
        (("prm", "2", "prm_2", "one", "ct"), 142.0, None),
        (("ksm", "1", "cifar100_super#1", "packnet", "acc"), 0.664, None),
        (("ksm", "3", "cifar100_super[first=5]#4", "ksm", "acc"), 0.776, None),  # task 3 comes fourth
        (("ksm", "3", "cifar100_super[first=5]", "ksm", "acc"), 0.788, None),
        (("ksm", "1", "cifar100_super#3", "cpg", "ct_train"), 2123.0, None),
        (("ksm", "1", "mean(twenty_tasks)", "cpg", "ct_train"), 2046.0, None),  # where ours is a sum
        (("impresslearn", "text", "permuted_mnist", "impresslearn", "task_inference_acc[3]"), 0.946, None),
        (("impresslearn", "text", "cifar100_20_fixed", "supsup", "x_acc"), 0.2, 0.02),
        (("impresslearn", "2", "permuted_mnist", "LeNet-300-100", "phi_kb"), 1.17, None),
    ],
)
def test_single_numbers(place: tuple[str, str, str, str, str], value: float, std: float | None) -> None:
    found = printed(*place)
    assert found is not None and (found.value, found.std) == (value, std)


@pytest.mark.parametrize("first", [1, 5, 10, 15, 20])
def test_a_task_is_the_same_task_whatever_comes_first(monkeypatch: pytest.MonkeyPatch, first: int) -> None:
    """KSM's Table 3 counts superclasses; a benchmark that begins with another one has them elsewhere."""
    arrays = {"train_labels": np.arange(100), "train_coarse": np.arange(100) // 5}
    monkeypatch.setattr(sources, "arrays", lambda *_: arrays)
    monkeypatch.setattr(sources, "facts", lambda _: {"coarse_names": [f"task{n:02}" for n in range(1, 21)]})
    monkeypatch.setattr(Cifar100Super, "tasks_of", lambda self, blocks, words, titles: titles)
    ours: Any = Cifar100Super(first=first).build(seed=1)
    rows = csv.DictReader(DATA.joinpath("tables", "ksm.csv").read_text().splitlines())
    table = {row["dataset"]: row["value"] for row in rows if row["method"] == f"Ours(init=task{first:02})"}
    assert ours[0] == f"task{first:02}" and len(table) == 21
    for place, title in enumerate(ours, start=1):
        found = printed("ksm", "3", f"cifar100_super[first={first}]#{place}", "ksm", "acc")
        assert found is not None and found.text == table[f"CIFAR100-20/{title}"], title


def test_minutes_are_seconds_and_what_is_not_printed_is_none() -> None:
    minutes = next(p for p in printed_numbers("spg") if p.unit == "minutes")
    assert minutes.value == pytest.approx(float(minutes.text) * 60)
    assert printed("spg", "6", "cifar100_10", "hat", "acc") is None
    assert printed("impresslearn", "text", "all", "protocol", "density") is None  # seven of them


def test_labels_of_data_sets_are_the_papers() -> None:
    assert datasets("ksm")["CUBS"] == "imagenet_to_sketch[CUBS]" and len(datasets("ksm")) == 28
    assert not any("|" in label for label in datasets("ksm"))


def test_a_paper_without_numbers_is_told() -> None:
    with pytest.raises(UserError, match="no printed numbers of paper 'pmask'"):
        printed_numbers("pmask")

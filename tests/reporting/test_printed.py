"""Every printed number stands under names of the catalogue, in our units."""

from __future__ import annotations

import pytest

from raycl.errors import UserError
from raycl.reporting.claims import Item, parse_metric, parse_place
from raycl.reporting.printed import numbers, printed

PAPERS = ("spg", "prm", "impresslearn", "ksm")


@pytest.mark.parametrize(
    ("paper", "rows", "arithmetic"),
    [("spg", 455, 0), ("prm", 335, 21), ("impresslearn", 129, 123), ("ksm", 337, 0)],
)
def test_every_row_is_mapped_or_arithmetic(paper: str, rows: int, arithmetic: int) -> None:
    found = numbers(paper)
    assert len(found) == rows and sum(p.arithmetic for p in found) == arithmetic
    for p in found:
        if not p.arithmetic:
            assert parse_metric(p.metric) and Item(p.method.partition("[")[0])
            assert p.benchmark == "mean(spg_all)" or parse_place(p.benchmark.partition("#")[0])
    places = [(p.table, p.benchmark, p.method, p.metric) for p in found if not p.arithmetic]
    assert len(places) == len(set(places))


@pytest.mark.parametrize(
    ("place", "value", "std"),
    [
        (("spg", "6", "cifar100_10", "spg[importance_epoch=1]", "acc"), 0.65, 0.01),
        (("prm", "2", "prm_1", "one", "ps"), 0.006, None),  # percentage points
        (("prm", "2", "prm_2", "one", "ct"), 142.0, None),
        (("ksm", "1", "cifar100_super#1", "packnet", "acc"), 0.664, None),
        (("ksm", "3", "cifar100_super[first=5]#3", "ksm", "acc"), 0.776, None),
        (("impresslearn", "text", "permuted_mnist", "impresslearn", "task_inference_acc[3]"), 0.946, None),
        (("impresslearn", "text", "cifar100_20_fixed", "supsup", "x_acc"), 0.2, 0.02),
        (("impresslearn", "2", "permuted_mnist", "LeNet-300-100", "phi_kb"), 1.17, None),
    ],
)
def test_single_numbers(place: tuple[str, str, str, str, str], value: float, std: float | None) -> None:
    found = printed(*place)
    assert found is not None and (found.value, found.std) == (value, std)


def test_minutes_are_seconds_and_what_is_not_printed_is_none() -> None:
    minutes = next(p for p in numbers("spg") if p.unit == "minutes")
    assert minutes.value == pytest.approx(float(minutes.text) * 60)
    assert printed("spg", "6", "cifar100_10", "hat", "acc") is None
    assert printed("impresslearn", "text", "all", "protocol", "density") is None  # seven of them


def test_a_paper_without_numbers_is_told() -> None:
    with pytest.raises(UserError, match="no printed numbers of paper 'pmask'"):
        numbers("pmask")

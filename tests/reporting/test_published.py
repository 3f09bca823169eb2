"""Which printed number belongs to a cell, and to which it must not be held."""

from __future__ import annotations

from typing import Any

import pytest

from raycl import registry
from raycl.papers.published import as_printed, published
from raycl.results.collect import collect
from raycl.runs.store import Store
from raycl.study.values import Study
from tests.helpers import hand

METHODS: dict[str, Any] = {
    "spg": {},
    "no cross": {"method": "spg", "method.chi": False},
    "copied": {"method": "spg", "method.importance_epoch": 10},
    "both": {"method": "spg", "method.chi": False, "method.importance_epoch": 10},
    "hat": {},
    "frozen": {},
}


def study(**changes: Any) -> Study:
    base = {"methods": METHODS, "benchmarks": ["cifar100_10"], "network": "alexnet", "paper": "spg"}
    return hand.study(**(base | changes))


def held(store: Store, **changes: Any) -> dict[str, float | None]:
    of = study(**changes)
    rows = collect(of, hand.read(store, of))
    return {row.cell.label: published(of.paper, row, rows) for row in rows}


def test_each_variant_has_its_own_number(store: Store) -> None:
    """SPG's Tables 6 and 14; what no table has, has none."""
    assert held(store) == {"spg": 0.66, "no cross": 0.64, "copied": 0.66, "both": None, "hat": 0.63,
                           "frozen": None}  # fmt: skip


@pytest.mark.parametrize(
    "changes",
    [{"paper": ""}, {"paper": "pmask"}, {"benchmarks": ["digits_split"], "network": "mlp"}],
    ids=["no paper", "a paper without numbers", "a substitute"],
)
def test_where_there_is_nothing_to_hold_against(store: Store, changes: dict[str, Any]) -> None:
    assert set(held(store, **changes).values()) == {None}


def test_what_is_held_out_to_decide_by_makes_no_other_benchmark(store: Store) -> None:
    """And no other setting may differ."""
    assert held(store, benchmarks=["cifar100_10(val=0.2)"]) == held(store)
    other = held(store, benchmarks=["cifar100_10(val=0.2, class_order='id')"])
    assert set(other.values()) == {None}


@pytest.mark.parametrize(
    ("text", "known", "said"),
    [
        ("cifar100_super", "cifar100_super", ""),
        ("cifar100_super(val=0.0)", "cifar100_super", ""),
        ("cifar100_super(first=5, val=0.1)", "cifar100_super(first=5)",
         "10 % of the training images are held out (val=0.1)"),
        ("cifar100_10(val=0.125)", "cifar100_10", "12.5 % of the training images are held out (val=0.125)"),
        ("femnist_10", "femnist_10", ""),
    ],
)  # fmt: skip
def test_benchmarks_as_papers_know_them(text: str, known: str, said: str) -> None:
    recipe, words = as_printed(registry.recipe(text))
    assert (recipe, words) == (registry.recipe(known), said)


def test_data_in_part_are_held_against_nothing(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    from raycl.papers import published as module

    monkeypatch.setattr(module, "subset_of", lambda cell: "1000 of 50000 images")
    assert set(held(store).values()) == {None}


def test_another_paper_means_its_own_tables(store: Store) -> None:
    assert held(store, paper="ksm")["hat"] is None

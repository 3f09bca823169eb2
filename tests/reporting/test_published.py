"""Which printed number belongs to a cell, and to which it must not be held."""

from __future__ import annotations

from typing import Any

import pytest

from raycl.reporting.collect import collect
from raycl.reporting.published import published
from raycl.store import Store
from raycl.study import Study
from reporting import hand

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


def test_data_in_part_are_held_against_nothing(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    from raycl.reporting import published as module

    monkeypatch.setattr(module, "subset_of", lambda cell: "1000 of 50000 images")
    assert set(held(store).values()) == {None}


def test_another_paper_means_its_own_tables(store: Store) -> None:
    assert held(store, paper="ksm")["hat"] is None

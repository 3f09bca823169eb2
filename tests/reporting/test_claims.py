"""The grammar: all that is shipped reads, and what does not read is told with its line."""

from __future__ import annotations

import csv
import dataclasses
import io
from typing import Any

import pytest

from raycl.errors import UserError
from raycl.papers import claimtext
from raycl.papers.claims import COLUMNS, Claim, Density, claims, papers, read_claims
from raycl.results.grammar import Axis, Best, Item, Metric, Place, Stored, Trunk, parse_metric

PLAIN = {
    "id": "x-01",
    "paper": "x",
    "where": "Table 1",
    "claim": "left is better",
    "kind": "greater",
    "left": "hat",
    "right": "ewc",
    "metric": "acc",
    "benchmark": "digits_split",
    "direction": "up",
    "margin": "0",
    "each": "",
    "largest": "",
    "density": "",
    "unit": "",
    "note": "",
}
STORED = {"kind": "formula", "direction": "equal", "left": "storage(a)", "right": "30", "benchmark": "*"}


def text_of(*changes: dict[str, str]) -> str:
    """A file of claims, each the plain one but for its changes."""
    out = io.StringIO()
    writer = csv.DictWriter(out, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(PLAIN | {"id": f"x-{n:02d}"} | change for n, change in enumerate(changes, start=1))
    return out.getvalue()


def claim(**changes: str) -> Claim:
    return read_claims(text_of(changes), "own.csv")[0]


def test_every_shipped_claim_reads() -> None:
    assert len(claims()) == 195
    assert {paper: len(claims(paper)) for paper in papers()} == {
        "spg": 81, "prm": 37, "impresslearn": 25, "pmask": 23, "ksm": 29
    }  # fmt: skip


def test_items_carry_fields_a_benchmark_and_tasks() -> None:
    found = claim(left="hat[smax=400,two=false,kind=own]@cifar10_5[first=5]#2+3; ewc", right="0.1")
    fields = (("smax", 400), ("two", False), ("kind", "own"))
    place = Place("cifar10_5", (("first", 5),))
    assert found.left == (Item("hat", fields, place, (2, 3)), Item("ewc"))
    assert found.right == (0.1,)
    assert str(found.left[0]) == "hat[smax=400,two=false,kind=own]@cifar10_5[first=5]#2+3"


def test_best_storage_trunk_and_variants() -> None:
    assert claim(right="best(ewc; spg[chi=false])").right == (
        Best((Item("ewc"), Item("spg", (("chi", False),)))),
    )
    assert claim(right="trunk", kind="ratio").right == (Trunk(),)
    stored = claim(kind="formula", direction="equal", left="storage(a;K=10)", right="30", benchmark="*")
    assert stored.left == (Stored(("a", "K=10")),) and stored.places == ()
    flat = claim(kind="trend", direction="flat", right="variants(ewc;hat)")
    assert flat.axis == Axis("variants", (Item("ewc"), Item("hat"))) and flat.right == ()
    assert claim(kind="trend", right="K").axis == Axis("K")


def test_sets_are_spelled_out_also_within_a_mean() -> None:
    similar = ("fceleba_10", "fceleba_20", "femnist_10", "femnist_20")
    assert tuple(map(str, claim(benchmark="tiny_10;spg_similar").places)) == ("tiny_10", *similar)
    mean = claim(benchmark="mean(spg_all)")
    assert mean.averaged and len(mean.places) == 9
    assert claim(benchmark="five_new").places[0] == Place("imagenet_to_sketch", part="CUBS")
    masked = claim(benchmark="masked_superclasses").places
    assert len(masked) == 19 and masked[0] == Place("cifar100_super", (("first", 1),), "fish")
    assert str(masked[0]) == "cifar100_super[first=1,fish]"


def test_metrics_pick_moments_layers_and_keys() -> None:
    assert parse_metric("blocked[layer=conv1,t=T]") == Metric("blocked", (("layer", "conv1"), ("t", "T")))
    assert parse_metric("task_inference_acc[3]") == Metric("task_inference_acc", (("", "3"),))
    assert str(parse_metric("blocked[layer=conv1,t=T]")) == "blocked[layer=conv1,t=T]"


def test_pairs_are_all_against_all_but_numbers_of_an_account_in_order() -> None:
    assert len(claim(left="hat;ewc", right="spg;si;one").pairs) == 6
    found = claim(kind="formula", direction="equal", left="storage(a;b)", right="1;2").pairs
    assert found == [(Stored(("a",)), 1.0), (Stored(("b",)), 2.0)]


def test_a_claim_may_be_about_some_densities() -> None:
    below = claim(density="<0.25")
    assert below.density == Density(0.25, below=True)
    assert [below.admits(d) for d in (0.05, 0.25, None)] == [True, False, True]
    assert [claim(density=text).admits(d) for text in ("0.05", ".05") for d in (0.05, 0.1)] == [
        True,
        False,
    ] * 2
    assert claim().density is None and claim().admits(0.3)


def test_basis_sizes_levels_and_units_have_columns() -> None:
    assert (claim().each, claim().largest, claim().unit, claim().scale) == ("", 0, "", 1)
    assert claim(each="K").each == "K" and claim(each="K", right="best(ewc; spg)").each == "K"
    assert claim(kind="trend", right="K", largest="2").largest == 2
    sizes = claim(**STORED, metric="bytes_total", unit="MiB")
    assert (sizes.unit, sizes.scale) == ("MiB", 2**20)


NOTE = "every shared K; MiB; between the two largest K only; density below .25"


def test_a_note_is_for_people() -> None:
    plain: list[dict[str, str]] = [
        {}, {"kind": "trend", "right": "K"}, {**STORED, "metric": "bytes_total", "unit": ""}
    ]  # fmt: skip
    for changes in plain:
        noted = claim(**changes, note=NOTE)
        assert noted.note == NOTE and dataclasses.replace(noted, note="") == claim(**changes)


def test_what_shipped_claims_ask_of_sizes_levels_densities_and_units() -> None:
    asked = {
        one.id: (one.each, one.largest, str(one.density or ""), one.unit)
        for one in claims()
        if one.each or one.largest or one.density or one.unit
    }
    assert asked == {
        "impresslearn-03": ("", 2, "", ""),
        "impresslearn-04": ("K", 0, "", ""),
        "impresslearn-05": ("K", 0, "", ""),
        "impresslearn-14": ("K", 0, "", ""),
        "impresslearn-16": ("", 0, "<0.25", ""),
        "impresslearn-17": ("", 0, "0.05", ""),
        "impresslearn-25": ("K", 0, "", ""),
        "ksm-16": ("", 0, "", "MiB"),
    }


@pytest.mark.parametrize(
    ("changes", "column"),
    [
        ({"kind": "greatest"}, "kind = 'greatest'"),
        ({"direction": "flat"}, "direction = 'flat'"),
        ({"margin": "small"}, "margin = 'small'"),
        ({"metric": "acc["}, "metric = 'acc['"),
        ({"left": "hat[smax]"}, "left = 'hat[smax]'"),
        ({"left": ""}, "left = ''"),
        ({"right": "best()"}, "right = 'best()'"),
        ({"right": ""}, "right = ''"),
        ({"kind": "zero"}, "right = 'ewc'"),
        ({"kind": "trend", "right": "variants(hat)"}, "right = 'variants(hat)'"),
        ({"benchmark": "mean(a b)"}, "benchmark = 'mean(a b)'"),
        ({"benchmark": ""}, "benchmark = ''"),
        ({"each": "k"}, "each = 'k' should be one of K"),
        ({"each": "every shared K"}, "each = 'every shared K' should be one of K"),
        ({"each": "K", "kind": "trend", "right": "K"}, "each = 'K' is allowed only where"),
        ({"each": "K", "right": "0.5"}, "each = 'K' is allowed only where"),
        ({"each": "K", "kind": "zero", "right": ""}, "each = 'K' is allowed only where"),
        ({"largest": "two", "kind": "trend", "right": "K"}, "largest = 'two' should be an integer"),
        ({"largest": "1", "kind": "trend", "right": "K"}, "largest = '1' should be an integer"),
        ({"largest": "2"}, "largest = '2' is allowed only for a trend"),
        ({"largest": "2", "kind": "trend", "right": "t"}, "largest = '2' is allowed only for a trend"),
        (
            {"largest": "2", "kind": "trend", "right": "variants(ewc;hat)"},
            "largest = '2' is allowed only for a trend",
        ),
        ({"density": "low"}, "density = 'low' should be a density"),
        ({"density": ">0.25"}, "density = '>0.25' should be a density"),
        ({"density": "0"}, "density = '0' should be a density"),
        ({"density": "25"}, "density = '25' should be a density"),
        (STORED | {"density": "0.05"}, "density = '0.05' is allowed only for runs"),
        (
            STORED | {"metric": "bytes_total", "unit": "MB"},
            "unit = 'MB' should be one of MiB; did you mean 'MiB'",
        ),
        (STORED | {"unit": "MiB"}, "unit = 'MiB' is allowed only for a storage account in bytes"),
        (
            {"metric": "bytes_total", "unit": "MiB"},
            "unit = 'MiB' is allowed only for a storage account in bytes",
        ),
    ],
)
def test_what_does_not_read_is_named_with_its_line(changes: dict[str, str], column: str) -> None:
    with pytest.raises(UserError) as caught:
        read_claims(text_of({}, changes), "own.csv")
    assert str(caught.value).startswith(f"own.csv:3: {column}") and "\n" not in str(caught.value)


def test_a_file_of_another_shape_is_refused() -> None:
    with pytest.raises(UserError, match=r"own.csv:1: the columns must be id,paper"):
        read_claims("id,claim\n", "own.csv")
    with pytest.raises(UserError, match=r"own.csv:2: a claim has 16 columns, this line 18; quote"):
        read_claims(text_of({}).replace("x-01,", "x-01,too,many,"), "own.csv")
    with pytest.raises(UserError, match=r"a claim has 16 columns, this line 1; add what is missing"):
        read_claims(f"{text_of({}).splitlines()[0]}\nx-01\n", "own.csv")
    with pytest.raises(UserError, match="x-01 occurs twice"):
        read_claims(text_of({}, {"id": "x-01"}), "own.csv")


@pytest.mark.parametrize(
    ("kind", "direction", "margin", "text"),
    [
        ("greater", "up", 0.0, ""),
        ("greater", "up", 0.05, "by more than .05"),
        ("at_least", "up", 0.02, "up to .02 less counts as well"),
        ("at_least", "down", 0.005, "up to .005 more counts as well"),
        ("zero", "equal", 0.01, "within .01"),
        ("zero", "up", 0.015, "at least -.015"),
        ("zero", "up", -0.01, "at least .01"),
        ("zero", "down", -0.02, "at most -.02"),
        ("zero", "down", 0.005, "at most .005"),
        ("trend", "up", 0.02, "single steps back of up to .02 count as well"),
        ("trend", "flat", 0.03, "within .03"),
        ("ratio", "up", 9.0, "a ratio of at least 9"),
        ("ratio", "down", 1.1, "a ratio of at most 1.1"),
        ("formula", "equal", 1.0, "within 1"),
    ],
)
def test_a_claim_says_how_much_it_asks_for(kind: Any, direction: Any, margin: float, text: str) -> None:
    """As the kinds of claims are defined in `raycl.papers.claims`."""
    claim = dataclasses.replace(claims("prm")[0], kind=kind, direction=direction, margin=margin, where="4.5")
    assert claimtext.asked(claim) == text
    assert claimtext.where_and_asked(claim) == ("4.5" + (f"; asked: {text}" if text else ""))

"""How much of a claim a verdict covers: what is counted, how it is printed, and what does not count."""

from __future__ import annotations

import csv
import dataclasses
import io
from typing import Any

import pytest

from raycl.papers import verdicts
from raycl.papers.claims import claims
from raycl.papers.claimtext import claims_csv, claims_text, page_lines
from raycl.papers.findings import Verdict
from raycl.papers.opposites import Demand, opposed
from raycl.papers.samples import shared_keys
from raycl.papers.verdicts import verdict
from raycl.reporting import render
from raycl.reporting.markdown import claims_table
from raycl.results.collect import collect
from raycl.results.rows import CellRow
from raycl.runs.store import Store
from raycl.study.values import Grid, Search
from tests.helpers import hand
from tests.reporting.test_claims import claim
from tests.reporting.test_verdicts import BASE, THREE, basis_study, filled

PERMUTED, ROTATED = "digits_permuted(tasks=2)", "digits_rotated(tasks=2)"
BOTH = {"benchmark": "digits_permuted;digits_rotated"}
HIGH = (0.90, 0.91, 0.92)


def of(found: Verdict) -> tuple[str, int, int]:
    """The word as it is printed, the comparisons that were run, and those that the claim asks for."""
    return found.said, found.compared, found.asked


def judged(
    store: Store, accs: dict[str, Any], of_study: dict[str, Any] | None = None, **asked: str
) -> Verdict:
    """The verdict on a claim; a method or place of the study without accuracies has not been run."""
    _, rows = filled(store, accs, **(of_study or {}))
    return verdict(claim(**({"left": "finetune", "right": "ewc"} | BOTH | asked)), rows)


# What counts


ALL = {"methods": {"finetune": {}, "ewc": {}, "hat": {}}, "benchmarks": [PERMUTED, ROTATED]}


@pytest.mark.parametrize(
    ("run", "right", "expected"),
    [
        (("finetune", "ewc"), "ewc", ("holds", 2, 2)),
        ((f"finetune/{PERMUTED}", "ewc"), "ewc", ("holds so far", 1, 2)),
        (("finetune", "ewc"), "ewc;hat", ("holds so far", 2, 4)),
        (("finetune", "ewc"), "best(ewc;hat)", ("holds so far", 2, 4)),
        (("finetune", "ewc", f"hat/{ROTATED}"), "best(ewc;hat)", ("holds so far", 3, 4)),
        (("finetune", "ewc", "hat"), "best(ewc;hat)", ("holds", 4, 4)),
        (("finetune", "ewc", "hat"), "best(ewc;hat;spg)", ("holds so far", 4, 6)),  # not in the study
        (("ewc", "hat"), "ewc", ("not run", 0, 2)),
    ],
)
def test_each_method_counts_on_each_benchmark(
    store: Store, run: tuple[str, ...], right: str, expected: tuple[str, int, int]
) -> None:
    accs = {name: HIGH if name.startswith("finetune") else BASE for name in run}
    assert of(judged(store, accs, ALL, right=right)) == expected


def test_a_benchmark_that_the_study_lacks_counts_for_every_pair(store: Store) -> None:
    found = judged(
        store, {"finetune": HIGH, "ewc": BASE}, right="ewc;best(hat;si)", benchmark="digits_permuted;tiny_10"
    )
    assert of(found) == ("holds so far", 1, 6)
    assert [finding.reason for finding in found.findings if finding.asked == 3] == ["needs tiny_10"]


@pytest.mark.parametrize(
    ("run", "benchmarks", "expected"),
    [
        ((PERMUTED, ROTATED), 2, ("holds", 4, 4)),
        ((PERMUTED,), 2, ("holds so far", 2, 4)),
        ((PERMUTED, ROTATED), 3, ("holds so far", 4, 6)),
    ],
)
def test_the_members_of_a_mean_count(
    store: Store, run: tuple[str, ...], benchmarks: int, expected: tuple[str, int, int]
) -> None:
    accs = {
        f"{label}/{text}": HIGH if label == "finetune" else BASE
        for label in ("finetune", "ewc", "hat")
        for text in run
    }
    places = ";".join(("digits_permuted", "digits_rotated", "tiny_10")[:benchmarks])
    found = judged(store, accs, ALL, right="best(ewc;hat)", benchmark=f"mean({places})")
    assert of(found) == expected
    assert found.findings[0].where.startswith(f"mean over {len(run)} of {benchmarks} benchmarks (")


def test_alternatives_of_a_mean_are_compared_where_both_sides_have_numbers(store: Store) -> None:
    """hat was run on the easy benchmark alone. There it lies below finetune, as ewc does not everywhere."""
    accs = {f"finetune/{PERMUTED}": HIGH, f"finetune/{ROTATED}": (0.5, 0.51, 0.52),
            f"ewc/{PERMUTED}": HIGH, f"ewc/{ROTATED}": (0.5, 0.51, 0.52),
            f"hat/{PERMUTED}": (0.89, 0.90, 0.91)}  # fmt: skip
    found = judged(store, accs, ALL, right="best(ewc;hat)", benchmark="mean(digits_permuted;digits_rotated)")
    (finding,) = found.findings
    assert finding.right == "ewc, the best of 2 run of 2"
    assert finding.values == pytest.approx((0.71, 0.71)) and (found.compared, found.asked) == (3, 4)


def test_a_seed_that_lacks_a_benchmark_of_a_mean_is_left_out(store: Store) -> None:
    """Seed 3 of ewc diverged on the hard benchmark; its mean over the easy one alone would be .90."""
    hard = (0.3, 0.3, 0.3)
    accs = {f"finetune/{PERMUTED}": HIGH, f"finetune/{ROTATED}": (0.5, 0.5, 0.5),
            f"ewc/{PERMUTED}": HIGH, f"ewc/{ROTATED}": hard[:2],
            f"hat/{PERMUTED}": HIGH, f"hat/{ROTATED}": hard}  # fmt: skip
    asked = {"benchmark": "mean(digits_permuted;digits_rotated)"}
    (finding,) = judged(store, accs, ALL, right="ewc", **asked).findings
    assert (finding.word, finding.n) == ("no verdict", 2)
    assert finding.values == pytest.approx((0.7025, 0.6025))
    (finding,) = judged(store, accs, ALL, right="hat", **asked).findings
    assert (finding.word, finding.n) == ("holds", 3)


@pytest.mark.parametrize(
    ("of_seeds", "kept"),
    [
        (("ab", "ab", "ab"), ("ab", "ab", "ab")),
        (("ab", "ab", "b"), ("ab", "ab", "")),  # a seed without a is left out
        (("ab", "ac", "abc"), ("", "", "abc")),
        (("ab", "ac", "abd"), ("a", "a", "a")),  # no seed has all, and all have a
        (("a", "b", "ab"), ("", "", "ab")),
        (("a", "b", ""), ("", "", "")),
    ],
)
def test_a_mean_is_over_the_same_benchmarks_at_each_seed(
    of_seeds: tuple[str, ...], kept: tuple[str, ...]
) -> None:
    keys = [(seed, (place,)) for seed, places in enumerate(of_seeds) for place in places]
    found = shared_keys([dict.fromkeys(keys, 1.0), dict.fromkeys([*keys, (9, ("a",))], 1.0)])
    assert found == [(seed, (place,)) for seed, places in enumerate(kept) for place in places]


def test_every_value_of_each_counts(store: Store) -> None:
    _, rows = basis_study(store)
    kinds = {"left": "impresslearn[basis=heterogeneous]", "right": "impresslearn[basis=homogeneous]"}
    asked = claim(**kinds, benchmark="digits_permuted", metric="acc_new", each="K", kind="at_least")
    assert of(verdict(asked, rows)) == ("holds", 2, 2)
    part = [dataclasses.replace(row, finals=()) if row.cell.label == "homogeneous 3" else row for row in rows]
    found = verdict(asked, part)
    assert of(found) == ("holds so far", 1, 2)
    assert found.findings[1].reason.startswith("needs a finished run of impresslearn[basis=homogeneous] on")


GRID = {f"d{d}": {"method": "supsup", "method.density": d} for d in (0.1, 0.2, 0.3)}


def test_the_levels_of_a_trend_count(store: Store) -> None:
    _, rows = filled(store, {"d0.1": BASE, "d0.2": HIGH}, GRID)
    rises = claim(left="supsup", kind="trend", right="density", benchmark="digits_permuted;tiny_10")
    assert of(verdict(rises, rows)) == ("holds so far", 2, 4)  # of tiny_10 nothing is known: it counts once
    two = dataclasses.replace(rises, places=rises.places[:1], largest=2)
    assert verdict(two, rows).word == "not run"  # the larger of the two has not been run
    flat = claim(
        kind="trend", left="ewc", right="variants(ewc;hat;spg)", direction="flat", benchmark="digits_permuted"
    )
    _, rows = filled(store, {"ewc": BASE, "hat": BASE})
    assert of(verdict(flat, rows)) == ("holds so far", 2, 3)


def test_a_window_of_a_benchmark_counts_only_if_the_study_has_both_sides_on_it(store: Store) -> None:
    few, many = "digits_permuted(tasks=2)", "digits_permuted(tasks=3)"
    methods = {"finetune": {}, "ewc": {"benchmarks": [few]}}
    _, rows = filled(store, {"finetune": HIGH, "ewc": BASE}, methods, benchmarks=[few, many])
    both = claim(left="finetune", right="ewc", benchmark="digits_permuted")
    assert of(verdict(both, rows)) == ("holds", 1, 1)
    methods = {"finetune": {}, "ewc": {}}  # planned on both windows, and run on one
    _, rows = filled(store, {"finetune": HIGH, f"ewc/{few}": BASE}, methods, benchmarks=[few, many])
    found = verdict(both, rows)
    assert of(found) == ("holds so far", 1, 2)
    assert found.findings[1].reason == f"needs a finished run of ewc on {many}"
    _, rows = filled(store, {"finetune": HIGH}, {"finetune": {}}, benchmarks=[few, many])
    found = verdict(both, rows)
    assert of(found) == ("not run", 0, 1) and found.findings[0].reason == f"needs ewc on {few}"


# What does not settle a claim


def test_data_that_are_not_the_papers_do_not_settle_a_claim(store: Store) -> None:
    _, rows = filled(store, {"finetune": HIGH, "ewc": BASE}, benchmarks=[PERMUTED])
    there = claim(left="finetune", right="ewc", benchmark="digits_permuted")
    found = verdict(there, rows, {PERMUTED: "a tenth of the images"})
    assert (found.said, found.coverage) == ("holds so far", "1 of 1, with subsets")
    stand_in = claim(left="finetune", right="ewc", benchmark="permuted_mnist")
    found = verdict(stand_in, rows, {PERMUTED: "a tenth of the images"})
    assert (found.said, found.coverage) == ("holds so far", "1 of 1, with subsets and substitutes")
    assert found.findings[0].where == f"{PERMUTED} (subset, substitute)"


def test_a_stand_in_counts_for_each_place_that_it_stands_for(store: Store) -> None:
    """digits_permuted stands in for both; the two are judged once."""
    _, rows = filled(store, {"finetune": HIGH, "ewc": BASE}, benchmarks=[PERMUTED])
    asked = claim(left="finetune", right="ewc", benchmark="tiny_50;tiny_100;tiny_10")
    found = verdict(asked, rows)
    assert of(found) == ("holds so far", 2, 3) and len(found.findings) == 2


def test_what_a_claim_is_about_itself_does_not_stand_in_for_another_of_its_places(store: Store) -> None:
    _, rows = filled(store, {"finetune": HIGH, "ewc": BASE}, benchmarks=["cifar100_10"])
    found = verdict(claim(left="finetune", right="ewc", benchmark="cifar100_10;tiny_10"), rows)
    assert of(found) == ("holds so far", 1, 2) and found.findings[1].reason == "needs tiny_10"
    found = verdict(claim(left="finetune", right="ewc", benchmark="tiny_10"), rows)
    assert (found.said, found.coverage) == ("holds so far", "1 of 1, with substitutes")


def test_no_stand_in_speaks_for_two_claims_that_say_the_opposite(store: Store) -> None:
    one = claim(left="finetune", right="ewc", benchmark="tiny_50", id="x-01")
    other = claim(left="ewc", right="best(hat;finetune)", benchmark="tiny_100", id="x-02")
    _, rows = filled(store, {"finetune": HIGH, "ewc": BASE}, benchmarks=[PERMUTED])
    for asked, beside, place in ((one, "x-02", "tiny_100"), (other, "x-01", "tiny_50")):
        assert verdict(asked, rows).word != "not run"
        (finding,) = verdict(asked, rows, others=(one, other)).findings
        mine = asked.places[0]
        assert (
            finding.reason
            == f"needs {mine}: {PERMUTED} also stands in for {place}, of which {beside} says the opposite"
        )
    same = claim(left="finetune", right="hat", benchmark="tiny_100", id="x-03")
    assert verdict(one, rows, others=(one, same)).word == "holds"
    # Where the study has the benchmark itself, the claim about it is judged.
    _, rows = filled(store, {"finetune": HIGH, "ewc": BASE}, benchmarks=["cifar100_10"])
    itself, elsewhere = (dataclasses.replace(c, places=claim(benchmark=b).places)
                         for c, b in ((one, "cifar100_10"), (other, "tiny_10")))  # fmt: skip
    assert verdict(itself, rows, others=(itself, elsewhere)).said == "holds"
    assert verdict(elsewhere, rows, others=(itself, elsewhere)).word == "not run"


def test_a_report_judges_neither_of_two_claims_that_say_the_opposite_on_one_stand_in(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    both = (
        claim(left="finetune", right="ewc", benchmark="tiny_50", id="x-01"),
        claim(left="ewc", right="finetune", benchmark="tiny_100", id="x-02"),
    )
    study, rows = filled(store, {"finetune": HIGH, "ewc": BASE}, benchmarks=[PERMUTED])
    monkeypatch.setattr(verdicts, "claims", lambda paper="": both)
    study = dataclasses.replace(study, paper="spg")
    assert [found.word for found in verdicts.verdicts(study, rows)] == ["not run", "not run"]
    monkeypatch.setattr(verdicts, "claims", lambda paper="": both[:1])
    assert [found.said for found in verdicts.verdicts(study, rows)] == ["holds so far"]


def test_no_stand_in_is_compared_with_itself(store: Store) -> None:
    """digits_split stands in for CIFAR-10 and CIFAR-100, of which the claim says that one is harder."""
    _, rows = filled(store, {"ewc": BASE}, benchmarks=["digits_split"])
    harder = claim(left="ewc@cifar10_5", right="ewc@cifar100_5", benchmark="*")
    (finding,) = verdict(harder, rows).findings
    assert finding.reason == "needs ewc@cifar10_5: digits_split also stands in for cifar100_5"


@pytest.mark.parametrize(
    ("one", "other", "opposite"),
    [
        ({"left": "hat", "right": "ewc"}, {"left": "ewc", "right": "hat"}, True),
        ({"left": "hat", "right": "ewc"}, {"left": "hat", "right": "ewc", "direction": "down"}, True),
        ({"left": "hat", "right": "ewc"}, {"left": "hat", "right": "ewc"}, False),
        ({"left": "hat", "right": "ewc"}, {"left": "ewc", "right": "hat", "metric": "bwt"}, False),
        ({"left": "hat", "right": "ewc"}, {"left": "ewc", "right": "best(si; hat)"}, True),
        ({"left": "hat", "right": "ewc"}, {"left": "best(ewc; si)", "right": "hat"}, False),  # si may be best
        ({"left": "hat", "right": "ewc"}, {"left": "ewc", "right": "hat", "kind": "at_least"}, True),
        ({"left": "hat", "right": "ewc", "margin": "0.01"},
         {"left": "ewc", "right": "hat", "kind": "at_least", "margin": "0.02"}, False),  # .015 meets both
        ({"left": "hat", "right": "ewc", "margin": "0.02"},
         {"left": "ewc", "right": "hat", "kind": "at_least", "margin": "0.02"}, True),
        ({"left": "hat", "right": "ewc", "kind": "ratio", "margin": "9"},
         {"left": "ewc", "right": "hat"}, True),
        ({"left": "hat", "right": "ewc", "kind": "ratio", "margin": "0.5"},
         {"left": "ewc", "right": "hat"}, False),
        ({"left": "hat", "right": "", "kind": "zero", "direction": "down", "margin": "-0.02"},
         {"left": "hat", "right": "", "kind": "zero"}, True),
        ({"left": "hat", "right": "", "kind": "zero", "direction": "down"},
         {"left": "hat", "right": "", "kind": "zero"}, False),  # 0 meets both
        ({"left": "hat", "right": "0.1", "kind": "formula", "direction": "equal", "margin": "0.03"},
         {"left": "hat", "right": "0.2", "kind": "formula", "direction": "equal", "margin": "0.02"}, True),
        ({"left": "hat", "right": "t", "kind": "trend"},
         {"left": "hat", "right": "t", "kind": "trend", "direction": "down"}, True),
        ({"left": "hat", "right": "ewc", "benchmark": "mean(tiny_10;tiny_20)"},
         {"left": "ewc", "right": "hat"}, False),
    ],
)  # fmt: skip
def test_claims_that_cannot_both_be_true_of_one_benchmark(
    one: dict[str, str], other: dict[str, str], opposite: bool
) -> None:
    first, second = claim(**one), claim(**other)
    assert opposed(first, second) is opposed(second, first) is opposite


def test_the_shipped_claims_that_say_opposite_things() -> None:
    found = {
        (one.id, other.id)
        for one in claims()
        for other in claims()
        if one.id < other.id and opposed(one, other) and not set(one.places) & set(other.places)
    }
    assert ("prm-12", "prm-13") in found
    assert not any(opposed(one, one) for one in claims())
    assert Demand(0.1).excludes(Demand(-0.1)) is False and Demand(0.1, strict=True).excludes(Demand(-0.1))


# Which rows were compared


def searched(rows: list[CellRow]) -> list[CellRow]:
    search = Search(trials=3, startup_trials=3)
    return [dataclasses.replace(row, cell=dataclasses.replace(row.cell, search=search)) for row in rows]


LITERAL = {"literal": {"method": "ewc", "method.lamb": 5.0}, "own rate": {"method": "ewc"}, "hat": {}}


def test_where_several_rows_fit_a_method_the_one_that_was_compared_is_named(store: Store) -> None:
    """The one that searches more is meant, also before it is finished."""
    accs = {"literal": (0.6, 0.61, 0.62), "own rate": HIGH, "hat": BASE}
    study, rows = filled(store, accs, LITERAL)
    found = verdict(claim(left="ewc", right="hat", benchmark="digits_permuted"), searched(rows))
    assert found.findings[0].left_rows == ("own rate",) and found.findings[0].right_rows == ()
    assert f"holds: {PERMUTED}: own rate .910 vs .810 (3" in claims_text(study, [found])
    (line,) = csv.DictReader(io.StringIO(claims_csv([found])))
    assert (line["left"], line["left_rows"], line["right_rows"]) == ("ewc", "own rate", "")
    several = verdict(
        claim(left="ewc;hat", right="0.5", kind="greater", benchmark="digits_permuted"), searched(rows)
    )
    assert "ewc (own rate) .910 vs" in claims_text(study, [several])
    unfinished = [
        dataclasses.replace(row, finals=()) if row.cell.label == "own rate" else row for row in searched(rows)
    ]
    (finding,) = verdict(claim(left="ewc", right="hat", benchmark="digits_permuted"), unfinished).findings
    assert finding.reason == f"needs a finished run of ewc on {PERMUTED}"


def test_rows_that_are_averaged_are_named(store: Store) -> None:
    study, rows = filled(store, {**dict.fromkeys(GRID, HIGH), "ewc": BASE}, GRID | {"ewc": {}})
    found = verdict(claim(left="supsup", right="ewc", benchmark="digits_permuted"), rows)
    assert found.findings[0].left_rows == ("d0.1", "d0.2", "d0.3")
    assert "(d0.1 and 2 more) .910 vs .810" in " ".join(claims_text(study, [found]).split())


def test_a_metric_that_only_a_switched_row_measures_is_said_to_be_there(store: Store) -> None:
    shared = {"method": "supsup", "method.head": "shared"}
    methods: dict[str, Any] = {"plain": shared, "x": shared | {"method.probes": True}}

    def diagnostics(label: str, seed: int) -> dict[str, Any]:
        return {"x_acc": 0.1} if label == "x" else {}

    few, many = "digits_permuted(tasks=2)", "digits_permuted(tasks=3)"
    methods["x"]["benchmarks"] = [many]
    _, rows = filled(store, {"plain": BASE, "x": BASE}, methods, diagnostics, benchmarks=[few, many])
    chance = {"kind": "formula", "right": "0.1", "metric": "x_acc", "direction": "equal", "margin": "0.01"}
    found = verdict(claim(left="supsup", **chance, benchmark="digits_permuted"), rows)
    assert [finding.reason for finding in found.findings] == [
        f"x_acc was not measured by supsup on {many}; supsup[probes=true] has it"
    ]
    found = verdict(claim(left="supsup[probes=true]", **chance, benchmark="digits_permuted"), rows)
    assert of(found) == ("holds", 1, 1)


def test_a_method_with_a_place_of_its_own_is_compared_with_others_on_the_usual_one(store: Store) -> None:
    """As in KSM's Table 3: each first task of ksm against the row of Table 1, whose first task is 1."""
    first = {n: f"cifar100_super(first={n})" if n > 1 else "cifar100_super" for n in (1, 5, 10)}
    accs = {f"ksm/{first[1]}": HIGH, f"ksm/{first[5]}": HIGH, f"ksm/{first[10]}": (0.7, 0.71, 0.72),
            f"piggyback/{first[1]}": BASE, f"piggyback/{first[5]}": (0.99,) * 3}  # fmt: skip
    _, rows = filled(
        store,
        accs,
        {"ksm": {}, "piggyback": {}},
        benchmarks=list(first.values()),
        network="vgg16_bn(width=.25)",
    )
    left = ";".join(f"ksm@cifar100_super[first={n}]" for n in first)
    found = verdict(claim(left=left, right="piggyback;packnet", benchmark="cifar100_super"), rows)
    run = [finding for finding in found.findings if finding.word != "not run"]
    assert [(f.word, f.values[1], f.where) for f in run] == [
        ("holds", pytest.approx(0.81), first[1]), ("holds", pytest.approx(0.81), first[1]),
        ("reversed", pytest.approx(0.81), first[1]),
    ]  # fmt: skip
    assert of(found) == ("reversed so far", 3, 6)


def test_what_table_1_of_ksm_says_is_not_read_where_another_task_is_first(store: Store) -> None:
    """At first=5 Piggyback leads, and Table 1 has the usual order alone."""
    usual, fifth = "cifar100_super", "cifar100_super(first=5)"
    accs = {
        f"ksm/{usual}": HIGH,
        f"piggyback/{usual}": BASE,
        f"ksm/{fifth}": BASE,
        f"piggyback/{fifth}": HIGH,
    }
    _, rows = filled(
        store,
        accs,
        {"ksm": {}, "piggyback": {}},
        benchmarks=[usual, fifth],
        network="vgg16_bn(width=.25)",
    )
    known = {claim.id: claim for claim in claims("ksm")}
    found = verdict(known["ksm-01"], rows)
    assert [finding.where for finding in found.findings if finding.word != "not run"] == [usual]
    assert of(found) == ("holds so far", 1, 3)


# The trials of a grid


AXES = {"method.lamb": [1.0, 10.0, 100.0], "fit.lr": [0.01, 0.02, 0.03]}
FLAT = {"kind": "trend", "left": "ewc", "right": "lamb", "direction": "flat", "margin": "0.03"}


def grid_rows(store: Store, values: dict[tuple[float, float], float | None], **changes: Any) -> list[CellRow]:
    """A grid whose trials have these accuracies on validation data, and .1 on test data; None diverged."""
    study = hand.study(**({"methods": {"ewc": {}}, "search": Grid(AXES), "final": THREE} | changes))
    for cell in hand.cells(study).values():
        for point in Grid(AXES).points():
            acc = values.get((point["method.lamb"], point["fit.lr"]), 0.0)
            rows = () if acc is None else hand.reports([[0.1], [0.1, 0.1]], [[acc], [acc, acc]])
            if (point["method.lamb"], point["fit.lr"]) in values:
                hand.put(
                    store, cell.spec(point, cell.trial_seed), rows, "diverged" if acc is None else "done"
                )
    return collect(study, hand.read(store, study))


LEVEL = {0.01: 0.60, 0.02: 0.70, 0.03: 0.65}  # by learning rate
STEPS = {1.0: (0.0, 0.0, 0.0), 10.0: (0.02, 0.03, 0.01), 100.0: (0.005, 0.01, 0.0)}  # by lamb, at each rate


def trial_accs() -> dict[tuple[float, float], float | None]:
    return {(lamb, rate): LEVEL[rate] + more for lamb, steps in STEPS.items()
            for rate, more in zip(LEVEL, steps, strict=True)}  # fmt: skip


def test_a_trend_along_a_grid_reads_its_trials(store: Store) -> None:
    """The difference of two levels of lamb is paired by learning rate: .02, .03, .01 at the highest."""
    rows = grid_rows(store, trial_accs())
    found = verdict(claim(**FLAT, benchmark="digits_permuted"), rows)
    (finding,) = found.findings
    assert (finding.levels, finding.n, finding.unit) == (("1", "10", "100"), 3, "setting")
    assert finding.values == pytest.approx((0.65, 0.67, 0.655))
    assert finding.difference == pytest.approx(0.02)
    assert finding.half_width == pytest.approx(4.302653 * 0.01 / 3**0.5)
    assert finding.source == "9 trials on validation data, all of one seed, paired by fit.lr"
    assert found.judgement == ("undecided", "met") and of(found) == ("undecided", 3, 3)
    text = " ".join(claims_text(hand.study(), [found]).split())
    assert f"(3 settings, +-.025, met in the mean, {finding.source})" in text
    wide = verdict(claim(**(FLAT | {"margin": "0.05"}), benchmark="digits_permuted"), rows)
    assert of(wide) == ("holds", 3, 3)
    (line,) = csv.DictReader(io.StringIO(claims_csv([wide])))
    assert (line["unit"], line["n"], line["source"]) == ("setting", "3", finding.source)


def test_only_the_trials_that_are_there_are_read(store: Store) -> None:
    """At lamb = 100 all diverged but one, whose rate the other levels share; one pair gives no verdict."""
    accs = trial_accs() | {(100.0, 0.01): None, (100.0, 0.03): None}
    (finding,) = verdict(claim(**FLAT, benchmark="digits_permuted"), grid_rows(store, accs)).findings
    assert (finding.word, finding.n, finding.values) == ("no verdict", 1, pytest.approx((0.70, 0.73, 0.71)))
    part = {key: acc for key, acc in trial_accs().items() if key[0] < 100}
    found = verdict(claim(**FLAT, benchmark="digits_permuted"), grid_rows(Store(store.root / "part"), part))
    assert of(found) == ("undecided so far", 2, 3)


def test_a_search_on_test_data_says_so(store: Store) -> None:
    rows = grid_rows(store, trial_accs(), protocol="paper")
    (finding,) = verdict(claim(**FLAT, benchmark="digits_permuted"), rows).findings
    assert finding.source.startswith("9 trials on test data") and finding.values == pytest.approx(
        (0.1, 0.1, 0.1)
    )


def test_other_metrics_and_other_searches_have_no_trials_to_read(store: Store) -> None:
    rows = grid_rows(store, trial_accs())
    (finding,) = verdict(claim(**FLAT, metric="bwt", benchmark="digits_permuted"), rows).findings
    assert finding.reason.startswith(f"needs final runs of ewc at two values of lamb on {PERMUTED}: ")
    assert finding.reason.endswith("the trials of a grid have acc only, not bwt")
    study = hand.study(methods={"ewc": {}}, search=Search(trials=3, startup_trials=3))
    (cell,) = hand.cells(study).values()
    trials = [({"method.lamb": lamb}, hand.reports([[0.5], [0.5, 0.5]])) for lamb in (1.0, 10.0, 100.0)]
    hand.put_trials(store, cell, trials)
    drawn = collect(study, hand.read(store, study))
    (finding,) = verdict(claim(**FLAT, benchmark="digits_permuted"), drawn).findings
    assert (finding.word, finding.reason) == ("not run", f"needs ewc at two values of lamb on {PERMUTED}")


def test_rows_with_a_value_each_are_read_before_the_trials_of_a_grid(store: Store) -> None:
    _, rows = filled(
        store,
        {"a": HIGH, "b": BASE},
        {"a": {"method": "ewc", "method.lamb": 2.0}, "b": {"method": "ewc", "method.lamb": 3.0}},
    )
    (finding,) = verdict(claim(**FLAT, benchmark="digits_permuted"), rows).findings
    assert (finding.levels, finding.unit, finding.source) == (("2", "3"), "seed", "")


# Reports


def test_reports_say_how_much_of_a_claim_was_compared(store: Store) -> None:
    accs = {"spg": HIGH, "hat": BASE}
    study, _ = filled(
        store, accs, benchmarks=["femnist_10", "femnist_20"], methods={"spg": {}, "hat": {}, "supsup": {}}
    )
    study = dataclasses.replace(study, paper="spg")
    agenda = hand.read(store, study)
    text = render(study, agenda, claims=True)
    line = "        holds so far (2 of 16): femnist_10: .910 vs hat .810 (3 seeds, +-.000)\n"
    assert line in text.partition("\nspg-16")[2] and max(map(len, text.splitlines())) <= 80
    assert text.startswith("claims of spg: ") and " so far, " in text.partition("\n\n")[0].replace("\n ", "")
    lines = [
        line
        for line in csv.DictReader(io.StringIO(render(study, agenda, "csv", claims=True)))
        if line["claim"] == "spg-16"
    ]
    assert {(line["verdict"], line["compared"], line["asked"]) for line in lines} == {
        ("holds so far", "2", "16")
    }
    page = render(study, agenda, "html", claims=True)
    assert '<td class="text">holds so far<br><span class="quiet">2 of 16</span></td>' in page


def test_a_few_methods_that_the_best_was_not_chosen_from_are_named(store: Store) -> None:
    accs = {"finetune": HIGH, "ewc": BASE}
    for right, named in (
        ("best(ewc; hat)", "ewc, the best of 1 run of 2 without hat"),
        ("best(ewc; hat; si)", "ewc, the best of 1 run of 3 without hat and si"),
        ("best(ewc; hat; si; spg)", "ewc, the best of 1 run of 4"),
    ):
        assert judged(store, accs, ALL, right=right).findings[0].right == named


def test_the_pages_have_the_word_once(store: Store) -> None:
    found = judged(store, {"finetune": HIGH, "ewc": BASE}, ALL, right="ewc;hat")
    assert "| **holds so far** (2 of 4) |" in claims_table([found])
    (line,) = page_lines([found])
    assert (line["word"], line["coverage"]) == ("holds so far", "2 of 4")
    assert line["lines"][0] == f"{PERMUTED}: .910 vs ewc .810 (3 seeds, +-.000)"


def test_an_undecided_comparison_says_to_which_side_it_leans(store: Store) -> None:
    up = judged(store, {"finetune": (0.83, 0.83, 0.83), "ewc": BASE}, ALL, benchmark="digits_permuted")
    down = judged(
        store,
        {"finetune": (0.83, 0.83, 0.83), "ewc": BASE},
        ALL,
        benchmark="digits_permuted",
        direction="down",
    )
    study = hand.study()
    assert "undecided: digits_permuted(tasks=2): .830 vs .810 (3 seeds, +-.025, met in the mean)" in " ".join(
        claims_text(study, [up]).split()
    )
    assert "+-.025, missed in the mean)" in " ".join(claims_text(study, [down]).split())
    leans = [line["lean"] for line in csv.DictReader(io.StringIO(claims_csv([up, down])))]
    assert leans == ["met", "missed"]


def test_arithmetic_is_complete() -> None:
    equal: dict[str, Any] = {
        "kind": "formula",
        "direction": "equal",
        "benchmark": "*",
        "metric": "phi_kb",
        "margin": "0.01",
    }
    assert of(verdict(claim(**equal, left="storage(PermMNIST)", right="1.17"), [])) == ("holds", 1, 1)
    assert of(verdict(claim(**equal, left="storage(PermMNIST;vgg16)", right="1.17;2"), [])) == (
        "holds so far",
        1,
        2,
    )

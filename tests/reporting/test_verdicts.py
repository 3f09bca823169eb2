"""Claims against stores made by hand: every kind, every word, and how runs are paired."""

from __future__ import annotations

import csv
import dataclasses
import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pytest

from raycl.errors import UserError
from raycl.papers import samples
from raycl.papers.claims import COLUMNS, claims, read_claims
from raycl.papers.claimtext import claims_csv, claims_text, finding_text
from raycl.papers.findings import ClaimFinding, Verdict
from raycl.papers.judging import Judgement, judge, judged
from raycl.papers.matching import reading, rows_meant
from raycl.papers.printed import DATA
from raycl.papers.verdicts import verdict
from raycl.reporting import render
from raycl.results.collect import collect
from raycl.results.grammar import parse_item, parse_metric
from raycl.results.rows import CellRow
from raycl.runs.store import Store
from raycl.study.values import Search, Seeds, Study
from tests.helpers import hand
from tests.helpers.hand import BENCHMARK
from tests.reporting.test_claims import NOTE, claim

Accs = Mapping[str, Sequence[float]]
THREE = Seeds(1, 2, 3)
ON = {"benchmark": "digits_permuted"}


def filled(
    store: Store,
    accs: Accs,
    methods: Mapping[str, Any] | None = None,
    diagnostics: Any = None,
    **changes: Any,
) -> tuple[Study, list[CellRow]]:
    """A study whose runs have these accuracies by seed, on all tasks from the first moment.

    Args:
        accs: label, or label/benchmark, to one number per seed; a cell that is not here was not run.
        figures: of every report, from (label, seed).
    """
    study = hand.study(**({"methods": methods or {label: {} for label in accs}, "final": THREE} | changes))
    for name, cell in hand.cells(study).items():
        for seed, acc in zip((1, 2, 3), accs.get(name, accs.get(cell.label, ())), strict=False):
            rows = hand.reports([[acc], [acc, acc]])
            if diagnostics is not None:
                rows = tuple(dataclasses.replace(r, diagnostics=diagnostics(cell.label, seed)) for r in rows)
            hand.put(store, cell.spec({}, seed), rows)
    return study, collect(study, hand.read(store, study))


def held(store: Store, accs: Accs, **changes: str) -> Verdict:
    """The verdict on `finetune` against `ewc`, unless said otherwise."""
    _, rows = filled(store, accs)
    return verdict(claim(**(ON | {"left": "finetune", "right": "ewc"} | changes)), rows)


# Differences to .80 .81 .82 are paired: means and standard errors are worked out from them alone.
BASE = (0.80, 0.81, 0.82)


@pytest.mark.parametrize(
    ("left", "kind", "direction", "margin", "word"),
    [
        ((0.85, 0.86, 0.87), "greater", "up", "0", "holds"),  # +.05 each, no spread
        ((0.85, 0.86, 0.87), "greater", "up", "0.05", "missed"),  # not more than the margin
        ((0.85, 0.86, 0.87), "at_least", "up", "-0.05", "holds"),  # exactly at it
        ((0.85, 0.86, 0.87), "greater", "down", "0", "reversed"),
        ((0.75, 0.76, 0.77), "greater", "down", "0.04", "holds"),
        ((0.86, 0.81, 0.82), "greater", "up", "0", "met"),  # .06 0 0: .02 +- .086
        ((0.83, 0.83, 0.83), "greater", "up", "0", "met"),  # .03 .02 .01: .02 +- .0248
        ((0.84, 0.84, 0.84), "greater", "up", "0", "holds"),  # .04 .03 .02: .03 +- .0248
        ((0.83, 0.83, 0.83), "greater", "down", "0", "missed"),  # undecided both ways round
        ((0.84, 0.84, 0.84), "greater", "down", "0", "reversed"),
        ((0.84, 0.84, 0.84), "at_least", "up", "-0.01", "met"),  # .02 more than asked for
        ((0.74, 0.81, 0.82), "greater", "up", "0", "missed"),
        ((0.74, 0.81, 0.82), "at_least", "up", "0.03", "met"),
        ((0.75, 0.76, 0.77), "greater", "up", "0", "reversed"),
        ((0.75, 0.76), "greater", "up", "0", "no verdict"),
        ((0.40, 0.405, 0.41), "ratio", "down", "0.5", "holds"),
        ((0.40, 0.405, 0.41), "ratio", "up", "0.6", "reversed"),
        ((0.82, 0.81, 0.80), "ratio", "up", "1", "met"),  # +.02 0 -.02, equal in the mean
    ],
)
def test_two_sides(
    store: Store, left: Sequence[float], kind: str, direction: str, margin: str, word: str
) -> None:
    found = held(store, {"finetune": left, "ewc": BASE}, kind=kind, direction=direction, margin=margin)
    assert found.judgement == outcome(word)
    assert found.findings[0].n == len(left)


def outcome(word: str) -> Judgement:
    """`met` and `missed` mean an undecided comparison that leans there."""
    return Judgement("undecided", word) if word in ("met", "missed") else Judgement(word)


def test_numbers_of_a_comparison(store: Store) -> None:
    (finding,) = held(store, {"finetune": (0.86, 0.81, 0.82), "ewc": BASE}).findings
    assert finding.values == pytest.approx((0.83, 0.81))
    assert finding.difference == pytest.approx(0.02)
    assert finding.half_width == pytest.approx(4.302653 * 0.02)  # t(2) * sqrt(.0012) / sqrt(3)


def test_of_a_single_seed_nothing_is_known_but_its_numbers(store: Store) -> None:
    found = held(store, {"finetune": (0.86,), "ewc": BASE})
    (finding,) = found.findings
    assert finding.word == "no verdict" and finding.half_width is None and finding.n == 1
    assert finding.values == pytest.approx((0.86, 0.80)) and finding.difference == pytest.approx(0.06)
    assert finding_text(found, finding) == "digits_permuted(tasks=2): .860 vs .800 (1 seed)"
    (line,) = csv.DictReader(io.StringIO(claims_csv([found])))
    assert (line["half_width"], line["n"], line["verdict"]) == ("", "1", "no verdict")


def test_two_seeds_have_an_interval_and_give_no_verdict(store: Store) -> None:
    """.06 and .04: .05 +- t(1) * .01, which is 12.71 * .01."""
    found = held(store, {"finetune": (0.86, 0.85), "ewc": BASE})
    (finding,) = found.findings
    assert finding.word == "no verdict" and finding.half_width == pytest.approx(12.706205 * 0.01)
    assert finding_text(found, finding) == "digits_permuted(tasks=2): .855 vs .805 (2 seeds, +-.127)"


def test_of_claims_about_equal_methods_one_in_twenty_is_decided() -> None:
    """Over three seeds; two standard errors would decide 18 % of them."""
    left, right = np.random.default_rng(0).normal(0.8, 0.01, (2, 20_000, 3))
    equal = claim(kind="at_least")
    words = [judge(equal, a, b)[0].word for a, b in zip(left, right, strict=True)]
    assert (words.count("holds") + words.count("reversed")) / 20_000 == pytest.approx(0.05, abs=0.005)
    assert words.count("holds") == pytest.approx(words.count("reversed"), rel=0.15)
    differences = left - right
    two_errors = 2 * differences.std(1, ddof=1) / np.sqrt(3)
    assert (abs(differences.mean(1)) > two_errors).mean() == pytest.approx(0.184, abs=0.008)


@pytest.mark.parametrize(
    ("slack", "half_width", "n", "strict", "word"),
    [
        (0.03, 0.02, 3, False, "holds"),
        (0.02, 0.02, 3, False, "met"),  # exactly as much as its uncertainty
        (0.001, 0.008, 3, False, "met"),
        (-0.001, 0.008, 3, False, "missed"),
        (0.0, 0.02, 3, False, "met"),
        (0.0, 0.02, 3, True, "missed"),
        (-0.02, 0.02, 3, False, "missed"),
        (-0.03, 0.02, 3, False, "reversed"),
        (0.0, 0.0, 3, False, "holds"),  # exact values
        (0.0, 0.0, 3, True, "missed"),
        (1e-17, 1e-17, 3, False, "holds"),  # exact but for rounding
        (-1e-17, 0.0, 3, False, "holds"),
        (-0.01, 0.0, 3, False, "reversed"),
        (0.03, 0.02, 2, False, "no verdict"),
        (0.03, None, 1, False, "no verdict"),
        (0.03, None, 3, False, "no verdict"),
    ],
)
def test_a_word_by_slack_and_uncertainty(
    slack: float, half_width: float | None, n: int, strict: bool, word: str
) -> None:
    assert judged(slack, half_width, n, strict) == outcome(word)


@pytest.mark.parametrize(
    ("ends", "direction", "margin", "word"),
    [
        ((0.0, 0.0, 0.0), "equal", "0", "holds"),
        ((0.0, 0.0, 0.03), "equal", "0.02", "met"),  # .01 +- .043
        ((0.0, 0.0, 0.03), "equal", "0", "missed"),
        ((0.001, 0.002, 0.003), "equal", "0.01", "holds"),  # .002 +- .0025
        ((0.007, 0.009, 0.011), "equal", "0.01", "met"),  # .009 +- .005
        ((0.010, 0.012, 0.014), "equal", "0.01", "missed"),  # .012 +- .005
        ((0.014, 0.016, 0.018), "equal", "0.01", "reversed"),  # .016 +- .005
        ((-0.1, -0.1, -0.1), "equal", "0.05", "reversed"),
        ((-0.1, -0.1, -0.1), "down", "0", "holds"),
        ((-0.1, -0.1, -0.1), "down", "-0.2", "reversed"),  # a negative margin asks for at least so much
        ((0.1, 0.1, 0.1), "up", "-0.05", "holds"),
    ],
)
def test_zero_and_signs(store: Store, ends: Sequence[float], direction: str, margin: str, word: str) -> None:
    study = hand.study(methods={"finetune": {}}, final=THREE)
    cell = hand.cells(study)[f"finetune/{BENCHMARK}"]
    for seed, change in enumerate(ends, start=1):
        hand.put(store, cell.spec({}, seed), hand.reports([[0.5], [0.5 + change, 0.5]]))
    zero = claim(
        left="finetune", right="", kind="zero", metric="bwt", direction=direction, margin=margin, **ON
    )
    assert verdict(zero, collect(study, hand.read(store, study))).judgement == outcome(word)


def test_all_of_a_list_must_hold_and_the_gravest_speaks(store: Store) -> None:
    accs = {"finetune": (0.9, 0.91, 0.92), "ewc": BASE, "hat": (0.95, 0.96, 0.97)}
    found = held(store, accs, right="ewc;hat")
    assert [finding.word for finding in found.findings] == ["holds", "reversed"] and found.word == "reversed"


def test_best_is_the_most_accurate_whatever_is_claimed(store: Store) -> None:
    accs = {"finetune": (0.9, 0.91, 0.92), "ewc": BASE, "hat": (0.95, 0.96, 0.97)}
    (finding,) = held(store, accs, right="best(ewc;hat;spg)").findings
    assert finding.right == "hat, the best of 2 run of 3 without spg" and finding.word == "reversed"
    slightly = {"kind": "at_least", "direction": "down", "margin": "0.02"}  # at most .02 above the best other
    (finding,) = held(store, accs, right="best(ewc;hat)", **slightly).findings
    assert finding.right.startswith("hat,") and finding.word == "holds"  # .10 above ewc


def test_the_best_must_be_as_good_as_each_of_the_others(store: Store) -> None:
    """hat has the higher mean, and its lead is noise; ewc's smaller lead is not."""
    accs = {"finetune": (0.80, 0.81, 0.82), "ewc": (0.82, 0.83, 0.84), "hat": (0.70, 0.85, 0.99)}
    (finding,) = held(store, accs, right="best(ewc;hat)").findings
    assert finding.right == "ewc, the gravest of 2 run of 2" and finding.word == "reversed"
    slightly = {"kind": "at_least", "direction": "down", "margin": "0.005"}
    (finding,) = held(store, accs, right="best(ewc;hat)", **slightly).findings
    assert finding.right == "ewc, the mildest of 2 run of 2" and finding.word == "holds"


def test_a_ratio_has_the_noise_of_what_is_judged(store: Store) -> None:
    """.80 .60 .70 against twice .40 .35 .36: 0, -.10 and -.02, where left - right has .40, .25 and .34."""
    accs = {"finetune": (0.8, 0.6, 0.7), "ewc": (0.4, 0.35, 0.36)}
    found = held(store, accs, kind="ratio", margin="2")
    (finding,) = found.findings
    assert finding.difference == pytest.approx(-0.04)
    assert finding.half_width == pytest.approx(4.303 * (0.0056 / 2) ** 0.5 / 3**0.5, abs=1e-3)
    assert finding_text(found, finding).endswith(
        ".700 vs .370, a ratio of 1.89, left - 2 right = -.040 (3 seeds, +-.131, missed in the mean)"
    )


@pytest.mark.parametrize("direction", ["up", "down"])
def test_best_is_the_smallest_of_a_metric_of_which_less_is_better(store: Store, direction: str) -> None:
    study = hand.study(methods={"finetune": {}, "ewc": {}, "hat": {}}, final=THREE)
    for label, lost in (("finetune", 0.2), ("ewc", 0.1), ("hat", 0.3)):
        for seed in (1, 2, 3):
            spec = hand.cells(study)[f"{label}/{BENCHMARK}"].spec({}, seed)
            hand.put(store, spec, hand.reports([[0.5], [0.5 - lost, 0.5]]))
    asked = claim(left="finetune", right="best(ewc;hat)", metric="forgetting", direction=direction, **ON)
    (finding,) = verdict(asked, collect(study, hand.read(store, study))).findings
    assert finding.right == "ewc, the best of 2 run of 2"
    assert finding.word == ("holds" if direction == "up" else "reversed")


def test_pairs_are_those_of_the_same_density_and_seed(store: Store) -> None:
    """The masks of density .3 are not in the other method's grid, and would turn the verdict."""
    methods = {f"{kind} {d}": {"method": kind, "method.density": d, "net.drop1": 0.0}
               for kind in ("supsup",) for d in (0.1, 0.2, 0.3)}  # fmt: skip
    methods |= {f"signed {d}": {"method": "supsup", "method.density": d, "method.mask_values": "signed"}
                for d in (0.1, 0.2)}  # fmt: skip
    accs = {"supsup 0.1": (0.5, 0.6, 0.7), "supsup 0.2": (0.7, 0.8, 0.9), "supsup 0.3": (0.0, 0.0, 0.0),
            "signed 0.1": (0.49, 0.59, 0.69), "signed 0.2": (0.68, 0.78, 0.88)}  # fmt: skip
    _, rows = filled(store, accs, methods)
    (finding,) = verdict(claim(left="supsup", right="supsup[mask_values=signed]", **ON), rows).findings
    assert finding.word == "holds" and finding.n == 3
    assert finding.difference == pytest.approx(0.015)  # mean of .01 and .02 within each seed
    assert finding.half_width == pytest.approx(0)


def test_a_field_that_one_side_names_is_at_its_default_on_the_other(store: Store) -> None:
    methods = {"a": {"method": "supsup"}, "b": {"method": "supsup", "method.mask_values": "soft"},
               "c": {"method": "supsup", "method.score_rank": "raw"}}  # fmt: skip
    _, rows = filled(store, {"a": (0.9, 0.9, 0.9), "b": (0.5, 0.5, 0.5), "c": (0.1, 0.1, 0.1)}, methods)
    (finding,) = verdict(claim(left="supsup", right="supsup[mask_values=soft]", **ON), rows).findings
    assert finding.values == pytest.approx((0.9, 0.5))  # "c" differs by a switch that nobody names


def test_several_orders_count_as_orders_not_as_seeds(store: Store) -> None:
    accs = {f"{label}/{BENCHMARK}/order {n}": (base + n / 10,) for n in range(3)
            for label, base in (("finetune", 0.5), ("ewc", 0.4))}  # fmt: skip
    _, rows = filled(store, accs, {"finetune": {}, "ewc": {}}, orders=3, final=Seeds(1))
    found = verdict(claim(left="finetune", right="ewc", **ON), rows)
    assert found.word == "holds" and found.findings[0].unit == "order" and found.findings[0].n == 3


TREND = {"left": "supsup", "kind": "trend", "right": "density"}
GRID = {f"d{d}": {"method": "supsup", "method.density": d} for d in (0.1, 0.2, 0.3)}


@pytest.mark.parametrize(
    ("levels", "direction", "margin", "largest", "word"),
    [
        ((0.5, 0.6, 0.7), "up", "0", "", "holds"),
        ((0.5, 0.6, 0.58), "up", "0.03", "", "holds"),  # a step back within the margin
        ((0.5, 0.6, 0.55), "up", "0.01", "", "reversed"),  # a step back beyond it
        ((0.6, 0.6, 0.6), "up", "0.01", "", "missed"),  # it must rise
        ((0.5, 0.6, 0.7), "down", "0", "", "reversed"),
        ((0.5, 0.51, 0.5), "flat", "0.02", "", "holds"),
        ((0.5, 0.55, 0.5), "flat", "0.02", "", "reversed"),
        ((0.1, 0.5, 0.51), "flat", "0.02", "2", "holds"),
    ],
)
def test_trends_over_a_setting(
    store: Store, levels: Sequence[float], direction: str, margin: str, largest: str, word: str
) -> None:
    accs = {label: (v, v + 0.1, v + 0.2) for label, v in zip(GRID, levels, strict=True)}
    _, rows = filled(store, accs, GRID)
    changes = {"direction": direction, "margin": margin, "largest": largest}
    found = verdict(claim(**(TREND | ON | changes)), rows)
    assert found.judgement == outcome(word)
    assert found.findings[0].levels == (("0.2", "0.3") if largest else ("0.1", "0.2", "0.3"))


def test_the_step_that_decides_about_a_trend_is_told(store: Store) -> None:
    """It rises from .1 to .3 beyond noise, and falls from .4 to .3 on the way."""
    accs = {"d0.1": (0.1, 0.11, 0.12), "d0.2": (0.4, 0.41, 0.42), "d0.3": (0.3, 0.32, 0.31)}
    _, rows = filled(store, accs, GRID)
    found = verdict(claim(**(TREND | ON | {"direction": "up", "margin": "0.02"})), rows)
    (finding,) = found.findings
    assert finding.word == "reversed" and finding.step is not None
    assert (finding.step.place, finding.step.change) == (1, pytest.approx(-0.1))
    assert finding_text(found, finding).endswith(
        "change .200 (3 seeds, +-.025), decided by the step 0.2 to 0.3: -.100 (+-.025)"
    )
    accs["d0.3"] = (0.5, 0.52, 0.51)
    (finding,) = verdict(found.claim, filled(store, accs, GRID)[1]).findings
    assert finding.word == "holds" and finding.step is None


def test_a_trend_needs_two_places_and_variants_are_places(store: Store) -> None:
    _, rows = filled(store, {"finetune": BASE, "ewc": BASE, "hat": BASE})
    flat = claim(kind="trend", left="ewc", right="variants(ewc;hat)", direction="flat", margin="0", **ON)
    assert verdict(flat, rows).word == "holds"
    (finding,) = verdict(claim(kind="trend", left="ewc", right="lamb", **ON), rows).findings
    assert finding.word == "not run" and finding.reason == f"needs ewc at two values of lamb on {BENCHMARK}"


def test_trends_along_a_run(store: Store) -> None:
    _, rows = filled(
        store,
        {"finetune": BASE},
        diagnostics=lambda _, seed: {"blocked": {"conv1": 0.7, "conv2": 0.1 * seed}},
    )
    falls = claim(kind="trend", left="finetune", right="layer", metric="blocked[t=T]", direction="down", **ON)
    (finding,) = verdict(falls, rows).findings
    assert finding.levels == ("conv1", "conv2") and finding.values == pytest.approx((0.7, 0.2))
    assert finding.word == "holds" and finding.difference == pytest.approx(-0.5)
    times = claim(kind="trend", left="finetune", right="t", metric="ct_task[t]", direction="up", **ON)
    assert verdict(times, rows).word == "undecided"  # both tasks took one second


def test_figures_are_means_over_reports_and_keys_pick(store: Store) -> None:
    diagnostics = {"rate": {"3": 0.9, "5": 1.0}, "ratio": 1.02}
    _, rows = filled(store, {"finetune": BASE}, diagnostics=lambda *_: diagnostics)
    equal: dict[str, Any] = {"kind": "formula", "left": "finetune", "direction": "equal", **ON}
    assert verdict(claim(**equal, metric="rate[3]", right="0.9", margin="0"), rows).word == "holds"
    assert verdict(claim(**equal, metric="rate[5]", right="0.9", margin="0"), rows).word == "reversed"
    assert verdict(claim(**equal, metric="ratio", right="1", margin="0.1"), rows).word == "holds"
    (absent,) = verdict(claim(**equal, metric="rate[7]", right="1", margin="0.1"), rows).findings
    assert (
        absent.word == "not run" and absent.reason == f"rate[7] was not measured by finetune on {BENCHMARK}"
    )


def test_tasks_of_an_item_and_the_trunk(store: Store) -> None:
    study = hand.study(methods={"finetune": {}}, final=THREE)
    for seed in THREE:
        spec = hand.cells(study)[f"finetune/{BENCHMARK}"].spec({}, seed)
        hand.put(store, spec, hand.reports([[0.5], [0.25, 0.75]], stored=37_000))
    rows = collect(study, hand.read(store, study))
    last = claim(left="finetune#2", right="finetune#1", metric="acc_task", margin="0.49", **ON)
    assert verdict(last, rows).findings[0].values == pytest.approx((0.75, 0.25))
    trunk = claim(left="finetune", right="trunk", kind="ratio", metric="bytes_total", margin="1", **ON)
    (finding,) = verdict(trunk, rows).findings
    trunk_bytes = 4 * (64 * 64 + 64 + 64 * 64 + 64)  # mlp(hidden=64) on 8 x 8 without its heads
    assert finding.values == pytest.approx((37_000, trunk_bytes)) and finding.word == "holds"


def test_means_over_benchmarks_pair_within_each(store: Store) -> None:
    texts = ["digits_permuted(tasks=2)", "digits_rotated(tasks=2)"]
    accs = {f"finetune/{texts[0]}": (0.9, 0.9, 0.9), f"finetune/{texts[1]}": (0.5, 0.5, 0.5),
            f"ewc/{texts[0]}": (0.6, 0.6, 0.6), f"ewc/{texts[1]}": (0.6, 0.6, 0.6)}  # fmt: skip
    _, rows = filled(store, accs, {"finetune": {}, "ewc": {}}, benchmarks=texts)
    both = {"left": "finetune", "right": "ewc"}
    (finding,) = verdict(
        claim(benchmark="mean(digits_permuted;digits_rotated;tiny_10)", **both), rows
    ).findings
    assert finding.word == "holds" and finding.difference == pytest.approx(0.1)
    assert finding.where.startswith("mean over 2 of 3 benchmarks (digits_permuted(tasks=2), digits_rotated")
    each = verdict(claim(benchmark="digits_permuted;digits_rotated", **both), rows)
    assert [finding.word for finding in each.findings] == ["holds", "reversed"]
    across = claim(left="ewc@digits_permuted", right="finetune@digits_rotated", benchmark="*")
    assert verdict(across, rows).findings[0].values == pytest.approx((0.6, 0.5))


def test_a_stand_in_speaks_only_where_the_benchmark_is_not_here_and_is_named(store: Store) -> None:
    found = held(store, {"finetune": (0.9, 0.9, 0.9), "ewc": BASE}, benchmark="permuted_mnist;rotated_mnist")
    assert [(f.word, f.where or f.reason) for f in found.findings] == [
        ("holds", f"{BENCHMARK} (substitute)"), ("not run", "needs rotated_mnist")
    ]  # fmt: skip
    assert (found.said, found.coverage) == ("holds so far", "1 of 2, with substitutes")


BASIS = "impresslearn_alpha_mnist"


def basis_study(store: Store) -> tuple[Study, list[CellRow]]:
    """Two kinds of basis and own masks, in front of the basis' tasks and behind them."""
    behind, basis = "digits_permuted(tasks=2, first=3)", BENCHMARK
    masks = {"method": "impresslearn", "network": "lenet_300_100", "preset": BASIS, "benchmarks": [behind]}
    methods: dict[str, Any] = {
        f"{kind} {k}": masks | {"method.basis": kind, "method.k": k}
        for kind in ("heterogeneous", "homogeneous")
        for k in (2, 3)
    }
    methods["own"] = {"method": "supsup", "network": "lenet_300_100", "method.head": "shared"}
    methods["gn"] = masks | {"method.stage": "basis_gn", "method.k": 2, "benchmarks": [basis]}
    accs = {f"heterogeneous {k}/{behind}": (0.7 + k / 100,) * 3 for k in (2, 3)}
    accs |= {f"homogeneous {k}/{behind}": (0.9 - k / 10,) * 3 for k in (2, 3)}
    accs |= {f"own/{behind}": (0.73,) * 3, f"own/{basis}": (0.8,) * 3, f"gn/{basis}": (0.9,) * 3}
    return filled(store, accs, methods, benchmarks=[behind, basis])


def test_new_tasks_stand_behind_a_basis_and_each_basis_size_is_a_claim(store: Store) -> None:
    _, rows = basis_study(store)
    kinds = {"left": "impresslearn[basis=heterogeneous]", "right": "impresslearn[basis=homogeneous]"}
    found = verdict(claim(**kinds, **ON, metric="acc_new", each="K"), rows)
    behind = "digits_permuted(tasks=2, first=3)"
    assert [(f.where, f.word) for f in found.findings] == [
        (f"{behind}, K = 2", "holds"), (f"{behind}, K = 3", "holds")
    ]  # fmt: skip
    assert [f.values for f in found.findings] == [pytest.approx((0.72, 0.7)), pytest.approx((0.73, 0.6))]
    own = claim(left="impresslearn[k=3]", right="supsup", kind="at_least", metric="acc_new", **ON)
    assert verdict(own, rows).findings[0].values == pytest.approx((0.73, 0.73))
    learnt = claim(left="impresslearn", right="supsup", metric="acc_basis_gn", **ON)
    assert verdict(learnt, rows).findings[0].values == pytest.approx((0.9, 0.8))
    rises = claim(left="impresslearn[basis=heterogeneous]", kind="trend", right="K", metric="acc_new", **ON)
    assert verdict(rises, rows).findings[0].levels == ("2", "3")


def test_runs_of_densities_that_a_claim_is_not_about_do_not_count(store: Store) -> None:
    masks = {"": "supsup", "signed": "supsup"}
    methods = {
        f"{kind}{d}": {"method": name, "method.density": d} | ({"method.mask_values": kind} if kind else {})
        for kind, name in masks.items()
        for d in (0.05, 0.1, 0.25)
    }
    accs = {"0.05": (0.5,) * 3, "0.1": (0.6,) * 3, "0.25": (0.7,) * 3,
            "signed0.05": (0.4,) * 3, "signed0.1": (0.4,) * 3, "signed0.25": (0.9,) * 3}  # fmt: skip
    _, rows = filled(store, accs, methods)

    def values(density: str) -> tuple[float, ...]:
        asked = claim(left="supsup", right="supsup[mask_values=signed]", density=density, **ON)
        return verdict(asked, rows).findings[0].values

    assert values("0.05") == pytest.approx((0.5, 0.4))
    assert values("<0.25") == pytest.approx((0.55, 0.4))
    assert values("") == pytest.approx((0.6, 1.7 / 3))


def test_no_note_steers_a_verdict(store: Store) -> None:
    """Every claim's note goes, or says all that notes once steered by; what columns say stays as it is."""
    _, rows = steered_study(store)
    file = DATA.joinpath("claims.csv").read_text(encoding="utf-8")

    def judged(**changes: str) -> dict[str, tuple[str, tuple[ClaimFinding, ...]]]:
        out = io.StringIO()
        lines = list(csv.DictReader(file.splitlines()))
        writer = csv.DictWriter(out, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(line | changes for line in lines)
        found = [verdict(one, rows) for one in read_claims(out.getvalue(), "claims.csv")]
        return {one.claim.id: (one.word, one.findings) for one in found}

    shipped = judged()
    for note in ("", NOTE, "MiB", "two largest", "every shared K", "density .1", "density below .06"):
        assert judged(note=note) == shipped
    steered = {name: shipped[f"impresslearn-{name}"] for name in ("03", "04", "05", "16", "17")}
    assert all(word != "not run" for word, _ in (*steered.values(), shipped["ksm-16"]))
    for column, names in (("each", ["04", "05"]), ("largest", ["03"]), ("density", ["16", "17"])):
        bare = judged(**{column: ""})
        assert {name for name in steered if bare[f"impresslearn-{name}"] != steered[name]} == set(names)
    assert judged(unit="")["ksm-16"] != shipped["ksm-16"]


def steered_study(store: Store) -> tuple[Study, list[CellRow]]:
    """Runs on which columns that restrict a claim make a difference."""
    behind = [f"digits_{kind}(tasks=2, first=4)" for kind in ("permuted", "rotated")]
    common = {"network": "lenet_300_100", "preset": BASIS, "method": "impresslearn"}
    methods: dict[str, Any] = {}
    accs: dict[str, tuple[float, ...]] = {}
    for basis, k, density, values, acc in [
        ("heterogeneous", 2, 0.1, "binary", 0.60),
        ("heterogeneous", 3, 0.1, "binary", 0.70),
        ("heterogeneous", 4, 0.1, "binary", 0.71),
        ("homogeneous", 2, 0.1, "binary", 0.58),
        ("homogeneous", 3, 0.1, "binary", 0.66),
        ("homogeneous", 3, 0.05, "binary", 0.62),
        ("random", 2, 0.1, "binary", 0.50),
        ("random", 3, 0.1, "binary", 0.55),
        ("heterogeneous", 3, 0.1, "soft", 0.74),
        ("heterogeneous", 3, 0.3, "binary", 0.80),
        ("heterogeneous", 3, 0.3, "soft", 0.70),
    ]:
        label = f"{basis} {k} {density} {values}"
        methods[label] = common | {"method.basis": basis, "method.k": k, "method.density": density}
        methods[label] |= {"method.mask_values": values} if values != "binary" else {}
        accs[label] = (acc, acc + 0.01, acc + 0.03)
    return filled(
        store,
        accs,
        methods,
        benchmarks=behind,
        diagnostics=lambda label, seed: {"overlap_ratio": (1.0 if " 0.05 " in label else 1.5) + seed / 100},
    )


def test_arithmetic_needs_no_seeds() -> None:
    equal: dict[str, Any] = {"kind": "formula", "direction": "equal", "benchmark": "*"}
    table = claim(**equal, left="storage(PermMNIST)", right="1.17", metric="phi_kb", margin="0.01")
    assert verdict(table, []).word == "holds"
    three = claim(**equal, left="storage(alpha;K=10;layers=3)", right="30", metric="params", margin="0")
    assert verdict(three, []).findings[0].values == (30.0, 30.0)
    wrong = claim(**equal, left="storage(PermMNIST)", right="2", metric="phi_kb", margin="0.01")
    assert verdict(wrong, []).word == "reversed"
    (absent,) = verdict(claim(**equal, left="storage(vgg16)", right="2", metric="phi_kb"), []).findings
    assert (absent.word, absent.reason) == ("not run", "no account of storage(vgg16) is known")


def test_masks_and_models_of_the_ksm_paper_are_counted() -> None:
    found = {one.id: one for one in claims("ksm")}
    masks, sizes = verdict(found["ksm-15"], []), verdict(found["ksm-16"], [])
    assert (masks.word, masks.findings[0].values) == ("holds", (14_710_464.0, 1_634_496.0))
    assert [(one.word, round(one.values[0], 2), one.values[1]) for one in sizes.findings] == [
        ("holds", 554.46, 554.0), ("holds", 121.07, 121.0), ("holds", 115.48, 115.0)
    ]  # fmt: skip
    assert finding_text(sizes, sizes.findings[1]) == "storage(piggyback) 121.1 MiB vs 121.0 MiB"
    assert finding_text(masks, masks.findings[0]).endswith("a ratio of 9")
    tenfold = verdict(dataclasses.replace(found["ksm-15"], margin=9.01), [])
    assert tenfold.word == "reversed"
    wrong = dataclasses.replace(found["ksm-16"], right=(554.0, 119.0, 115.0))
    assert [one.word for one in verdict(wrong, []).findings] == ["holds", "reversed", "holds"]
    assert verdict(wrong, []).word == "reversed"


def test_a_report_of_the_ksm_paper_judges_its_arithmetic_without_runs(store: Store) -> None:
    study = hand.study(paper="ksm")
    agenda = hand.read(store, study)
    text = render(study, agenda, claims=True)
    for name in ("ksm-15", "ksm-16"):
        assert "\n        holds: " in text.partition(f"\n{name}")[2].partition("\n\n")[0], name
    lines = list(csv.DictReader(io.StringIO(render(study, agenda, "csv", claims=True))))
    words = {(one["claim"], one["left"]): one["comparison"] for one in lines if one["claim"] == "ksm-16"}
    assert words == {("ksm-16", f"storage({kind})"): "holds" for kind in ("finetune", "piggyback", "packnet")}
    assert "ksm-16" not in render(dataclasses.replace(study, paper=""), agenda, claims=True)


@pytest.mark.parametrize(
    ("shares", "word"),
    [((0.1, 0.2, 0.3), "holds"), ((0.1, 0.09, 0.3), "holds"), ((0.1, 0.05, 0.3), "reversed"),
     ((0.3, 0.2, 0.1), "reversed")],
)  # fmt: skip
def test_soft_shares_along_the_layers(store: Store, shares: Sequence[float], word: str) -> None:
    """KSM's Figure 6 on a stand-in; the first task has no mask. A step back of .02 is forgiven."""
    layers = dict(zip(("conv1", "conv2", "conv10"), shares, strict=True))

    def diagnostics(label: str, seed: int) -> dict[str, Any]:
        return {"soft_share": 0.5, "soft_share_layers": {k: v + seed / 1000 for k, v in layers.items()}}

    _, rows = filled(store, {"ksm": BASE}, diagnostics=diagnostics, benchmarks=["small_visual"],
                     network="vgg16_bn(width=.25)")  # fmt: skip
    claimed = {one.id: one for one in claims("ksm")}
    (finding,) = verdict(claimed["ksm-17"], rows).findings
    assert finding.word == word and finding.levels == ("conv1", "conv2", "conv10")
    assert finding.values == pytest.approx([share + 0.002 for share in shares])


@pytest.mark.parametrize(("wikiart", "flowers", "word"), [(0.3, 0.1, "holds"), (0.1, 0.3, "reversed")])
def test_soft_shares_of_two_tasks(
    store: Store, monkeypatch: pytest.MonkeyPatch, wikiart: float, flowers: float, word: str
) -> None:
    """Each is read where its task is: after the second and after the third; the first has none."""
    study = hand.study(methods={"ksm": {}}, final=THREE, benchmarks=["imagenet_to_sketch"],
                       network="vgg16_bn(width=.25)")  # fmt: skip
    (cell,) = hand.cells(study).values()
    for seed in (1, 2, 3):
        made = hand.reports([[0.5] * (t + 1) for t in range(3)])
        diagnostics: list[dict[str, Any]] = [{}, {"soft_share": wikiart}, {"soft_share": flowers}]
        rows = tuple(dataclasses.replace(r, diagnostics=f) for r, f in zip(made, diagnostics, strict=True))
        hand.put(store, cell.spec({}, seed), rows)
    monkeypatch.setattr(samples, "tasks_of", lambda text, part: {"WikiArt": (2,), "Flowers": (3,)}[part])
    claimed = {one.id: one for one in claims("ksm")}
    (finding,) = verdict(claimed["ksm-18"], collect(study, hand.read(store, study))).findings
    assert (finding.word, finding.values) == (word, pytest.approx((wikiart, flowers)))


def test_a_gain_is_measured_from_fine_tuning(store: Store) -> None:
    accs = {"finetune": (0.5, 0.6, 0.7), "ewc": (0.6, 0.7, 0.8)}
    found = held(
        store, accs, left="ewc", right="0.1", kind="formula", direction="equal", metric="gain_over_ncl"
    )
    assert found.word == "holds" and found.findings[0].values == pytest.approx((0.1, 0.1))


TEXT = """\
claims: 1 holds, 1 undecided so far, 1 not run

x-01  left is better
      holds: digits_permuted(tasks=2): .910 vs .810 (3 seeds, +-.000)

x-02  left is better
      undecided so far (2 of 3): digits_permuted(tasks=2): .910 vs hat .910 (3
        seeds, +-.000, missed in the mean)
      holds: digits_permuted(tasks=2): .910 vs ewc .810 (3 seeds, +-.000)
      others: 1 not run (needs spg on digits_permuted(tasks=2))
      note: mind

x-03  not run: needs tiny_10
"""


def test_the_text_of_verdicts(store: Store) -> None:
    study, rows = filled(store, {"finetune": (0.9, 0.91, 0.92), "ewc": BASE, "hat": (0.9, 0.91, 0.92)})
    both = {"left": "finetune", "right": "ewc", **ON}
    found = [claim(**both), claim(**(both | {"right": "ewc;hat;spg"}), id="x-02", note="mind"),
             claim(**(both | {"benchmark": "tiny_10"}), id="x-03")]  # fmt: skip
    text = claims_text(study, [verdict(one, rows) for one in found])
    assert text.startswith(TEXT)
    assert max(map(len, text.splitlines())) <= 80


def test_a_report_with_claims_in_every_format(store: Store) -> None:
    accs = {"finetune": (0.6, 0.61, 0.62), "spg": (0.8, 0.81, 0.82), "supsup": (0.7, 0.71, 0.72)}
    study, _ = filled(store, accs, benchmarks=["digits_writers(tasks=2, label='parity')"])
    agenda = hand.read(store, study)
    text = render(study, agenda, claims=True)
    assert "spg-10" in text and "\nksm" not in text  # what these methods are nothing to is left out
    lines = list(csv.DictReader(io.StringIO(render(study, agenda, "csv", claims=True))))
    by_claim = {line["claim"]: line for line in lines if line["comparison"] != "not run"}
    assert by_claim["spg-16"]["benchmark"] == "digits_writers(tasks=2, label='parity') (substitute)"
    assert float(by_claim["spg-16"]["left_value"]) == pytest.approx(0.81)
    assert "SPG has positive backward" in render(study, agenda, "html", claims=True)
    assert "SPG has positive backward" not in render(study, agenda, "html")
    assert "spg-25" in render(dataclasses.replace(study, paper="spg"), agenda, claims=True)
    assert "Claims of spg" in render(dataclasses.replace(study, paper="spg"), agenda, "html")


def test_a_report_against_all_claims_is_80_columns_wide(store: Store) -> None:
    study, _ = basis_study(store)
    study = dataclasses.replace(study, paper="impresslearn")
    text = render(study, hand.read(store, study), claims=True)
    assert max(map(len, text.splitlines())) <= 80
    assert text.count("\nimpresslearn-") == 25


def test_an_unknown_paper_is_told_before_anything_runs() -> None:
    with pytest.raises(UserError, match="unknown paper 'impreslearn'; did you mean 'impresslearn'"):
        hand.cells(hand.study(paper="impreslearn"))


def test_a_verdict_on_a_subset_carries_that_word(store: Store) -> None:
    _, rows = filled(store, {"finetune": (0.9, 0.9, 0.9), "ewc": BASE})
    both = claim(left="finetune", right="ewc", **ON)
    (finding,) = verdict(both, rows, {BENCHMARK: "a tenth of the images"}).findings
    assert (finding.where, finding.subset) == (f"{BENCHMARK} (subset)", "a tenth of the images")


@pytest.mark.parametrize(
    ("metric", "right", "network", "benchmark", "run"),
    [
        ("acc", "0.81", "mlp(hidden=8)", "cifar100_10", True),  # a stand-in speaks for accuracies
        ("params", "9000", "mlp", "cifar100_10", False),  # and not for sizes
        ("params", "9000", "mlp", "digits_split", True),
        ("params", "9000", "mlp(drop1=0.1)", "digits_split", True),
        ("params", "9000", "mlp(hidden=8)", "digits_split", False),  # nor does another network
    ],
)
def test_a_count_is_of_the_papers_network_and_benchmark(
    store: Store, metric: str, right: str, network: str, benchmark: str, run: bool
) -> None:
    _, rows = filled(store, {"finetune": BASE}, benchmarks=["digits_split"], network=network)
    asked = {"left": "finetune", "right": right, "metric": metric, "benchmark": benchmark}
    found = verdict(claim(kind="formula", direction="equal", **asked), rows)
    assert (found.word != "not run") is run


def test_a_row_that_fixes_what_another_searches_is_a_variant(store: Store) -> None:
    methods = {"literal": {"method": "ewc", "method.lamb": 5.0}, "searched": {"method": "ewc"}}
    _, rows = filled(store, {"literal": BASE, "searched": BASE}, methods)
    searching = Search(trials=3, startup_trials=3)
    rows = [dataclasses.replace(row, cell=dataclasses.replace(row.cell, search=searching)) for row in rows]
    metric = parse_metric("acc")
    assert metric is not None

    def meant(text: str, axis: str = "") -> list[str]:
        item = parse_item(text)
        assert item is not None
        return [row.cell.label for row in rows_meant(item, rows, set(), reading(metric), axis)]

    assert meant("ewc") == ["searched"]
    assert meant("ewc[lamb=5.0]") == ["literal"]
    assert meant("ewc", axis="lamb") == ["literal", "searched"]  # a trend goes over both

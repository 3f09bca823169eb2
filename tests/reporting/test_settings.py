"""What a study fixes is seen wherever its numbers are, and nothing that something else overrode."""

from __future__ import annotations

import csv
import io
import re
from pathlib import Path
from typing import Any

import pytest

from raycl.reporting import render
from raycl.reporting.settings import canonical, fixed, ran_with
from raycl.space import Choice, Float
from raycl.study.values import Grid, Search, Study
from raycl.terminal.plan import plan_text
from tests.helpers import hand
from tests.helpers.hand import ALONE, BENCHMARK

METHODS: dict[str, Any] = {
    "one": {"method": ALONE},
    "plain": {"method": "hypernet"},  # brings fit settings of its own
    "tuned": {"method": "hat", "method.smax": 300, "fit.lr": 0.2, "net.drop1": 0.5},
    "other": {"method": "finetune", "network": "mlp(hidden=32)", "preset": None},
}


def study(**changes: Any) -> Study:
    base: dict[str, Any] = {"methods": METHODS, "preset": "spg+desk", "fit": {"lr": 0.1, "epochs": 3}}
    return hand.study(**(base | changes))


def shown(of: Study, label: str) -> str:
    return canonical(fixed(hand.cells(of)[f"{label}/{BENCHMARK}"]))


def test_each_setting_is_the_one_that_holds_and_names_who_fixed_it() -> None:
    found = {each.key: (each.value, each.source) for each in fixed(hand.cells(study())[f"tuned/{BENCHMARK}"])}
    assert found["fit.lr"] == (0.2, "label")  # over the study's 0.1 and the preset's 0.25
    assert found["fit.epochs"] == (3, "study fit")  # over 10 of desk and 500 of spg
    assert found["fit.threshold"] == (1e-4, "preset spg")
    assert found["method.smax"] == (300.0, "label")
    assert found["net.drop1"] == (0.5, "label")  # over the network's text
    assert found["net.hidden"] == (64, "network") and found["network"] == ("mlp", "network")


def test_what_a_method_brings_is_the_methods() -> None:
    bare = hand.study(methods={"plain": {"method": "hypernet"}})
    found = {each.key: each for each in fixed(hand.cells(bare)[f"plain/{BENCHMARK}"])}
    assert {each.source for key, each in found.items() if key.startswith("fit.")} == {"method"}
    assert not any(each.explicit for key, each in found.items() if key.startswith("fit."))


def test_a_value_that_equals_its_default_is_seen_where_the_study_wrote_it() -> None:
    default = hand.cells(hand.study())[f"finetune/{BENCHMARK}"].settings["fit.lr"].value
    of = hand.study(methods={"a": {"method": "finetune", "fit.lr": default}, "b": {"method": "finetune"}})
    assert f"fit.lr={default!r}" in shown(of, "a") and "fit.lr" not in shown(of, "b")


@pytest.mark.parametrize(
    "search", [Search(trials=2, concurrency=1, startup_trials=2), Grid({"fit.lr": [0.3, 0.4]})]
)
def test_what_is_searched_is_not_fixed(search: Any) -> None:
    keys = {"method": "finetune"} | ({"fit.lr": Float(0.1, 1.0)} if isinstance(search, Search) else {})
    cell = hand.cells(study(methods={"a": keys}, search=search))[f"a/{BENCHMARK}"]
    assert "fit.lr" not in {each.key for each in fixed(cell)}
    assert ran_with(cell, {"fit.lr": 0.3})["fit.lr"] == 0.3
    assert "fit.lr" not in ran_with(cell, None)


def test_a_domain_of_a_preset_that_is_not_searched_fixes_nothing() -> None:
    """PRM's preset varies dropout; without a search the network's own holds, as its text gives it."""
    of = hand.study(methods={"a": {"method": "finetune"}}, preset="prm", network="mlp", search=None)
    assert "drop1" not in shown(of, "a")


@pytest.mark.parametrize("label", METHODS)
def test_a_run_has_what_it_ran_with(label: str) -> None:
    """Every field of the run that is not at its default is among them, with that value."""
    cell = hand.cells(study())[f"{label}/{BENCHMARK}"]
    spec, found = cell.spec({}, 1), ran_with(cell, {})
    expected = {f"fit.{k}": v for k, v in spec.fit.items()} | {
        f"method.{k}": v for k, v in spec.config.items()
    }
    assert {key: found.get(key) for key in expected} == expected


def lines_of(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


def test_csv_has_them_on_every_line(store: Any) -> None:
    lines = lines_of(render(study(), hand.read(store, study()), "csv"))
    tuned = [line for line in lines if line["label"] == "tuned"]
    own = "fit.epochs=3; fit.lr=0.2; method.smax=300.0; net.drop1=0.5"
    assert {line["fixed"] for line in tuned} == {f"{own}; net.drop2=0.0; net.hidden=64; network='mlp'"}
    assert len(tuned) == 3 and "fit.threshold=0.0001" in tuned[0]["inherited"]
    other = next(line for line in lines if line["label"] == "other")
    assert other["fixed"] == "fit.epochs=3; fit.lr=0.1; net.hidden=32; network='mlp'"
    assert other["inherited"] == ""


def test_csv_tells_two_studies_apart_that_differ_in_what_they_fix(store: Any) -> None:
    texts = []
    for lr in (0.1, 0.3):
        of = study(fit={"lr": lr})
        texts.append(render(of, hand.read(store, of), "csv", times=False))
    assert texts[0] != texts[1]


def words(page: str) -> str:
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", page.partition("</style>")[2]))


def test_the_page_shows_the_values_that_hold(store: Any) -> None:
    text = words(render(study(), hand.read(store, study()), "html"))
    assert "training fit.lr=0.1 (not for tuned); fit.epochs=3" in text
    assert "network mlp(hidden=64, drop1=0.0, drop2=0.0) (changed for tuned, other)" in text
    assert "preset spg+desk (not for other)" in text
    assert "method.smax = 300.0" in text and "fit.lr = 0.2" in text
    assert "preset desk:" in text and "fixed for all: the study: fit.epochs = 3" in text


def test_the_page_never_prints_what_every_method_overrode(store: Any) -> None:
    methods = {label: {"method": "finetune", "fit.lr": lr, "network": "mlp(hidden=8)", "preset": "desk"}
               for label, lr in (("a", 0.2), ("b", 0.3))}  # fmt: skip
    of = study(methods=methods, fit={"lr": 0.123, "batch": 77})
    text = words(render(of, hand.read(store, of), "html"))
    assert "0.123" not in text and "hidden=64" not in text and "spg" not in text
    assert "fit.batch=77" in text and "fit.lr = 0.2" in text and "net.hidden = 8" in text


def test_the_page_says_for_whom_the_studys_search_does_not_hold(store: Any) -> None:
    search = Search(trials=8, concurrency=1, startup_trials=2)
    keys = {"method": "finetune", "fit.lr": Float(0.1, 1.0)}
    methods = {"a": keys, "b": keys | {"search": Search(trials=4, concurrency=1, startup_trials=2)}}
    of = hand.study(methods=methods, search=search)
    assert "seed 1; searched on validation (not for b)" in words(render(of, hand.read(store, of), "html"))
    of = hand.study(methods={"b": methods["b"]}, search=search)
    assert "8 trials per cell" not in words(render(of, hand.read(store, of), "html"))


def planned(of: Study, store: Any) -> list[str]:
    return plan_text(of, hand.read(store, of), Path("results"), 2.0).splitlines()


def test_a_plan_says_what_is_fixed_and_what_the_fit_displaces(store: Any) -> None:
    bare = hand.cells(hand.study(methods={"plain": {"method": "hypernet"}}))[f"plain/{BENCHMARK}"]
    own = bare.settings["fit.lr"].value
    lines = planned(study(), store)
    assert max(map(len, lines)) <= 80
    text = " ".join(line.strip() for line in lines)
    displaced = f"instead of 0.25 of preset spg, {own!r} of hypernet; not for tuned"
    assert f"fixed by the study: preset spg+desk (not for other); fit.lr=0.1 ({displaced})" in text
    assert "fit.epochs=3 (instead of 10 of preset desk)" in text
    assert "fixed by tuned: fit.lr=0.2; method.smax=300.0; net.drop1=0.5" in lines
    assert "fixed by other: network mlp(hidden=32); preset none" in lines
    assert not any(line.startswith(("fixed by one", "fixed by plain")) for line in lines)


def test_a_study_that_fixes_nothing_has_no_such_lines(store: Any) -> None:
    of = hand.study(methods={"a": {"method": "finetune", "fit.batch": Choice(16, 32)}}, search=hand.SEARCH)
    assert not any("fixed" in line for line in planned(of, store))


def test_where_all_labels_have_a_network_of_their_own_the_plan_does_not_name_the_studys(store: Any) -> None:
    of = hand.study(methods={"a": {"method": "finetune", "network": "mlp(hidden=8)"}})
    lines = planned(of, store)
    assert "hidden=64" not in "".join(lines) and "fixed by a: network mlp(hidden=8)" in lines

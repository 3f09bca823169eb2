"""The text table: every character of a small one, and that nothing is wider than 80 columns."""

import csv
import dataclasses
import io

import pytest

from raycl.errors import Obstacle, UserError
from raycl.reporting import render
from raycl.study.cells import Data
from raycl.study.values import Search, Seeds
from raycl.terminal.plan import plan_text
from tests.helpers import hand
from tests.helpers.hand import ALONE, BENCHMARK, RATE

SMALL = """\
digits_permuted(tasks=2) (2 tasks x 10 classes, dissimilar), 2 seeds, no search
method    acc        fwt_vs_one  bwt         ps  time s  params  stored
one       .860 .014      -           -        -     2.0     9 k   37 kB
finetune  .725 .007  -.005 .021  -.260 .028   -     3.0     9 k   37 kB
value and standard deviation; differences under about .048 are within noise here
"""

DIVERGED = """\
digits_permuted(tasks=2) (2 tasks x 10 classes, dissimilar), 3 seeds, no search
method        n  acc        fwt_vs_one  bwt         ps  time s  params  stored
one         3/3  .860 .010      -           -        -     2.0     9 k   37 kB
finetune *  2/3  .725 .007  -.005 .021  -.260 .028   -     3.0     9 k   37 kB
value and standard deviation; differences under about .027 are within noise here
* finetune: seed 3 diverged; mean over 2 of 3 seeds
"""


def test_a_small_table(store):
    assert render(hand.study(), hand.filled(store, hand.study())) == SMALL


def test_a_diverged_seed_shows_how_many_count(store):
    study = hand.study(final=Seeds(1, 2, 3))
    hand.filled(store, study)
    cells = hand.cells(study)
    hand.put(store, cells[f"finetune/{BENCHMARK}"].spec({}, 3), (), "diverged")
    hand.put(store, cells[f"one/{BENCHMARK}"].spec({}, 3), hand.reports(hand.two_tasks(0.91, 0.81, 0.91)))
    assert render(study, hand.read(store, study)) == DIVERGED


def test_an_empty_store_makes_a_table_of_strokes(store):
    text = render(hand.study(), hand.read(store, hand.study()))
    assert text.startswith("not complete: 0 of 4 runs done; raycl plan says what is missing\n\n")
    assert "finetune  0/2    -           -    -   -       -       -       -" in text
    assert "all methods: not run" in text


def test_a_single_seed_has_no_deviation_and_no_verdict(store):
    study = hand.study(final=Seeds(1))
    hand.filled(store, study)
    text = render(study, hand.read(store, study))
    assert "finetune  .720       +.010  -.280   -     3.0     9 k   37 kB" in text
    assert "one value each: no spread, and no verdict on differences" in text and "noise" not in text


def test_what_flatters_or_limits_a_table_is_said(store, monkeypatch):
    study = hand.study(
        methods={"finetune": {"fit.lr": RATE}}, search=Search(trials=1), final=Seeds(1), protocol="paper"
    )
    from raycl.results import collect

    monkeypatch.setattr(collect, "_facts", lambda *_: Data((10, 5), True, "a tenth of the images"))
    text = render(study, hand.read(store, study))
    joined = text.replace("\n  ", " ")
    assert "(2 tasks x 5 to 10 classes, similar), 1 seed, searched on test (protocol paper)" in joined
    assert "subset: a tenth of the images; cannot be compared with published numbers" in text
    assert "protocol paper: configurations were chosen on test accuracy, which inflates it" in text


def test_a_subset_is_said_beside_the_name_wherever_it_is_printed(store, monkeypatch):
    from raycl.results import collect

    monkeypatch.setattr(collect, "_facts", lambda *_: Data((10, 10), True, "a tenth of the images"))
    agenda = hand.filled(store, hand.study())
    name = f"{BENCHMARK} (subset)"
    assert render(hand.study(), agenda).startswith(f"{name} (2 tasks x 10 classes, similar)")
    page = render(hand.study(), agenda, "html")
    assert f">{name}</h2>" in page and f"accuracy matrices on {name}" in page
    lines = list(csv.DictReader(io.StringIO(render(hand.study(), agenda, "csv"))))
    assert {(line["benchmark"], line["subset"]) for line in lines} == {(BENCHMARK, "a tenth of the images")}
    assert f"finetune / {name}" in plan_text(hand.study(), agenda, store.root, 1.0)


def test_times_of_different_machines_are_not_to_be_compared(store):
    study = hand.study(final=Seeds(1))
    for name, device in (("one", "cpu"), ("finetune", "NVIDIA H100")):
        spec = hand.cells(study)[f"{name}/{BENCHMARK}"].spec({}, 1)
        hand.put(store, spec, hand.reports(hand.ONE[1]), device=device)
    assert "times come from 2 combinations of machine type" in render(study, hand.read(store, study))


def test_no_line_is_wider_than_80_columns(store):
    labels = {
        f"a-method-with-a-very-long-name-{n}-<b>": {"method": "finetune", "fit.lr": n / 10}
        for n in range(1, 5)
    }
    study = hand.study(methods={"one": {"method": ALONE}, **labels}, final=Seeds(*range(1, 13)))
    for cell in hand.cells(study).values():
        for seed in range(1, 12):
            matrix = hand.two_tasks(1.0, seed % 2, seed % 2)
            rows = hand.reports(matrix, main=60_000.0, parameters=123_456_789, stored=999_400_000)
            hand.put(store, cell.spec({}, seed), rows)
    text = render(study, hand.read(store, study))
    assert max(map(len, text.splitlines())) <= 80
    assert "time h" in text and " 33.3 " in text  # 120,000 s are hours
    for label in labels:  # what is shortened is spelled out
        assert f"= {label}" in text.replace("\n  ", " ")
    tables = [line for line in text.splitlines() if "/12 " in line]
    assert len({line.split()[0] for line in tables}) == len(tables) == 5


def test_hours_only_where_seconds_do_not_fit(store):
    study = hand.study(final=Seeds(1))
    hand.put(
        store, hand.cells(study)[f"one/{BENCHMARK}"].spec({}, 1), hand.reports(hand.ONE[1], main=40_000.0)
    )
    assert "time s" in render(study, hand.read(store, study))


def test_random_searches_are_said_once_or_by_name(store):
    methods = {"one": {"method": ALONE}, "a": {"method": "finetune", "fit.lr": RATE},
               "b": {"method": hand.OTHER, "fit.lr": RATE}}  # fmt: skip
    alone = "\nrandom search: 1 trial, and TPE would start after 1"
    for search, said in (
        (Search(trials=1, startup_trials=1), alone),
        (Search(trials=2, startup_trials=1), ""),
    ):
        study = hand.study(methods=methods, search=search, final=Seeds(1))
        for cell in (hand.cells(study)[f"{label}/{BENCHMARK}"] for label in "ab"):
            hand.put_trials(store, cell, [({"fit.lr": 0.1}, hand.reports(hand.ONE[1]))])
        text = render(study, hand.read(store, study))
        assert said in text and ("random" in text) == bool(said)
    mixed = methods | {"b": methods["b"] | {"search": Search(trials=2, startup_trials=1)}}
    study = hand.study(methods=mixed, search=Search(trials=1, startup_trials=1), final=Seeds(1))
    assert "\na: random search: 1 trial" in render(study, hand.read(store, study))


def test_orders_are_said(store):
    study = hand.study(orders=2)
    agenda = hand.read(store, study)
    states = agenda.states
    states[2].cell = dataclasses.replace(states[2].cell, blocked=Obstacle("no data"))
    text = render(study, agenda)
    assert ", 2 orders, 2 seeds, no search" in text.replace("\n  ", " ")
    assert "blocked: no data (order 0)" in text


def test_an_unknown_format_names_the_known_ones(store):
    with pytest.raises(UserError, match="did you mean 'html'"):
        render(hand.study(), hand.read(store, hand.study()), "htm")

"""Importance of searched fields: what is known about the objective must come out, and nothing else."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from raycl.reporting import plots
from raycl.reporting.importances import ENOUGH, Importances, completed, importances, place_of, searched_fields
from raycl.results.collect import collect
from raycl.results.rows import CellRow
from raycl.runs.store import Store
from raycl.space import Choice, Float, Int
from raycl.study.values import Grid, Search
from tests.helpers import hand
from tests.helpers.hand import BENCHMARK

SPACE = {
    "fit.lr": Float(0.001, 1.0, log=True),
    "fit.patience": Int(1, 8),
    "fit.batch": Choice(16, 32, 64),
}


@pytest.fixture(autouse=True)
def fewer_resamples(monkeypatch: pytest.MonkeyPatch) -> None:
    """A third of the time, and intervals that are rougher."""
    monkeypatch.setattr("raycl.reporting.importances.RESAMPLES", 60)


def searched(store: Store, objective: Any, trials: int = 48, diverged: int = 0, **changes: Any) -> CellRow:
    """A finished search whose trials are drawn at random and come out as `objective(params, noise)` says."""
    study = hand.study(methods={"finetune": dict(SPACE)}, search=Search(trials=trials, startup_trials=trials))
    cell = hand.cells(study)[f"finetune/{BENCHMARK}"]
    random = np.random.default_rng(3)
    found: list[tuple[dict[str, Any], Any]] = []
    for n in range(trials + diverged):
        params = {"fit.lr": 10 ** random.uniform(-3, 0), "fit.patience": int(random.integers(1, 9)),
                  "fit.batch": (16, 32, 64)[random.integers(3)]}  # fmt: skip
        acc = objective(params, random.random())
        found.append((params, hand.reports([[acc], [acc, acc]]) if n >= diverged else None))
    hand.put_trials(store, cell, found)
    (row,) = collect(study, hand.read(store, study))
    return row


def by_rate(params: dict[str, Any], noise: float) -> float:
    """Best at a rate of .03, on a logarithmic scale; nothing else matters."""
    distance: float = math.log10(params["fit.lr"]) + 1.5
    return 0.9 - 0.2 * distance * distance


def found_in(row: CellRow) -> Importances:
    found = importances(row)
    assert found is not None
    return found


def test_the_one_field_that_matters_has_nearly_all(store: Store) -> None:
    found = found_in(searched(store, by_rate))
    first, *others = found.fields
    assert first.field == "fit.lr" and first.mean > 0.6 and first.low > 0.3
    assert all(abs(other.mean) < 0.05 * first.mean and other.low <= 0.01 for other in others)
    assert found.explained > 0.8


def test_a_choice_counts_like_a_number(store: Store) -> None:
    found = found_in(searched(store, lambda params, _: 0.9 if params["fit.batch"] == 32 else 0.5))
    assert found.fields[0].field == "fit.batch" and found.fields[0].mean > 0.8


def test_two_fields_that_add_up_share_the_variance(store: Store) -> None:
    """Three decades and 1 .. 8 have the variances 9 / 12 and 63 / 12: with these weights 4 to 1."""
    ratio = 2 * math.sqrt(63 / 9)

    def both(params: dict[str, Any], noise: float) -> float:
        acc: float = 0.5 + (ratio * math.log10(params["fit.lr"]) + params["fit.patience"]) / 60
        return acc

    found = found_in(searched(store, both, trials=150))
    means = {field.field: field.mean for field in found.fields}
    assert means["fit.lr"] == pytest.approx(0.8, abs=0.15)
    assert means["fit.patience"] == pytest.approx(0.2, abs=0.1)
    assert sum(means.values()) == pytest.approx(1.0, abs=0.2)


def test_of_noise_no_field_stands_out(store: Store) -> None:
    found = found_in(searched(store, lambda _, noise: noise, trials=80))
    assert max(field.low for field in found.fields) < min(field.high for field in found.fields)
    assert all(field.low <= 0 and abs(field.mean) < 0.15 for field in found.fields)
    assert found.explained < 0.1 and ("explain none of the variance" in found.note) == (found.explained <= 0)


def test_under_thirty_trials_nothing_is_said(store: Store) -> None:
    row = searched(store, by_rate, trials=ENOUGH - 1, diverged=5)
    assert len(row.trials) == ENOUGH + 4 and importances(row) is None
    assert not plots.enough_trials(row)


def test_diverged_trials_are_left_out_and_owned_up_to(store: Store) -> None:
    row = searched(store, by_rate, trials=ENOUGH, diverged=2)
    found = found_in(row)
    assert (found.trials, found.lost) == (ENOUGH, 2) and plots.enough_trials(row)
    assert "30 completed trials; 2 trials without a value left out" in found.note
    assert "90% interval over 60 bootstrap resamples of 30 trials" in found.title
    assert "permutation" in found.title and "scikit-learn" in found.title


def test_trials_that_all_came_out_alike_say_nothing(store: Store) -> None:
    assert importances(searched(store, lambda *_: 0.5, trials=40)) is None


def test_equal_trials_are_one_run(store: Store) -> None:
    study = hand.study(methods={"finetune": dict(SPACE)}, search=Search(trials=40))
    cell = hand.cells(study)[f"finetune/{BENCHMARK}"]
    params = {"fit.lr": 0.1, "fit.patience": 2, "fit.batch": 16}
    hand.put_trials(store, cell, [(params, hand.reports([[0.5], [0.5, 0.5]]))] * 40)
    (row,) = collect(study, hand.read(store, study))
    assert len(row.trials) == 40 and len(completed(row)) == 1 and importances(row) is None


def test_the_same_trials_give_the_same_bytes(store: Store) -> None:
    row = searched(store, by_rate, trials=30)
    one, two = found_in(row), found_in(row)
    style = plots.styles_of(["finetune"])["finetune"]
    assert one == two and plots.importances(one, style, "b1") == plots.importances(two, style, "b1")


def test_the_figure_names_evaluator_interval_and_fields(store: Store) -> None:
    found = found_in(searched(store, by_rate, trials=30))
    drawn = plots.importances(found, plots.styles_of(["finetune"])["finetune"], "b1-importance")
    for text in (found.title, "share of the objective's variance (fraction)", *SPACE):
        assert f">{text}<" in drawn, text


def test_places_on_a_domain() -> None:
    assert place_of(Float(0.001, 1, log=True), 0.01) == pytest.approx(math.log(0.01))
    assert place_of(Int(1, 8), 3) == 3.0
    assert [place_of(Choice(1, 1.5, True, (3, 4)), v) for v in (1, 1.5, True, [3, 4])] == [0, 1, 2, 3]


def test_a_grid_has_fields_and_slices_too(store: Store) -> None:
    grid = Grid({"fit.lr": [0.1, 0.2], "fit.batch": [16, 32]})
    study = hand.study(methods={"finetune": {}}, search=grid)
    cell = hand.cells(study)[f"finetune/{BENCHMARK}"]
    for n, params in enumerate(grid.points()):
        hand.put(store, cell.spec(params, 1), hand.reports([[0.5], [0.5, 0.5 + n / 10]]))
    (row,) = collect(study, hand.read(store, study))
    assert searched_fields(row) == {"fit.lr": Choice(0.1, 0.2), "fit.batch": Choice(16, 32)}
    drawn = plots.slices(row, plots.styles_of(["finetune"])["finetune"], "b1-slice0")
    assert ">fit.lr<" in drawn and ">fit.batch<" in drawn and ">0.2<" in drawn

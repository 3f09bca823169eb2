"""The figures of a page are bounded, however many searches and trials a study has."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest

from raycl import Seeds
from raycl.reporting import html, render
from raycl.reporting import importances as importance
from raycl.reporting.plots import searches
from raycl.results.rows import Tried
from raycl.runs.store import Store
from tests.helpers import hand


def tried(objectives: list[float | None]) -> list[Tried]:
    return [Tried(n, {}, value, value, 1.0) for n, value in enumerate(objectives)]


def test_a_panel_shows_few_trials_evenly_and_the_best_one(monkeypatch: pytest.MonkeyPatch) -> None:
    trials = tried([*(0.001 * n for n in range(43)), 0.9, None, *([0.1] * 55)])
    assert searches._drawn(trials) == trials
    monkeypatch.setattr(searches, "POINTS", 12)
    shown = [trial.n for trial in searches._drawn(trials)]
    assert len(shown) == 12 and shown == sorted(shown) and {0, 43, 99} <= set(shown)
    assert max(b - a for a, b in itertools.pairwise(shown)) <= 10


def test_many_searches_share_the_forests_of_a_few() -> None:
    most = importance.RESAMPLES
    assert [importance.resamples_for(n) for n in (0, 1, 2, 4, 8, 100)] == [most, most, most, 100, 50, 50]
    assert importance.MOST * importance.FEWEST_RESAMPLES == importance.TOTAL


def test_a_line_says_which_searches_have_no_figures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    methods = {f"m{n}": {"method": "finetune", "fit.lr": hand.RATE, "fit.epochs": n + 2} for n in range(3)}
    of = hand.study(methods=methods, search=hand.SEARCH, final=Seeds(1))
    store = Store(tmp_path).open()
    for cell in hand.cells(of).values():
        rows = [hand.reports([[acc], [acc, acc]]) for acc in (0.5, 0.9, 0.6)]
        params = [{"fit.lr": lr} for lr in (0.1, 0.2, 0.3)]
        hand.put_trials(store, cell, list(zip(params, rows, strict=True)))
    whole = render(of, hand.read(store, of), "html")
    assert "Of the searches," not in whole and whole.count(": objective against each searched field") == 3
    monkeypatch.setattr(html, "SLICED", 1)
    few = render(of, hand.read(store, of), "html")
    assert "Of the searches, 2 of 3 are not shown by field." in few
    assert few.count(": objective against each searched field") == 1
    assert all(few.count(f'<th scope="row">m{n}') == whole.count(f'<th scope="row">m{n}') for n in range(3))

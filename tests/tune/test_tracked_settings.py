"""MLflow's runs carry all that they ran with, and a cell's row never an older study's values."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
from mlflow.entities import Run
from mlflow.tracking import MlflowClient

from raycl.runs.store import Store
from raycl.study.agenda import Agenda
from raycl.study.expand import cells_of
from raycl.study.values import Seeds, Study
from raycl.tune.projection import PARENT
from raycl.tune.tracking import Tracking
from tests.helpers import hand
from tests.helpers.hand import BENCHMARK, RATE, SEARCH

METHODS: dict[str, Any] = {"tuned": {"method": "hat", "method.smax": 300.0, "fit.lr": RATE}}


def study(**changes: Any) -> Study:
    base: dict[str, Any] = {"methods": METHODS, "fit": {"epochs": 3}, "preset": "desk", "final": Seeds(1, 2)}
    return hand.study(**(base | {"search": SEARCH} | changes))


def filled(store: Store, of: Study, label: str = "tuned") -> None:
    """A search that the second trial wins, and its final runs."""
    cell = hand.cells(of)[f"{label}/{BENCHMARK}"]
    own = {key: cell.settings[key].value for key in cell.space}
    params = [own | {"fit.lr": lr} for lr in (0.1, 0.25, 0.3)]
    rows = [hand.reports([[acc], [acc, acc]]) for acc in (0.5, 0.9, 0.6)]
    hand.put_trials(store, cell, list(zip(params, rows, strict=True)))
    for seed in (1, 2):
        hand.put(store, cell.spec(params[1], seed), rows[1])


def runs(store: Store, of: Study) -> dict[str, Run]:
    client = MlflowClient(tracking_uri=f"sqlite:///{store.root / 'mlflow.db'}")
    experiment = client.get_experiment_by_name(of.name)
    assert experiment is not None
    found = client.search_runs([experiment.experiment_id], max_results=1000)
    assert len({run.info.run_name for run in found}) == len(found)
    return {run.info.run_name.replace(f" / {BENCHMARK}", ""): run for run in found}


def project(store: Store, of: Study) -> dict[str, dict[str, str]]:
    """Parameters by name of the run."""
    Tracking.open(of, hand.read(store, of)).sync()
    return {name: run.data.params for name, run in runs(store, of).items()}


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store").open()


def test_cells_trials_and_seeds_carry_what_they_ran_with(store: Store) -> None:
    of = study()
    filled(store, of)
    found = project(store, of)
    assert set(found) == {"tuned", "tuned / trial 0", "tuned / trial 1", "tuned / trial 2", "tuned / seed 2"}
    common = {"method": "hat", "method.smax": "300.0", "fit.epochs": "3", "net.hidden": "64", "order": "0"}
    for name, params in found.items():
        assert common.items() <= params.items(), name
        assert params["network"].startswith("mlp")
    assert [found[name]["fit.lr"] for name in sorted(found)] == ["0.25", "0.25", "0.1", "0.25", "0.3"]
    assert found["tuned / seed 2"]["seed"] == "2" and "seed" not in found["tuned"]


def test_a_cells_row_shows_no_value_of_an_older_study(store: Store) -> None:
    """MLflow lets nobody change a parameter: the row is made again, and the runs below it."""
    first, then = study(), study(fit={"epochs": 4}, methods={"tuned": {"method": "hat", "fit.lr": RATE}})
    filled(store, first)
    project(store, first)
    filled(store, then)
    found = project(store, then)
    assert {params["fit.epochs"] for params in found.values()} == {"4"}
    assert found["tuned"]["fit.lr"] == "0.25" and found["tuned"].get("method.smax") != "300.0"
    assert len(found) == 5
    again = runs(store, then)
    project(store, then)
    assert {name: run.info.run_id for name, run in runs(store, then).items()} == {
        name: run.info.run_id for name, run in again.items()
    }


def test_while_its_search_goes_on_a_row_stays_the_same_run(store: Store) -> None:
    """A driver that knows less than another does not undo what that one wrote."""
    of = study()
    cell = hand.cells(of)[f"tuned/{BENCHMARK}"]
    own = {key: cell.settings[key].value for key in cell.space}
    hand.put_trials(store, cell, [(own | {"fit.lr": 0.1}, hand.reports([[0.5], [0.5, 0.5]]))])
    early = hand.read(store, of)
    assert "fit.lr" not in project(store, of)["tuned"]
    row = runs(store, of)["tuned"].info.run_id
    filled(store, of)
    assert project(store, of)["tuned"]["fit.lr"] == "0.25"
    tracking = Tracking.open(of, early)
    tracking.one(early.states[0], early.states[0].trials[0].spec.key)
    assert runs(store, of)["tuned"].info.run_id == row
    assert {name for name in runs(store, of) if PARENT not in runs(store, of)[name].data.tags} == {"tuned"}


LABELS = (
    "a[red]b",
    "it's",
    'say "x"',
    "back\\slash",
    "back`tick",
    "50% _ of * ? {x} $1",
    "[/x] :smile:",
    "<script>alert(1)</script>",
    "漢字 \u05e9\u05dc\u05d5\u05dd é",
    "=1+1; DROP TABLE runs; --",
    "x" * 300,
    "both ' and \"",
    "\\'",
    "'' OR ''='",
)


def test_runs_of_any_label_are_found_again(store: Store) -> None:
    """Labels with quotes of both kinds, as benchmarks have in ``npz(path='x')``: nothing is made twice."""
    of = hand.study(methods={f"m{n}": {"method": "finetune", "fit.lr": 0.01 * (n + 1)}
                             for n in range(len(LABELS))}, final=Seeds(1))  # fmt: skip
    cells = [dataclasses.replace(cell, label=label)
             for cell, label in zip(cells_of(of), LABELS, strict=True)]  # fmt: skip
    for cell in cells:
        hand.put(store, cell.spec({}, 1), hand.reports(hand.TUNED[1]))
    agenda = Agenda(cells, store)
    tracking = Tracking.open(of, agenda)
    for state in [*agenda.states, *agenda.states]:  # as they finish, and once more
        tracking.one(state, state.finals[1].spec.key)
    found = runs(store, of)
    assert len(found) == 2 * len(LABELS) and max(map(len, found)) <= 250
    tracking.sync()
    assert {run.info.run_id for run in runs(store, of).values()} == {r.info.run_id for r in found.values()}
    keys = {r.data.tags["raycl.key"] for r in found.values() if PARENT not in r.data.tags}
    assert keys == {f"cell {label}/{BENCHMARK}" for label in LABELS}

"""Studies that prune, with real training: what they keep, resume, report and write to MLflow."""

from __future__ import annotations

import csv
import io
import shutil
from pathlib import Path
from typing import Any

import pytest
from mlflow.tracking import MlflowClient

import raycl
from raycl import Float, Halving, Median, Search, Seeds, Study, report
from raycl.api import run_study
from raycl.errors import UserError
from raycl.runs.execution import execute
from raycl.runs.pauses import Pauses
from raycl.runs.result import Result
from raycl.runs.store import Store
from raycl.study.agenda import Agenda
from raycl.study.expand import cells_of
from raycl.study.jobs import Event, Finished
from raycl.study.local import run_locally
from raycl.study.progress import CellState
from raycl.study.pruners import ALWAYS
from raycl.text import width_of
from raycl.tune.proposals import propose
from tests.helpers.tiny import in_process, on_ray, tiny
from tests.test_agenda import ledger

pytestmark = pytest.mark.usefixtures("mlflow_tables")

RATES = {"method": "misbehaving:Dawdles", "fit.lr": Float(0.001, 1, log=True)}
HALVING, MEDIAN = Halving(rungs=(1, 3), keep=0.5), Median(after=1, warmup=2)


def study(prune: Any = HALVING, **changes: Any) -> Study:
    """Eight trials in two generations, in which some learn one task, some three and some all five."""
    search = Search(trials=8, concurrency=4, startup_trials=5, prune=prune)
    methods = changes.pop("methods", {"finetune": {"fit.lr": Float(0.001, 1, log=True)}})
    return tiny(methods, **({"name": "pruned", "search": search, "final": Seeds(1)} | changes))


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("pruned") / "store"
    assert run_study(study(), root, local=True).code == 0
    return root


def state_of(store: Path, of: Study | None = None) -> CellState:
    (state,) = Agenda(cells_of(of or study()), Store(store)).states
    return state


def outcomes(state: CellState) -> list[Any]:
    """Everything of the trials but times and places."""
    return [
        (t.n, t.spec.key, t.result.status, [(r.val, r.test, r.epochs, r.updates) for r in t.result.reports])
        for t in state.trials
        if t.result is not None
    ]


def test_what_goes_on_from_a_checkpoint_is_what_was_never_paused(store: Path) -> None:
    state = state_of(store)
    best = state.best
    assert best is not None and best.result is not None and not state.cell.blocked
    whole = execute(best.spec)
    assert outcomes(state)[best.n][3] == [(r.val, r.test, r.epochs, r.updates) for r in whole.reports]
    learnt = sorted(len(trial.result.reports) for trial in state.trials)  # type: ignore[union-attr]
    assert learnt == [1, 1, 1, 1, 3, 3, 5, 5]
    assert len(list(store.glob("paused/*/*.json"))) == 6 and not list(store.glob("checkpoints/*"))


def test_reports_show_what_was_pruned_and_that_ps_is_of_the_others(store: Path) -> None:
    said = "6 of 8 trials were pruned, and ps is over the others alone"
    table = report(study(), store)
    assert said in " ".join(table.split()) and max(map(width_of, table.splitlines())) <= 80
    header = next(line for line in table.splitlines() if "interval" in line)
    assert header.split()[:5] == ["method", "ps", "interval", "trials", "pruned"]
    lines = list(csv.DictReader(io.StringIO(report(study(), store, "csv"))))
    assert [line["trials_pruned"] for line in lines] == ["", "6"] and lines[1]["trials_diverged"] == "0"
    accs = [t.acc("test") for t in state_of(store).completed]
    assert len(accs) == 2 and float(lines[1]["ps"]) == pytest.approx(abs(accs[0] - accs[1]) / 2)  # type: ignore[operator]
    page = report(study(), store, "html")
    assert said in page and "6 pruned" in page and "a triangle one that was pruned" in page
    assert "pruned after tasks 1 and 3, where the best 50 % of those proposed together go on" in page


def test_a_pruned_trial_has_no_method_to_load(store: Path) -> None:
    pruned = [t.spec.key for t in state_of(store).trials if t.result and t.result.status == "pruned"]
    assert sorted(pruned) == sorted(key for key, status in Store(store).unfinished() if status == "paused")
    for key in (pruned[0], pruned[0][:12]):
        with pytest.raises(UserError, match="has paused after some of its tasks, as trials do that a search"):
            raycl.load(key, store)


def test_a_search_that_does_not_prune_has_no_word_of_it(tmp_path: Path) -> None:
    plain = study(None, search=Search(trials=2, concurrency=2, startup_trials=2))
    in_process(plain, tmp_path)
    assert "pruned" not in report(plain, tmp_path, "csv") + report(plain, tmp_path)
    assert "was pruned" not in report(plain, tmp_path, "html")
    assert not list(tmp_path.glob("paused/*")) and not list(tmp_path.glob("searches/*/*/*-pruned.json"))


def test_mlflow_has_pruned_trials_with_the_tasks_they_learnt(store: Path) -> None:
    client = MlflowClient(tracking_uri=f"sqlite:///{store / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("pruned")
    assert experiment is not None
    found = {r.data.tags["raycl.key"]: r for r in client.search_runs([experiment.experiment_id])}
    for trial in state_of(store).trials:
        run, result = found[trial.spec.key], trial.result
        assert result is not None and run.data.tags["raycl.status"] == result.status
        assert run.info.status == ("KILLED" if result.status == "pruned" else "FINISHED")
        curve = client.get_metric_history(run.info.run_id, "acc")
        assert [point.step for point in curve] == list(range(1, len(result.reports) + 1))
        assert ("bwt_T" in run.data.metrics) == (result.status == "done")


@pytest.mark.parametrize("rule", [pytest.param(HALVING, id="halving"), pytest.param(MEDIAN, id="median")])
@pytest.mark.parametrize("checkpoints", [True, False])
def test_a_driver_that_is_killed_again_and_again_comes_to_the_same(
    store: Path, tmp_path: Path, rule: Any, checkpoints: bool
) -> None:
    """Without their checkpoints, paused runs start from the beginning."""
    wanted = store if rule is HALVING else tmp_path / "whole"
    if rule is MEDIAN:
        in_process(study(rule), wanted)
    starts, cut = 0, tmp_path / "cut"
    while True:
        agenda = Agenda(cells_of(study(rule)), Store(cut).open(), propose)
        agenda.listeners.append(Killer(3 + starts % 3))
        starts += 1
        try:
            run_locally(agenda)
            break
        except KeyboardInterrupt:
            if not checkpoints:
                shutil.rmtree(cut / "checkpoints", ignore_errors=True)
    assert starts > 2 and ledger(cut) == ledger(wanted)
    assert outcomes(state_of(cut, study(rule))) == outcomes(state_of(wanted, study(rule)))


class Killer:
    """Ends a driver when a number of jobs have ended."""

    def __init__(self, after: int) -> None:
        self.left = after

    def __call__(self, event: Event) -> None:
        self.left -= isinstance(event, Finished) and event.outcome.status != "pruned"
        if not self.left:
            raise KeyboardInterrupt


def test_a_paused_run_goes_on_from_its_checkpoint(tmp_path: Path) -> None:
    spec, batches = cells_of(study())[0].spec({"fit.lr": 0.1}, 1), [0]

    def executed(folder: Path | None, pauses: Pauses | None) -> tuple[Result, int]:
        """The result, and how many batches it took."""
        batches[0] = 0
        return execute(spec, folder, pauses=pauses, alive=alive), batches[0]

    def alive() -> None:
        batches[0] += 1

    first, some = executed(tmp_path, Pauses({2: ALWAYS}))
    assert first.status == "paused" and len(first.reports) == 2
    assert executed(tmp_path, Pauses({2: ALWAYS}))[0].reports == first.reports
    earlier, none = executed(tmp_path, Pauses({1: ALWAYS}))  # a checkpoint may be of a later task
    assert earlier.reports == first.reports[:1] and none == 0
    rest, others = executed(tmp_path, None)
    whole, every = executed(None, None)
    assert some + others == every and rest.status == whole.status == "done"
    assert rest.reports[:2] == first.reports and rest.acc() == whole.acc()
    assert rest.provenance["earlier_seconds"] > 0 == first.provenance["earlier_seconds"]


@pytest.mark.slow
def test_ray_prunes_as_this_process_does_whoever_is_faster(ray_cluster: int, tmp_path: Path) -> None:
    """Trials sleep for a time of their own in every task, so that the order in which they come is another.

    `tests/test_pruning.py` plays the other rule, and other numbers of workers, without training.
    """
    dawdling = study(methods={"dawdles": RATES})
    seen = [outcomes(in_process(dawdling, tmp_path / "one").states[0])]
    for workers in (2, 4):
        seen.append(outcomes(on_ray(dawdling, tmp_path / f"{workers}", at_once=workers).states[0]))
    assert seen[1] == seen[2] == seen[0]
    first, *others = (ledger(path) for path in sorted(tmp_path.iterdir()))
    assert len(others) == 2 and all(other == first for other in others)
    assert sum(status == "pruned" for _, _, status, _ in seen[0]) == 6

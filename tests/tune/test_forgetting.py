"""What Tune keeps of a run that has ended does not grow with what the run has reported."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from ray.tune.experiment import Trial

from bench.scale import worked
from raycl import Grid, Seeds, Study
from raycl.runs.store import Store
from raycl.study.agenda import Agenda
from raycl.study.expand import cells_of
from raycl.tune.launch import _tuner
from raycl.tune.proposals import propose
from raycl.tune.search import Forgetful, StudySearch
from tests.helpers.tiny import on_ray, tiny


def one_run(store: Path) -> StudySearch:
    study = Study(
        name="one",
        methods={"grid": {"method": "raycl.method:Method", "search": Grid({"fit.lr": [0.1, 0.2]})}},
        benchmarks=["digits_split"],
        network="mlp(hidden=8)",
        final=Seeds(1),
    )
    agenda = Agenda(cells_of(study, check=False), Store(store).open(), propose)
    agenda.masks.slots = 1
    return StudySearch(agenda, {"store": str(store), "data": "", "home": ""})


def reported(search: StudySearch, trial_id: str) -> Trial:
    """Return a run that has reported its outcome, as Tune's controller has it then."""
    config: dict[str, Any] = search.suggest(trial_id)
    trial = Trial("execute", config=config, stub=True, trial_id=trial_id)
    for n, sign in enumerate(worked(config), start=1):
        result = sign | {"trial_id": trial_id, "training_iteration": n, "time_total_s": 0.5 * n}
        search.on_trial_result(trial_id, result)
        trial.update_last_result(result | {"done": "outcome" in sign})
    return trial


def test_a_run_that_has_ended_is_small_and_the_searcher_has_its_outcome(tmp_path: Path) -> None:
    search = one_run(tmp_path)
    forgetful = Forgetful()
    for n, ending in enumerate((forgetful.on_trial_complete, forgetful.on_trial_error)):
        trial = reported(search, f"trial-{n}")
        before = len(trial.run_metadata.get_json_state())
        search.on_trial_complete(trial.trial_id, dict(trial.last_result))  # Tune tells its searcher first
        ending(n, [trial], trial)
        assert "outcome" in trial.last_result  # which Tune's own callbacks read in the same step
        forgetful.on_step_end(n, [trial])
        assert trial.last_result == {"trial_id": f"trial-{n}", "training_iteration": 3, "done": True}
        assert trial.metric_analysis == trial.metric_n_steps == {}
        assert len(trial.run_metadata.get_json_state()) < before / 5
    assert [run.result and run.result.status for run in search.agenda.states[0].trials] == ["done", "done"]


def test_a_run_that_never_reported_stays_as_it_is() -> None:
    trial = Trial("execute", stub=True, trial_id="silent")
    forgetful = Forgetful()
    forgetful.on_trial_error(1, [trial], trial)
    forgetful.on_step_end(1, [trial])
    assert trial.run_metadata.last_result == {}
    json.loads(trial.run_metadata.get_json_state())


def test_tune_prints_nothing_of_runs_that_it_has_forgotten(
    ray_cluster: int, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    agenda = on_ray(tiny({"finetune": {}}, search=None), tmp_path / "store")
    assert [state.complete for state in agenda.states] == [True]
    assert capfd.readouterr().out == ""


def test_the_driver_of_a_study_forgets(tmp_path: Path) -> None:
    tuner = _tuner(one_run(tmp_path / "results"), str(tmp_path))
    callbacks = tuner._local_tuner._run_config.callbacks
    assert sum(isinstance(each, Forgetful) for each in callbacks) == 1

"""Kept weights as models of real MLflow: written once, attached to their runs, and loaded again."""

from __future__ import annotations

import shutil
import warnings
from pathlib import Path

import mlflow
import numpy as np
import pytest
from mlflow.entities import LoggedModel, LoggedModelStatus
from mlflow.tracking import MlflowClient

import raycl
from raycl import Search, Study, cli
from raycl.api import run_study
from raycl.runs.store import Store
from raycl.study.agenda import Agenda
from raycl.study.expand import cells_of
from raycl.tune.models import log_models
from raycl.tune.tracking import Tracking
from tests.helpers.tiny import tiny

pytestmark = pytest.mark.usefixtures("mlflow_tables")


def study(**changes: object) -> Study:
    search = Search(trials=2, concurrency=1, startup_trials=2)
    return tiny({"hat": {}}, name="served", search=search, **({"keep": "final"} | changes))  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("served") / "store"
    assert run_study(study(), root, local=True).code == 0
    return root


def tracking(store: Path, of: Study) -> Tracking:
    found = Tracking.open(of, Agenda(cells_of(of), Store(store)))
    found.show()
    return found


def models(store: Path) -> list[LoggedModel]:
    client = MlflowClient(tracking_uri=f"sqlite:///{store / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("served")
    assert experiment is not None
    return list(client.search_logged_models([experiment.experiment_id]))


@pytest.fixture(scope="module")
def logged(store: Path) -> list[LoggedModel]:
    assert str(log_models(tracking(store, study()))) == "2 models logged, 0 there already"
    return models(store)


def test_each_final_run_has_one_model(store: Path, logged: list[LoggedModel]) -> None:
    keys = raycl.frame(study(), store)["key"].tolist()
    assert sorted(model.tags["raycl.key"] for model in logged) == sorted(keys)
    client = MlflowClient(tracking_uri=f"sqlite:///{store / 'mlflow.db'}")
    for model in logged:
        run = client.get_run(model.source_run_id)
        assert run.data.tags["raycl.key"] == model.tags["raycl.key"] and run.info.status == "FINISHED"
        assert [output.model_id for output in run.outputs.model_outputs] == [model.model_id]
    assert str(log_models(tracking(store, study()))) == "0 models logged, 2 there already"
    assert len(models(store)) == 2


def test_mlflow_loads_a_model_that_answers_as_raycls(
    store: Path, logged: list[LoggedModel], tmp_path: Path
) -> None:
    """Also where the store was copied to another folder, and the first one is gone."""
    elsewhere = tmp_path / "copy"
    shutil.copytree(store, elsewhere)
    tracking(elsewhere, study())  # mends the addresses
    key = logged[0].tags["raycl.key"]
    (moved,) = [model for model in models(elsewhere) if model.tags["raycl.key"] == key]
    assert moved.artifact_location.startswith(elsewhere.as_uri())
    model, _ = raycl.load(key, elsewhere, say=lambda line: None)
    images = model.benchmark.tasks[1].test.x[:20]
    with warnings.catch_warnings(record=True) as shown:
        warnings.simplefilter("ignore")  # MLflow's own, of classes that it imports
        served = mlflow.pyfunc.load_model(moved.artifact_location)
    assert not [warning for warning in shown if "type hint" in str(warning.message)]
    for task in (0, 1):
        wanted = model.predict(images, task).labels
        assert np.array_equal(served.predict(images, params={"task": task}), wanted)
    assert np.array_equal(served.predict(images), model.predict(images, 0).labels)


def test_a_model_that_an_interrupted_command_began_is_logged_again(
    store: Path, logged: list[LoggedModel], tmp_path: Path
) -> None:
    elsewhere = tmp_path / "copy"
    shutil.copytree(store, elsewhere)
    followed = tracking(elsewhere, study())
    client, key = followed.experiment.client, logged[0].tags["raycl.key"]
    (whole,) = [model for model in models(elsewhere) if model.tags["raycl.key"] == key]
    client.delete_logged_model(whole.model_id)
    begun = client.create_logged_model(
        followed.experiment.id, "begun", whole.source_run_id, {"raycl.key": key}, model_type="raycl"
    )
    assert str(log_models(followed)) == "1 model logged, 1 there already"
    found = models(elsewhere)
    assert {model.tags["raycl.key"] for model in found} == {model.tags["raycl.key"] for model in logged}
    assert len(found) == 2 and begun.model_id not in {model.model_id for model in found}
    assert {model.status for model in found} == {LoggedModelStatus.READY}


def test_the_command_says_what_was_logged_and_what_was_not_kept(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "study.py").write_text(
        "from raycl import *\n"
        'STUDY = Study(methods={"finetune": {}}, benchmarks=["digits_split"], network="mlp(hidden=8)",\n'
        '              fit={"epochs": 1}, search=None, final=Seeds(1, 2))\n'
    )
    words = [str(tmp_path / "study.py"), "--store", str(tmp_path / "store")]
    assert cli.main(["run", *words, "--local"]) == 0
    capsys.readouterr()
    assert cli.main(["sync", *words, "--models"]) == 0
    said = capsys.readouterr().out
    assert (
        "models   0 models logged, 0 there already; 2 final runs kept no weights: raycl run STUDY --keep"
        in said
    )


def test_the_best_trial_is_a_final_run_as_well(tmp_path: Path) -> None:
    best = study(final="best trial")
    assert run_study(best, tmp_path / "store", local=True).code == 0
    assert log_models(tracking(tmp_path / "store", best)).new == 1
    assert len(models(tmp_path / "store")) == 1

"""Training curves: bounded, the same after an interruption, in the store, frames, MLflow and the report."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from mlflow.tracking import MlflowClient

from raycl import Seeds, Study, report, run_study
from raycl.api import StudyResult, frame
from raycl.errors import UserError
from raycl.methods.finetune import Finetune
from raycl.runs.records import run_record
from raycl.runs.store import Store
from raycl.study.agenda import Agenda
from raycl.study.expand import cells_of
from raycl.training.curves import MOST, EpochCurve
from tests.helpers.tiny import tiny

pytestmark = pytest.mark.usefixtures("mlflow_tables")


class Counting(Finetune):
    """Finetuning that counts its epochs, once as no number."""

    counted = 0

    def epoch_diagnostics(self, task: int) -> dict[str, float]:
        self.counted += 1
        return {"own/count": self.counted, "odd": float("nan")}


class Broken(Finetune):
    """Its numbers are not numbers."""

    def epoch_diagnostics(self, task: int) -> Any:
        return {"x": object()}


def study(**changes: Any) -> Study:
    methods = {"counting": {"method": f"{__name__}:Counting"}, "finetune": {}, "hat": {}}
    own = changes.pop("methods", methods)
    return tiny(own, **{"name": "curves", "search": None, "final": Seeds(1), **changes})


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory) -> StudyResult:
    root = tmp_path_factory.mktemp("curves") / "store"
    outcome = run_study(study(fit={"epochs": 3, "stop": "never"}), root, local=True)
    assert outcome.code == 0, outcome.problems
    return outcome


def test_the_number_of_points_is_bounded_and_they_are_evenly_spaced() -> None:
    curve = EpochCurve()
    for epoch in range(1000):
        curve.add({"train_loss": 1 / (epoch + 1), "val_loss": float("nan")})
        assert len(curve.points) <= MOST
    epochs = curve.columns()["epoch"]
    assert epochs == list(range(1, 1001, 8)) and curve.epochs == 1000
    assert "val_loss" not in curve.columns() and curve.columns()["train_loss"][1] == 0.11111
    both = EpochCurve(**curve.state())
    both.extend(EpochCurve([{"epoch": 1, "lr": 0.1}], epochs=1))
    assert both.columns()["epoch"][-1] == 1001 and both.columns()["lr"][:2] == [None, None]


def test_a_finished_run_has_the_numbers_of_each_epoch(played: StudyResult) -> None:
    store = Store(played.agenda.store.root)
    state = played.agenda.states[0]
    (result,) = state.results.values()
    whole = store.whole(result.key)
    assert whole is not None and not any(report.curves for report in result.reports), "a driver keeps none"
    for report_, known in zip(whole.reports, result.reports, strict=True):
        assert report_ == known and report_.curves.keys() == {"main"}
        main = report_.curves["main"]
        assert main["epoch"] == [1, 2, 3] and main["lr"] == [0.05] * 3 and "odd" not in main
        assert main["own/count"] == [3 * report_.task + n for n in (1, 2, 3)]
        assert all(loss is not None and loss > 0 for loss in main["train_loss"] + main["val_loss"])


def test_a_run_that_keeps_its_weights_later_keeps_its_curves(played: StudyResult, tmp_path: Path) -> None:
    of = study(fit={"epochs": 2}, methods={"finetune": {}})
    run_study(of, tmp_path, local=True)
    again = run_study(of, tmp_path, local=True, keep="final")
    (result,) = again.agenda.states[0].results.values()
    whole = again.agenda.store.whole(result.key)
    assert whole is not None and whole.reports[0].curves and again.agenda.store.has_model(result.key)


def test_the_frame_has_a_row_for_each_epoch(played: StudyResult) -> None:
    pytest.importorskip("pandas")
    found = played.frame("curves")
    assert len(found) == 3 * 5 * 3 and set(found["method"]) == {"counting", "finetune", "hat"}
    assert {"task", "fit", "epoch", "train_loss", "val_loss", "lr", "own/count"} <= set(found.columns)
    assert len(frame(study(fit={"epochs": 3, "stop": "never"}), played.agenda.store.root, "curves")) == 45


def test_mlflow_has_the_curves_of_final_runs_by_epoch(played: StudyResult) -> None:
    client = MlflowClient(tracking_uri=f"sqlite:///{played.agenda.store.root / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("curves")
    runs = client.search_runs([experiment.experiment_id], "tags.`raycl.kind` = 'seed'")
    (counting,) = [run for run in runs if run.info.run_name.startswith("counting")]
    for name in ("train_loss", "val_loss", "lr", "own_count"):
        history = client.get_metric_history(counting.info.run_id, name)
        assert [point.step for point in history] == list(range(1, 16)), name


def test_the_report_shows_them_on_demand_alone(played: StudyResult) -> None:
    of, root = study(fit={"epochs": 3, "stop": "never"}), played.agenda.store.root
    assert "Training curves" not in report(of, root, "html")
    page = report(of, root, "html", curves=True)
    assert "Training curves" in page and ">own/count<" in page and ">hat: loss, seed 1<" in page
    with pytest.raises(UserError, match="training curves are shown in the format html"):
        report(of, root, "csv", curves=True)


def test_an_own_number_that_is_none_fails_the_run_with_its_name(tmp_path: Path) -> None:
    outcome = run_study(study(methods={"broken": {"method": f"{__name__}:Broken"}}), tmp_path, local=True)
    assert outcome.code == 1 and "Broken.epoch_diagnostics: 'x' is an object" in outcome.problems[0]


def test_results_of_earlier_versions_have_no_curves(tmp_path: Path) -> None:
    of = study(methods={"finetune": {}})
    run_study(of, tmp_path, local=True)
    agenda = Agenda(cells_of(of), Store(tmp_path))
    (result,) = agenda.states[0].results.values()
    plain = Store(tmp_path).whole(result.key)
    assert plain is not None
    (file,) = tmp_path.glob("runs/??/*.json")
    text = plain.to_json()
    for each in text["reports"]:
        del each["curves"], each["cpu_seconds"]
    text.pop("digest", None)
    file.write_text(json.dumps(run_record(text)))
    again = Store(tmp_path).whole(result.key)
    assert again is not None and not again.reports[0].curves and again.ct == again.ct_wall
    assert "Training curves" not in report(of, tmp_path, "html", curves=True)

"""Trained methods in the store: who keeps them, what reads them, and what they are good for elsewhere."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch

import raycl
from raycl import Grid, Int, Search, Seeds, Study, registry
from raycl.cli import main
from raycl.errors import UserError
from raycl.runs import execution, export, kept, sequence
from raycl.runs.checkpoints import CheckpointFormat
from raycl.runs.export import weights_to_bytes
from raycl.runs.store import Store, model_path
from raycl.study.agenda import Agenda
from raycl.study.expand import cells_of
from raycl.study.file import read_study
from raycl.study.gc import collect_garbage
from raycl.study.local import run_locally
from raycl.study.proposer import nothing_to_propose
from raycl.terminal.plan import plan_text
from tests.helpers import toys
from tests.helpers.tiny import in_process, tiny

TINY = {"epochs": 1, "lr": 0.05, "batch": 64, "stop": "never"}
OWN = """
from dataclasses import dataclass
from raycl.method import Method


class Mine(Method):
    def learn(self, task, fit):
        fit(self, task)
        self.seen = getattr(self, "seen", 0) + len(task.train)
        self.hook = UNPICKLABLE


UNPICKLABLE = None
"""


def study(**changes: Any) -> Study:
    base: dict[str, Any] = {
        "name": "kept",
        "methods": {"finetune": {}},
        "benchmarks": ["digits_permuted(tasks=2, first=1)"],
        "network": "mlp(hidden=8, drop1=0.3)",
        "fit": TINY,
        "search": None,
        "final": Seeds(1),
    }
    return Study(**(base | changes))


def agenda_of(of: Study, store: Path) -> Agenda:
    return Agenda(cells_of(of), Store(store).open(), nothing_to_propose)


def executed(of: Study, store: Path) -> Agenda:
    """The agenda after all of its jobs; `ran` counts them."""
    agenda = agenda_of(of, store)
    run_locally(agenda)
    return agenda


def models(store: Path) -> set[str]:
    return {path.stem for path in store.glob("models/??/*.pt")}


def final_key(agenda: Agenda) -> str:
    (result,) = agenda.states[0].results.values()
    return result.key


class TestWhatIsKept:
    def test_nothing_by_default_and_the_key_is_the_same(self, tmp_path: Path) -> None:
        (one,), (other,) = cells_of(study()), cells_of(study(keep="trials"))
        assert one.spec({}, 1).key == other.spec({}, 1).key
        executed(study(), tmp_path)
        assert not models(tmp_path)

    def test_final_runs_and_no_trial_but_the_best(self, tmp_path: Path) -> None:
        searched = study(search=Grid({"fit.lr": [0.0001, 0.05]}), final=Seeds(1, 2), keep="final")
        agenda = executed(searched, tmp_path)
        (state,) = agenda.states
        assert agenda.ran == 3 and state.complete  # two trials and seed 2; seed 1 is the better trial
        assert models(tmp_path) == {trial.spec.key for trial in state.finals.values()}
        assert executed(searched, tmp_path).ran == 0

    def test_the_best_trial_where_it_serves_as_the_final_run(self, tmp_path: Path) -> None:
        searched = study(search=Grid({"fit.lr": [0.05, 0.0001]}), final="best trial")
        executed(searched, tmp_path)
        agenda = executed(searched.with_(keep="final"), tmp_path)
        assert agenda.ran == 1
        assert models(tmp_path) == {agenda.states[0].best.spec.key}  # type: ignore[union-attr]

    def test_all_trials(self, tmp_path: Path) -> None:
        agenda = executed(study(search=Grid({"fit.lr": [0.01, 0.05]}), keep="trials"), tmp_path)
        assert models(tmp_path) == {trial.spec.key for trial in agenda.states[0].trials}

    def test_a_value_that_there_is_not_is_told(self) -> None:
        with pytest.raises(UserError, match=r"keep = 'all' should be one of \('none', 'final', 'trials'\)"):
            cells_of(study(keep="all"))


class TestKeepingLater:
    def test_a_finished_run_is_executed_again_and_its_result_stays(self, tmp_path: Path) -> None:
        key = final_key(executed(study(), tmp_path))
        file = tmp_path / "runs" / key[:2] / f"{key}.json"
        before = file.read_text()
        plan = plan_text(study(), Agenda(cells_of(study()), Store(tmp_path)), tmp_path, 1)
        assert "weights" not in plan and "1 run, 1 done: nothing to do" in plan
        asked = study(keep="final")
        plan = plan_text(asked, Agenda(cells_of(asked), Store(tmp_path)), tmp_path, 1)
        assert "1 finished run has kept no weights, so it is trained again" in " ".join(plan.split())
        assert "1 run, 1 done, 1 to train again" in plan
        agenda = executed(asked, tmp_path)
        assert agenda.ran == 1 and models(tmp_path) == {key}
        assert json.loads(file.read_text())["reports"] == json.loads(before)["reports"]
        assert json.loads(file.read_text())["provenance"] == json.loads(before)["provenance"]
        assert executed(asked, tmp_path).ran == 0

    def test_it_fails_without_taking_the_result_along(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        key = final_key(executed(study(), tmp_path))

        def full(*_: Any, **__: Any) -> None:
            raise RuntimeError("the disk is gone")

        monkeypatch.setattr(kept, "write", full)
        agenda = executed(study(keep="final"), tmp_path)
        assert "the disk is gone" in next(iter(agenda.states[0].failed.values()))
        assert Store(tmp_path).get(key) is not None
        monkeypatch.undo()
        assert executed(study(keep="final"), tmp_path).states[0].complete and models(tmp_path) == {key}

    def test_what_cannot_be_stored_is_told_and_not_tried_again(self, tmp_path: Path) -> None:
        (tmp_path / "mine.py").write_text(OWN.replace("UNPICKLABLE = None", "UNPICKLABLE = lambda: 0"))
        own = study(methods={"mine": {"method": "mine:Mine"}}, folder=tmp_path, keep="final")
        agenda = executed(own, tmp_path / "store")
        (result,) = agenda.states[0].results.values()
        assert result.status == "done" and "lambda" in result.provenance["not_kept"]
        assert not models(tmp_path / "store") and executed(own, tmp_path / "store").ran == 0
        plan = plan_text(own, Agenda(cells_of(own), Store(tmp_path / "store")), tmp_path, 1)
        assert "1 run cannot keep weights" in plan

    def test_a_truncated_file_is_made_again(self, tmp_path: Path) -> None:
        key = final_key(executed(study(keep="final"), tmp_path))
        file = model_path(tmp_path, key)
        file.write_bytes(file.read_bytes()[:1000])
        assert executed(study(keep="final"), tmp_path).ran == 1
        assert execution.recalled(cells_of(study())[0].spec({}, 1), file).reports

    def test_fresh_forgets_what_was_kept(self, tmp_path: Path) -> None:
        key = final_key(executed(study(keep="final"), tmp_path))
        store = Store(tmp_path)
        store.forget(key)
        assert not store.has_model(key)


class TestLoading:
    def test_from_the_store_or_trained_again_with_the_same_answers(self, tmp_path: Path) -> None:
        key = final_key(executed(study(), tmp_path))
        said: list[str] = []
        again, matrix = raycl.load(key[:12], tmp_path, say=said.append)
        assert again.origin == "trained again" and "has not kept the weights" in said[0]
        executed(study(keep="final"), tmp_path)
        model, same = raycl.load(key[:12], tmp_path, say=said.append)
        assert model.origin == "kept" and "read from" in said[1] and len(said) == 2
        assert np.array_equal(matrix, same, equal_nan=True)
        x = torch.rand(5, 1, 8, 8)
        assert torch.equal(model(x, 1), again(x, 1)) and torch.equal(model(x, 1), model(x, 1))
        assert not any(module.training for module in model.method.modules())

    def test_a_file_of_another_run_is_not_used(self, tmp_path: Path) -> None:
        agenda = executed(study(final=Seeds(1, 2), keep="final"), tmp_path)
        one, two = (result.key for result in agenda.states[0].results.values())
        model_path(tmp_path, one).write_bytes(model_path(tmp_path, two).read_bytes())
        said: list[str] = []
        model, _ = raycl.load(one, tmp_path, say=said.append)
        assert model.origin == "trained again" and "it is of another run" in said[0]

    def test_another_version_of_the_method_is_not_mixed_with_these_weights(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        agenda = executed(study(keep="final"), tmp_path)
        spec = agenda.states[0].cell.spec({}, 1)
        newer = replace(spec, versions={**spec.versions, "method": 7})
        with pytest.raises(kept.Unusable, match="it is of version 7 of the method"):
            execution.recalled(newer, model_path(tmp_path, spec.key))

    def test_a_diverged_run_has_no_method(self, tmp_path: Path) -> None:
        agenda = executed(study(fit=TINY | {"lr": 1e30}, keep="final"), tmp_path)
        (trial,) = agenda.states[0].finals.values()
        assert trial.result is not None and trial.result.status == "diverged" and not models(tmp_path)
        assert executed(study(fit=TINY | {"lr": 1e30}, keep="final"), tmp_path).ran == 0
        with pytest.raises(UserError, match=r"diverged .* so it has no trained method"):
            raycl.load(trial.spec.key, tmp_path)


class TestPredicting:
    @pytest.mark.parametrize("benchmark", ["digits_permuted(tasks=2, first=1)", "digits_split"])
    def test_its_accuracy_on_test_images_is_that_of_the_matrix(self, tmp_path: Path, benchmark: str) -> None:
        key = final_key(executed(study(benchmarks=[benchmark], keep="final"), tmp_path))
        model, matrix = raycl.load(key, tmp_path)
        for t, task in enumerate(model.benchmark.tasks):
            found = model.predict(task.test.x, t)  # type: ignore[attr-defined]
            assert np.isclose((found.y == task.test.y).mean(), matrix[-1, t], atol=1e-9)
            assert np.allclose(found.probabilities.sum(1), 1, atol=1e-5)
            assert (found.probabilities.argmax(1) == found.y).all()
            as_floats = model.predict(task.test.x / 255, t)  # type: ignore[attr-defined]
            assert np.array_equal(as_floats.probabilities, found.probabilities)

    def test_labels_are_the_classes_of_the_data(self, tmp_path: Path) -> None:
        rng = np.random.default_rng(0)
        y = np.repeat([3, 7, 20, 41], 20)
        x = rng.integers(0, 60, (80, 6, 6), dtype=np.uint8)
        x[np.arange(80), np.searchsorted([3, 7, 20, 41], y)] = 255  # the row that is white tells the class
        np.savez(tmp_path / "mine.npz", x_train=x, y_train=y, x_test=x, y_test=y)
        own = study(
            benchmarks=[f"npz(path={str(tmp_path / 'mine.npz')!r}, tasks=2)"],
            fit=TINY | {"epochs": 20, "batch": 8},
            network="mlp(hidden=32)",
            keep="final",
        )
        key = final_key(executed(own, tmp_path / "store"))
        model, _ = raycl.load(key, tmp_path / "store")
        found = model.predict(x[y >= 20], 1)
        assert found.class_names == ("20", "41")
        assert (found.labels == y[y >= 20].astype(str)).mean() > 0.9

    def test_without_the_data(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        key = final_key(executed(study(keep="final"), tmp_path))

        def gone(*_: Any, **__: Any) -> None:
            raise UserError("the data are not here")

        monkeypatch.setattr("raycl.registry.load", gone)
        model, _ = raycl.load(key, tmp_path)
        assert len(model.predict(np.zeros((3, 8, 8), np.uint8), 0)) == 3
        assert model.predict(np.zeros((0, 1, 8, 8), np.uint8), 0).probabilities.shape == (0, 10)

    def test_wrong_images_are_told(self, tmp_path: Path) -> None:
        model, _ = raycl.load(final_key(executed(study(keep="final"), tmp_path)), tmp_path)
        with pytest.raises(UserError, match=r"task = 2 should be 0 to 1"):
            model.predict(np.zeros((1, 8, 8), np.uint8), 2)
        with pytest.raises(
            UserError, match=r"shape \(1, 9, 8\); images of this task have the shape \(1, 8, 8\)"
        ):
            model.predict(np.zeros((1, 9, 8), np.uint8), 0)
        with pytest.raises(UserError, match=r"predict: images contains floats in \[0, 255\]"):
            model.predict(np.full((1, 8, 8), 255.0) * np.eye(8), 0)


class TestExport:
    def test_a_folder_that_is_used_without_store_and_data(self, tmp_path: Path) -> None:
        store, folder = tmp_path / "store", tmp_path / "out"
        key = final_key(executed(study(keep="final"), store))
        raycl.export(key[:12], folder, store, say=lambda line: None)
        about = json.loads((folder / "model.json").read_text())
        assert about["network"] == "mlp(hidden=8, drop1=0.3)" and about["run"] == key
        assert about["tasks"][0]["classes"] == [str(digit) for digit in range(10)]
        assert len(about["tasks"][0]["mean"]) == 1 and "Permute" in about["tasks"][0]["transforms"][0]
        assert len((folder / "load.py").read_text().splitlines()) <= 15
        model, _ = raycl.load(key, store, say=lambda line: None)
        x = torch.rand(4, 1, 8, 8)
        torch.save([x, model(x, 1)], tmp_path / "wanted.pt")
        script = (
            "import torch; from load import model; x, y = torch.load('../wanted.pt');"
            "assert torch.equal(model(x, 1), y); print(model.predict((x * 255).byte(), 0).labels)"
        )
        environment = os.environ | {"RAYCL_DATA": str(tmp_path / "nothing")}
        done = subprocess.run(
            [sys.executable, "-c", script], cwd=folder, env=environment, text=True, capture_output=True
        )
        assert done.returncode == 0, done.stderr

    def test_an_export_that_was_cut_off_is_no_model(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Not even over an earlier export, whose files would be mixed with the new ones."""
        store, folder = tmp_path / "store", tmp_path / "out"
        key = final_key(executed(study(keep="final"), store))
        raycl.export(key, folder, store, say=lambda line: None)
        publish = export.publish

        def cut_off(place: Path, *words: Any, **options: Any) -> None:
            publish(place, *words, **options)
            raise KeyboardInterrupt

        with monkeypatch.context() as patch:
            patch.setattr(export, "publish", cut_off)
            with pytest.raises(KeyboardInterrupt):
                raycl.export(key, folder, store, say=lambda line: None)
        with pytest.raises(UserError, match="does not contain a model of raycl"):
            raycl.load_exported(folder)
        raycl.export(key, folder, store, say=lambda line: None)
        raycl.load_exported(folder)

    def test_edited_weights_are_used(self, tmp_path: Path) -> None:
        store, folder = tmp_path / "store", tmp_path / "out"
        key = final_key(executed(study(keep="final"), store))
        raycl.export(key, folder, store, say=lambda line: None)
        tensors = safetensors.torch.load_file(folder / "weights.safetensors")
        zeros = {name: torch.zeros_like(tensor) for name, tensor in tensors.items()}
        safetensors.torch.save_file(zeros, folder / "weights.safetensors")
        assert not raycl.load_exported(folder)(torch.rand(2, 1, 8, 8), 0).any()

    def test_damaged_weights_are_told_in_one_line(self, tmp_path: Path) -> None:
        store, folder = tmp_path / "store", tmp_path / "out"
        raycl.export(final_key(executed(study(keep="final"), store)), folder, store, say=lambda line: None)
        whole = (folder / "weights.safetensors").read_bytes()
        for damaged in (whole[:20], whole[:-4], whole.replace(b'"F32"', b'"F99"', 1)):
            (folder / "weights.safetensors").write_bytes(damaged)
            with pytest.raises(UserError, match=r"does not contain a model of raycl \([^\n]*\)$"):
                raycl.load_exported(folder)

    def test_a_method_of_ones_own_takes_its_file_along(self, tmp_path: Path) -> None:
        home, store, folder = tmp_path / "home", tmp_path / "store", tmp_path / "out"
        home.mkdir()
        (home / "mine.py").write_text(OWN)
        own = study(methods={"mine": {"method": "mine:Mine"}}, folder=home, keep="final")
        key = final_key(executed(own, store))
        with pytest.raises(UserError, match="name its study"):
            raycl.export(key, folder, store)
        raycl.export(key, folder, store, own, say=lambda line: None)
        (home / "mine.py").unlink()
        model = raycl.load_exported(folder)
        assert type(model.method).__name__ == "Mine" and model.method.seen > 0  # type: ignore[attr-defined]

    def test_a_folder_with_other_files_is_left_alone(self, tmp_path: Path) -> None:
        key = final_key(executed(study(keep="final"), tmp_path / "store"))
        (tmp_path / "out").mkdir()
        (tmp_path / "out" / "thesis.tex").write_text("")
        with pytest.raises(UserError, match=r"contains other files \(thesis.tex\)"):
            raycl.export(key, tmp_path / "out", tmp_path / "store", say=lambda line: None)

    def test_a_folder_without_a_model_is_told(self, tmp_path: Path) -> None:
        with pytest.raises(UserError, match="does not contain a model of raycl"):
            raycl.load_exported(tmp_path)

    def test_tensors_that_share_memory_are_written(self) -> None:
        base = torch.arange(6.0).reshape(2, 3)
        state = {"whole": base, "turned": base.T, "part": base[0], "none": torch.zeros(0, 4)}
        found = safetensors.torch.load(weights_to_bytes(state, {"run": "x"}))
        assert found.keys() == state.keys()
        assert all(torch.equal(found[name], tensor) for name, tensor in state.items())


def test_the_code_in_the_documentation_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    text = (Path(__file__).parent.parent / "docs" / "models.md").read_text()
    blocks = re.findall(r'^```(?:python|sh)(?: title="kept.py")?\n(.*?)^```', text, flags=re.S | re.M)
    written, run, load, export, loaded, sync, served = blocks
    monkeypatch.chdir(tmp_path)
    Path("kept.py").write_text(written)
    assert main(run.split()[1:]) == 0
    capsys.readouterr()
    known: dict[str, Any] = {}
    exec(load, known)
    assert np.isclose(float(capsys.readouterr().out.splitlines()[-1]), known["accuracies"][-1, 1])
    assert main(export.partition("#")[0].replace("KEY", known["KEY"]).split()[1:]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 4  # files
    exec(loaded, known)
    assert len(capsys.readouterr().out.splitlines()[-1].split()) >= 5  # labels
    assert main(sync.split()[1:]) == 0
    assert "1 model logged" in capsys.readouterr().out
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # MLflow's own, of classes that it imports
        exec(served, known)
    assert len(capsys.readouterr().out.splitlines()[-1].split()) >= 5  # labels


@pytest.mark.parametrize("name", registry.method_names())
def test_every_method_can_be_kept(name: str) -> None:
    """What was learnt, the answers and the exported tensors come back as they were."""
    on = toys.benchmark_for(name)
    form, fit = CheckpointFormat(on, registry.method(name)), toys.fit_for(name, epochs=1)
    subject = toys.method(name, on)
    reports = list(sequence.run_sequence(subject, on, fit))
    subject.eval()
    found = kept.from_bytes(
        kept.to_bytes("k", form, kept.Kept(subject, reports, kept.ports_of(on))), "k", form
    )
    assert len(found.ports) == len(on.tasks) and not found.method.training
    tensors = safetensors.torch.load(weights_to_bytes(subject.state_dict(), {}))
    found.method.load_state_dict(tensors)
    for task in on.tasks:
        x = task.test.take(slice(None))
        with torch.no_grad():
            assert torch.equal(found.method(x, task.index), subject(x, task.index))


def test_gc_keeps_the_methods_of_runs_that_a_study_needs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "mine.py"
    text = (
        "from raycl import *\nSTUDY = Study(methods={'finetune': {}}, keep=KEEP,"
        "benchmarks=['digits_permuted(tasks=2, first=1)'], network='mlp(hidden=8)',"
        "fit={'epochs': 1}, search=Grid({'fit.lr': [0.0001, 0.05]}), final=Seeds(1))\n"
    )
    file.write_text(text.replace("KEEP", "'trials'"))
    store = tmp_path / "store"
    agenda = executed(read_study(file), store)
    best = agenda.states[0].best
    assert best is not None and len(models(store)) == 2
    draft = store / "models" / best.spec.key[:2] / f".{best.spec.key}.pt-1234"
    draft.write_bytes(b"half")
    file.write_text(text.replace("KEEP", "'none'"))
    assert collect_garbage(store, [file], yes=True) == 0
    assert len(models(store)) == 2 and not draft.exists()
    file.write_text(text.replace("KEEP", "'final'"))
    assert collect_garbage(store, [file], yes=True) == 0
    assert models(store) == {best.spec.key}


@pytest.mark.parametrize("pick", ["knee", "front"])
def test_the_final_runs_of_a_front_are_kept_at_once(tmp_path: Path, pick: Any) -> None:
    """Whichever trials are on the front when the search ends; nothing is trained again for it."""
    search = Search(trials=5, concurrency=1, startup_trials=4, objectives=("acc", "-bytes_total"), pick=pick)
    several = tiny({"finetune": {"net.hidden": Int(2, 40)}}, search=search, keep="final")
    agenda = in_process(several, tmp_path)
    (state,) = agenda.states
    assert state.complete and len(state.front) > 1
    assert len(state.front_finals) == (2 * (len(state.front) - 1) if pick == "front" else 0)
    kept_keys = {path.stem for path in tmp_path.glob("models/??/*.pt")}
    assert kept_keys == {run.spec.key for run in state.final_runs}
    assert in_process(several, tmp_path).ran == 0

"""Callbacks see every value of a finished run, and change or fail nothing; the examples on real libraries."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from raycl import Callback, Search, Seeds, Study, run_study
from raycl.api import StudyResult
from raycl.errors import UserError
from raycl.study.expand import cells_of
from studies.examples.loggers import TensorBoard, WandB
from tests.helpers.tiny import tiny

pytestmark = pytest.mark.usefixtures("mlflow_tables")


class Seen(Callback):
    """Keeps what it sees, and writes into everything that it gets."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, Any, Any]] = []

    def on_epoch(self, run: Any, epoch: Any) -> None:
        self.calls.append(("epoch", run, epoch))
        epoch.values["train_loss"] = -1.0

    def on_task(self, run: Any, task: Any) -> None:
        self.calls.append(("task", run, dict(task.accuracies)))
        task.accuracies.clear()
        task.diagnostics["x"] = 1

    def on_run(self, run: Any, values: Any) -> None:
        self.calls.append(("run", run, dict(values)))
        values.clear()


class Faulty(Callback):
    """Raises at the second task that it sees."""

    def __init__(self) -> None:
        self.calls = 0

    def on_task(self, run: Any, task: Any) -> None:
        self.calls += 1
        if self.calls == 2:
            raise RuntimeError("no disk\nleft")


class Half:
    """No subclass, and one function alone."""

    def __init__(self) -> None:
        self.accs: list[float] = []

    def on_run(self, run: Any, values: Mapping[str, float]) -> None:
        self.accs.append(values["acc"])


def study(callbacks: Any = (), **changes: Any) -> Study:
    base: dict[str, Any] = {
        "name": "seen",
        "search": Search(trials=2, startup_trials=2),
        "final": Seeds(1, 2),
    }
    methods = changes.pop("methods", {"finetune": {"search": None}, "hat": {}})
    return tiny(methods, **(base | {"callbacks": callbacks} | changes))


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory) -> tuple[StudyResult, Seen, Faulty, Half, str]:
    import io

    from rich.console import Console

    seen, faulty, half, out = Seen(), Faulty(), Half(), io.StringIO()
    root = tmp_path_factory.mktemp("seen") / "store"
    made = study([faulty, seen, half])
    outcome = run_study(made, root, local=True, console=Console(file=out, width=500))
    assert outcome.code == 0, outcome.problems
    return outcome, seen, faulty, half, out.getvalue()


def test_all_values_of_all_runs_are_seen_in_order(played: tuple[Any, ...]) -> None:
    outcome, seen, _, half, _ = played
    runs = [run for what, run, _ in seen.calls if what == "run"]
    assert len(runs) == len({run.key for run in runs}) == 2 + 3  # the best trial is a final run as well
    assert len(half.accs) == 5
    for run in runs:
        mine = [(what, value) for what, other, value in seen.calls if other.key == run.key]
        whole = outcome.agenda.store.whole(run.key)
        assert [what for what, _ in mine if what != "epoch"] == ["task"] * 5 + ["run"]
        steps = [value.step for what, value in mine if what == "epoch"]
        assert steps == list(range(1, len(steps) + 1)) and len(steps) >= 5
        assert [value for what, value in mine if what == "task"] == [r.test for r in whole.reports]
        assert mine[-1][1]["acc"] == pytest.approx(whole.acc())
    hat = next(run for run in runs if run.method == "hat" and run.trial == 1)
    assert hat.name == "hat / digits_split / trial 1" and "method.lamb" in hat.settings


def test_a_callback_changes_nothing(played: tuple[Any, ...], tmp_path: Path) -> None:
    outcome = run_study(study(), tmp_path, local=True)
    for state, other in zip(outcome.agenda.states, played[0].agenda.states, strict=True):
        assert state.results.keys() == other.results.keys()
        for seed, result in state.results.items():
            assert result.key == other.results[seed].key
            assert [r.test for r in result.reports] == [r.test for r in other.results[seed].reports]
            assert [r.diagnostics for r in result.reports] == [
                r.diagnostics for r in other.results[seed].reports
            ]


def test_a_fault_is_reported_once_and_fails_nothing(played: tuple[Any, ...]) -> None:
    _, _, faulty, _, out = played
    assert faulty.calls == 2 and out.count("callback Faulty failed in on_task") == 1
    assert "RuntimeError: no disk" in out and "it is not called any more, and the study goes on" in out


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (Seen, "should be a list, such as [MyCallback()]"),
        ([Seen], "Seen is a class; write Seen()"),
        ([3], "3 has none of the functions on_epoch, on_task, on_run"),
    ],
)
def test_what_is_no_callback_is_refused(given: Any, words: str) -> None:
    with pytest.raises(UserError) as error:
        cells_of(study(given))
    assert words in str(error.value)


def test_tensorboard_has_the_curves(tmp_path: Path) -> None:
    loader = pytest.importorskip("tensorboardX.event_file_writer", reason="tensorboardX comes with Ray Tune")
    assert loader
    from tensorboardX.proto import event_pb2
    from tensorboardX.record_writer import RecordWriter  # the format of the file, which is read below

    assert RecordWriter
    made = study([TensorBoard(str(tmp_path / "logs"))], methods={"finetune": {"search": None}})
    outcome = run_study(made, tmp_path / "store", local=True)
    assert outcome.code == 0
    files = sorted((tmp_path / "logs").rglob("events.out.*"))
    tags: dict[str, list[int]] = {}
    for file in files:
        raw, at = file.read_bytes(), 0
        while at < len(raw):  # length, checksum, content, checksum
            size = int.from_bytes(raw[at : at + 8], "little")
            event = event_pb2.Event.FromString(raw[at + 12 : at + 12 + size])
            for value in event.summary.value:
                tags.setdefault(f"{file.parent.name.partition('-')[0]} {value.tag}", []).append(event.step)
            at += 12 + size + 4
    assert tags["finetune main/train_loss"][:3] == [1, 2, 3] and "finetune main/lr" in tags


def test_weights_and_biases_has_the_run_offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("wandb", reason="wandb is not installed (pip install wandb)")
    monkeypatch.setenv("WANDB_DIR", str(tmp_path))
    monkeypatch.setenv("WANDB_SILENT", "true")
    made = study([WandB("raycl", mode="offline")], methods={"finetune": {"search": None}}, final=Seeds(1))
    outcome = run_study(made, tmp_path / "store", local=True)
    assert outcome.code == 0 and not outcome.problems
    (folder,) = tmp_path.glob("wandb/offline-run-*")
    (log,) = folder.glob("run-*.wandb")
    assert b"train_loss" in log.read_bytes()
    summary = folder / "files" / "wandb-summary.json"
    assert not summary.exists() or "acc" in json.loads(summary.read_text())

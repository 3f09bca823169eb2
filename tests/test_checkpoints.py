"""A run cut off anywhere goes on to the same bits; a file that somebody else laid there is not executed."""

from __future__ import annotations

import io
import json
import os
import pickle
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from raycl import registry
from raycl.errors import UserError
from raycl.method import Method
from raycl.methods.finetune import Finetune
from raycl.runs import checkpoints, execution, sequence
from raycl.runs.checkpoints import CheckpointFormat, Refused, TaskJournal
from raycl.runs.reports import TaskReport
from raycl.specs import RunSpec
from raycl.training.fit import Fit
from raycl.training.fit_checkpoints import FitCheckpoint, nodes, origins, put_back
from tests.helpers import facts, toys

METHODS = registry.method_names()


class Cut(Exception):
    """The process dies here."""


class Cutting(TaskJournal):
    """Notes everything, and dies after so many notes."""

    left: int | None = None

    def note(self, n: int, moment: FitCheckpoint) -> None:
        super().note(n, moment)
        if self.left is not None:
            self.left -= 1
            if self.left == 0:
                raise Cut


def learnt(
    name: str, folder: Path, left: int | None, epochs: int = 2
) -> tuple[Method, list[TaskReport], int]:
    """A method from its start, or from where an earlier attempt stood in `folder`; notes that were made."""
    on = toys.benchmark_for(name)
    form = CheckpointFormat(on, registry.method(name))
    journal = Cutting(folder, form, "cpu", long=0.0, every=0.0)
    journal.left = left
    plain = toys.fit_for(name, epochs=epochs)
    fit = Fit(plain.config, seed=plain.seed, journal=journal)
    stood = checkpoints.resume(folder / "state.pt", form, "cpu")
    subject, reports, _ = stood or (toys.method(name, on), [], 0.0)

    def keep(method: Method, reports: list[TaskReport]) -> None:
        checkpoints.save(folder / "state.pt", form, method, reports)

    made = 0
    count = journal.note

    def note(n: int, moment: FitCheckpoint) -> None:
        nonlocal made
        made += 1
        count(n, moment)

    journal.note = note  # type: ignore[method-assign]
    for report in sequence.run_sequence(subject, on, fit, done=list(reports), keep=keep):
        reports.append(report)
    return subject, reports, made


def told(reports: list[TaskReport]) -> list[Any]:
    return [
        (r.val, r.test, r.epochs, r.updates, r.parameters, r.stored_bytes, r.diagnostics, r.curves)
        for r in reports
    ]


@pytest.mark.parametrize("name", METHODS)
def test_a_run_cut_off_within_a_task_goes_on_to_the_same_bits(name: str, tmp_path: Path) -> None:
    subject, reports, notes = learnt(name, tmp_path / "whole", None)
    assert notes, f"{name} fits nothing"
    for place in sorted({1, (notes + 1) // 2, notes}):
        folder = tmp_path / f"cut-{place}"
        with pytest.raises(Cut):
            learnt(name, folder, place)
        again, repeated, more = learnt(name, folder, None)
        assert more < notes, "what was noted was made again"
        facts.assert_same_state(facts.state(subject), facts.state(again))
        assert told(repeated) == told(reports), f"cut after note {place} of {notes}"


def test_cut_off_again_and_again(tmp_path: Path) -> None:
    subject, reports, notes = learnt("spg", tmp_path / "whole", None)
    attempts = 0
    while True:
        attempts += 1
        try:
            again, repeated, _ = learnt("spg", tmp_path / "cut", 1)
        except Cut:
            continue
        break
    assert attempts > notes / 2
    facts.assert_same_state(facts.state(subject), facts.state(again))
    assert told(repeated) == told(reports)


def test_seconds_of_a_recalled_fit_count(tmp_path: Path) -> None:
    learnt("finetune", tmp_path, None)
    path = tmp_path / "fit-2-0.pt"  # of the last task, which nothing follows
    form = CheckpointFormat(toys.benchmark_for("finetune"), registry.method("finetune"))
    moment = form.from_bytes(path.read_bytes(), "cpu")
    moment.seconds = moment.fitted["seconds"] = 1000.0
    moment.cpu_seconds = moment.fitted["cpu_seconds"] = 900.0
    path.write_bytes(form.to_bytes(moment))
    _, reports, _ = learnt("finetune", tmp_path, None)
    assert reports[2].seconds["main"] == 1000.0
    assert 0.0 <= reports[2].seconds["method"] < 900.0
    assert reports[2].cpu_seconds["main"] == 900.0 and 0.0 <= reports[2].cpu_seconds["method"] < 800.0


class Waiting(Finetune):
    """Finetuning that sleeps in each step, and after each task."""

    def step(self, batch: Any, update: Any) -> Any:
        time.sleep(0.01)
        return super().step(batch, update)

    def learn(self, task: Any, fit: Fit) -> None:
        super().learn(task, fit)
        time.sleep(0.2)


def test_processor_time_does_not_count_what_a_run_waits_for() -> None:
    on, fit = toys.benchmark_for("finetune"), toys.fit_for("finetune", epochs=2)
    for report in sequence.run_sequence(toys.method(f"{__name__}:Waiting", on), on, fit):
        waited = {"main": 0.01 * report.updates, "method": 0.2}
        for part, seconds in waited.items():
            assert 0.0 <= report.cpu_seconds[part] <= report.seconds[part] - 0.9 * seconds


def test_a_later_note_of_a_fit_takes_the_place_of_the_one_before(tmp_path: Path) -> None:
    learnt("finetune", tmp_path / "run", None)
    form = CheckpointFormat(toys.benchmark_for("finetune"), registry.method("finetune"))
    raw = (tmp_path / "run" / "fit-2-0.pt").read_bytes()
    moment = form.from_bytes(raw, "cpu")
    journal = TaskJournal(tmp_path, form, "cpu", long=0.0, every=0.0, most=int(1.9 * len(raw)))  # not two
    journal.begin(2)
    for epochs in (1, 2):
        moment.epochs = epochs
        journal.note(0, moment)
        noted = journal.recall(0)
        assert noted is not None and noted.epochs == epochs


def test_short_fits_leave_no_notes_and_large_ones_neither(tmp_path: Path) -> None:
    form = CheckpointFormat(toys.benchmark_for("finetune"), registry.method("finetune"))
    short = TaskJournal(tmp_path, form, "cpu", long=3600.0, every=3600.0)
    large = TaskJournal(tmp_path, form, "cpu", long=0.0, every=0.0, most=1000)
    for journal in (short, large):
        on = toys.benchmark_for("finetune")
        plain = toys.fit_for("finetune", epochs=2)
        fit = Fit(plain.config, seed=0, journal=journal)
        list(sequence.run_sequence(toys.method("finetune", on), on, fit))
    assert not list(tmp_path.iterdir())


def test_a_folder_that_cannot_be_written_costs_no_result(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    _, reports, notes = learnt("finetune", tmp_path / "file" / "run", None)
    assert notes
    assert len(reports) == 3


def test_what_a_note_puts_back_is_seen_by_all_who_hold_it() -> None:
    class Holder:
        def __init__(self) -> None:
            self.weight = torch.nn.Parameter(torch.zeros(2))
            self.seen: list[Any] = [self.weight, {"same": self.weight}]
            self.moving = torch.zeros(1)
            self.replaced = torch.zeros(1)

    def trained(holder: Holder) -> None:
        with torch.no_grad():
            holder.weight += 1
        holder.moving += 5
        holder.replaced = holder.replaced + 7
        holder.seen.append(holder.moving)

    first, second = Holder(), Holder()
    before = nodes(first)
    trained(first)
    held, list_held, old = second.weight, second.seen, second.replaced
    put_back(second, first, origins(before, first))
    assert second.weight is held and second.seen is list_held
    assert held.tolist() == [1, 1] and second.seen[0] is held and second.seen[1]["same"] is held
    assert second.moving.tolist() == [5] and second.seen[2] is second.moving
    assert second.replaced.tolist() == [7] and old.tolist() == [0]


MARK = "marker-of-a-hostile-file"


class Hostile:
    def __reduce__(self) -> Any:
        return os.mkdir, (MARK,)


class Torchwise:
    def __reduce__(self) -> Any:
        return torch.save, (1, MARK)


def archive(content: Any) -> bytes:
    buffer = io.BytesIO()
    torch.save(content, buffer)
    return buffer.getvalue()


@pytest.mark.parametrize(
    "raw",
    [
        archive(Hostile()),
        archive({"method": Hostile(), "reports": []}),
        archive(Torchwise()),
        pickle.dumps(Hostile()),
        pickle.dumps(Hostile(), protocol=0),
        b"",
        b"PK\x03\x04",
    ],
)
def test_a_hostile_or_torn_file_is_not_executed(
    raw: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    spec = RunSpec(
        method="finetune", network="mlp(hidden=8)", benchmark="digits_split", seed=1, fit={"epochs": 1}
    )
    folder = tmp_path / "checkpoints" / spec.key
    folder.mkdir(parents=True)
    for name in ("state.pt", "fit-0-0.pt", "fit-1-0.pt"):
        (folder / name).write_bytes(raw)
    result = execution.execute(spec, tmp_path / "checkpoints")
    assert result.status == "done", result.message
    assert result.reports == execution.execute(spec).reports or result.acc() == execution.execute(spec).acc()
    assert not (tmp_path / MARK).exists()


@pytest.mark.parametrize(
    ("module", "name"),
    [
        ("os", "system"),
        ("builtins", "eval"),
        ("builtins", "getattr"),
        ("functools", "partial"),
        ("torch", "load"),
        ("torch.nn.modules.module", "torch.load"),
        ("raycl.benchmarks.base", "data_root"),
        ("raycl.methods.hat", "torch.save"),
        ("raycl.runs.store", "Store"),
        ("raycl.tune.launch", "cluster"),
        ("subprocess", "Popen"),
        ("raycl.runs.checkpoints", "os.system"),
    ],
)
def test_what_no_checkpoint_names(module: str, name: str) -> None:
    with pytest.raises((Refused, AttributeError, KeyError)):
        CheckpointFormat(None, registry.method("hat")).found(module, name)


def test_what_a_users_own_file_defines_comes_back_and_what_it_imports_does_not() -> None:
    kind = type("Mine", (registry.method("hat"),), {"__module__": __name__})
    form = CheckpointFormat(None, kind)
    assert form.found(__name__, "Hostile") is Hostile
    for name in ("Path", "subprocess", "sys.modules"):
        with pytest.raises((Refused, TypeError)):
            form.found(__name__, name)
    generator = np.random.default_rng(3)
    generator.random(5)
    again = form.from_bytes(form.to_bytes({"rng": generator, "plain": {1, 2}, "array": np.arange(3)}), "cpu")
    assert again["rng"].random() == generator.random() and again["plain"] == {1, 2}
    assert again["array"].tolist() == [0, 1, 2]


def test_another_benchmark_is_refused() -> None:
    from raycl import registry

    one, other = registry.load("digits_split"), registry.load("digits_split(size=28)")
    raw = CheckpointFormat.to_bytes(one.tasks[1])
    assert CheckpointFormat(one, registry.method("hat")).from_bytes(raw, "cpu") is one.tasks[1]
    with pytest.raises(Refused):
        CheckpointFormat(other, registry.method("hat")).from_bytes(raw, "cpu")
    with pytest.raises((Refused, UserError)):
        CheckpointFormat(None, registry.method("hat")).from_bytes(raw, "cpu")


KILLED = """
import json, os, signal, sys
from pathlib import Path
from raycl.runs import checkpoints, execution
from raycl.specs import RunSpec
checkpoints.LONG = checkpoints.EVERY = 0.0
spec, folder, batches = RunSpec.from_json(json.loads(sys.argv[1])), Path(sys.argv[2]), int(sys.argv[3])
done = 0
def alive():
    global done
    done += 1
    if done == batches:
        os.kill(os.getpid(), signal.SIGKILL)
result = execution.execute(spec, folder, alive=alive)
print(json.dumps([done, result.to_json()]))
"""


def test_a_process_killed_in_the_middle_of_a_fit_goes_on_from_there(tmp_path: Path) -> None:
    spec = RunSpec(
        method="spg",
        network="mlp(hidden=16)",
        benchmark="digits_split",
        seed=1,
        fit={"epochs": 6, "lr": 0.1, "schedule": "constant", "stop": "never"},
    )

    def played(folder: Path, batches: int) -> subprocess.CompletedProcess[str]:
        words = [sys.executable, "-c", KILLED, json.dumps(spec.to_json()), str(folder), str(batches)]
        return subprocess.run(words, capture_output=True, text=True, timeout=300)

    total, whole = json.loads(played(tmp_path / "whole", -1).stdout)
    middle = total // 2
    assert played(tmp_path / "cut", middle).returncode == -signal.SIGKILL
    assert list((tmp_path / "cut" / spec.key).glob("fit-*.pt")), "nothing was noted within the task"
    left, again = json.loads(played(tmp_path / "cut", -1).stdout)
    assert left < total - middle + total / 10, "more than an epoch was played again"
    for one, other in zip(whole["reports"], again["reports"], strict=True):
        assert {k: one[k] for k in ("val", "test", "epochs", "updates", "figures")} == {
            k: other[k] for k in ("val", "test", "epochs", "updates", "figures")
        }


def test_seconds_of_earlier_attempts_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = RunSpec(
        method="finetune", network="mlp(hidden=8)", benchmark="digits_split", seed=1, fit={"epochs": 1}
    )
    real, kept = checkpoints.save, []

    def save(
        path: Path, form: CheckpointFormat, method: Method, reports: list[TaskReport], seconds: float
    ) -> None:
        real(path, form, method, reports, seconds + 1000.0)
        kept.append(seconds)
        if len(kept) == 2:
            raise Cut

    monkeypatch.setattr(execution, "save", save)
    first = execution.execute(spec, tmp_path)
    assert first.status == "failed" and len(kept) == 2 and first.provenance["earlier_seconds"] == 0.0
    second = execution.execute(spec, tmp_path)
    assert second.status == "done" and [r.task for r in second.reports] == [0, 1, 2, 3, 4]
    assert second.provenance["earlier_seconds"] == 1000.0 + kept[1]
    assert second.provenance["seconds"] > 1000.0 > kept[2] - 1000.0 - kept[1] >= 0.0

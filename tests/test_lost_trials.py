"""Trials that their hyperparameters leave without a value are replaced, and their search completes."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Any

import pytest

from raycl import Float, Search, Seeds, Study, cli, report
from raycl.runs.execution import _masks_apart, execute
from raycl.runs.inputs import masks_for
from raycl.runs.result import Result, Trained
from raycl.runs.store import Store
from raycl.study.agenda import Agenda
from raycl.study.expand import cells_of
from raycl.study.file import read_study
from raycl.study.jobs import Job
from raycl.study.maskjobs import MaskJob
from raycl.training.fit import Diverged
from raycl.tune.proposals import propose
from tests.test_agenda import ledger, outcome, play

OWN = """
from dataclasses import dataclass
from typing import Annotated

from raycl.methods.finetune import Finetune
from raycl.networks.mlp import MLP
from raycl.space import Float


class Picky(Finetune):
    @dataclass(frozen=True, kw_only=True)
    class Config(Finetune.Config):
        strength: Annotated[float, Float(0, 1)] = 0.0
        how: str = "config"

        def __post_init__(self):
            if self.how == "config" and 0.45 < self.strength < 0.65:  # neither end of the domain
                raise ValueError(f"strength = {self.strength} lies in the middle")

    config: Config

    def make(self):
        super().make()
        if self.config.how == "make" and 0.45 < self.config.strength < 0.65:
            raise ValueError("make() does not want it")
        if self.config.how == "bug" and 0.45 < self.config.strength < 0.65:
            raise KeyError("a bug")


class Narrow(MLP):
    @dataclass(frozen=True, kw_only=True)
    class Config(MLP.Config):
        odd: Annotated[float, Float(0, 1)] = 0.0

        def __post_init__(self):
            if 0.3 < self.odd < 0.7:
                raise ValueError(f"odd = {self.odd} lies in the middle")
"""
STUDY = """
from raycl import *

STUDY = Study(
    methods={{"picky": {{"method": "own:Picky", {keys}}}}}, benchmarks=["digits_rotated(tasks=2)"],
    network="mlp(hidden=8, drop1=0.0, drop2=0.0)", fit={{"epochs": 1}},
    search={search}, final=Seeds(1),
)
"""
SEARCH = "Search(trials=4, startup_trials=8, concurrency=2)"


def written(folder: Path, keys: str = "", search: str = SEARCH) -> Path:
    (folder / "own.py").write_text(OWN)
    (folder / "study.py").write_text(STUDY.format(keys=keys, search=search))
    return folder / "study.py"


def state_of(study: Path, store: Path) -> Any:
    return Agenda(cells_of(read_study(study)), Store(store)).states[0]


@pytest.mark.slow
@pytest.mark.parametrize("how", ["config", "make"])
def test_values_that_only_a_run_can_refuse_are_replaced(tmp_path: Path, how: str) -> None:
    study, store = written(tmp_path, f'"method.how": "{how}"'), tmp_path / "store"
    assert cli.main(["run", str(study), "--local", "--store", str(store)]) == 0
    state = state_of(study, store)
    refused = [trial for trial in state.trials if 0.45 < trial.params["method.strength"] < 0.65]
    assert refused and [t.n for t in state.trials if t.result.status == "invalid"] == [t.n for t in refused]
    assert state.complete and len(state.completed) == 4 and len(state.trials) == 4 + len(refused)
    wanted = "lies in the middle" if how == "config" else "make() does not want it"
    assert all(wanted in trial.result.message for trial in refused)
    table = report(study, store)
    assert f"{len(refused)} of {len(state.trials)} trials w" in table and "invalid" in table
    lines = list(csv.DictReader(io.StringIO(report(study, store, "csv"))))
    assert [line["trials_invalid"] for line in lines if line["seed"] == "mean"] == [str(len(refused))]
    assert {line["trials_diverged"] for line in lines if line["seed"] == "mean"} == {"0"}


def test_a_bug_in_a_method_is_no_refusal(tmp_path: Path) -> None:
    study, store = written(tmp_path, '"method.how": "bug"'), tmp_path / "store"
    assert cli.main(["run", str(study), "--local", "--store", str(store)]) == 1
    assert not state_of(study, store).complete
    assert any("KeyError: 'a bug'" in path.read_text() for path in store.glob("failures/*.json"))


def test_without_a_search_a_refusal_is_a_failure_that_is_tried_again(tmp_path: Path) -> None:
    study, store = written(tmp_path, '"method.how": "make", "method.strength": 0.5', "None"), tmp_path / "s"
    cells = cells_of(read_study(study), check=False)  # a check would refuse it already
    for _ in range(2):
        agenda = Agenda(cells, Store(store).open(), propose)
        job = agenda.next()
        assert isinstance(job, Job)
        agenda.finish(job.key, execute(job.spec))
        assert agenda.over and "make() does not want it" in agenda.states[0].failed[job.key]


def test_a_grid_completes_without_the_points_that_no_run_accepts(tmp_path: Path) -> None:
    study = written(tmp_path, '"method.how": "make"', 'Grid({"method.strength": [0.0, 0.5, 1.0]})')
    assert cli.main(["run", str(study), "--local", "--store", str(tmp_path / "store")]) == 0
    state = state_of(study, tmp_path / "store")
    assert [trial.result.status for trial in state.trials] == ["done", "invalid", "done"] and state.complete


def test_values_that_planning_finds_are_refused_in_a_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for keys, search in (
        ('"method.strength": Float(0.5, 1)', SEARCH),
        ('"method.strength": Choice(0.1, 0.5)', SEARCH),
        ("", 'Grid({"method.strength": [0.0, 0.5]})'),
    ):
        assert cli.main(["plan", str(written(tmp_path, keys, search)), "--store", str(tmp_path / "s")]) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert "the search can propose method.strength = 0.5: " in line and "lies in the middle" in line


def narrow(folder: Path) -> list[Any]:
    """A cell whose network refuses values in the driver, where the key of a run is made."""
    (folder / "own.py").write_text(OWN)
    study = Study(
        methods={"finetune": {}}, benchmarks=["digits_split"], folder=folder,
        network="own:Narrow(hidden=8, drop1=0.0, drop2=0.0)",
        search=Search(trials=7, concurrency=3, startup_trials=3), final=Seeds(1, 2),
    )  # fmt: skip
    return cells_of(study, check=False)


def test_refusals_in_the_driver_do_not_depend_on_timing_or_kills(tmp_path: Path) -> None:
    cells, seen = narrow(tmp_path), []
    for n, slots in enumerate([1, 2, 4]):
        agenda = Agenda(cells, Store(tmp_path / f"{n}").open(), propose)
        play(agenda, slots, n)
        (state,) = agenda.states
        refused = [t.n for t in state.trials if 0.3 < t.params["net.odd"] < 0.7]
        assert refused and refused == [t.n for t in state.trials if t.result.status == "invalid"]  # type: ignore[union-attr]
        assert state.complete and len(state.completed) == 7 and len(state.trials) == 7 + len(refused)
        seen.append(ledger(tmp_path / f"{n}"))
    while play(Agenda(cells, Store(tmp_path / "cut").open(), propose), 2, 0, stop_after=3):
        pass
    assert all(other == seen[0] for other in [*seen, ledger(tmp_path / "cut")])
    read = Agenda(cells, Store(tmp_path / "cut")).states[0]
    assert read.complete and read.lost("invalid") == len(refused)


def test_a_refusal_that_another_search_has_met_fails_a_final_run(tmp_path: Path) -> None:
    study = written(tmp_path, '"method.how": "make", "method.strength": 0.5', "None")
    (cell,) = cells_of(read_study(study), check=False)
    store = Store(tmp_path / "s").open()
    store.put(Result(cell.spec({}, 1), "invalid", (), "not these", {"started": 1.0, "seconds": 0.0}))
    (state,) = Agenda([cell], store).states
    assert not state.complete and list(state.failed.values()) == ["seed 1: not these"]


def banked() -> list[Any]:
    return cells_of(
        Study(
            methods={
                "impresslearn": {
                    "method.k": 2, "method.density": 0.2, "method.basis_lr": Float(1e-4, 1, log=True),
                }
            },
            benchmarks=["digits_permuted(tasks=2, first=2)"], network="lenet_300_100",
            preset="impresslearn_alpha_mnist", fit={"epochs": 1},
            search=Search(trials=3, concurrency=2, startup_trials=3), final="best trial",
        ),
        check=False,
    )  # fmt: skip


def test_the_training_of_masks_is_searched_and_may_diverge(tmp_path: Path) -> None:
    """Here every mask diverges whose rate is above 0.01."""
    agenda = Agenda(banked(), Store(tmp_path).open(), propose)
    rates = set()
    while (job := agenda.next()) is not None:
        if isinstance(job, MaskJob):
            rates |= {spec.fit["lr"] for spec in job.specs}
            lost = tuple(spec.key for spec in job.specs if spec.fit["lr"] > 0.01)
            for spec in job.specs:
                if spec.key not in lost:
                    _put_mask(agenda, spec.key)
            agenda.finish_masks(job.key, Trained("diverged" if lost else "done", "NaN", 1.0, (), lost))
        else:
            agenda.finish(job.key, outcome(job))
    (state,) = agenda.states
    diverged = [t for t in state.trials if t.params["method.basis_lr"] > 0.01]
    assert diverged and [t.n for t in state.trials if t.result.status == "diverged"] == [
        t.n for t in diverged
    ]  # type: ignore[union-attr]
    assert len(rates) == len(state.trials) and state.searched and not state.failed
    assert len(state.completed) == 3 or len(state.trials) == 6
    assert diverged[0].result is not None and diverged[0].result.message == "basis masks: NaN"


def _put_mask(agenda: Agenda, key: str) -> None:
    import zipfile

    from raycl.archives import Artefact

    path = Artefact.MASK.path(agenda.store.root, key)
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("mask", "")


def test_fields_of_the_masks_training_are_in_the_masks_keys(tmp_path: Path) -> None:
    (cell,) = banked()
    assert isinstance(cell.search, Search)
    plain, faster = cell.spec({}, 1), cell.spec({"method.basis_lr": 0.01}, 1)
    assert [mask.fit["lr"] for mask in masks_for(faster)] == [0.01, 0.01]
    assert [mask.fit["lr"] for mask in masks_for(plain)] == [1e-4, 1e-4]  # of the preset
    assert not {mask.key for mask in masks_for(plain)} & {mask.key for mask in masks_for(faster)}
    other = cells_of(
        Study(
            methods={"impresslearn": {"method.k": 2, "method.basis_optimiser": "adam"}},
            benchmarks=["digits_permuted(tasks=2, first=2)"], network="lenet_300_100", search=None,
        ),
        check=False,
    )[0].spec({}, 1)  # fmt: skip
    assert {mask.fit["optimiser"] for mask in masks_for(other)} == {"adam"}


def test_only_the_masks_that_diverge_are_lost_whatever_they_are_trained_with(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    specs: Any = [type("Spec", (), {"key": f"k{n}"})() for n in range(4)]

    def together(some: Any, pulse: Any) -> Any:
        for position, spec in enumerate(some):
            if spec.key in ("k1", "k3"):
                raise Diverged(f"{spec.key} is NaN")
            yield position, spec.key

    monkeypatch.setattr("raycl.runs.execution._trained_masks", together)
    lost: dict[str, str] = {}
    assert [mask for _, mask in _masks_apart(specs, lost, None)] == ["k0", "k2"]
    assert lost == {"k1": "k1 is NaN", "k3": "k3 is NaN"}


@pytest.mark.parametrize("status", ["diverged", "invalid"])
def test_a_trial_whose_backbone_is_lost_is_lost_itself(tmp_path: Path, status: str) -> None:
    study = Study(
        methods={"piggyback": {"net.drop1": Float(0, 0.5)}}, benchmarks=["digits_split"],
        network="mlp(hidden=8)", search=Search(trials=3, concurrency=2, startup_trials=3), final=Seeds(1),
    )  # fmt: skip
    agenda = Agenda(cells_of(study, check=False), Store(tmp_path).open(), propose)
    parts = 0
    while isinstance(job := agenda.next(), Job):
        assert job.is_part
        parts += 1
        agenda.finish(job.key, Result(job.spec, status, (), "why", {"seconds": 1.0, "started": 1.0}))  # type: ignore[arg-type]
    (state,) = agenda.states
    assert parts == len(state.trials) == 6 and state.lost(status) == 6 and not state.failed
    assert state.trials[0].result is not None and state.trials[0].result.message == "its backbone: why"

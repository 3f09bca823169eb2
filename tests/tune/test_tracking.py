"""Real MLflow: what stands there, and that a repeated projection adds nothing."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from mlflow.entities import Run
from mlflow.tracking import MlflowClient

from raycl import Int, Metric, Search, Seeds, Study, metrics
from raycl.api import run_study
from raycl.cli import _print_addresses
from raycl.errors import UserError
from raycl.runs.store import Store
from raycl.study.agenda import Agenda
from raycl.study.expand import cells_of
from raycl.study.jobs import Event, Finished
from raycl.study.progress import most_trials
from raycl.tune.links import addresses
from raycl.tune.moving import mend_artefacts
from raycl.tune.pages import VIEW, pages_of
from raycl.tune.projection import PARENT
from raycl.tune.tracking import Tracking
from tests.helpers import hand
from tests.helpers.tiny import in_process, tiny

pytestmark = pytest.mark.usefixtures("mlflow_tables")

METHODS = {"one": {"search": None}, "hat": {}, "finetune": {}}


def study(**changes: Any) -> Study:
    return tiny(METHODS, name="tracked", search=Search(trials=2, concurrency=2, startup_trials=2), **changes)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("tracked") / "store"
    assert run_study(study(), root, local=True).code == 0
    return root


def runs(client: MlflowClient, name: str = "tracked") -> list[Run]:
    experiment = client.get_experiment_by_name(name)
    assert experiment is not None
    return list(client.search_runs([experiment.experiment_id], max_results=1000))


def client_of(store: Path) -> MlflowClient:
    return MlflowClient(tracking_uri=f"sqlite:///{store / 'mlflow.db'}")


def test_one_parent_a_cell_and_one_child_a_run(store: Path) -> None:
    found = runs(client_of(store))
    parents = [r for r in found if PARENT not in r.data.tags]
    assert {r.info.run_name for r in parents} == {f"{m} / digits_split" for m in METHODS}
    children = [r for r in found if PARENT in r.data.tags]
    assert (
        len(children) == 2 + 3 + 2
    )  # the best trial and the first seed are one run; finetune has nothing to search
    assert len({(r.data.tags[PARENT], r.data.tags["raycl.key"]) for r in children}) == len(children)
    names = sorted(r.info.run_name for r in children if r.info.run_name.startswith("hat"))
    assert names == [
        "hat / digits_split / seed 2",
        "hat / digits_split / trial 0",
        "hat / digits_split / trial 1",
    ]


def test_the_parents_row_is_the_comparison(store: Path) -> None:
    by_name = {r.info.run_name: r for r in runs(client_of(store)) if PARENT not in r.data.tags}
    hat = by_name["hat / digits_split"]
    assert {"acc", "acc_std", "fwt_vs_one", "bwt", "ps", "ct"} <= hat.data.metrics.keys()
    agenda = Agenda(cells_of(study()), Store(store))
    state = next(s for s in agenda.states if s.cell.label == "hat")
    mean = sum(r.acc() or 0 for r in state.results.values()) / 2
    assert hat.data.metrics["acc"] == pytest.approx(mean)
    assert hat.data.params["method"] == "hat" and hat.info.status == "FINISHED"
    assert "ps" not in by_name["one / digits_split"].data.metrics  # absent, not zero


def test_children_carry_their_curve_and_parameters(store: Path) -> None:
    client = client_of(store)
    child = next(r for r in runs(client) if r.info.run_name == "hat / digits_split / trial 0")
    curve = client.get_metric_history(child.info.run_id, "acc")
    assert [point.step for point in curve] == [1, 2, 3, 4, 5]
    assert {"method.lamb", "method.smax", "method", "benchmark", "order", "seed"} <= child.data.params.keys()
    assert {"bwt_T", "params", "bytes_total", "val_acc", "ct"} <= child.data.metrics.keys()


def test_syncing_again_adds_nothing(store: Path) -> None:
    client = client_of(store)

    def points() -> dict[tuple[str, str], int]:
        return {(r.info.run_id, name): len(client.get_metric_history(r.info.run_id, name))
                for r in runs(client) for name in r.data.metrics}  # fmt: skip

    before = points()
    for _ in range(2):
        Tracking.open(study(), Agenda(cells_of(study()), Store(store))).sync()
    assert points() == before
    for run in runs(client):  # also when nothing says that it was done before
        client.set_tag(run.info.run_id, "raycl.content", "gone")
    Tracking.open(study(), Agenda(cells_of(study()), Store(store))).sync()
    assert points() == before


def test_parents_of_a_papers_study_carry_its_number_and_the_difference(tmp_path: Path) -> None:
    """SPG prints .66 for itself, .64 without other heads and nothing for a method of ours."""
    methods = {"spg": {}, "no cross": {"method": "spg", "method.chi": False}, "frozen": {}}
    of = hand.study(name="held", methods=methods, benchmarks=["cifar100_10"], network="alexnet", paper="spg")
    store = Store(tmp_path / "store").open()
    for label, acc in (("spg", 0.70), ("no cross", 0.50), ("frozen", 0.40)):
        for seed in (1, 2):
            rows = hand.reports([[acc], [acc, acc + seed / 50 - 0.03]])
            hand.put(store, hand.cells(of)[f"{label}/cifar100_10"].spec({}, seed), rows)
    agenda = hand.read(store, of)

    def told() -> dict[str, tuple[float | None, float | None]]:
        found = [r for r in runs(client_of(tmp_path / "store"), "held") if PARENT not in r.data.tags]
        metrics = {r.info.run_name.partition(" / ")[0]: r.data.metrics for r in found}
        return {label: (m.get("paper"), m.get("difference")) for label, m in metrics.items()}

    tracking = Tracking.open(of, agenda)
    state = next(s for s in agenda.states if s.cell.label == "spg")
    tracking.one(state, state.finals[1].spec.key)  # while a study runs, one cell at a time
    assert told() == {"spg": (0.66, pytest.approx(0.04))}
    tracking.sync()
    expected = {"spg": (0.66, pytest.approx(0.04)), "no cross": (0.64, pytest.approx(-0.14)),
                "frozen": (None, None)}  # fmt: skip
    assert told() == expected
    experiment = tracking.experiment.client.get_experiment(tracking.experiment.id)
    assert json.loads(experiment.tags["mlflow.sharedViewState.raycl-all"]) == VIEW
    assert {"metrics.`paper`", "metrics.`difference`"} <= set(VIEW["selectedColumns"])


def test_parents_carry_the_interval_of_ps_from_five_trials_on(tmp_path: Path) -> None:
    of = hand.study(name="spread", methods={"finetune": {"fit.lr": hand.RATE}, "one": {"search": None}},
                    search=Search(trials=6, startup_trials=6), final=Seeds(1))  # fmt: skip
    store = Store(tmp_path / "store").open()
    cell = hand.cells(of)[f"finetune/{hand.BENCHMARK}"]
    accs = [0.4, 0.8, 0.5, 0.7, 0.6, 0.6]

    def told(trials: int) -> dict[str, float]:
        params = [{"fit.lr": (n + 1) / 100} for n in range(trials)]
        whole = [hand.reports([[acc], [acc, acc]]) for acc in accs]
        rows = [
            tuple(dataclasses.replace(r, ended=r.ended + 10 * n) for r in rs) for n, rs in enumerate(whole)
        ]
        hand.put_trials(store, cell, list(zip(params, rows[:trials], strict=True)))
        agenda = hand.read(store, of)
        tracking, state = Tracking.open(of, agenda), agenda.states[0]
        tracking.one(state, state.trials[-1].spec.key)  # while a study runs, one trial at a time
        (parent,) = [r for r in runs(client_of(tmp_path / "store"), "spread") if PARENT not in r.data.tags]
        return dict(parent.data.metrics)

    few = told(4)
    assert few["ps"] == pytest.approx(metrics.ps(accs[:4])) and not {"ps_low", "ps_high"} & few.keys()
    whole = told(6)
    assert whole["ps"] == pytest.approx(metrics.ps(accs))
    assert (whole["ps_low"], whole["ps_high"]) == metrics.ps_interval(accs)
    Tracking.open(of, hand.read(store, of)).sync()
    assert told(6) == whole


def test_a_search_without_a_value_has_failed(tmp_path: Path) -> None:
    """And goes on if another trial is to be had."""
    of = hand.study(name="lost", methods={"finetune": {"fit.lr": hand.RATE}}, final=Seeds(1),
                    search=Search(trials=2, startup_trials=2))  # fmt: skip
    store = Store(tmp_path / "store").open()
    cell = hand.cells(of)[f"finetune/{hand.BENCHMARK}"]

    def status(trials: int) -> str:
        hand.put_trials(store, cell, [({"fit.lr": (n + 1) / 100}, None) for n in range(trials)])
        Tracking.open(of, hand.read(store, of)).sync()
        (parent,) = [r for r in runs(client_of(tmp_path / "store"), "lost") if PARENT not in r.data.tags]
        return str(parent.info.status)

    assert [status(1), status(most_trials(cell))] == ["RUNNING", "FAILED"]


def test_a_metric_of_the_studys_own_stands_beside_raycls(tmp_path: Path) -> None:
    """On cells the mean, on runs the value at the end; with a curve also after each task of those so far."""
    worst = Metric("worst", lambda a: a[-1].min(), "lowest accuracy", main=True, tracked="curve")
    gain = Metric("gain", lambda a, one: a[-1, 0] - one[0], "of the first task", inputs=["test", "reference"])
    quiet = Metric("quiet", lambda a: 0.5, "nothing for MLflow", tracked="")
    failing = Metric("failing", lambda a: a[9, 9], "of ten tasks")
    of = hand.study(name="own", metrics=[worst, gain, quiet, failing])
    store = Store(tmp_path / "store").open()
    tracking = Tracking.open(of, hand.filled(store, of))
    state = next(s for s in tracking.agenda.states if s.cell.label == "finetune")
    tracking.one(state, state.finals[1].spec.key)  # while a study runs, one cell at a time
    for _ in range(2):  # and again, which adds nothing
        found = {r.info.run_name: r for r in runs(client_of(tmp_path / "store"), "own")}
        cell = found[f"finetune / {hand.BENCHMARK}"]
        child = found[f"finetune / {hand.BENCHMARK} / seed 1"]
        assert cell.data.metrics["worst"] == pytest.approx(0.63)  # .60 and .66
        assert cell.data.metrics["gain"] == pytest.approx(-0.28)  # .60 - .90 and .66 - .92
        curve = tracking.experiment.client.get_metric_history(child.info.run_id, "worst")
        assert [(p.step, p.value) for p in curve] == [(1, 0.88), (2, 0.60)]
        end = tracking.experiment.client.get_metric_history(child.info.run_id, "gain")
        assert [(p.step, p.value) for p in end] == [(2, pytest.approx(-0.30))]
        assert not {"quiet", "failing"} & {*cell.data.metrics, *child.data.metrics}
        tracking.sync()
    experiment = tracking.experiment.client.get_experiment(tracking.experiment.id)
    columns = json.loads(experiment.tags["mlflow.sharedViewState.raycl-all"])["selectedColumns"]
    assert [name for name in columns if name not in VIEW["selectedColumns"]] == ["metrics.`worst`"]


def test_mlflow_has_what_it_had_of_raycls_metrics(tmp_path: Path) -> None:
    of = hand.study(name="plain")
    store = Store(tmp_path / "store").open()
    Tracking.open(of, hand.filled(store, of)).sync()
    found = {r.info.run_name: r.data.metrics for r in runs(client_of(tmp_path / "store"), "plain")}
    once = {"acc", "fwt_vs_one", "bwt", "bwt_T", "val_acc", "ct", "params", "bytes_total"}
    assert found[f"finetune / {hand.BENCHMARK}"].keys() == once | {"acc_std"}
    assert found[f"finetune / {hand.BENCHMARK} / seed 1"].keys() == once | {"ct_wall"}
    assert found[f"one / {hand.BENCHMARK} / seed 1"].keys() == once - {"fwt_vs_one"} | {"ct_wall"}
    shown = ["acc", "acc_std", "ps", "ct", "fwt_vs_one", "bwt", "paper", "difference", "params"]
    assert VIEW["selectedColumns"][2:] == [f"metrics.`{name}`" for name in [*shown, "bytes_total"]]


def test_trials_on_a_pareto_front_have_a_tag(tmp_path: Path) -> None:
    """The front is known when the search ends, after its trials were written."""
    wide = {"finetune": {"net.hidden": Int(2, 40)}}
    search = Search(
        trials=5, concurrency=1, startup_trials=4, objectives=("acc", "-bytes_total"), pick="front"
    )
    several = tiny(wide, name="several", search=search, final=Seeds(1, 2))
    store = tmp_path / "store"
    assert run_study(several, store, local=True).code == 0
    (state,) = Agenda(cells_of(several), Store(store)).states
    assert state.best is not None and len(state.front) > 1
    client = client_of(store)
    (cell,) = [run for run in runs(client, "several") if PARENT not in run.data.tags]
    assert cell.data.tags["raycl.front"] == " ".join(str(trial.n) for trial in state.front)
    assert cell.data.tags["raycl.knee"] == str(state.best.n)
    children = {r.info.run_name.rpartition(" / ")[2]: r for r in runs(client, "several") if r is not cell}
    tagged = {name: run.data.tags["raycl.front"] for name, run in children.items()
              if "raycl.front" in run.data.tags and name.startswith("trial")}  # fmt: skip
    wanted = {f"trial {t.n}": "knee" if t is state.best else "member" for t in state.front}
    assert tagged == wanted
    others = [trial.n for trial in state.front if trial is not state.best]
    assert {f"seed 2 of trial {n}" for n in others} <= children.keys()


def test_beside_a_substitute_stands_no_number(store: Path) -> None:
    of = study(paper="spg")  # which prints numbers for hat and finetune, and none on digits
    Tracking.open(of, Agenda(cells_of(of), Store(store))).sync()
    found = [r for r in runs(client_of(store)) if PARENT not in r.data.tags]
    assert found and not any({"paper", "difference"} & r.data.metrics.keys() for r in found)


def test_the_links_name_every_cell(store: Path) -> None:
    tracking = Tracking.open(study(), Agenda(cells_of(study()), Store(store)))
    ((benchmark, link),) = tracking.compare_links().items()
    parents = [r.info.run_id for r in runs(client_of(store)) if PARENT not in r.data.tags]
    assert all(run_id in link for run_id in parents) and "/#/compare-runs?runs=%5B%22" in link
    assert benchmark == "digits_split"


def test_the_addresses_of_a_store_open_the_runs_and_not_the_pages_for_language_models(
    store: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    client, base = client_of(store), "http://127.0.0.1:5123"
    experiment = client.get_experiment_by_name("tracked")
    (found,) = addresses(f"sqlite:///{store / 'mlflow.db'}", base)  # MLflow's own "Default" has no runs
    place = f"{base}/#/experiments/{experiment.experiment_id}/runs?workflowType=machine_learning"
    assert (found.name, found.runs) == ("tracked", f"{place}&viewStateShareKey=raycl")
    assert found.wide == f"{place}&viewStateShareKey=raycl-all"
    for name in ("raycl", "raycl-all"):
        view = json.loads(experiment.tags[f"mlflow.sharedViewState.{name}"])
        assert view["selectedColumns"][2:6] == [f"metrics.`{m}`" for m in ("acc", "acc_std", "ps", "ct")]
    assert found.compared.keys() == {"digits_split"} and base in found.compared["digits_split"]
    _print_addresses(store, f"sqlite:///{store / 'mlflow.db'}", base)
    assert found.runs in capsys.readouterr().out


def test_chosen_hyperparameters_are_parameters_of_the_cell(store: Path) -> None:
    hat = next(r for r in runs(client_of(store)) if r.info.run_name == "hat / digits_split")
    state = next(s for s in Agenda(cells_of(study()), Store(store)).states if s.cell.label == "hat")
    assert state.best is not None and state.best.params
    assert {k: hat.data.params[k] for k in state.best.params} == {
        k: str(v) for k, v in state.best.params.items()
    }


def test_a_copied_store_has_artefacts_of_its_own_after_sync(store: Path, tmp_path: Path) -> None:
    copy = tmp_path / "moved"
    shutil.copytree(store, copy)
    Tracking.open(study(), Agenda(cells_of(study()), Store(copy))).sync()
    client = client_of(copy)
    for run in runs(client):
        assert run.info.artifact_uri.startswith((copy / "mlflow-artifacts").as_uri())
    hat = next(r for r in runs(client) if r.info.run_name == "hat / digits_split")
    shutil.move(store, f"{store}-away")  # the copy does not need it
    try:
        got = client.download_artifacts(hat.info.run_id, "matrices.json", str(tmp_path))
        assert Path(got).read_text().startswith("{")
    finally:
        shutil.move(f"{store}-away", store)
    assert mend_artefacts(copy) == 0
    for run in runs(client_of(store)):
        assert run.info.artifact_uri.startswith((store / "mlflow-artifacts").as_uri())


def test_a_uri_that_answers_nothing_is_refused_before_anything_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    with pytest.raises(
        UserError, match=r"MLflow at http://127.0.0.1:9 does not answer .*MLFLOW_TRACKING_URI"
    ):
        run_study(study(), tmp_path / "store", local=True)
    assert not list((tmp_path / "store").glob("runs/*"))


@contextlib.contextmanager
def server(folder: Path) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    """MLflow's own server on a free port of loopback."""
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port)]
    command += ["--workers", "1", "--backend-store-uri", f"sqlite:///{folder / 'server.db'}"]
    command += ["--artifacts-destination", str(folder)]
    log = (folder / "log").open("wb")
    process = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)
    uri = f"http://127.0.0.1:{port}"
    try:
        deadline = time.monotonic() + 120
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                break
            except OSError:
                assert process.poll() is None and time.monotonic() < deadline, (folder / "log").read_text()
                time.sleep(0.2)
        yield uri, process
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        log.close()


@pytest.mark.slow
def test_an_outage_stops_nothing_and_sync_fills_in_the_rest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from rich.console import Console

    from raycl.reporting import render

    small = tiny({"finetune": {}}, name="outage", search=None, final=Seeds(1, 2, 3))
    with server(tmp_path) as (uri, process):
        monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
        agenda_seen: list[int] = []

        from raycl.study import local

        real = local.run_locally

        def cut(agenda: Agenda, *_: Any) -> None:
            def stop_server(event: Event) -> None:
                if isinstance(event, Finished) and not agenda_seen:
                    agenda_seen.append(1)
                    os.killpg(process.pid, signal.SIGKILL)
                    process.wait()

            agenda.listeners.insert(0, stop_server)
            real(agenda)

        monkeypatch.setattr(local, "run_locally", cut)
        played = run_study(small, tmp_path / "store", local=True, console=Console(width=200))
    assert played.code == 0 and agenda_seen
    said = capsys.readouterr().out
    assert said.count("cannot be reached") == 1 and "raycl sync" in said
    agenda = Agenda(cells_of(small), Store(tmp_path / "store"))
    assert agenda.states[0].complete and "finetune" in render(small, agenda, "table")
    with server(tmp_path) as (uri, _):  # the same database, another port
        monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
        Tracking.open(small, agenda).sync()
        found = runs(MlflowClient(tracking_uri=uri), "outage")
        assert len(found) == 1 + 3 and all(r.info.status == "FINISHED" for r in found)


def test_a_study_played_in_two_halves_stands_there_once(tmp_path: Path) -> None:
    store = tmp_path / "store"
    in_process(tiny({"finetune": {}}, name="halves", search=None, final=Seeds(1)), store)
    whole = tiny({"finetune": {}}, name="halves", search=None, final=Seeds(1, 2))
    assert run_study(whole, store, local=True).code == 0
    assert run_study(whole, store, local=True).code == 0
    found = runs(client_of(store), "halves")
    assert sorted(r.info.run_name for r in found) == [
        "finetune / digits_split",
        "finetune / digits_split / seed 1",
        "finetune / digits_split / seed 2",
    ]


def test_what_two_drivers_wrote_at_the_same_moment_stands_there_once_after_a_sync(tmp_path: Path) -> None:
    small = tiny({"finetune": {}}, name="doubled", search=None, final=Seeds(1, 2))
    store = tmp_path / "store"
    assert run_study(small, store, local=True).code == 0
    client = client_of(store)
    (experiment,) = {r.info.experiment_id for r in runs(client, "doubled")}
    twin = client.create_run(experiment, tags={"raycl.key": "cell finetune/digits_split"})
    for run in runs(client, "doubled"):
        if PARENT in run.data.tags:
            for parent in (run.data.tags[PARENT], twin.info.run_id):
                client.create_run(experiment, tags={"raycl.key": run.data.tags["raycl.key"], PARENT: parent})
    own = client.create_run(experiment, run_name="a user's own")
    assert len(runs(client, "doubled")) == 3 + 5 + 1
    Tracking.open(small, Agenda(cells_of(small), Store(store))).sync()
    left = runs(client, "doubled")
    assert len(left) == 3 + 1 and own.info.run_id in {r.info.run_id for r in left}
    (parent,) = [r.info.run_id for r in left if r.data.tags.get("raycl.key", "").startswith("cell")]
    children = [r for r in left if PARENT in r.data.tags]
    assert all(r.data.tags[PARENT] == parent and r.info.status == "FINISHED" for r in children)
    assert len(children) == 2


def test_runs_are_found_in_the_database_as_mlflows_client_finds_them(tmp_path: Path) -> None:
    small = tiny({"finetune": {}}, name="found", search=None, final=Seeds(1, 2))
    store = tmp_path / "store"
    assert run_study(small, store, local=True).code == 0
    client = client_of(store)
    (experiment,) = {r.info.experiment_id for r in runs(client, "found")}
    client.create_run(experiment, run_name="a user's own")
    client.create_run(client.create_experiment("another"), tags={"raycl.key": "of another experiment"})
    gone = client.create_run(experiment, tags={"raycl.key": "gone"})
    client.delete_run(gone.info.run_id)
    opened = Tracking.open(small, Agenda(cells_of(small), Store(store))).experiment
    direct = opened._marks()
    opened.close()
    opened._whole = None
    assert sorted(direct) == sorted(opened._marks()) and len(direct) == 1 + 2 + 1


def test_no_password_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    small = tiny({"finetune": {}}, name="secret", search=None, final=Seeds(1))
    for uri in ("http://ada:hunter2@127.0.0.1:9", "postgresql://ada:hunter2@127.0.0.1:9/mlflow"):
        monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
        with pytest.raises(UserError) as caught:
            run_study(small, tmp_path / "store", local=True)
        assert "hunter2" not in str(caught.value)
        if uri.startswith("http"):
            assert "http://ada:***@127.0.0.1:9" in str(caught.value)
    assert pages_of("http://ada:hunter2@host:1") == "http://host:1"

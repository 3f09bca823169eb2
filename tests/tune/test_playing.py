"""Real Ray: what is played, what goes wrong, and that both roads give the same bits.

Starting workers is what costs, so most of it is one study of methods that behave and misbehave.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest

from raycl import Resources, Search, Seeds, Study
from raycl.errors import UserError
from raycl.runs.store import Store
from raycl.study.agenda import Agenda
from raycl.study.progress import CellState
from raycl.tune import launch
from tests.helpers.sockets import descendants, listening
from tests.helpers.tiny import in_process, on_ray, tiny

pytestmark = pytest.mark.slow  # these tests start clusters, servers or drivers of their own

GOOD = {"finetune": {}, "hat": {}}


def rogues(mark: Path) -> Study:
    plain: dict[str, Any] = {"search": None}
    return tiny(
        {
            **GOOD,
            "exits": {"method": "misbehaving:Exits", "method.mark": str(mark), **plain},
            "raises": {"method": "misbehaving:Raises", **plain},
            "diverges": {
                "method": "misbehaving:Diverges",
                "search": Search(trials=8, concurrency=2, startup_trials=20),
            },
            "threads": {"method": "misbehaving:Threads", **plain},
            "twice": {"method": "misbehaving:Threads", "method.name": "twice", **plain},
        },
        resources={"twice/*": Resources(cpus=2)},
        final=Seeds(1),
        keep="final",
    )


def deadly(mark: Path) -> Study:
    """Methods whose processes end again and again, or only when they are made to."""
    return tiny(
        {
            "hangs": {"method": "misbehaving:Hangs", "method.mark": f"{mark}-hangs"},
            "hoards": {"method": "misbehaving:Hoards", "method.mark": f"{mark}-hoards"},
            "always": {"method": "misbehaving:AlwaysExits"},
        },
        resources={"hangs/*": Resources(stall_minutes=0.4), "hoards/*": Resources(memory=2.5)},
        search=None,
        final=Seeds(1),
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("playing")


@pytest.fixture(scope="module")
def played(ray_cluster: int, folder: Path) -> dict[str, CellState]:
    agenda = on_ray(rogues(folder / "mark"), folder / "store", at_once=2)
    return {state.cell.label: state for state in agenda.states}


@pytest.fixture(scope="module")
def ended(ray_cluster: int, folder: Path) -> dict[str, CellState]:
    agenda = on_ray(deadly(folder / "mark"), folder / "deadly")
    return {state.cell.label: state for state in agenda.states}


def numbers(states: list[CellState]) -> list[Any]:
    """Everything of the finished runs but times, places and threads."""
    found = []
    for state in states:
        for trial in [*state.trials, *state.finals.values()]:
            assert trial.result is not None
            for r in trial.result.reports:
                found.append(
                    (state.cell.name, trial.spec.key, r.val, r.test, r.epochs, r.updates, r.parameters)
                )
    return found


def test_ray_and_one_process_give_the_same_bits(played: dict[str, CellState], tmp_path: Path) -> None:
    here = in_process(tiny(GOOD, final=Seeds(1)), tmp_path)
    there = [played[label] for label in GOOD]
    assert all(state.complete for state in [*here.states, *there])
    assert numbers(there) == numbers(here.states)


def test_a_worker_keeps_the_methods_of_final_runs(played: dict[str, CellState], folder: Path) -> None:
    store = Store(folder / "store")
    for label in GOOD:
        state = played[label]
        finals = {trial.spec.key for trial in state.finals.values()}
        assert finals and all(map(store.has_model, finals))
        assert not any(store.has_model(t.spec.key) for t in state.trials if t.spec.key not in finals)


def test_a_process_that_dies_resumes_after_its_last_finished_task(
    played: dict[str, CellState], folder: Path
) -> None:
    assert played["exits"].complete
    learnt = (folder / "mark").read_text().split()
    assert learnt == ["0", "1", "1", "2", "3", "4"]  # task 1 again, task 0 not


@pytest.mark.slow
@pytest.mark.parametrize("label", ["hangs", "hoards"])
def test_a_run_that_hangs_or_leaks_is_ended_and_tried_again(
    ended: dict[str, CellState], folder: Path, label: str
) -> None:
    """`test_watch.py` shows quickly that such a process ends itself."""
    assert ended[label].complete, ended[label].failed
    learnt = (folder / f"mark-{label}").read_text().split()
    assert learnt == ["0", "1", "1", "2", "3", "4"]


@pytest.mark.slow
def test_a_process_that_always_dies_fails(ended: dict[str, CellState]) -> None:
    assert not ended["always"].complete and ended["always"].failed
    assert all("died" in message for message in ended["always"].failed.values())


def test_a_bug_is_failed_with_its_traceback(played: dict[str, CellState], folder: Path) -> None:
    from raycl.runs.store import Store

    state = played["raises"]
    assert not state.complete and len(state.failed) == 1
    key = next(iter(state.failed))
    failure = Store(folder / "store").failure(key)
    assert failure is not None and failure.status == "failed"
    assert "a bug of the method's own" in failure.message and "in learn" in failure.message
    assert Store(folder / "store").get(key) is None


def test_nan_is_diverged_and_replaced(played: dict[str, CellState]) -> None:
    state = played["diverges"]
    assert len(state.completed) == 8 and state.diverged and state.complete
    for trial in state.diverged:
        assert trial.params["method.x"] > 0.7
        assert trial.result is not None
        assert "training loss is nan in epoch 1 of task 1" in trial.result.message


@pytest.mark.parametrize(("label", "threads"), [("threads", 1), ("twice", 2)])
def test_a_worker_sets_its_own_threads(played: dict[str, CellState], label: str, threads: int) -> None:
    for result in played[label].results.values():
        assert [report.diagnostics["threads"] for report in result.reports] == [threads] * 5
        assert result.provenance["threads"] == threads


def test_tune_leaves_nothing_behind(played: dict[str, CellState], folder: Path) -> None:
    left = {path.name for path in (folder / "store").iterdir()}
    assert left == {
        "runs",
        "searches",
        "summaries",
        "failures",
        "checkpoints",
        "models",  # the study keeps weights
    }
    finished = {path.stem for path in (folder / "store").glob("runs/??/*.json")}
    assert not finished & {path.name for path in (folder / "store" / "checkpoints").iterdir()}


def test_results_say_where_they_come_from(played: dict[str, CellState]) -> None:
    wanted = {"torch", "numpy", "python", "threads", "numerics", "source", "seconds", "started", "commit"}
    for result in played["finetune"].results.values():
        assert wanted <= result.provenance.keys()
        json.dumps(result.to_json(), allow_nan=False)


@pytest.mark.parametrize("at_once", [2, pytest.param(4, marks=pytest.mark.slow)])
def test_proposals_on_ray_do_not_depend_on_slots_and_sleeps(
    ray_cluster: int, tmp_path: Path, at_once: int
) -> None:
    study = tiny(
        {"misbehaving:Sleeps": {}}, search=Search(trials=8, concurrency=4, startup_trials=2), final=Seeds(1)
    )
    on_ray(study, tmp_path / "ray", at_once)
    in_process(study, tmp_path / "here")  # one slot
    ledgers = [
        {p.relative_to(root).as_posix(): p.read_text() for p in root.glob("searches/**/*.json")}
        for root in (tmp_path / "ray", tmp_path / "here")
    ]
    assert len(ledgers[0]) == 8 and ledgers[0] == ledgers[1]


def test_a_request_that_fits_no_node_is_refused(ray_cluster: int, tmp_path: Path) -> None:
    said = r"Resources\(cpus=99, gpus=0\) fits no node; the largest has 4 CPUs and 0 GPUs"
    with pytest.raises(UserError, match=said):
        on_ray(tiny({"finetune": {}}, resources={"*": Resources(cpus=99)}), tmp_path)


def test_a_finished_study_starts_nothing(tmp_path: Path) -> None:
    study = tiny({"finetune": {}}, search=None)
    assert in_process(study, tmp_path).ran == 2
    again: Agenda = on_ray(study, tmp_path)
    assert again.ran == 0


def test_staging_copies_what_a_node_lacks_and_nothing_else(ray_cluster: int, tmp_path: Path) -> None:
    import numpy as np
    import ray

    from raycl.tune.staging import _files, _missing, _write, stage

    assert stage(["digits"]) == []  # one node: it has what the driver has
    here, there = tmp_path / "here" / "set", tmp_path / "there"
    here.mkdir(parents=True)
    np.save(here / "x-abc.npy", np.arange(9))
    (here / "manifest.json").write_text('{"x": "x-abc.npy"}')
    (here / "stamps.json").write_text("{}")  # how files look on this node alone
    (here / ".y.tmp").write_text("half")
    files = {path.relative_to(here.parent).as_posix(): path for path in _files(here)}
    assert list(files) == ["set/x-abc.npy", "set/manifest.json"]  # the manifest last
    wanted = {name: path.read_text() if path.suffix == ".json" else "" for name, path in files.items()}
    assert ray.get(_missing.remote(str(there), wanted)) == list(files)
    for name, path in files.items():
        ray.get(_write.remote(str(there), name, ray.put(np.fromfile(path, np.uint8))))
    assert ray.get(_missing.remote(str(there), wanted)) == []
    assert np.array_equal(np.load(there / "set/x-abc.npy"), np.arange(9))
    wanted["set/manifest.json"] = '{"x": "x-def.npy"}'  # prepared again, with other content
    assert ray.get(_missing.remote(str(there), wanted)) == ["set/manifest.json"]


@pytest.mark.skipif(sys.platform != "linux" or sys.byteorder != "little", reason="reads /proc")
def test_nothing_of_a_local_ray_listens_beyond_loopback(ray_cluster: int) -> None:
    """Of the driver, the services of Ray, and a worker, with Ray's own default put back afterwards."""
    import ray
    from ray._private import ray_constants

    from raycl.tune.staging import _missing

    ray.get(_missing.remote(os.getcwd(), {}))  # a worker has started
    found = listening(descendants(os.getpid()))
    assert len(found) >= 5  # GCS, two ports of the raylet, the driver and the worker
    beyond = [place for place in found if place[0] not in (bytes([127, 0, 0, 1]), bytes(15) + b"\x01")]
    assert beyond == []
    assert ray_constants.ENABLE_RAY_CLUSTER
    assert "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER" not in os.environ


def test_an_address_is_not_passed_by_if_this_process_has_joined_a_cluster(
    ray_cluster: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(UserError, match=r"no Ray cluster answers at --address 127\.0\.0\.1:1"):
        launch.cluster("127.0.0.1:1", None).__enter__()
    monkeypatch.setattr(launch, "check_address", lambda address: address)  # as if a cluster answered
    with pytest.raises(UserError, match=r"--address 127\.0\.0\.1:1: this process has joined the Ray cluster"):
        launch.cluster("127.0.0.1:1", None).__enter__()
    with launch.cluster("auto", None) as cpus:
        assert cpus == ray_cluster

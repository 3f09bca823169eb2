"""On real Ray: rude, failing and exiting runs before decent ones, in one study and one slot."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from raycl import Seeds, Study
from raycl.runs.store import Store
from raycl.study.agenda import Agenda
from raycl.study.expand import cells_of
from raycl.study.maskjobs import MaskJob
from raycl.study.progress import CellState
from raycl.study.proposer import nothing_to_propose
from tests.helpers.tiny import in_process, tiny

pytestmark = pytest.mark.slow  # these tests start clusters, servers or drivers of their own

ORDER = (
    "decent",
    "again",
    "function",
    "after function",
    "exits",
    "after exits",
    "thread",
    "after thread",
    "wide",
    "after wide",
)
RUDE = {
    "function": "rude:Function",
    "exits": "rude:RaisesSysExit",
    "thread": "rude:Thread",
    "wide": "rude:Wide",
}


def rogues(order: Sequence[str]) -> Study:
    methods = {
        label: {"method": RUDE[label]} if label in RUDE else {"method": "rude:Pids", "method.name": label}
        for label in order
    }
    return small(methods)


def small(methods: dict[str, Any], **changes: Any) -> Study:
    base: dict[str, Any] = {
        "search": None,
        "final": Seeds(1),
        "fit": {"epochs": 1, "lr": 0.1},
        "benchmarks": ["digits_permuted(tasks=2, first=1)"],
    }
    return tiny(methods, **(base | changes))


def play(study: Study, store: Path) -> tuple[Agenda, list[str]]:
    """One run at a time, in the order of the cells; and what was said."""
    from raycl.tune.launch import run_on_ray

    said: list[str] = []
    cells = cells_of(study)
    agenda = Agenda(cells, Store(store).open(), nothing_to_propose)
    run_on_ray(study, agenda, cells, shipped=False, at_once=1, say=said.append)
    return agenda, said


@pytest.fixture(scope="module", params=[4, pytest.param(len(ORDER), marks=pytest.mark.slow)])
def played(
    request: pytest.FixtureRequest, ray_cluster: int, tmp_path_factory: pytest.TempPathFactory
) -> tuple[dict[str, CellState], list[str]]:
    """The first runs, one of which is rude, or all of them: after each rude one a process starts anew."""
    agenda, said = play(rogues(ORDER[: request.param]), tmp_path_factory.mktemp("rude"))
    return {state.cell.label: state for state in agenda.states}, said


def numbers(state: CellState) -> list[Any]:
    assert state.complete, state.failed
    return [(r.val, r.test, r.epochs, r.updates) for r in state.results[1].reports]


def pid(state: CellState) -> int:
    return int(state.results[1].reports[-1].diagnostics["pid"])


def test_decent_runs_come_out_as_if_they_were_alone(
    played: tuple[dict[str, CellState], list[str]], tmp_path: Path
) -> None:
    states, _ = played
    alone = in_process(small({"decent": {"method": "rude:Pids", "method.name": "decent"}}), tmp_path)
    wanted = numbers(alone.states[0])
    for label in states.keys() - RUDE.keys():
        assert numbers(states[label]) == wanted, label


def test_a_process_goes_on_after_decent_runs_and_ends_after_others(
    played: tuple[dict[str, CellState], list[str]],
) -> None:
    states, said = played
    assert pid(states["decent"]) == pid(states["again"]) == pid(states["function"])
    rude = states.keys() & RUDE.keys()
    assert len({pid(states[f"after {label}"]) for label in rude} | {pid(states["decent"])}) == 1 + len(rude)
    assert pid(states["after function"]) != pid(states["function"])
    told = [line.partition(" left ")[2] for line in said]
    left = {
        "function": "torch.nn.functional.relu replaced",
        "thread": "a thread running",
        "wide": "torch's number of threads at 2",
    }
    assert [line.partition(" (")[0].partition(":")[0] for line in told] == [
        left[label] for label in states if label in left
    ]
    assert all(line.endswith("its worker process is not used again") for line in told)


@pytest.mark.slow
@pytest.mark.parametrize("played", [len(ORDER)], indirect=True)
def test_what_exits_is_an_outcome_with_its_traceback(
    played: tuple[dict[str, CellState], list[str]],
) -> None:
    """`test_process.py` has it in one process."""
    state = played[0]["exits"]
    (message,) = state.failed.values()
    assert message.endswith("the method raised SystemExit, which ends its run and nothing else")
    assert "rude.py" in message and "died" not in message


@pytest.mark.slow
def test_a_rude_job_of_masks_ends_its_process_too(ray_cluster: int, tmp_path: Path) -> None:
    bank = {"method": "impresslearn", "method.k": 2, "method.basis": "homogeneous", "method.basis_epochs": 1}
    study = small({"bank": bank}, network="rude:RudeNet(hidden=8)")
    agenda, said = play(study, tmp_path / "ray")
    jobs: list[Any] = []
    here = Agenda(cells_of(study), Store(tmp_path / "here").open(), nothing_to_propose)
    here.listeners.append(lambda event: jobs.append(event) if isinstance(event.job, MaskJob) else None)
    from raycl.study.local import run_locally

    run_locally(here)
    assert any("basis masks left torch.nn.functional.relu replaced" in line for line in said), said
    assert numbers(agenda.states[0]) == numbers(here.states[0])

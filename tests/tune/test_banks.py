"""Banks of basis masks on real Ray: trained side by side, the same bits as in one process, whatever dies."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from raycl import Seeds, Study
from raycl.archives import Artefact
from raycl.runs.artefacts import mask_from_file
from raycl.runs.inputs import masks_for
from raycl.runs.store import Store
from raycl.study.agenda import Agenda
from raycl.study.expand import cells_of
from raycl.study.jobs import Event, Finished, Job, Started
from raycl.study.maskjobs import MaskJob
from raycl.study.proposer import nothing_to_propose
from tests.helpers.tiny import in_process, on_ray, tiny

pytestmark = pytest.mark.slow  # these tests start clusters, servers or drivers of their own


def bank(**methods: dict[str, Any]) -> Study:
    keys = {"method": "impresslearn", "method.k": 6, "method.density": 0.2}
    return tiny(
        {label: keys | own for label, own in methods.items()},
        benchmarks=["digits_permuted(tasks=2, first=6)"],
        network="lenet_300_100",
        preset="impresslearn_alpha_mnist",
        fit={"epochs": 1},
        search=None,
        final=Seeds(1),
    )


def bits(agenda: Agenda) -> dict[str, list[bytes]]:
    specs = {m.key: m for state in agenda.states for m in masks_for(state.finals[1].spec)}
    masks = {
        key: mask_from_file(Artefact.MASK.path(agenda.store.root, key), spec) for key, spec in specs.items()
    }
    return {key: [layer.tobytes() for layer in mask.bits] for key, mask in masks.items()}


BOTH = bank(het={}, hom={"method.basis": "homogeneous"})


@pytest.fixture(scope="module")
def played(ray_cluster: int, tmp_path_factory: pytest.TempPathFactory) -> tuple[Agenda, list[Event]]:
    """Two banks on Ray, two jobs at a time; and what those were told who watched."""
    from raycl.tune.launch import run_on_ray

    cells = cells_of(BOTH)
    agenda = Agenda(cells, Store(tmp_path_factory.mktemp("banks")).open(), nothing_to_propose)
    seen: list[Event] = []
    agenda.listeners.append(seen.append)
    run_on_ray(BOTH, agenda, cells, shipped=False, at_once=2)
    return agenda, seen


def test_masks_train_side_by_side_and_are_the_same_bits_as_in_one_process(
    played: tuple[Agenda, list[Event]], tmp_path: Path
) -> None:
    there, _ = played
    here = in_process(BOTH, tmp_path / "local")
    assert all(state.complete for state in [*there.states, *here.states])
    assert there.masks.done == len(there.masks.wanted) == 11
    assert bits(there) == bits(here)
    for mine, theirs in zip(there.states, here.states, strict=True):
        one, other = mine.results[1], theirs.results[1]
        assert np.array_equal(one.matrix(), other.matrix(), equal_nan=True)


def test_jobs_are_told_to_those_who_watch(played: tuple[Agenda, list[Event]]) -> None:
    _, seen = played
    started, finished = (
        [event.job for event in seen if isinstance(event, kind) and isinstance(event.job, MaskJob)]
        for kind in (Started, Finished)
    )
    assert len(started) > 2 and {job.key for job in started} == {job.key for job in finished}
    masks = [spec.key for job in finished for spec in job.specs if isinstance(job, MaskJob)]
    assert len(masks) == len(set(masks)) == 11
    assert isinstance(seen[-1], Finished) and isinstance(seen[-1].job, Job)


@pytest.mark.usefixtures("ray_cluster")
def test_a_worker_that_dies_while_it_trains_masks_is_replaced(tmp_path: Path) -> None:
    deadly = f"misbehaving:Deadly(mark={str(tmp_path / 'mark')!r}, driver={os.getpid()})"
    study = bank(dies={"network": deadly})
    agenda = on_ray(study, tmp_path / "store", at_once=2)
    assert (tmp_path / "mark").exists(), "nothing died"
    assert agenda.states[0].complete, agenda.states[0].failed
    assert len(list(tmp_path.glob("store/masks/??/*.npz"))) == 6

"""Basis masks are trained once, whoever waits for them, however they are grouped, and whatever dies."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from raycl import Seeds, Study, run_study
from raycl.archives import Artefact, DamagedArtefact
from raycl.errors import UserError
from raycl.runs.artefacts import mask_from_file
from raycl.runs.execution import execute, train_basis_masks
from raycl.runs.inputs import masks_for
from raycl.runs.result import Trained
from raycl.runs.store import Store
from raycl.study.agenda import Agenda
from raycl.study.expand import cells_of
from raycl.study.file import read_study
from raycl.study.jobs import Job, Role
from raycl.study.maskjobs import IN_A_ROW, MaskJob, MaskQueue
from raycl.study.proposer import nothing_to_propose

BASIS = "digits_permuted(tasks=2, first=6)"


def study(**methods: dict[str, Any]) -> Study:
    """Runs on LeNet that need basis masks, one epoch each."""
    labels = methods or {"het": {}, "hom": {"method.basis": "homogeneous"}, "few": {"method.k": 3}}
    written = {
        label: {"method": "impresslearn", "method.k": 5, "method.density": 0.2} | keys
        for label, keys in labels.items()
    }
    return Study(name="bank", methods=written, benchmarks=[BASIS], network="lenet_300_100", search=None,
                 preset="impresslearn_alpha_mnist", fit={"epochs": 1}, final=Seeds(1))  # fmt: skip


def agenda_of(store: Path, wanted: Study | None = None, **options: Any) -> Agenda:
    return Agenda(cells_of(wanted or study()), Store(store).open(), nothing_to_propose, **options)


def finish(agenda: Agenda, job: Job | MaskJob) -> None:
    """Play a job as the local player does."""
    if isinstance(job, MaskJob):
        agenda.finish_masks(job.key, train_basis_masks(job.specs, agenda.store.root, ready=agenda.mask_ready))
    else:
        agenda.finish(job.key, execute(job.spec, store=agenda.store.root))


def ages(store: Path) -> dict[str, int]:
    """When each mask was written."""
    return {path.stem: path.stat().st_mtime_ns for path in store.glob("masks/??/*.npz")}


def test_runs_share_masks_and_begin_when_theirs_are_there(tmp_path: Path) -> None:
    agenda = agenda_of(tmp_path)
    job = agenda.next()
    # het has masks 0..4, hom shares mask 0 and has four of its own, and few are the first three of het.
    assert isinstance(job, MaskJob) and len(agenda.masks.wanted) == 9
    rest = agenda.next()
    assert isinstance(rest, MaskJob)
    assert len(job.specs) + len(rest.specs) == 9 and agenda.next() is None and not agenda.over
    finish(agenda, job)
    first = agenda.next()
    assert isinstance(first, Job) and first.role == Role(seed=1)  # its masks were in the first job
    finish(agenda, rest)
    while (one := agenda.next()) is not None:
        finish(agenda, one)
    finish(agenda, first)
    assert agenda.over and all(state.complete for state in agenda.states)
    assert agenda.masks.done == 9 and len(ages(tmp_path)) == 9


def test_a_mask_lets_a_run_begin_while_its_job_goes_on(tmp_path: Path) -> None:
    agenda = agenda_of(tmp_path, study(few={"method.k": 1}, het={}))
    job = agenda.next()
    assert isinstance(job, MaskJob) and agenda.next() is None
    train_basis_masks(job.specs[:1], tmp_path, ready=agenda.mask_ready)
    early = agenda.next()
    assert isinstance(early, Job) and early.cell.label == "few"


@pytest.mark.parametrize(("slots", "sizes"), [(1, [5]), (2, [3, 1, 1]), (16, [1] * 5)])
def test_every_slot_gets_masks(tmp_path: Path, slots: int, sizes: list[int]) -> None:
    agenda = agenda_of(tmp_path, study(het={}))
    agenda.masks.slots = slots
    jobs = [agenda.next() for _ in sizes]
    assert [len(job.specs) for job in jobs if isinstance(job, MaskJob)] == sizes
    assert agenda.next() is None


def test_jobs_hold_masks_of_one_backbone_and_not_too_many(tmp_path: Path) -> None:
    wanted = study(dense={"method.density": 0.3}, soft={"method.mask_values": "soft"}, many={"method.k": 6})
    agenda = agenda_of(tmp_path, wanted)
    jobs = []
    while isinstance(job := agenda.next(), MaskJob):
        jobs.append(job)
    assert all(len(job.specs) <= IN_A_ROW for job in jobs)
    for job in jobs:
        assert len({(spec.backbone_seed, spec.mask_values, repr(spec.fit)) for spec in job.specs}) == 1
    assert sum(len(job.specs) for job in jobs) == 5 + 5 + 6


def test_tasks_of_another_shape_are_another_job(tmp_path: Path) -> None:
    wanted = study(small={"method.k": 2}, large={"method.k": 2, "benchmarks": [BASIS[:-1] + ", size=28)"]})
    agenda = agenda_of(tmp_path, wanted)
    for _ in range(2):
        job = agenda.next()
        assert isinstance(job, MaskJob) and len(job.specs) == 2
        assert len({"size=28" in spec.benchmark for spec in job.specs}) == 1
        finish(agenda, job)
    assert len(ages(tmp_path)) == 4


def test_what_is_in_the_store_is_not_trained_again(tmp_path: Path) -> None:
    first = run_study(study(), tmp_path, local=True)
    before = ages(tmp_path)
    assert first.code == 0 and len(before) == 9
    again = agenda_of(tmp_path, study(het={"method.lamb": 0.005}))
    assert isinstance(again.next(), Job)
    assert ages(tmp_path) == before


def test_no_chunk_leaves_a_trace_in_a_mask(tmp_path: Path) -> None:
    contents = []
    for slots in (1, 3):
        agenda = agenda_of(tmp_path / str(slots), study(het={}))
        agenda.masks.slots = slots
        while isinstance(job := agenda.next(), MaskJob):
            finish(agenda, job)
        specs = masks_for(agenda.states[0].finals[1].spec)
        store = agenda.store.root
        paths = [Artefact.MASK.path(store, spec.key) for spec in specs]
        contents.append([mask_from_file(path, spec).bits for path, spec in zip(paths, specs, strict=True)])
    for one, other in zip(*contents, strict=True):
        assert [layer.tobytes() for layer in one] == [layer.tobytes() for layer in other]


def test_a_torn_mask_is_set_aside_and_trained_again(tmp_path: Path) -> None:
    run_study(study(het={}), tmp_path, local=True)
    torn, *others = sorted(tmp_path.glob("masks/??/*.npz"))
    good = torn.read_bytes()
    torn.write_bytes(good[:-100])
    said: list[str] = []
    before = ages(tmp_path)
    agenda = Agenda(
        cells_of(study(het={"method.lamb": 0.005})), Store(tmp_path, said.append).open(), nothing_to_propose
    )
    job = agenda.next()
    assert isinstance(job, MaskJob) and [spec.key for spec in job.specs] == [torn.stem]
    (line,) = said
    assert "is not a result of raycl (truncated); moved to" in line and "\n" not in line
    finish(agenda, job)
    assert {p.stem: before[p.stem] for p in others}.items() <= ages(tmp_path).items()


def test_a_mask_that_is_garbled_inside_is_found_by_the_run_that_reads_it(tmp_path: Path) -> None:
    run_study(study(het={}), tmp_path, local=True)
    garbled = sorted(tmp_path.glob("masks/??/*.npz"))[2]
    content = bytearray(garbled.read_bytes())
    content[2000] ^= 255
    garbled.write_bytes(bytes(content))
    agenda = agenda_of(tmp_path, study(het={"method.lamb": 0.005}))
    run = agenda.next()
    assert isinstance(run, Job)
    finish(agenda, run)
    job = agenda.next()
    assert isinstance(job, MaskJob) and [spec.key for spec in job.specs] == [garbled.stem]
    finish(agenda, job)
    again = agenda.next()
    assert isinstance(again, Job) and again.key == run.key
    finish(agenda, again)
    assert agenda.states[0].complete


def test_a_mask_of_another_backbone_is_refused(tmp_path: Path) -> None:
    run_study(study(het={}), tmp_path, local=True)
    (state,) = agenda_of(tmp_path, study(het={})).states
    first, second = masks_for(state.finals[1].spec)[:2]
    with pytest.raises(
        DamagedArtefact, match="belongs to another backbone: it has 3 layers, expected layers of \\[10, 20\\]"
    ):
        mask_from_file(Artefact.MASK.path(tmp_path, first.key), first, [10, 20])
    with pytest.raises(DamagedArtefact, match="its spec does not match its name"):
        mask_from_file(Artefact.MASK.path(tmp_path, first.key), second)


def test_masks_that_cannot_be_trained_fail_those_that_wait_and_no_others(tmp_path: Path) -> None:
    agenda = agenda_of(tmp_path, study(het={}, drawn={"method.basis": "random"}))
    job = agenda.next()
    assert isinstance(job, MaskJob)
    agenda.finish_masks(job.key, Trained("failed", "boom"))
    drawn = agenda.next()
    assert isinstance(drawn, Job) and drawn.cell.label == "drawn"  # random masks wait for nobody
    finish(agenda, drawn)
    assert agenda.over
    failed, complete = agenda.states
    assert complete.complete and "boom" in next(iter(failed.failed.values()))
    next_start = agenda_of(tmp_path, study(het={}))
    assert isinstance(next_start.next(), MaskJob)


def test_all_runs_are_lost_that_wait_for_masks_of_a_failed_job(tmp_path: Path) -> None:
    (state,) = agenda_of(tmp_path, study(het={})).states
    first, second = masks_for(state.finals[1].spec)[:2]
    queue = MaskQueue(Store(tmp_path))
    queue.wait("one", [first], state.cell)
    queue.wait("two", [second], state.cell)
    job = queue.next()
    assert job is not None and job.specs == (first, second)
    assert queue.finish(job) == ([], ["one", "two"])


def test_fresh_trains_them_again(tmp_path: Path) -> None:
    run_study(study(het={}), tmp_path, local=True)
    before = ages(tmp_path)
    assert run_study(study(het={}), tmp_path, local=True, fresh=True).code == 0
    after = ages(tmp_path)
    assert after.keys() == before.keys() and all(after[key] > before[key] for key in before)


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"method.k": 7}, "the tasks 0 to 6 should be for the basis masks alone, but benchmark"),
        ({"method.density": 0.0}, "density = 0.0 must be above 0 and at most 1"),
        ({"method.density": 1.5}, "density = 1.5 must be above 0 and at most 1"),
        ({"method.basis_preset": "spg"}, "stop = 'floor_then_patience' needs validation"),
    ],
)
def test_nonsense_is_refused_in_one_line_before_anything_starts(
    tmp_path: Path, keys: dict[str, Any], message: str
) -> None:
    with pytest.raises(UserError) as error:
        cells_of(study(het=keys))
    assert message in str(error.value) and "\n" not in str(error.value)


STUDY_FILE = """
from raycl import Seeds, Study

STUDY = Study(
    methods={"hom": {"method": "impresslearn", "method.k": 64, "method.basis": "homogeneous",
                     "method.basis_epochs": 12}},
    benchmarks=["digits_permuted(tasks=1, first=1)"], network="lenet_300_100", search=None,
    preset="impresslearn_alpha_mnist", fit={"epochs": 1}, final=Seeds(1),
)
"""


@pytest.mark.slow
def test_a_bank_that_is_killed_twice_has_every_mask_trained_once(tmp_path: Path) -> None:
    (tmp_path / "killed.py").write_text(STUDY_FILE)
    store = tmp_path / "store"
    command = [sys.executable, "-m", "raycl.cli", "run", str(tmp_path / "killed.py"), "--local",
               "--store", str(store)]  # fmt: skip
    seen: dict[str, int] = {}
    for least in (5, 20):
        running = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + 120
        while len(ages(store)) < least and running.poll() is None and time.monotonic() < deadline:
            time.sleep(0.01)
        os.kill(running.pid, signal.SIGKILL)
        running.wait()
        now = ages(store)
        assert len(now) >= least, "it was killed before it had trained so many"
        assert seen.items() <= now.items()  # none was trained again
        seen = now
    assert len(seen) < 64, "it was killed too late to tell anything"
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert seen.items() <= ages(store).items() and len(ages(store)) == 64


RECIPE = """
from dataclasses import dataclass, field, replace

import numpy as np

from raycl.benchmarks import Recipe, split_by_class

@dataclass(frozen=True, kw_only=True)
class Bars(Recipe):
    windows = True
    first: int = 0
    tasks: int = 2
    scale: int | float = 5
    seen: str = field(default="a", compare=False)

    def build(self, seed):
        images, labels = np.zeros((80, 8, 8), dtype=np.uint8), np.arange(80) % 8
        made = split_by_class("bars", images, labels, images, labels, tasks=4)
        chosen = made.tasks[self.first : self.first + self.tasks]
        return replace(made, tasks=tuple(replace(task, index=n) for n, task in enumerate(chosen)))
"""


def test_recipes_that_are_equal_and_written_differently_have_masks_of_their_own(tmp_path: Path) -> None:
    (tmp_path / "rec.py").write_text(RECIPE)
    for setting in ("scale=1", "scale=1.0", "seen='b'"):
        (tmp_path / "study.py").write_text(
            "from raycl import *\n"
            'STUDY = Study(methods={"impresslearn": {"method.k": 2}}, network="lenet_300_100", search=None,\n'
            f'              benchmarks=["rec:Bars(first=2, {setting})"], final=Seeds(1))\n'
        )
        (cell,) = cells_of(read_study(tmp_path / "study.py"))
        masks = masks_for(cell.spec({}, 1))
        assert [mask.benchmark for mask in masks] == [
            f"rec:Bars(first={n}, tasks=1, {setting})".replace("first=0, ", "") for n in range(2)
        ]

"""Plays an agenda in this process, run by run: no Ray, and a debugger works."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence

import torch

from raycl import process
from raycl.errors import UserError
from raycl.runs import execution
from raycl.study.agenda import Agenda
from raycl.study.jobs import Job
from raycl.study.maskjobs import MaskJob


def run_locally(agenda: Agenda, say: Callable[[str], None] = lambda line: None) -> None:
    """Play the agenda to its end, each run on as many threads as its cell's resources name.

    Args:
        say: takes what is to be known of a run besides its result, a line each.

    Raises:
        UserError: a GPU is asked for where torch sees none; or a run changed this process in a way that
            nothing can put back. What is finished is in the store.
    """
    _check_gpus(agenda)
    said: set[tuple[str, str]] = set()
    with process.borrowed():
        while (job := agenda.next()) is not None:
            before = process.spoilt()
            left = [what for what in _play(agenda, job) if what in before or what not in process.spoilt()]
            if left and (job.cell.label, line := process.describe_left(left)) not in said:
                said.add((job.cell.label, line))
                say(f"{job.name} left {line}: put back, so that the next run starts as it did")
            if spoilt := process.spoilt():
                raise UserError(
                    f"{job.name} left {process.describe_left(spoilt)}, which nothing can put back, and which "
                    "may change the runs after it; what is finished is kept: give the same command again"
                )


def _play(agenda: Agenda, job: Job | MaskJob) -> Sequence[str]:
    """Play a job, and hand in what it came to; what it left of the process otherwise than it found it."""
    resources, key = job.cell.resources, job.key
    device, threads = "cuda" if resources.gpus > 0 else "cpu", max(1, int(resources.cpus))
    pulse = functools.partial(agenda.pulse, key)
    if isinstance(job, MaskJob):
        trained = execution.train_basis_masks(
            job.specs,
            agenda.store.root,
            device=device,
            threads=threads,
            ready=agenda.mask_ready,
            pulse=pulse,
        )
        agenda.finish_masks(key, trained)
        return trained.left
    result = execution.execute(
        job.spec,
        agenda.store.checkpoints,
        store=agenda.store.root,
        device=device,
        threads=threads,
        pulse=pulse,
    )
    agenda.finish(key, result)
    left: Sequence[str] = result.provenance.get("left", ())
    return left


def _check_gpus(agenda: Agenda) -> None:
    """Refuse to play on the CPU what was asked for on a GPU: it may take days, and be another result.

    Raises:
        UserError: names the first cell that asks, and the remedy.
    """
    if torch.cuda.is_available():
        return
    for state in agenda.open_cells():
        if state.cell.resources.gpus > 0 and not state.cell.blocked:
            raise UserError(execution.no_gpu(state.cell.name, state.cell.resources.gpus))

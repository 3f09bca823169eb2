"""Plays an agenda in this process, run by run: no Ray, and a debugger works."""

from __future__ import annotations

import functools

import torch

from raycl import player
from raycl.agenda import Agenda
from raycl.maskjobs import MaskJob


def play_here(agenda: Agenda) -> None:
    """Play the agenda to its end, each run on as many threads as its cell's resources name."""
    while (job := agenda.next()) is not None:
        resources, key = job.cell.resources, job.key
        device = "cuda" if resources.gpus > 0 and torch.cuda.is_available() else "cpu"
        threads = max(1, int(resources.cpus))
        pulse = functools.partial(agenda.pulse, key)
        if isinstance(job, MaskJob):
            trained = player.train(
                job.specs,
                agenda.store.masks,
                device=device,
                threads=threads,
                ready=agenda.mask_ready,
                pulse=pulse,
            )
            agenda.finish_masks(key, trained)
            continue
        result = player.play(
            job.spec,
            agenda.store.checkpoints,
            store=agenda.store.root,
            device=device,
            threads=threads,
            pulse=pulse,
        )
        agenda.finish(key, result)

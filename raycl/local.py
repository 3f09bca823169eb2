"""Plays an agenda in this process, run by run: no Ray, and a debugger works."""

from __future__ import annotations

import torch

from raycl import player
from raycl.agenda import Agenda


def play_here(agenda: Agenda) -> None:
    """Play the agenda to its end, each run on as many threads as its cell's resources name."""
    while (job := agenda.next()) is not None:
        resources, key = job.cell.resources, job.key
        device = "cuda" if resources.gpus > 0 and torch.cuda.is_available() else "cpu"
        threads = max(1, int(resources.cpus))
        result = player.play(
            job.spec,
            agenda.store.checkpoints,
            device=device,
            threads=threads,
            pulse=lambda pulse, key=key: agenda.pulse(key, pulse),  # type: ignore[misc]
        )
        agenda.finish(key, result)

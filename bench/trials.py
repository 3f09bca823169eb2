"""Overhead of Ray Tune per trial, and speed of training a bank of masks with several workers."""

from __future__ import annotations

import os
import statistics
import tempfile
import time
from pathlib import Path

from bench.line import Line
from raycl import registry
from raycl.runs.result import Result
from raycl.runs.store import Store
from raycl.study.agenda import Agenda
from raycl.study.expand import cells_of
from raycl.study.jobs import Event, Finished, Pulsed, Started
from raycl.study.maskjobs import MaskJob
from raycl.study.proposer import nothing_to_propose
from raycl.study.values import Seeds, Study
from raycl.tune.launch import cluster, run_on_ray


def bank() -> list[Line]:
    """Compare training of a bank of 64 LeNet masks by one worker to training by two and by one per CPU."""
    lines, alone = [], 0.0
    for workers in sorted({1, 2, os.cpu_count() or 1}):
        with tempfile.TemporaryDirectory(prefix="raycl-bench-") as folder:
            seconds = bank_seconds(Path(folder), workers)
        alone = alone or seconds
        lines.append(Line(f"{workers} worker{'s' if workers > 1 else ''}", seconds, "s"))
        if workers > 1:
            goal = "0.6 or less" if workers == 2 else ""
            lines.append(Line(f"  time with {workers} workers relative to one", seconds / alone, "x", goal))
    return lines


def trials() -> list[Line]:
    """Measure the overhead of Ray Tune per trivial trial, with reused actors, and the memory of a worker."""
    with tempfile.TemporaryDirectory(prefix="raycl-bench-") as folder:
        registry.load("digits_split")
        first, each, live, peak = trivial_trials(Path(folder))
    return [
        Line("time to the end of the first trial, with Ray's start", first, "s"),
        Line("wall time per trial after that", each, "s", "under 0.35"),
        Line("  inside the trial", live, "s"),
        Line("peak memory of a worker", peak / 2**20, "MiB"),
    ]


def bank_seconds(folder: Path, workers: int, masks: int = 64, epochs: int = 43) -> float:
    """Train a bank of masks, and return the seconds from the start of the first job to the end of the last.

    Args:
        folder: Folder of the store.
        workers: Number of workers.
        masks: Number of LeNet masks.
        epochs: Number of epochs for each mask, on the 1,078 digits at 28 pixels; the default makes about as
            many samples as one epoch of 46,000 images.
    """
    method = {
        "method": "raycl.methods.impresslearn:ImpressLearn",
        "method.k": masks,
        "method.basis": "homogeneous",
        "method.basis_epochs": epochs,
    }
    study = Study(
        name="bench",
        methods={"bank": method},
        benchmarks=["digits_permuted(tasks=1, first=1, size=28)"],
        network="lenet_300_100",
        fit={"epochs": 1},
        search=None,
        final=Seeds(1),
    )
    cells = cells_of(study)
    agenda = Agenda(cells, Store(folder).open(), nothing_to_propose)
    began: list[float] = []
    ended: list[float] = []

    def note(event: Event) -> None:
        if isinstance(event.job, MaskJob) and not isinstance(event, Pulsed):
            (began if isinstance(event, Started) else ended).append(time.perf_counter())

    agenda.listeners.append(note)
    with cluster(None, None):
        run_on_ray(study, agenda, cells, shipped=False, at_once=workers)
    assert agenda.masks.done == masks, "a mask was not trained"
    return ended[-1] - began[0]


def trivial_trials(folder: Path, many: int = 60) -> tuple[float, float, float, float]:
    """Run `many` trials of one epoch on digits.

    Returns:
        The seconds to the end of the first trial, the wall seconds per trial after that (all slots together),
        the mean seconds inside a trial, and the peak bytes of a worker.
    """
    study = Study(
        name="bench",
        methods={"plain": {"method": "raycl.method:Method"}},
        benchmarks=["digits_split"],
        network="mlp(hidden=8)",
        fit={"epochs": 1},
        search=None,
        final=Seeds(*range(1, many + 1)),
    )
    cells = cells_of(study)

    agenda = Agenda(cells, Store(folder).open(), nothing_to_propose)
    ended: list[float] = []
    results: list[Result] = []

    def note(event: Event) -> None:
        if isinstance(event, Finished) and isinstance(event.outcome, Result):
            ended.append(time.perf_counter())
            results.append(event.outcome)

    agenda.listeners.append(note)
    started = time.perf_counter()
    with cluster(None, None):
        run_on_ray(study, agenda, cells, shipped=False)
    warm = ended[len(ended) // 4 :]  # the first trials wait for workers to start
    each = (warm[-1] - warm[0]) / (len(warm) - 1)
    live = statistics.mean(float(r.provenance["seconds"]) for r in results[len(results) // 4 :])
    peak = max(report.peak_bytes for r in results for report in r.reports)
    return ended[0] - started, each, live, float(peak)

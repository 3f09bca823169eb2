"""Timing of a run before it is executed: one epoch on its first tasks, of which nothing is stored."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Sequence

import torch

from raycl import devices, process, registry, userfiles
from raycl.method import Method
from raycl.runs import sequence
from raycl.runs.build import check_code, make_fit, make_method
from raycl.runs.execution import prepare
from raycl.runs.inputs import make_benchmark, masks_for, method_of, network_of, runs_for
from raycl.runs.numerics import set_numerics
from raycl.runs.reports import TaskReport, default_evaluate
from raycl.specs import RunSpec
from raycl.training.feeding import forget_inputs

ENOUGH = 10.0  # Seconds after which no further task is timed.


class Untimed(Exception):
    """Raised if a run cannot be timed; the message says why."""


def seconds_of(spec: RunSpec, *, device: str = "cpu", threads: int = 1, enough: float = ENOUGH) -> float:
    """Return the seconds that a run takes at most, from one epoch on each of its first tasks.

    Each fit of one epoch is taken to be repeated for all epochs of the run's settings; training that stops
    earlier takes less.

    Args:
        spec: The run.
        device: Device to train on.
        threads: Number of torch's CPU threads.
        enough: Seconds after which no further task is learnt, except by a method that learns all at once.

    Raises:
        Untimed: If the run needs basis masks or other runs first, or ends with an exception.
    """
    if masks_for(spec) or runs_for(spec):
        raise Untimed("it needs basis masks or other runs, which have to be made first")
    epochs = make_fit(spec).config.epochs
    one = dataclasses.replace(spec, fit={**spec.fit, "epochs": 1})
    try:
        began = time.perf_counter()
        reports, tasks = _learnt(one, device, threads, enough)
        spent = time.perf_counter() - began
    except (Exception, SystemExit) as error:
        raise Untimed(userfiles.fault(error) or f"{type(error).__name__}: {error}") from None
    finally:
        if spec.code:
            registry.forget()
            forget_inputs()
    return _extended(reports, tasks, spec, epochs, spent)


def _learnt(spec: RunSpec, device: str, threads: int, enough: float) -> tuple[list[TaskReport], int]:
    """Learn the first tasks of a run, and return their reports and the number of all tasks."""
    prepare(spec.method, spec.network, spec.benchmark)
    reports: list[TaskReport] = []
    with process.borrowed(), process.Guard() as guard:
        torch.set_num_threads(threads)
        set_numerics(spec.numerics)
        with userfiles.importing_from(spec.home):
            check_code(spec)
            kinds = [method_of(spec), network_of(spec)]
        with guard.at_work(kinds):
            benchmark = make_benchmark(spec)
            method: Method = make_method(spec, benchmark, device)
            fit = make_fit(spec, device=device)
            with devices.creating_on(device), guard.at_work():
                began = time.perf_counter()
                for report in sequence.run_sequence(
                    method, benchmark, fit, evaluate=spec.evaluate, part=spec.part
                ):
                    reports.append(report)
                    if time.perf_counter() - began > enough and not method.joint:
                        break
    return reports, len(benchmark.tasks)


def _extended(reports: Sequence[TaskReport], tasks: int, spec: RunSpec, epochs: int, spent: float) -> float:
    """Extend the times of the first tasks to all tasks and epochs.

    Args:
        reports: The reports of the first tasks.
        tasks: The number of all tasks.
        spec: The run, with one epoch.
        epochs: The number of epochs of a fit in the run itself.
        spent: The seconds of everything, also of making the data and the method.
    """
    whole = sum(sum(report.seconds.values()) + report.evaluation_seconds for report in reports)
    learning = 0.0
    for report in reports:
        for stream, seconds in report.seconds.items():
            # More than one epoch is a number that the method chose itself.
            learning += seconds * (epochs if report.epochs.get(stream, 0) == 1 else 1)
    measured = sum(len(report.test) for report in reports)
    each = sum(report.evaluation_seconds for report in reports) / max(1, measured)
    evaluate = spec.evaluate or default_evaluate(tasks)
    entries = {"full": tasks * tasks, "learnt": tasks * (tasks + 1) / 2}.get(evaluate, 2 * tasks - 1)
    return max(0.0, spent - whole) + learning * tasks / len(reports) + each * entries

"""Execution of an agenda in this process, one run at a time, without Ray and open to a debugger."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence

from raycl import devices, process, userfiles
from raycl.errors import TRACEBACK, UserError
from raycl.runs import execution
from raycl.study.agenda import Agenda
from raycl.study.jobs import Event, Finished, Job
from raycl.study.maskjobs import MaskJob


def run_locally(agenda: Agenda, say: Callable[[str], None] = lambda line: None) -> None:
    """Execute the agenda to its end, each run on as many threads as its cell's resources name.

    Args:
        agenda: The agenda.
        say: Function that receives messages about runs, one line each.

    Raises:
        UserError: If a cell requests a GPU and torch sees none, or if a run changed this process in a way
            that cannot be undone. Finished runs are in the store.
    """
    _check_gpus(agenda)
    reported: set[tuple[str, str]] = set()
    agenda.listeners.append(_Tracebacks(say))
    with process.borrowed():
        while (job := agenda.next()) is not None:
            before = process.spoilt()
            left = [what for what in _execute(agenda, job) if what in before or what not in process.spoilt()]
            if left and (job.cell.label, line := process.describe_left(left)) not in reported:
                reported.add((job.cell.label, line))
                say(f"{job.name} left {line}; it was restored, so that the next run starts unaffected")
            if spoilt := process.spoilt():
                raise UserError(
                    f"{job.name} left {process.describe_left(spoilt)}, which cannot be undone and may change "
                    "the runs after it; run the same command again; finished runs are kept"
                )


class _Tracebacks:
    """Listener that prints the traceback of a failed run, and of the same fault of a cell only once."""

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say, self._said = say, set[tuple[str, str]]()

    def __call__(self, event: Event) -> None:
        if not isinstance(event, Finished) or event.outcome.status != "failed":
            return
        message = event.outcome.message.strip()
        fault = event.job.cell.label, userfiles.located(message)
        if TRACEBACK in message and fault not in self._said:
            self._said.add(fault)
            self._say(f"traceback of {event.job.name}:\n{message}")


def _execute(agenda: Agenda, job: Job | MaskJob) -> Sequence[str]:
    """Execute a job, hand its outcome to the agenda, and return what the job left changed in the process."""
    resources, key = job.cell.resources, job.key
    device, threads = devices.kind() if resources.gpus > 0 else "cpu", max(1, int(resources.cpus))
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
        graphs=resources.graphs,
        keep=job.keep,
        pauses=job.pauses,
    )
    agenda.finish(key, result)
    left: Sequence[str] = result.provenance.get("left", ())
    return left


def _check_gpus(agenda: Agenda) -> None:
    """Refuse cells that request a GPU where there is none.

    On the CPU they might take days, and their results would differ.

    Raises:
        UserError: If there is such a cell; the message names the first one and the remedy.
    """
    if devices.available():
        return
    for state in agenda.open_cells():
        if state.cell.resources.gpus > 0 and not state.cell.blocked:
            raise UserError(execution.no_gpu(state.cell.name, state.cell.resources.gpus))

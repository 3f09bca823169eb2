"""Seconds of the runs of a study before any of them is executed, from one epoch of each method."""

from __future__ import annotations

from collections.abc import Callable

from raycl.study.agenda import Agenda

# `raycl.runs.timing` is imported where it is needed, because it loads torch.


def measured(agenda: Agenda, say: Callable[[str], None] = lambda line: None) -> dict[str, float]:
    """Time one epoch of each cell that has missing runs and no measured ones, in this process.

    Nothing is written to the store.

    Args:
        agenda: The agenda of the study, which is only read.
        say: Receives each message as one line.

    Returns:
        The seconds of one run by the name of the cell; a cell that cannot be timed is left out.
    """
    from raycl import devices
    from raycl.runs import timing

    found: dict[str, float] = {}
    for state in agenda.open_cells():
        cell = state.cell
        if cell.blocked or not state.missing or agenda.seconds_of(cell.kinds.method) is not None:
            continue
        if cell.resources.gpus > 0 and not devices.available():
            say(f"{cell.title} cannot be timed here: it needs a GPU")
            continue
        device = devices.kind() if cell.resources.gpus > 0 else "cpu"
        say(f"timing one epoch of {cell.title}")
        try:
            spec = cell.spec({}, cell.trial_seed)
            threads = max(1, int(cell.resources.cpus))
            found[cell.name] = timing.seconds_of(spec, device=device, threads=threads)
        except timing.Untimed as error:
            say(f"{cell.title} cannot be timed: {error}")
    return found

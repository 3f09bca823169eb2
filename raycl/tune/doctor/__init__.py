"""The report of `raycl doctor`: whether this machine or a cluster is ready to run studies, in 80 columns."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from raycl.tune.doctor.cluster import whole_cluster
from raycl.tune.doctor.machine import this_machine
from raycl.tune.doctor.report import DoctorReport

__all__ = ["DoctorReport", "examine", "this_machine", "verdict", "whole_cluster"]


def examine(address: str | None, store: Path) -> Iterator[DoctorReport]:
    """Examine this machine, and the cluster at an address if one is given.

    Args:
        address: Address of the cluster, or None.
        store: Folder of results.

    Yields:
        The report on this machine, then the report on the cluster.

    Raises:
        UserError: If the cluster cannot be joined.
    """
    mine = this_machine(store)
    yield mine
    if address:
        usable = not any(fault.place.startswith("store ") for fault in mine.misses)
        yield whole_cluster(address, store if usable else None)


def verdict(reports: Sequence[DoctorReport]) -> str:
    """Return the last line: whether studies can run, or how many problems prevent it."""
    misses = sum(len(report.misses) for report in reports)
    if not misses:
        return "ready: no problems found"
    return f"not ready: {misses} problem{'' if misses == 1 else 's'} found"

"""Is this machine, is this cluster fit to play studies? What `raycl doctor` prints, in 80 columns."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from raycl.tune.doctor.cluster import whole_cluster
from raycl.tune.doctor.machine import this_machine
from raycl.tune.doctor.report import DoctorReport

__all__ = ["DoctorReport", "examine", "this_machine", "verdict", "whole_cluster"]


def examine(address: str | None, store: Path) -> Iterator[DoctorReport]:
    """This machine, and the cluster at an address.

    Args:
        store: the folder of results.

    Raises:
        UserError: the cluster cannot be joined.
    """
    mine = this_machine(store)
    yield mine
    if address:
        usable = not any(thing.place.startswith("store ") for thing in mine.misses)
        yield whole_cluster(address, store if usable else None)


def verdict(reports: Sequence[DoctorReport]) -> str:
    """The last line."""
    misses = sum(len(report.misses) for report in reports)
    if not misses:
        return "fit: nothing is missing"
    return f"not fit: {misses} thing{'' if misses == 1 else 's'} missing"

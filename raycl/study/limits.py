"""Upper bounds on the size of a study.

Beyond these bounds a plan would take minutes, or no machine could hold the run. They are far above what the
papers need, so that they only catch typing errors.
"""

from __future__ import annotations

import os
from typing import Any

from raycl.domains import plain, shown
from raycl.errors import UserError

RUNS = 10_000  # trials, grid points or seeds of a cell; each is a file in the store and an agenda entry
ORDERS = 1_000  # orders of a benchmark's tasks; each makes cells of its own
CELLS = 100_000  # cells of a study; all are kept in memory and looked at in every step
TASKS = 10_000  # tasks of a benchmark; each is made during planning
PARAMETERS = 10**10  # parameters of a network; this many take 40 GB, and four times that in training
TRACKED = 20_000  # runs of a study whose trials go to MLflow; more would only be a table nobody can read
LABEL = 500  # characters of a label, which is printed in tables and becomes part of file names


def whole(value: Any, name: str, low: int, high: int) -> int:
    """Return a setting of a study that counts something, checked.

    Raises:
        UserError: If it is not an integer from `low` to `high`.
    """
    value = plain(value)
    if type(value) is not int or value < low:
        raise UserError(f"{name} = {shown(value)} must be an integer of at least {low}")
    if value > high:
        raise UserError(f"{name} = {shown(value)} is too large: at most {high}")
    return value


def machine_bytes() -> int:
    """Return the bytes of memory of this machine; 0 if the system does not tell."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (ValueError, OSError, AttributeError):
        return 0

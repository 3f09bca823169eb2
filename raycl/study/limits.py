"""How large a study may be. Beyond these bounds a plan would take minutes, or no machine could hold the run.

They are far above what the papers ask for; what is refused is a slip of the keyboard.
"""

from __future__ import annotations

from typing import Any

from raycl.domains import plain, shown
from raycl.errors import UserError

RUNS = 10_000  # trials, grid points or seeds of a cell: each is a file in the store, and a line of the agenda
ORDERS = 1_000  # of a benchmark's tasks: each is a cell of its own
CELLS = 100_000  # of a study: all are kept in memory, and asked for at every step
TASKS = 10_000  # of a benchmark: each is made while planning
PARAMETERS = 10**10  # of a network: 40 GB, and training takes four times that
LABEL = 500  # characters: it stands in tables, and its name in file names


def whole(value: Any, name: str, low: int, high: int) -> int:
    """A setting of a study that counts something.

    Raises:
        UserError: it is no integer of low .. high.
    """
    value = plain(value)
    if type(value) is not int or value < low:
        kind = "whole number" if low else "whole number from 0"
        least = f" of at least {low}" if low else ""
        raise UserError(f"{name} = {shown(value)} must be a {kind}{least}")
    if value > high:
        raise UserError(f"{name} = {shown(value)} is too large: at most {high}")
    return value

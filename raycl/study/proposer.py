"""The interface of functions that suggest the parameters of a search's trials."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from raycl.study.cells import Cell


class Proposer(Protocol):
    """Function that suggests the parameters of trial `n` of a search."""

    def __call__(
        self,
        cell: Cell,
        n: int,
        history: Sequence[tuple[Mapping[str, Any], float | None]],
        running: Sequence[Mapping[str, Any]],
    ) -> dict[str, Any]:
        """Suggest the parameters of a trial.

        Args:
            cell: The cell that is searched.
            n: Number of the trial, from 0.
            history: Parameters of finished trials with their objective; None if the trial diverged.
            running: Parameters of the other trials before `n`.
        """
        ...


def nothing_to_propose(cell: Cell, n: int, history: object, running: object) -> dict[str, Any]:
    """Raise, because a study without a search must never ask for a trial."""
    raise AssertionError(f"{cell.name} searches nothing, but was asked for trial {n}")

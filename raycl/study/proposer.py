"""The interface of functions that suggest the parameters of a search's trials."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

from raycl.study.cells import Cell


@dataclass(frozen=True)
class Values:
    """The values of a trial whose search has several objectives, in their order."""

    of: tuple[float, ...]


Outcome: TypeAlias = float | Values | tuple[float | None, ...] | None
"""Outcome of a trial: its objective, or those of a search with several; if it was pruned, its scores after
each task that it has learnt; None if it has no value, because it diverged or was invalid."""


class Proposer(Protocol):
    """Function that suggests the parameters of trial `n` of a search."""

    def __call__(
        self,
        cell: Cell,
        n: int,
        history: Sequence[tuple[Mapping[str, Any], Outcome]],
        running: Sequence[Mapping[str, Any]],
    ) -> dict[str, Any]:
        """Suggest the parameters of a trial.

        Args:
            cell: The cell that is searched.
            n: Number of the trial, from 0.
            history: Parameters of finished trials with their outcome.
            running: Parameters of the other trials before `n`.
        """
        ...


def nothing_to_propose(cell: Cell, n: int, history: object, running: object) -> dict[str, Any]:
    """Raise, because a study without a search must never ask for a trial."""
    raise AssertionError(f"{cell.name} searches nothing, but was asked for trial {n}")

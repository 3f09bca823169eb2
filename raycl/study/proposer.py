"""What suggests the parameters of a search's trials."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from raycl.study.cells import Cell


class Proposer(Protocol):
    """Suggests the parameters of trial `n` of a search."""

    def __call__(
        self,
        cell: Cell,
        n: int,
        history: Sequence[tuple[Mapping[str, Any], float | None]],
        running: Sequence[Mapping[str, Any]],
    ) -> dict[str, Any]:
        """`history`: finished trials with their objective (None: diverged); `running`: the rest below n."""
        ...


def nothing_to_propose(cell: Cell, n: int, history: object, running: object) -> dict[str, Any]:
    """The proposer of a study that searches nothing."""
    raise AssertionError(f"{cell.name} searches nothing, and was asked for trial {n}")

"""Pauses of a run at the end of a task, where the search that it belongs to may prune it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from raycl import metrics
from raycl.runs.reports import TaskReport

Split: TypeAlias = Literal["val", "test"]


@dataclass(frozen=True)
class Pauses:
    """Tasks after which a run pauses if it is not accurate enough.

    Attributes:
        below: The score below which the run pauses, by the number of tasks learnt; infinity pauses it in any
            case.
        split: Samples on which the score is measured.
    """

    below: Mapping[int, float]
    split: Split = "val"

    def first(self, reports: Sequence[TaskReport], tasks: int) -> int | None:
        """Return the number of tasks after which a run with these reports pauses first.

        Args:
            reports: The reports of the tasks that are learnt.
            tasks: The number of all tasks of the run, after which it does not pause.

        Returns:
            The number; None if the run goes on.
        """
        for learnt in sorted(self.below):
            if learnt > len(reports) or learnt >= tasks:
                return None
            score = score_after(reports, learnt, self.split)
            if score is None or score < self.below[learnt]:
                return learnt
        return None

    def to_plain(self) -> dict[str, Any]:
        """Return the pauses as plain values."""
        return {"below": [[learnt, score] for learnt, score in self.below.items()], "split": self.split}

    @classmethod
    def from_plain(cls, plain: Mapping[str, Any]) -> Pauses:
        """Return the pauses from which `to_plain` made these values."""
        return cls({int(learnt): float(score) for learnt, score in plain["below"]}, plain["split"])


def score_after(reports: Sequence[TaskReport], learnt: int, split: Split) -> float | None:
    """Return the mean accuracy on the first `learnt` tasks after the last of them.

    Args:
        reports: The reports of a run, at least `learnt` of them.
        learnt: The number of tasks learnt.
        split: Samples on which the accuracy is measured.

    Returns:
        The mean as a fraction; None if one of the accuracies was not measured.
    """
    row: Mapping[int, float] = getattr(reports[learnt - 1], split)
    if any(task not in row for task in range(learnt)):
        return None
    return metrics.mean([row[task] for task in range(learnt)])

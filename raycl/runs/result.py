"""What a run came to."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

from raycl import metrics
from raycl.runs.records import RUN
from raycl.runs.sequence import TaskReport
from raycl.specs import RunSpec

Status: TypeAlias = Literal["done", "diverged", "failed"]


@dataclass(frozen=True)
class Result:
    """What a run came to.

    Attributes:
        status: "done"; "diverged" (an outcome of its hyperparameters); "failed" (a fault: tried again).
        reports: one per task learnt.
        message: why it diverged, or the traceback of a failure.
        provenance: versions, commit, device, threads, numerics, seconds.
    """

    spec: RunSpec
    status: Status
    reports: tuple[TaskReport, ...] = ()
    message: str = ""
    provenance: dict[str, Any] = field(default_factory=dict)

    @property
    def key(self) -> str:
        return self.spec.key

    def matrix(self, split: Literal["val", "test"] = "test") -> metrics.Matrix:
        """[T, T] accuracies, rows = tasks learnt."""
        return metrics.matrix([getattr(report, split) for report in self.reports])

    def acc(self, split: Literal["val", "test"] = "test") -> float | None:
        """Mean accuracy after the last task, of the one task of a part; None unless the run is done."""
        if self.spec.part is not None and self.status == "done":
            return getattr(self.reports[0], split).get(self.spec.part)  # type: ignore[no-any-return]
        return metrics.acc(self.matrix(split)) if self.status == "done" else None

    @property
    def ct(self) -> float:
        """Seconds to learn all tasks: fits and the method's own phases, without test evaluation."""
        return sum(sum(report.seconds.values()) for report in self.reports)

    def to_json(self) -> dict[str, Any]:
        return {
            "format": RUN,
            "key": self.key,
            "spec": self.spec.to_json(),
            "status": self.status,
            "message": self.message,
            "reports": [report.to_json() for report in self.reports],
            "provenance": self.provenance,
        }

    @classmethod
    def from_json(cls, plain: dict[str, Any]) -> Result:
        reports = tuple(TaskReport.from_json(report) for report in plain["reports"])
        spec = RunSpec.from_json(plain["spec"])
        return cls(spec, plain["status"], reports, plain["message"], plain["provenance"])


@dataclass(frozen=True)
class Trained:
    """What a mask job came to; the masks themselves are in the store."""

    status: str  # "done", "diverged" or "failed"
    message: str = ""
    seconds: float = 0.0
    left: tuple[str, ...] = ()  # what was not as the job had found it, in plain words

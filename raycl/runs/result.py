"""Results of runs and of mask-training jobs."""

from __future__ import annotations

import dataclasses
import json
import sys
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal, TypeAlias, overload

from raycl import metrics
from raycl.runs.records import RUN
from raycl.runs.reports import TaskReport
from raycl.specs import RunSpec

Accuracies: TypeAlias = tuple[float | None, float | None]
Status: TypeAlias = Literal["done", "diverged", "invalid", "failed", "paused", "pruned"]

# What reports have in common, so that the compressed form of a run need not contain it.
_COMMON = json.dumps([{each.name: 0 for each in dataclasses.fields(TaskReport)}] * 2).encode()


class CompactReports(Sequence[TaskReport]):
    """Reports of a run that take little memory: they are made anew at each use, and have no curves.

    A driver keeps the reports of all runs of its study, and uses those of few at a time.

    Args:
        many: The number of reports.
        accs: `Result.accs` of their run, which is asked for more often than the reports.

    Attributes:
        accs: As given.
    """

    __slots__ = ("_many", "accs")

    def __init__(self, many: int, accs: Accuracies) -> None:
        self._many, self.accs = many, accs

    def __len__(self) -> int:
        return self._many

    @overload
    def __getitem__(self, place: int) -> TaskReport: ...

    @overload
    def __getitem__(self, place: slice) -> tuple[TaskReport, ...]: ...

    def __getitem__(self, place: int | slice) -> TaskReport | tuple[TaskReport, ...]:
        found = self._plain()[place]
        if isinstance(place, slice):
            return tuple(map(TaskReport.from_json, found))
        return TaskReport.from_json(found)

    def __iter__(self) -> Iterator[TaskReport]:
        return iter(self._unpacked())

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and self._unpacked() == tuple(other)

    __hash__ = None  # type: ignore[assignment]

    def _unpacked(self) -> tuple[TaskReport, ...]:
        return tuple(map(TaskReport.from_json, self._plain()))

    def _plain(self) -> Any:
        """Return the reports as plain values that JSON can represent, without curves."""
        raise NotImplementedError


class PackedReports(CompactReports):
    """Reports of a run in a fifteenth of the memory.

    Args:
        reports: The reports.
        accs: As in `CompactReports`.

    Attributes:
        packed: The reports, compressed.
    """

    __slots__ = ("packed",)

    def __init__(self, reports: Sequence[TaskReport], accs: Accuracies) -> None:
        super().__init__(len(reports), accs)
        packer = zlib.compressobj(6, zdict=_COMMON)
        text = json.dumps(without_curves(reports), separators=(",", ":"))
        self.packed = packer.compress(text.encode()) + packer.flush()

    def _plain(self) -> Any:
        return unpacked(self.packed)


def without_curves(reports: Iterable[TaskReport]) -> list[dict[str, Any]]:
    """Return reports as plain values that JSON can represent, without curves."""
    return [{**vars(report), "curves": {}} for report in reports]


def unpacked(packed: bytes) -> Any:
    """Return the plain values of reports, given the bytes in `PackedReports.packed`."""
    return json.loads(zlib.decompressobj(zdict=_COMMON).decompress(packed))


class SharedProvenance(Mapping[str, Any]):
    """Provenance of a run in a third of the memory: names and texts are those of other results as well.

    Args:
        provenance: The entries.
    """

    __slots__ = ("_places", "_values")

    _known: ClassVar[dict[tuple[str, ...], dict[str, int]]] = {}

    def __init__(self, provenance: Mapping[str, Any]) -> None:
        names = tuple(provenance)
        places = self._known.get(names)
        if places is None:
            places = self._known.setdefault(names, {sys.intern(name): i for i, name in enumerate(names)})
        self._places = places
        self._values = tuple(
            sys.intern(value) if type(value) is str else value for value in provenance.values()
        )

    def __getitem__(self, name: str) -> Any:
        return self._values[self._places[name]]

    def __iter__(self) -> Iterator[str]:
        return iter(self._places)

    def __len__(self) -> int:
        return len(self._values)

    def __repr__(self) -> str:
        return repr(dict(self))


@dataclass(frozen=True, slots=True)
class Result:
    """Result of one run.

    Attributes:
        spec: The run.
        status: "done"; "diverged" or "invalid" (due to its hyperparameters, which in the second case its
            network or method refuses to be made with); "failed" (due to a fault; it is retried); or "paused"
            (after some of its tasks). A search calls the paused run of a trial that it ends "pruned"; the
            store does not, because the same run may be a trial of another search.
        reports: One report per task learnt.
        message: Reason of a divergence, or the traceback of a failure.
        provenance: Versions, commit, device, threads, numerics and seconds.
    """

    spec: RunSpec
    status: Status
    reports: Sequence[TaskReport] = ()
    message: str = ""
    provenance: Mapping[str, Any] = field(default_factory=dict)

    @property
    def key(self) -> str:
        """Key of the run."""
        return self.spec.key

    def matrix(self, split: Literal["val", "test"] = "test") -> metrics.Matrix:
        """Return the accuracies [T, T]; row i holds those after task i was learnt."""
        return metrics.matrix([getattr(report, split) for report in self.reports])

    def acc(self, split: Literal["val", "test"] = "test") -> float | None:
        """Return the mean accuracy after the last task; None unless the run is done.

        For a run of a single task (`RunSpec.part`) it is the accuracy on that task.
        """
        return self.accs()[split == "test"]

    def accs(self) -> Accuracies:
        """Return `acc` of the validation and of the test data."""
        if self.status != "done":
            return None, None
        if isinstance(self.reports, CompactReports):
            return self.reports.accs
        last = self.reports[-1]
        if (part := self.spec.part) is not None:
            return last.val.get(part), last.test.get(part)
        rows: list[dict[int, float]] = [{}] * (len(self.reports) - 1)  # only the last row is needed
        return metrics.acc(metrics.matrix([*rows, last.val])), metrics.acc(metrics.matrix([*rows, last.test]))

    @property
    def on_cpu(self) -> bool:
        """Whether no accelerator was used, so that processor time is the cost of the run."""
        return bool(self.provenance.get("device", "cpu") == "cpu")

    def seconds_by_task(self) -> list[dict[str, float]]:
        """Return the compute time of each task by fit stream, and that of the method's own phases.

        On a CPU it is the time that processors spent, which does not depend on other work of the machine. It
        is wall time on an accelerator, and in results of earlier versions.
        """
        reports = tuple(self.reports)
        if self.on_cpu and all(report.cpu_seconds for report in reports):
            return [report.cpu_seconds for report in reports]
        return [report.seconds for report in reports]

    @property
    def ct(self) -> float:
        """Compute time in seconds: all fits and the method's own phases, without evaluation on test data."""
        return sum(sum(seconds.values()) for seconds in self.seconds_by_task())

    @property
    def ct_wall(self) -> float:
        """The same as wall time."""
        return sum(sum(report.seconds.values()) for report in self.reports)

    def packed(self) -> Result:
        """Return the result in a form that takes little memory."""
        reports = PackedReports(self.reports, self.accs())
        return dataclasses.replace(self, reports=reports, provenance=SharedProvenance(self.provenance))

    def unpacked(self) -> Result:
        """Return the result in a form whose reports are used several times at no cost."""
        return dataclasses.replace(self, reports=tuple(self.reports))

    def to_json(self) -> dict[str, Any]:
        """Return the result as plain values that JSON can represent."""
        return {
            "format": RUN,
            "key": self.key,
            "spec": self.spec.to_json(),
            "status": self.status,
            "message": self.message,
            "reports": [report.to_json() for report in self.reports],
            "provenance": dict(self.provenance),
        }

    @classmethod
    def from_json(cls, plain: dict[str, Any]) -> Result:
        """Return the result from which `to_json` made these values."""
        reports = tuple(TaskReport.from_json(report) for report in plain["reports"])
        spec = RunSpec.from_json(plain["spec"])
        return cls(spec, plain["status"], reports, plain["message"], plain["provenance"])


@dataclass(frozen=True)
class Trained:
    """Result of a mask-training job; the masks themselves are in the store.

    Attributes:
        status: "done", "diverged" or "failed".
        message: Reason of a divergence, or the traceback of a failure.
        seconds: Wall time of the job.
        left: Descriptions of what the job changed in its process.
        diverged: Keys of the masks whose training diverged; the job has trained all others.
    """

    status: str
    message: str = ""
    seconds: float = 0.0
    left: tuple[str, ...] = ()
    diverged: tuple[str, ...] = ()

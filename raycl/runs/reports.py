"""The reports that a run makes after each task, as plain values."""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy
from dataclasses import dataclass, field, replace
from typing import Any

from raycl.specs import Evaluate

MANY_TASKS = 25  # Above this number of tasks, only the diagonal and the last row are measured by default.
STORED = {"diagnostics": "figures"}  # Fields that keep the name of raycl's first version in the store.


@dataclass(frozen=True)
class TaskReport:
    """Measurements after one task, as plain values that JSON can represent.

    Attributes:
        task: Index of the task just learnt.
        val: Validation accuracies as fractions, by task index. An entry is missing if it was not measured or
            is not defined.
        test: Test accuracies, likewise.
        epochs: Number of epochs by fit stream.
        updates: Number of optimiser steps over all fits.
        seconds: Wall time by fit stream; "method" is the remaining time of `Method.learn`.
        evaluation_seconds: Wall time to measure the accuracies above; it is not part of the compute time.
        peak_bytes: Peak memory so far, of the process (CPU) or of the device (GPU).
        parameters: Number of learnable parameters.
        stored_bytes: Bytes that the method must keep after this task.
        diagnostics: Further numbers that the method reports of itself.
        ended: Unix time at which the task ended.
        cpu_seconds: As `seconds`, but the time that processors spent; {} in reports of earlier versions.
        curves: By account of a fit, lists of numbers by epoch (`raycl.training.curves`): "epoch", counted
            from 1, "train_loss", "val_loss", "lr" and the method's own. Reports in a driver's memory do not
            have them; `Store.whole` reads them.
    """

    task: int
    val: dict[int, float]
    test: dict[int, float]
    epochs: dict[str, int]
    updates: int
    seconds: dict[str, float]
    evaluation_seconds: float
    peak_bytes: int
    parameters: int
    stored_bytes: int
    diagnostics: dict[str, Any] = field(default_factory=dict)
    ended: float = 0.0
    cpu_seconds: dict[str, float] = field(default_factory=dict)
    curves: dict[str, dict[str, list[float | None]]] = field(default_factory=dict, compare=False)

    def to_json(self) -> dict[str, Any]:
        """Return the report as plain values in the form of the store, where dictionary keys are strings.

        Dictionaries within dictionaries are those of the report itself. A driver calls this for each report
        of its study, and copies of everything would take a third of its start.
        """
        plain = {name: copy(getattr(self, name)) for name in self.__dataclass_fields__}
        for field_name, stored in STORED.items():
            plain[stored] = plain.pop(field_name)
        for name in ("val", "test"):
            plain[name] = {str(task): value for task, value in plain[name].items()}
        return plain

    @classmethod
    def from_json(cls, plain: dict[str, Any]) -> TaskReport:
        """Return the report from which `to_json` made these values."""
        whole = dict(plain)
        for field_name, stored in STORED.items():
            if stored in whole:
                whole[field_name] = whole.pop(stored)
        for name in ("val", "test"):
            whole[name] = {int(task): value for task, value in whole[name].items()}
        return cls(**whole)


def default_evaluate(tasks: int) -> Evaluate:
    """Return how much of the accuracy matrix is measured if the study does not specify it."""
    return "learnt" if tasks <= MANY_TASKS else "ends"


def join_reports(parts: Sequence[TaskReport], evaluate: Evaluate | None = None) -> list[TaskReport]:
    """Combine the reports of tasks learnt in parallel into those of the same tasks learnt in sequence.

    Accuracies are copied from part to part, since tasks learnt later cannot change them. Stored bytes add up.

    Args:
        parts: One report per task, in the order of the tasks.
        evaluate: As in `run_sequence`.
    """
    evaluate = evaluate or default_evaluate(len(parts))
    stored, ended, whole = parts[0].stored_bytes, 0.0, []
    for t, part in enumerate(parts):
        stored += part.stored_bytes - parts[0].stored_bytes
        ended = max(ended, part.ended)
        seen = parts[: t + 1] if evaluate != "ends" or t + 1 == len(parts) else [part]
        rows = {
            name: {i: a for report in seen for i, a in getattr(report, name).items()}
            for name in ("val", "test")
        }
        whole.append(replace(part, **rows, stored_bytes=stored, ended=ended))  # type: ignore[arg-type]
    return whole

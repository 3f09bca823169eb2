"""Callbacks: objects that see the values of finished runs while a study runs, and change nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from raycl.errors import UserError, nearest, quoted

CALLS = ("on_epoch", "on_task", "on_run")


@dataclass(frozen=True)
class RunInfo:
    """What a callback is told about a run.

    Attributes:
        name: Name of the run, such as ``hat / digits_split / seed 1``.
        key: Key of the run in the store.
        method: Label of the method in the study.
        benchmark: The benchmark, as the study writes it.
        order: Number of the order of its tasks, from 1.
        trial: Number of the trial, from 0; None for a final run.
        seed: Training seed.
        status: "done", "diverged" or "invalid".
        settings: The searched and fixed settings, by dotted name.
    """

    name: str
    key: str
    method: str
    benchmark: str
    order: int
    trial: int | None
    seed: int
    status: str
    settings: Mapping[str, Any]


@dataclass(frozen=True)
class EpochInfo:
    """The values of an epoch.

    Attributes:
        task: Index of the task, from 0.
        fit: Name under which the fit is accounted; "main" for that which learns the task itself.
        epoch: Number of the epoch within the task and this name, from 1.
        step: The same, counted over all tasks of the run.
        values: "train_loss", "val_loss", "lr", and what the method reports of itself
            (`Method.epoch_diagnostics`); a value that was not measured is missing.
    """

    task: int
    fit: str
    epoch: int
    step: int
    values: Mapping[str, float]


@dataclass(frozen=True)
class TaskInfo:
    """The values after a task.

    Attributes:
        task: Index of the task that was learnt, from 0.
        accuracies: Test accuracy by index of the tested task, as fractions.
        values: The metrics of the accuracies so far ("acc", "bwt", ...), and "ct", the seconds so far.
        diagnostics: What the method reports of itself (`Method.diagnostics`).
    """

    task: int
    accuracies: Mapping[int, float]
    values: Mapping[str, float]
    diagnostics: Mapping[str, Any]


class Callback:
    """Base of callbacks, which override what they want to see.

    They are called in the process of ``raycl run``, also when the runs are executed on a cluster: once a run
    has finished, with all of its epochs, its tasks, and at last the run itself. They receive copies, and no
    result depends on them. If a callback raises an exception, this is reported once, it is not called any
    more, and the study goes on. Of a long training, `on_epoch` gets evenly spaced epochs, at most 200 of a
    task.
    """

    def on_epoch(self, run: RunInfo, epoch: EpochInfo) -> None:
        """See the values of an epoch."""

    def on_task(self, run: RunInfo, task: TaskInfo) -> None:
        """See the values after a task."""

    def on_run(self, run: RunInfo, values: Mapping[str, float]) -> None:
        """See the metrics of a run that has ended; they are empty if it has no value, as if it diverged."""


def check(callbacks: Any, place: str) -> None:
    """Check the callbacks of a study.

    Raises:
        UserError: If they are not a list of objects with at least one of the functions of a `Callback`.
    """
    if not isinstance(callbacks, Sequence) or isinstance(callbacks, str):
        raise UserError(f"{place}: callbacks = {quoted(callbacks)} should be a list, such as [MyCallback()]")
    for each in callbacks:
        if isinstance(each, type):
            raise UserError(f"{place}: callbacks: {each.__name__} is a class; write {each.__name__}()")
        own = [name for name in dir(each) if name.startswith("on_")]
        if not any(callable(getattr(each, name, None)) for name in CALLS):
            hint = next(filter(None, (nearest(name, CALLS) for name in own)), "")
            raise UserError(
                f"{place}: callbacks: {quoted(each)} has none of the functions {', '.join(CALLS)}{hint}"
            )

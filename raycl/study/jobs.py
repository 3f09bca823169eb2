"""Jobs, which are runs to be executed for a cell, and the events that listeners receive about them."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any, TypeAlias

from raycl.runs.pauses import Pauses
from raycl.runs.result import Result, Trained
from raycl.specs import RunSpec
from raycl.study.cells import Cell
from raycl.study.maskjobs import MaskJob


@dataclass(frozen=True)
class Role:
    """Role of a run in its cell.

    Attributes:
        trial: Number of the trial, from 0; None for a final run.
        seed: Training seed of the final run; None for a trial.
        of: As in `raycl.study.progress.Trial`.
        steps: Empty for a trial or a final run itself. For a run that one of these depends on, the names of
            the dependencies from the top downwards, such as ``("backbone",)`` or ``("task 5",)``.
    """

    trial: int | None = None
    seed: int | None = None
    steps: tuple[str, ...] = ()
    of: int | None = None

    def __post_init__(self) -> None:
        assert (self.trial is None) != (self.seed is None), "a run is a trial or a final run"

    def under(self, what: str) -> Role:
        """Return the role of a run that the run with this role depends on."""
        return dataclasses.replace(self, steps=(*self.steps, what))

    def __str__(self) -> str:
        own = f"seed {self.seed}" if self.trial is None else f"trial {self.trial}"
        own += "" if self.of is None else f" of trial {self.of}"
        return ", ".join([own, *self.steps])


@dataclass(frozen=True)
class Job:
    """A run to be executed, with the cell that needs it and its role there.

    Attributes:
        keep: Whether to write the trained method to the store (`raycl.study.keeping`).
        pauses: Where the run of a trial pauses (`raycl.study.pruning`).
    """

    spec: RunSpec
    cell: Cell
    role: Role
    keep: bool = False
    pauses: Pauses | None = None

    @property
    def key(self) -> str:
        return self.spec.key

    @property
    def name(self) -> str:
        return f"{self.cell.title} / {self.role}"

    @property
    def is_part(self) -> bool:
        """Whether this is not a run of the cell itself, but one that such a run depends on."""
        return bool(self.role.steps)


@dataclass(frozen=True)
class Started:
    """Event: a job was handed out."""

    job: Job | MaskJob


@dataclass(frozen=True)
class Pulsed:
    """Event: a live job gave a sign of life.

    Attributes:
        pulse: The progress of the job, a `raycl.training.fit.Pulse`.
    """

    job: Job | MaskJob
    pulse: Any


@dataclass(frozen=True)
class Finished:
    """Event: a job ended, or its run paused.

    Attributes:
        outcome: The result of a run, or the outcome of a job of masks. The result of a trial that was pruned
            has the status "pruned"; its job may have paused long before.
    """

    job: Job | MaskJob
    outcome: Result | Trained


Event: TypeAlias = Started | Pulsed | Finished

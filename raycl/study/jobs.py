"""Jobs: runs to be played and why, and what listeners are told of them."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any, TypeAlias

from raycl.runs.result import Result, Trained
from raycl.specs import RunSpec
from raycl.study.cells import Cell
from raycl.study.maskjobs import MaskJob


@dataclass(frozen=True)
class Role:
    """What a run is to its cell.

    Attributes:
        trial: number of the trial, from 0; None of a final run.
        seed: training seed of the final run; None of a trial.
        steps: empty of a trial or a final run itself; of a run that one builds on or is made of, what that
            run is to it, from the top downwards: ``("backbone",)``, ``("task 5",)``.
    """

    trial: int | None = None
    seed: int | None = None
    steps: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        assert (self.trial is None) != (self.seed is None), "a run is a trial or a final run"

    def under(self, what: str) -> Role:
        """The role of a run that this one builds on or is made of."""
        return dataclasses.replace(self, steps=(*self.steps, what))

    def __str__(self) -> str:
        own = f"seed {self.seed}" if self.trial is None else f"trial {self.trial}"
        return ", ".join([own, *self.steps])


@dataclass(frozen=True)
class Job:
    """A run to be played, and why."""

    spec: RunSpec
    cell: Cell
    role: Role

    @property
    def key(self) -> str:
        return self.spec.key

    @property
    def name(self) -> str:
        return f"{self.cell.title} / {self.role}"

    @property
    def is_part(self) -> bool:
        """Whether it is not a run of its cell, but one that such a run builds on or is made of."""
        return bool(self.role.steps)


@dataclass(frozen=True)
class Started:
    """A job was handed out."""

    job: Job | MaskJob


@dataclass(frozen=True)
class Pulsed:
    """A job that is live gave a sign of life.

    Attributes:
        pulse: where it stands, a `raycl.training.Pulse`.
    """

    job: Job | MaskJob
    pulse: Any


@dataclass(frozen=True)
class Finished:
    """A job came to an end.

    Attributes:
        outcome: of a run its result, of a job of masks what was trained.
    """

    job: Job | MaskJob
    outcome: Result | Trained


Event: TypeAlias = Started | Pulsed | Finished

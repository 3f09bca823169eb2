"""Settings of the training loop; the presets of the papers are values of them."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from typing import Literal

MOST_EPOCHS = 10_000_000


@dataclass(frozen=True, kw_only=True)
class Config:
    """Settings of the loop; the presets of the papers are values of it.

    `schedule` plateau: after `patience` epochs without a better validation loss lr is divided by
    `factor`, not below `lr_floor`. `stop`: "floor_then_patience" at `patience` bad epochs counted while
    lr is at the floor (SPG's code); "below_floor" when lr falls below the floor (HAT, PRM, PMASK);
    "first_plateau" at the first plateau; "never" after `epochs`.
    """

    epochs: int = 100
    batch: int = 64
    optimiser: Literal["sgd", "rmsprop", "adam"] = "sgd"
    momentum: float = 0.0
    nesterov: bool = False
    weight_decay: float = 0.0
    lr: float = 0.05
    schedule: Literal["constant", "plateau", "cosine", "cosine_iter", "steps"] = "plateau"
    factor: float = 3.0  # what lr is divided by
    patience: int = 5  # epochs
    threshold: float = 0.0  # relative; an epoch counts as better for the plateau below best * (1 - this)
    lr_floor: float = 1e-4
    lr_span: float | None = None  # the floor is lr / lr_span, where lr itself is searched over decades
    milestones: tuple[int, ...] = ()  # epochs, for `steps`
    stop: Literal["floor_then_patience", "below_floor", "first_plateau", "never"] = "below_floor"
    clip: float | None = None  # global gradient norm
    shuffle: bool = True
    keep: Literal["best", "last"] = "best"

    def __post_init__(self) -> None:
        for name in ("epochs", "batch", "patience"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} = {getattr(self, name)} must be at least 1")
        if self.epochs > MOST_EPOCHS:
            raise ValueError(f"epochs = {self.epochs} is more than {MOST_EPOCHS}: no run would end")
        if not 0 < self.lr < math.inf:
            raise ValueError(f"lr = {self.lr} must be above 0, and finite")
        for name in ("weight_decay", "lr_floor"):
            if not 0 <= getattr(self, name) < math.inf:
                raise ValueError(f"{name} = {getattr(self, name)} must be at least 0, and finite")
        if not 0 <= self.threshold < 1:
            raise ValueError(f"threshold = {self.threshold} must lie in [0, 1): it is a share of a loss")
        if self.clip is not None and not 0 < self.clip < math.inf:
            raise ValueError(f"clip = {self.clip} must be above 0, or None")
        self._check_momentum()
        self._check_schedule()

    def _check_momentum(self) -> None:
        if not 0 <= self.momentum < 1:
            raise ValueError(f"momentum = {self.momentum} must lie in [0, 1): from 1 on steps never fade")
        if self.nesterov and self.optimiser == "sgd" and not self.momentum:
            raise ValueError(
                "nesterov = True needs momentum above 0; set momentum = 0.9, or nesterov = False"
            )

    def _check_schedule(self) -> None:
        if self.schedule == "plateau" and not 1 < self.factor < math.inf:
            raise ValueError(f"factor = {self.factor} must be above 1, and finite: lr is divided by it")
        if self.schedule == "steps" and not 0 < self.factor < math.inf:
            raise ValueError(f"factor = {self.factor} must be above 0, and finite: lr is divided by it")
        if self.lr_span is not None and not 1 <= self.lr_span < math.inf:
            raise ValueError(f"lr_span = {self.lr_span} must be at least 1, and finite, or None")
        if self.schedule == "steps" and not self.milestones:
            raise ValueError(
                "schedule = 'steps' needs milestones, such as (50, 80); without any, write 'constant'"
            )
        if any(a >= b for a, b in itertools.pairwise((-1, *self.milestones))):
            raise ValueError(f"milestones = {self.milestones} must be epochs from 0, and rise")

    @property
    def floor(self) -> float:
        """The lowest learning rate of the plateau schedule."""
        return self.lr_floor if self.lr_span is None else self.lr / self.lr_span

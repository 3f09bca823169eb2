"""Settings of the training loop, as a checked dataclass."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from typing import Literal

MOST_EPOCHS = 10_000_000


@dataclass(frozen=True, kw_only=True)
class Config:
    """Settings of the training loop, among which are the stopping rules and schedules of all papers.

    With ``schedule="plateau"`` the learning rate is divided by `factor` after `patience` epochs without a
    better validation loss, but it never falls below `lr_floor`.

    Training ends after `epochs` epochs at the latest. `stop` says when it ends earlier: with
    "floor_then_patience" after `patience` epochs without improvement, counted while the learning rate is at
    the floor (SPG's code); with "below_floor" when the learning rate would fall below the floor (HAT, PRM,
    PMASK); with "first_plateau" at the first plateau; with "never" not at all.
    """

    epochs: int = 100
    batch: int = 64
    optimiser: Literal["sgd", "rmsprop", "adam"] = "sgd"
    momentum: float = 0.0
    nesterov: bool = False
    weight_decay: float = 0.0
    lr: float = 0.05
    schedule: Literal["constant", "plateau", "cosine", "cosine_iter", "steps"] = "plateau"
    factor: float = 3.0  # the divisor of lr
    patience: int = 5  # in epochs
    threshold: float = 0.0  # relative: an epoch counts as better if its loss is below best * (1 - threshold)
    lr_floor: float = 1e-4
    lr_span: float | None = None  # if given, the floor is lr / lr_span: for searches of lr over decades
    milestones: tuple[int, ...] = ()  # the epochs at which `steps` divides lr
    stop: Literal["floor_then_patience", "below_floor", "first_plateau", "never"] = "below_floor"
    clip: float | None = None  # the largest global gradient norm
    shuffle: bool = True
    keep: Literal["best", "last"] = "best"

    def __post_init__(self) -> None:
        for name in ("epochs", "batch", "patience"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} = {getattr(self, name)} must be at least 1")
        if self.epochs > MOST_EPOCHS:
            raise ValueError(f"epochs = {self.epochs} is more than {MOST_EPOCHS}: the run would never end")
        if not 0 < self.lr < math.inf:
            raise ValueError(f"lr = {self.lr} must be above 0 and finite")
        for name in ("weight_decay", "lr_floor"):
            if not 0 <= getattr(self, name) < math.inf:
                raise ValueError(f"{name} = {getattr(self, name)} must be at least 0 and finite")
        if not 0 <= self.threshold < 1:
            raise ValueError(f"threshold = {self.threshold} must lie in [0, 1): it is a fraction of a loss")
        if self.clip is not None and not 0 < self.clip < math.inf:
            raise ValueError(f"clip = {self.clip} must be above 0, or None")
        self._check_momentum()
        self._check_schedule()

    def _check_momentum(self) -> None:
        if not 0 <= self.momentum < 1:
            raise ValueError(
                f"momentum = {self.momentum} must lie in [0, 1): from 1 on, past gradients never fade"
            )
        if self.nesterov and self.optimiser == "sgd" and not self.momentum:
            raise ValueError("nesterov = True needs momentum above 0; set momentum = 0.9 or nesterov = False")

    def _check_schedule(self) -> None:
        if self.schedule == "plateau" and not 1 < self.factor < math.inf:
            raise ValueError(f"factor = {self.factor} must be above 1 and finite: lr is divided by it")
        if self.schedule == "steps" and not 0 < self.factor < math.inf:
            raise ValueError(f"factor = {self.factor} must be above 0 and finite: lr is divided by it")
        if self.lr_span is not None and not 1 <= self.lr_span < math.inf:
            raise ValueError(f"lr_span = {self.lr_span} must be at least 1 and finite, or None")
        if self.schedule == "steps" and not self.milestones:
            raise ValueError(
                "schedule = 'steps' needs milestones, such as (50, 80); use 'constant' if there are none"
            )
        if any(a >= b for a, b in itertools.pairwise((-1, *self.milestones))):
            raise ValueError(f"milestones = {self.milestones} must be increasing epoch numbers from 0")

    @property
    def floor(self) -> float:
        """Lowest learning rate of the plateau schedule."""
        return self.lr_floor if self.lr_span is None else self.lr / self.lr_span

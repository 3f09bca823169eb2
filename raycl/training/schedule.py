"""The learning rate schedule and the stopping rule of a fit."""

from __future__ import annotations

import math

from raycl.training.settings import Config


class Schedule:
    """Learning rate schedule and stopping rule of one fit.

    Args:
        config: The settings that name the schedule and the stopping rule.
        epochs: The number of epochs over which a cosine schedule extends.
        lr: The rate to start from, if another than that of the settings.
        patience: The number of epochs left before the first plateau, if another than that of the settings.
        best: The loss that an epoch must be below to count as better; infinite by default.
    """

    def __init__(
        self,
        config: Config,
        epochs: int,
        lr: float | None = None,
        patience: int | None = None,
        best: float | None = None,
    ) -> None:
        self.config, self.epochs = config, epochs
        self.start = config.lr if lr is None else lr
        self.lr = self.start
        self.left = config.patience if patience is None else patience
        self.best = math.inf if best is None else best
        self.best_kept = self.best
        self.at_floor = 0

    def rate(self, epoch: int, index: int, of: int) -> float:
        """Return the learning rate for batch `index` out of `of` in `epoch`."""
        config = self.config
        if config.schedule == "cosine":
            self.lr = self.start * 0.5 * (1 + math.cos(math.pi * epoch / self.epochs))
        elif config.schedule == "cosine_iter":
            self.lr = self.start * 0.5 * (1 + math.cos(math.pi * (epoch * of + index) / (self.epochs * of)))
        elif config.schedule == "steps":
            self.lr = self.start / config.factor ** sum(epoch >= m for m in config.milestones)
        return self.lr

    def after(self, epoch: int, loss: float) -> bool:
        """Record the loss of an epoch, update the rate, and return whether training should stop."""
        config = self.config
        if config.stop == "floor_then_patience":
            self._count_at_floor(loss)
        plateau = self._plateau(loss)
        if plateau:
            if config.stop == "first_plateau":
                return True
            if config.schedule == "plateau":
                lower = self.lr / config.factor
                if config.stop == "below_floor" and lower < config.floor:
                    return True
                self.lr = max(lower, config.floor)
        return config.stop == "floor_then_patience" and self.at_floor >= config.patience

    def _plateau(self, loss: float) -> bool:
        if loss < self.best * (1 - self.config.threshold):
            self.best, self.left = loss, self.config.patience
            return False
        self.left -= 1
        if self.left > 0:
            return False
        self.left = self.config.patience
        return True

    def _count_at_floor(self, loss: float) -> None:
        better = loss < self.best_kept
        self.best_kept = min(self.best_kept, loss)
        at_floor = self.lr <= self.config.floor * (1 + 1e-9)
        self.at_floor = 0 if better else self.at_floor + at_floor

"""What masks are trained: their orders, the rules by which scores become masks, and what a fit must be."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

from raycl.errors import UserError
from raycl.specs import DensityRule, MaskValues, ScoreRank
from raycl.tasks import Task
from raycl.training.fit import Fit

PulseOfMasks: TypeAlias = Callable[[int, int, float], None]
"""Called after an epoch: position of the mask (of the first of a chunk), epochs done, mean training loss."""


@dataclass(frozen=True)
class Order:
    """One mask that is to be trained.

    Attributes:
        task: its training split is what the scores are trained on.
        density: share of ones in each layer.
        score_seed, order_seed: of the initial scores, and of the order of the data and its augmentation.
    """

    task: Task
    density: float
    score_seed: int
    order_seed: int


@dataclass(frozen=True)
class Rules:
    """How scores become masks; fields as in `MaskSpec`."""

    density_rule: DensityRule = "uniform"
    score_rank: ScoreRank = "abs"
    mask_values: MaskValues = "binary"

    @property
    def keeps_all(self) -> bool:
        """Whether no weight is dropped, whatever the density."""
        return self.mask_values in ("weight_norm", "signed_weight_norm")

    @property
    def soft(self) -> bool:
        """Whether values are shares of the layer's largest score."""
        return self.mask_values not in ("binary", "signed")

    @property
    def through_abs(self) -> bool:
        """Whether the gradient reaches a score through its absolute value."""
        if self.mask_values == "binary":
            return self.score_rank == "abs" and self.density_rule != "threshold"
        return self.mask_values in ("soft", "weight_norm")


def check_fit(config: Fit.Config, place: str = "fit") -> None:
    """Refuse what a mask cannot be trained with: it has no validation.

    Raises:
        UserError: names the setting and the remedy.
    """
    for name, wanted in (("stop", "never"), ("keep", "last")):
        if getattr(config, name) != wanted:
            raise UserError(
                f"{place}: {name} = {getattr(config, name)!r} needs validation, which basis masks do not "
                f"have; set {name} = {wanted!r}"
            )
    if config.schedule == "plateau":
        raise UserError(
            f"{place}: schedule = 'plateau' needs validation, which basis masks do not have; "
            "set schedule = 'constant', 'cosine', 'cosine_iter' or 'steps'"
        )

"""Inputs of mask training: the masks to train, the rules for masks, and checks of the training settings."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

from raycl.errors import UserError
from raycl.specs import DensityRule, MaskValues, ScoreRank
from raycl.tasks import Task
from raycl.training.fit import Fit

PulseOfMasks: TypeAlias = Callable[[int, int, float], None]
"""Called after each epoch with the position of the mask (of the first one in a stacked chunk), the number of
finished epochs, and the mean training loss."""


@dataclass(frozen=True)
class Order:
    """Order for one mask to be trained.

    Attributes:
        task: Task on whose training split the scores are trained.
        density: Share of ones in each layer.
        score_seed: Seed of the initial scores.
        order_seed: Seed of the order of the data, of augmentation and of dropout.
    """

    task: Task
    density: float
    score_seed: int
    order_seed: int


@dataclass(frozen=True)
class Rules:
    """Rules by which scores become masks; the fields are those of `MaskSpec`."""

    density_rule: DensityRule = "uniform"
    score_rank: ScoreRank = "abs"
    mask_values: MaskValues = "binary"

    @property
    def keeps_all(self) -> bool:
        """Whether all weights are kept, whatever the density."""
        return self.mask_values in ("weight_norm", "signed_weight_norm")

    @property
    def soft(self) -> bool:
        """Whether the values of a mask are scores divided by the largest score of the layer."""
        return self.mask_values not in ("binary", "signed")

    @property
    def through_abs(self) -> bool:
        """Whether the gradient reaches a score through its absolute value, and is multiplied by its sign."""
        if self.mask_values == "binary":
            return self.score_rank == "abs" and self.density_rule != "threshold"
        return self.mask_values in ("soft", "weight_norm")


def check_fit(config: Fit.Config, place: str = "fit") -> None:
    """Refuse settings that need validation data, which basis masks do not have.

    Raises:
        UserError: There is such a setting. The message names it and the remedy.
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

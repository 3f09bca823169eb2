"""Training of basis masks: what is to be trained, by which rules, and which executor does it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

from raycl.errors import UserError
from raycl.supermasks.bank import Backbone, BasisMask
from raycl.supermasks.edge_popup import Rank, Rule, Values
from raycl.tasks import Task
from raycl.training import Fit

Executor: TypeAlias = Literal["auto", "loop", "stacked"]

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

    density_rule: Rule = "uniform"
    score_rank: Rank = "abs"
    mask_values: Values = "binary"

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


def train_masks(
    backbone: Backbone,
    orders: Sequence[Order],
    rules: Rules,
    config: Fit.Config,
    *,
    executor: Executor = "auto",
    chunk: int | None = None,
    pulse: PulseOfMasks | None = None,
) -> Iterator[tuple[int, BasisMask]]:
    """Train masks on the device of the backbone: (position in `orders`, mask) as soon as each is finished.

    A mask depends on its order alone. The loop executor gives the same bits whatever is trained beside it;
    the stacked one agrees with it mathematically (ImpressLearn, specification 14.3).

    Args:
        executor: "loop" trains one mask after another; "stacked" trains `chunk` of them at once, which wins
            on a GPU and never on a CPU; "auto" chooses by the device.
        chunk: masks at once; by default as many as fit in memory. The loop has no use for it.

    Raises:
        UserError: settings that a mask cannot be trained with.
        raycl.training.Diverged: a loss is no number any more. Of a stacked chunk nothing is yielded then.
    """
    # late, since executors are built from the types above
    from raycl.supermasks import loop, stacked

    _check(rules, config, chunk)
    if executor == "auto":
        executor = "stacked" if backbone.weights[0].is_cuda else "loop"
    if executor == "loop":
        return loop.train(backbone, orders, rules, config, pulse)
    return stacked.train(backbone, orders, rules, config, chunk, pulse)


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


def _check(rules: Rules, config: Fit.Config, chunk: int | None) -> None:
    check_fit(config)
    if rules.density_rule == "threshold" and rules.mask_values != "binary":
        raise UserError(
            f"mask_values = {rules.mask_values!r} does not go with density_rule = 'threshold', which keeps "
            "positive scores; set mask_values = 'binary' or density_rule = 'uniform'"
        )
    if chunk is not None and chunk < 1:
        raise UserError(f"chunk = {chunk} masks at once must be at least 1; leave it out to fill the memory")

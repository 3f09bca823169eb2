"""Training of basis masks: what is to be trained, by which rules, and which executor does it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal, TypeAlias

from raycl.errors import UserError
from raycl.supermasks import loop, stacked
from raycl.supermasks.bank import Backbone, BasisMask
from raycl.supermasks.rules import Order, PulseOfMasks, Rules, check_fit
from raycl.training.fit import Fit

Executor: TypeAlias = Literal["auto", "loop", "stacked"]


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
        raycl.training.fit.Diverged: a loss is no number any more. Of a stacked chunk nothing is yielded then.
    """
    _check(rules, config, chunk)
    if executor == "auto":
        executor = "stacked" if backbone.weights[0].is_cuda else "loop"
    if executor == "loop":
        return loop.train_in_loop(backbone, orders, rules, config, pulse)
    return stacked.train_stacked(backbone, orders, rules, config, chunk, pulse)


def _check(rules: Rules, config: Fit.Config, chunk: int | None) -> None:
    check_fit(config)
    if rules.density_rule == "threshold" and rules.mask_values != "binary":
        raise UserError(
            f"mask_values = {rules.mask_values!r} does not go with density_rule = 'threshold', which keeps "
            "positive scores; set mask_values = 'binary' or density_rule = 'uniform'"
        )
    if chunk is not None and chunk < 1:
        raise UserError(f"chunk = {chunk} masks at once must be at least 1; leave it out to fill the memory")

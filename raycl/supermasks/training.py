"""Training of basis masks, by the loop executor or by the stacked one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal, TypeAlias

from raycl import devices
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
    """Train masks on the device of the backbone, and yield (position in `orders`, mask) as each is finished.

    A mask depends on its own order alone, and not on the other orders. The loop executor gives bit-identical
    masks whatever else is trained; the stacked executor computes the same up to rounding.

    Args:
        backbone: The frozen network.
        orders: The masks to train.
        rules: How scores become masks.
        config: Settings of the training loop.
        executor: "loop" trains one mask after another; "stacked" trains `chunk` of them at once, which is
            faster on a GPU and never on a CPU, and does not support dropout; "auto" chooses by the device
            and the network.
        chunk: Number of masks that are trained at once by the stacked executor; by default as many as fit in
            memory. The loop executor ignores it.
        pulse: Called after each epoch; see `PulseOfMasks`.

    Raises:
        UserError: Masks cannot be trained with these settings.
        raycl.training.fit.Diverged: A loss is NaN or infinite. A stacked chunk then yields none of its masks.
    """
    _check(rules, config, chunk)
    if executor == "auto":
        apart = devices.on_cpu(backbone.weights[0]) or loop.uses_random_numbers(backbone.net)
        executor = "loop" if apart else "stacked"
    if executor == "loop":
        return loop.train_in_loop(backbone, orders, rules, config, pulse)
    return stacked.train_stacked(backbone, orders, rules, config, chunk, pulse)


def _check(rules: Rules, config: Fit.Config, chunk: int | None) -> None:
    check_fit(config)
    if rules.density_rule == "threshold" and rules.mask_values != "binary":
        raise UserError(
            f"mask_values = {rules.mask_values!r} does not go with density_rule = 'threshold', which keeps "
            "non-negative scores; set mask_values = 'binary' or density_rule = 'uniform'"
        )
    if chunk is not None and chunk < 1:
        raise UserError(f"chunk = {chunk} masks at once must be at least 1; leave it out to use all memory")

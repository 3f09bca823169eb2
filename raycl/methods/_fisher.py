"""The diagonal of the empirical Fisher information, exact for every network.

There are two ways to compute it. The general way runs autograd separately for each sample, or each batch of
`size` samples. The fast way (see `_outer`) handles a chunk of samples in one backward pass, if the result is
known to be the same. If that turns out to be false, the computation starts again in the general way, with the
same random numbers as if the fast way had not been tried.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from raycl import devices
from raycl.method import Task, measuring, untouched
from raycl.methods._outer import Answer, Inexact, plain_layers, squares
from raycl.networks import Network
from raycl.tasks import Batch
from raycl.training.fit import Fit


def fisher(
    net: Network,
    task: Task,
    fit: Fit,
    size: int = 1,
    *,
    dropout: bool = False,
    forward: Answer | None = None,
) -> list[Tensor]:
    """Return the diagonal of the empirical Fisher of `task`, one tensor for each parameter of the network.

    The gradient of the mean cross-entropy over each batch of `size` samples of the training split is squared,
    multiplied by `size` (even if the last batch is smaller, as in HAT's code), summed and divided by the
    number of samples. The result is 0 for parameters that are not trained or that the loss does not depend
    on.

    Args:
        net: Network whose parameters are meant.
        task: Task whose training split is used.
        fit: Training loop, which provides batches and the device.
        size: Number of samples whose gradients are averaged before they are squared; 1 is the exact Fisher.
        dropout: Whether dropout is active during the measurement. Batch statistics do not change either way.
        forward: Function that computes the logits instead of the network, e.g. with gates.
    """
    answer: Answer = net if forward is None else forward
    trained = [p for p in dict.fromkeys(net.trainable(task.index)) if p.requires_grad]
    found = _zeros(net)
    with measuring(net, dropout), untouched(net):
        layers = plain_layers(net, trained) if size == 1 else []
        before = devices.random_state(fit.device)
        try:
            for p, squared in squares(answer, layers, trained, task, fit):
                found[p] += squared
        except Inexact:
            devices.set_random_state(before, fit.device)
            found = _zeros(net)
            for batch in fit.batches(task.train, task.index, size):
                for p, gradient in _gradients(answer, batch, task.index, trained):
                    found[p] += size * gradient.square()
    return [value.div_(max(len(task.train), 1)) for value in found.values()]


def _zeros(net: Network) -> dict[Tensor, Tensor]:
    return {p: torch.zeros_like(p, requires_grad=False) for p in net.parameters()}


def _gradients(
    answer: Answer, batch: Batch, task: int, trained: Sequence[Tensor]
) -> list[tuple[Tensor, Tensor]]:
    """Return (tensor, gradient of the batch's mean loss) for each trained tensor that the loss depends on."""
    loss = F.cross_entropy(answer(batch.x, task), batch.y)
    if not (trained and loss.requires_grad):
        return []
    gradients = torch.autograd.grad(loss, trained, allow_unused=True)
    return [(p, g) for p, g in zip(trained, gradients, strict=True) if g is not None]

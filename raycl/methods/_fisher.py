"""The diagonal of the empirical Fisher information, exact for every network.

Two roads lead to it. The exact one takes each sample, or each batch of `size`, through autograd by itself.
The fast one (see `_outer`) takes a chunk of samples in one backward pass, where that is known to be the same.
Where it turns out not to be, the exact road is taken from the start, with the random numbers that it would
have drawn by itself.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from raycl.method import Task, measuring, untouched
from raycl.methods._outer import Answer, Inexact, plain_layers, random_state, set_random_state, squares
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
    """Diagonal of the empirical Fisher of `task`, one tensor for each parameter of the network.

    The gradient of the mean cross-entropy over each `size` samples of the training split is squared,
    multiplied by `size` (also where the last batch is smaller, as HAT's code does), summed and divided by
    the number of samples. A parameter that is not trained, or that the loss does not reach, has 0.

    Args:
        size: samples whose gradients are averaged before they are squared; 1 is the exact Fisher.
        dropout: drawn while it is measured. Statistics of batches stay as they are either way.
        forward: answers in the network's place where more than the network makes the logits, such as gates.
    """
    answer: Answer = net if forward is None else forward
    trained = [p for p in dict.fromkeys(net.trainable(task.index)) if p.requires_grad]
    found = _zeros(net)
    with measuring(net, dropout), untouched(net):
        layers = plain_layers(net, trained) if size == 1 else []
        before = random_state(fit.device)
        try:
            for p, squared in squares(answer, layers, trained, task, fit):
                found[p] += squared
        except Inexact:
            set_random_state(before, fit.device)
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
    """Of the mean loss of a batch, for each trained tensor that it depends on."""
    loss = F.cross_entropy(answer(batch.x, task), batch.y)
    if not (trained and loss.requires_grad):
        return []
    gradients = torch.autograd.grad(loss, trained, allow_unused=True)
    return [(p, g) for p, g in zip(trained, gradients, strict=True) if g is not None]

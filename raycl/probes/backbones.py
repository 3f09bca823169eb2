"""Tools for probes of a frozen backbone: mixtures of masks, batch statistics, random batches and accuracy."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Literal, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from raycl.errors import UserError
from raycl.networks.base import PerTaskBatchNorm
from raycl.supermasks.bank import Backbone
from raycl.tasks import Split

Effective: TypeAlias = Callable[[Tensor], Sequence[Tensor]]
"""Differentiable function from coefficients c [K, d] to the d effective weights W_i * sum_t c[t, i] M_i^t."""

Network: TypeAlias = Callable[[Tensor, Tensor], Tensor]
"""Function from coefficients [K, d] and inputs [n, ...] to logits [n, classes]; the former get gradients."""

Statistics: TypeAlias = Literal["running", "batch"] | Sequence[NDArray[Any]]
"""Statistics that batch normalisation uses: the network's running ones, those of the current batch, or given
ones (mean and variance of every normalisation in the network's order, as in `BasisMask.statistics`)."""

EVALUATION_BATCH = 256


def mixture(backbone: Backbone, effective: Effective, statistics: Statistics = "batch") -> Network:
    """Return the backbone under a mixture of masks, as a function of coefficients and inputs.

    The statistics of the batch are the default, because running statistics belong to a single mask and not to
    a mixture. SupSup's code does the same by staying in training mode.
    """

    def logits(coefficients: Tensor, x: Tensor) -> Tensor:
        with normalised_by(backbone.net, statistics):
            return backbone(effective(coefficients), x)

    return logits


def norms_of(net: nn.Module, task: int = 0) -> list[nn.BatchNorm2d]:
    """Return the batch normalisations of `task`, in the network's order."""
    found = [module.norms[task] for module in net.modules() if isinstance(module, PerTaskBatchNorm)]
    return [norm for norm in found if isinstance(norm, nn.BatchNorm2d)]


def statistics_of(net: nn.Module, task: int) -> tuple[NDArray[Any], ...]:
    """Return a copy of running mean and variance of every batch normalisation of `task`, in order."""
    found = [t for norm in norms_of(net, task) for t in (norm.running_mean, norm.running_var)]
    return tuple(t.numpy(force=True).copy() for t in found if t is not None)


def set_statistics(net: nn.Module, task: int, statistics: Sequence[NDArray[Any]]) -> None:
    """Set running means and variances to what `statistics_of` returned."""
    owned = [t for norm in norms_of(net, task) for t in (norm.running_mean, norm.running_var)]
    for own, given in zip(owned, statistics, strict=True):
        assert own is not None
        own.copy_(torch.from_numpy(given))


@contextlib.contextmanager
def normalised_by(net: nn.Module, statistics: Statistics, task: int = 0) -> Iterator[None]:
    """Put the network into evaluation mode with these batch statistics, and restore its state afterwards.

    Raises:
        UserError: The number of given statistics is not two per normalisation.
    """
    with _put_back(net, task) as norms:
        if isinstance(statistics, str):
            for norm in norms if statistics == "batch" else ():
                # Batch statistics are used, and running statistics are neither read nor updated.
                norm.training, norm.track_running_stats = True, False
        else:
            if len(statistics) != 2 * len(norms):
                raise UserError(
                    f"{len(statistics)} batch statistics were given, but the network has 2 x {len(norms)}: "
                    "use those of a mask that was trained on it, or estimate them"
                )
            for norm, mean, variance in zip(norms, statistics[::2], statistics[1::2], strict=True):
                norm.running_mean, norm.running_var = (
                    torch.as_tensor(np.asarray(given)).to(old)
                    for given, old in ((mean, norm.running_mean), (variance, norm.running_var))
                )
        yield


def estimated_statistics(
    net: nn.Module, forward: Callable[[Tensor], Tensor], batches: Iterable[Tensor], task: int = 0
) -> tuple[NDArray[Any], ...]:
    """Estimate the batch statistics of `forward` on these inputs, as plain means over the batches."""
    with _put_back(net, task) as norms, torch.no_grad():
        for norm in norms:
            norm.running_mean, norm.running_var = norm.running_mean.clone(), norm.running_var.clone()  # type: ignore[union-attr]
            norm.num_batches_tracked = norm.num_batches_tracked.clone()  # type: ignore[union-attr]
            norm.reset_running_stats()
            norm.training, norm.momentum = True, None  # None stands for the plain mean over all batches
        for x in batches:
            forward(x)
        found = [tensor for norm in norms for tensor in (norm.running_mean, norm.running_var)]
        return tuple(tensor.cpu().numpy() for tensor in found if tensor is not None)


@contextlib.contextmanager
def _put_back(net: nn.Module, task: int) -> Iterator[list[nn.BatchNorm2d]]:
    """Enter evaluation mode, and restore modes and statistics afterwards, including the tensor objects."""
    fields = ("running_mean", "running_var", "num_batches_tracked", "momentum", "track_running_stats")
    norms = norms_of(net, task)
    modes = [(module, module.training) for module in net.modules()]
    before = [[getattr(norm, name) for name in fields] for norm in norms]
    net.eval()
    try:
        yield norms
    finally:
        for norm, values in zip(norms, before, strict=True):
            for name, value in zip(fields, values, strict=True):
                setattr(norm, name, value)
        for module, mode in modes:
            module.training = mode


def rows_drawn(n: int, size: int, batches: int, rng: np.random.Generator) -> list[NDArray[np.int64]]:
    """Draw the rows of a number of batches of `size`; each row is used once before any is used again.

    Args:
        n: Number of rows.
        size: Size of a batch; it is reduced to `n` if it is larger.
        batches: Number of batches.
        rng: Source of random numbers.
    """
    if batches == 0:
        return []
    size = min(size, n)
    order = np.concatenate([rng.permutation(n) for _ in range(-(-size * batches // n))])
    return [order[i * size : (i + 1) * size] for i in range(batches)]


def accuracy(logits: Callable[[Tensor], Tensor], split: Split, device: torch.device | str = "cpu") -> float:
    """Return the accuracy on a split as a fraction, computed without gradients; NaN if the split is empty."""
    right = 0
    with torch.no_grad():
        for start in range(0, len(split), EVALUATION_BATCH):
            some = slice(start, start + EVALUATION_BATCH)
            y = torch.tensor(split.y[some]).to(device)
            right += int((logits(split.take(some, device)).argmax(1) == y).sum())
    return right / len(split) if len(split) else float("nan")

"""The loop executor, which trains one mask after another, and the parts it shares with the stacked executor.

The shared parts work on tensors [*lead, ...], where `lead` is empty for a single mask and holds one axis for
many masks.
"""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Protocol, TypeAlias

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.func import functional_call

from raycl import devices, streams
from raycl.networks import Block, Blocks, Heads, Network, PerTaskBatchNorm
from raycl.networks._checks import altered
from raycl.supermasks.bank import Backbone, BasisMask
from raycl.supermasks.flat import Masks
from raycl.supermasks.rules import Order, PulseOfMasks, Rules
from raycl.training.fit import Diverged, Fit
from raycl.training.schedule import Schedule

Feed: TypeAlias = Callable[[int], Iterable[tuple[Tensor, Tensor, int, int]]]
"""Function from an epoch to its batches: x [*lead, batch, ...], y [*lead, batch], index, and their number."""


class Elementwise:
    """PyTorch's SGD, RMSprop or Adam on one flat tensor, in place; on a CPU its results are bit-identical."""

    def __init__(self, config: Fit.Config, masks: Masks) -> None:
        self.config, self.masks = config, masks
        sgd, momentum = config.optimiser == "sgd", config.momentum if config.optimiser != "adam" else 0.0
        empty = torch.zeros_like
        self.momentum = momentum
        self.first = empty(masks.scores) if momentum or config.optimiser == "adam" else None
        self.second = None if sgd else empty(masks.scores)
        self.steps = 0

    def __call__(self, lr: float) -> None:
        """Make one update of the scores; the gradient is overwritten."""
        scores, g, config = self.masks.scores, self.masks.gradient, self.config
        self.steps += 1
        if config.weight_decay:
            g.add_(scores, alpha=config.weight_decay)
        if config.optimiser == "sgd":
            if self.first is not None:
                self.first.mul_(self.momentum).add_(g)
                g = g.add_(self.first, alpha=self.momentum) if config.nesterov else self.first
            scores.add_(g, alpha=-lr)
        elif config.optimiser == "rmsprop":
            assert self.second is not None
            root = self._root(g, 0.99).add_(1e-8)
            if self.first is None:
                scores.addcdiv_(g, root, value=-lr)
            else:
                scores.add_(self.first.mul_(self.momentum).addcdiv_(g, root), alpha=-lr)
        else:
            assert self.first is not None
            self.first.lerp_(g, 1 - 0.9)
            root = self._root(g, 0.999).div_((1 - 0.999**self.steps) ** 0.5).add_(1e-8)
            scores.addcdiv_(self.first, root, value=-lr / (1 - 0.9**self.steps))

    def _root(self, g: Tensor, decay: float) -> Tensor:
        assert self.second is not None
        self.second.mul_(decay).addcmul_(g, g, value=1 - decay)
        return torch.sqrt(self.second, out=self.masks.scratch)


class Model(Protocol):
    """Network under masks, called with x [*lead, batch, ...] and y [*lead, batch].

    It returns the losses [*lead], and writes the gradient of the effective weights into `Masks.gradient`.
    """

    def __call__(self, x: Tensor, y: Tensor) -> Tensor: ...

    def statistics(self) -> list[list[Tensor]]:
        """Return, for each mask, the running mean and variance of every batch normalisation."""
        ...


class Chain:
    """Linear layers with ReLU between them and cross-entropy, whose passes are written without autograd."""

    def __init__(self, masks: Masks) -> None:
        self.layers = list(zip(masks.shaped(masks.effective), masks.shaped(masks.gradient), strict=True))
        self.lead = masks.lead
        self.product: Callable[..., Tensor] = torch.bmm if masks.lead else torch.mm

    @staticmethod
    def fits(backbone: Backbone) -> bool:
        """Return whether the network consists of such layers and nothing else."""
        net = backbone.net
        if not isinstance(net, Blocks) or len(net.blocks) < len(net.body):
            return False
        own = type(net)
        plain = (own.forward, own.features) == (Network.forward, Blocks.features)
        plain = plain and own.head in (Network.head, Heads.head)
        layers = [*(block.layer for block in net.blocks), net.heads[0]]
        return (
            plain
            and net.blocks[0].flatten
            and all(type(block) is Block for block in net.blocks)
            and all(isinstance(layer, nn.Linear) and not altered(layer) for layer in layers)
            and not any(block.pool for block in net.blocks)
            and not any(isinstance(bias := layer.bias, Tensor) and bool(bias.any()) for layer in layers)
            and not uses_random_numbers(net)
        )

    def __call__(self, x: Tensor, y: Tensor) -> Tensor:
        h = x.flatten(len(self.lead) + 1).mT  # [*lead, units, batch], for which matrix products are fastest
        seen = [h]
        for weight, _ in self.layers[:-1]:
            h = self.product(weight, h).relu_()
            seen.append(h)
        shares = F.log_softmax(self.product(self.layers[-1][0], h), -2)
        chosen = y.unsqueeze(-2)
        losses = shares.gather(-2, chosen).mean((-1, -2)).neg_()
        back = shares.exp_().scatter_add_(-2, chosen, shares.new_full((1,), -1.0).expand(chosen.shape))
        back.div_(y.shape[-1])
        for (weight, gradient), h in zip(reversed(self.layers), reversed(seen), strict=True):
            self.product(back, h.mT, out=gradient)
            if h is not seen[0]:
                back = self.product(weight.mT, back).mul_(h.sign_())  # ReLU's derivative, since h >= 0
        return losses

    def statistics(self) -> list[list[Tensor]]:
        return [[] for _ in range(math.prod(self.lead))]


class Single:
    """Any network under one mask, differentiated by autograd, with fresh batch statistics of its own."""

    def __init__(self, backbone: Backbone, weights: Sequence[Tensor], gradients: Sequence[Tensor]) -> None:
        self.backbone, self.gradients = backbone, gradients
        self.leaves = [weight.detach().requires_grad_() for weight in weights]
        self.buffers = fresh_statistics(backbone)
        convolves = any(weight.dim() == 4 for weight in weights)
        self.format = torch.channels_last if convolves else torch.contiguous_format

    def __call__(self, x: Tensor, y: Tensor) -> Tensor:
        named = dict(zip(self.backbone.names, self.leaves, strict=True)) | self.buffers
        x = x.contiguous(memory_format=self.format) if x.dim() == 4 else x
        with torch.enable_grad():
            logits = functional_call(self.backbone.net, named, (x, 0), tie_weights=False)
            loss = F.cross_entropy(logits, y)
        found = torch.autograd.grad(loss, self.leaves)
        for gradient, value in zip(self.gradients, found, strict=True):
            gradient.copy_(value)
        return loss.detach()

    def statistics(self) -> list[list[Tensor]]:
        return [[t for name, t in self.buffers.items() if not name.endswith("num_batches_tracked")]]


def fresh_statistics(backbone: Backbone) -> dict[str, Tensor]:
    """Return initial buffers, by name, of the batch normalisations of task 0: mean 0 and variance 1."""
    net, weight = backbone.net, backbone.weights[0]
    others = {
        f"{name}.norms.{i}"
        for name, module in net.named_modules()
        if isinstance(module, PerTaskBatchNorm)
        for i in range(1, len(module.norms))
    }
    fresh: dict[str, Tensor] = {}
    for name, module in net.named_modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm) and name not in others:
            fresh[f"{name}.running_mean"] = weight.new_zeros(module.num_features)
            fresh[f"{name}.running_var"] = weight.new_ones(module.num_features)
            fresh[f"{name}.num_batches_tracked"] = torch.zeros((), dtype=torch.long, device=weight.device)
    return fresh


def uses_random_numbers(net: nn.Module) -> bool:
    """Return whether the network applies dropout in training mode."""
    rates = [m.drop + m.drop_in for m in net.modules() if isinstance(m, Block)]
    return any(rates) or any(m.p > 0 for m in net.modules() if isinstance(m, nn.Dropout))


def model_of(backbone: Backbone, masks: Masks) -> Model:
    """Return the network under one mask, as a `Chain` if it is one."""
    if Chain.fits(backbone):
        return Chain(masks)
    return Single(backbone, masks.shaped(masks.effective), masks.shaped(masks.gradient))


@contextlib.contextmanager
def training_mode(net: nn.Module) -> Iterator[None]:
    """Put the network into training mode inside the context, and restore its mode afterwards."""
    was = net.training
    net.train(True)
    try:
        yield
    finally:
        net.train(was)


def run_epochs(
    gradient: Callable[[Tensor, Tensor], Tensor],
    masks: Masks,
    feed: Feed,
    config: Fit.Config,
    position: Sequence[int],
    pulse: PulseOfMasks | None,
) -> tuple[list[float], int]:
    """Train for all epochs.

    Args:
        gradient: Function that returns the losses [*lead] of a batch, and writes the gradient of the scores
            into `masks.gradient`.
        masks: The masks to train.
        feed: Function that returns the batches of an epoch.
        config: Settings of the training loop.
        position: Position of each mask, for messages.
        pulse: Called after each epoch; see `PulseOfMasks`.

    Returns:
        The mean training loss of each mask in the last epoch, and the number of updates.

    Raises:
        Diverged: The mean loss of a mask over an epoch is NaN or infinite.
    """
    schedule, update = Schedule(config, config.epochs), Elementwise(config, masks)
    losses: list[float] = []
    for epoch in range(config.epochs):
        total = torch.zeros(masks.lead, dtype=torch.float64, device=masks.scores.device)
        seen = 0
        for x, y, index, of in feed(epoch):
            loss = gradient(x, y)
            if config.clip is not None:
                masks.clip(config.clip)
            update(schedule.rate(epoch, index, of))
            total.add_(loss, alpha=y.shape[-1])
            seen += y.shape[-1]
        losses = (total / max(seen, 1)).view(-1).tolist()
        for place, value in zip(position, losses, strict=True):
            if not math.isfinite(value):
                raise Diverged(f"training loss of mask {place} is {value} in epoch {epoch + 1}")
        if pulse is not None:
            pulse(position[0], epoch + 1, sum(losses) / len(losses))
    return losses, update.steps


def order_of(order: Order, config: Fit.Config, epoch: int) -> NDArray[np.int64]:
    """Return the rows of the training split in the order of an epoch."""
    n = len(order.task.train)
    return (
        streams.numpy_generator(order.order_seed, "order", epoch=epoch).permutation(n)
        if config.shuffle
        else np.arange(n)
    )


def feed_of(order: Order, config: Fit.Config, device: torch.device) -> Feed:
    """Return a function that yields the batches of an epoch for one mask."""
    fit, train = Fit(config, device=device), order.task.train

    def feed(epoch: int) -> Iterator[tuple[Tensor, Tensor, int, int]]:
        augment = streams.numpy_generator(order.order_seed, "augment", epoch=epoch)
        rows = order_of(order, config, epoch)
        for batch in fit.batches(train, 0, order=rows, epoch=epoch, augment=augment):
            yield batch.x, batch.y, batch.index, batch.of

    return feed


def train_in_loop(
    backbone: Backbone, orders: Sequence[Order], rules: Rules, config: Fit.Config, pulse: PulseOfMasks | None
) -> Iterator[tuple[int, BasisMask]]:
    """Train each mask for all its epochs before the next; see `train_masks`."""
    for position, order in enumerate(orders):
        yield position, _one(backbone, position, order, rules, config, pulse)


@torch.no_grad()
def _one(
    backbone: Backbone,
    position: int,
    order: Order,
    rules: Rules,
    config: Fit.Config,
    pulse: PulseOfMasks | None,
) -> BasisMask:
    started = time.perf_counter()
    device = backbone.weights[0].device
    masks = Masks(backbone, [order], rules, ())
    model = model_of(backbone, masks)
    feed = feed_of(order, config, device)

    def seeded(epoch: int) -> Iterable[tuple[Tensor, Tensor, int, int]]:
        streams.reseed(order.order_seed, "dropout", epoch=epoch)
        return feed(epoch)

    def gradient(x: Tensor, y: Tensor) -> Tensor:
        masks.write()
        loss = model(x, y)
        masks.through()
        return loss

    drops = uses_random_numbers(backbone.net)
    with training_mode(backbone.net), torch.random.fork_rng(**devices.generators(device), enabled=drops):
        losses, updates = run_epochs(gradient, masks, seeded if drops else feed, config, [position], pulse)
    seconds = time.perf_counter() - started
    about = {"train_loss": losses[0], "epochs": config.epochs, "updates": updates, "seconds": seconds}
    (mask,) = masks.finished(model.statistics(), [about])
    return mask

"""The stacked executor, which trains many masks at once.

Every tensor has an additional first axis over masks. The loss is the sum over masks of the mean over the
batch of each mask, every update is elementwise, and each mask has its own order of the data, batch statistics
and gradient norm. So the other masks of a chunk influence a mask only by rounding.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Literal, TypeAlias

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.func import functional_call, vmap

from raycl import devices, streams
from raycl.errors import UserError
from raycl.supermasks.bank import Backbone, BasisMask
from raycl.supermasks.flat import Masks
from raycl.supermasks.loop import (
    Chain,
    Model,
    Single,
    fresh_statistics,
    order_of,
    run_epochs,
    training_mode,
    uses_random_numbers,
)
from raycl.supermasks.rules import Order, PulseOfMasks, Rules
from raycl.tasks import Split, augments, training_samples
from raycl.training.fit import Fit

BatchImpl: TypeAlias = Literal["bmm", "vmap", "loop"]
BYTES = 2**30  # the memory to plan with; on a GPU it is the free memory
SHARE = 0.7  # the share of that memory that a chunk may take


class Rows:
    """Any network, with forward and backward passes of one mask after another, and all other work at once.

    This is the default for convolutional networks, because one grouped convolution is slower than separate
    ones.
    """

    def __init__(self, backbone: Backbone, masks: Masks) -> None:
        weights, gradients = masks.shaped(masks.effective), masks.shaped(masks.gradient)
        self.each = [
            Single(backbone, [w[row] for w in weights], [g[row] for g in gradients])
            for row in range(masks.lead[0])
        ]

    def __call__(self, x: Tensor, y: Tensor) -> Tensor:
        return torch.stack([single(*batch) for single, *batch in zip(self.each, x, y, strict=True)])

    def statistics(self) -> list[list[Tensor]]:
        return [single.statistics()[0] for single in self.each]


class Vmapped:
    """Any network, vectorised over masks by `vmap`, which turns convolutions into grouped convolutions."""

    def __init__(self, backbone: Backbone, masks: Masks) -> None:
        self.backbone, self.gradients = backbone, masks.shaped(masks.gradient)
        self.leaves = [weight.detach().requires_grad_() for weight in masks.shaped(masks.effective)]
        count = masks.lead[0]
        fresh = fresh_statistics(backbone)
        self.buffers = {name: torch.stack([buffer] * count) for name, buffer in fresh.items()}

    def __call__(self, x: Tensor, y: Tensor) -> Tensor:
        def loss(weights: list[Tensor], buffers: dict[str, Tensor], x: Tensor, y: Tensor) -> Tensor:
            named = dict(zip(self.backbone.names, weights, strict=True)) | buffers
            return F.cross_entropy(functional_call(self.backbone.net, named, (x, 0), tie_weights=False), y)

        with torch.enable_grad():
            losses: Tensor = vmap(loss)(self.leaves, self.buffers, x, y)
            found = torch.autograd.grad(losses.sum(), self.leaves)
        for gradient, value in zip(self.gradients, found, strict=True):
            gradient.copy_(value)
        return losses.detach()

    def statistics(self) -> list[list[Tensor]]:
        kept = [t for name, t in self.buffers.items() if not name.endswith("num_batches_tracked")]
        return [[t[row] for t in kept] for row in range(len(self.leaves[0]))]


def model_of(backbone: Backbone, masks: Masks, batch_impl: BatchImpl | None = None) -> Model:
    """Return the network under all masks; by default in the fastest implementation that supports it."""
    if batch_impl is None:
        batch_impl = "bmm" if Chain.fits(backbone) else "loop"
    if batch_impl == "bmm":
        return Chain(masks)
    return Vmapped(backbone, masks) if batch_impl == "vmap" else Rows(backbone, masks)


class Gradient:
    """Losses and score gradients of a step.

    On a GPU the step is captured in a graph, which is replayed for batches of the size of the first one.

    Attributes:
        eager: Why there is no graph, or "" if there is one or it has not been captured yet.
    """

    def __init__(self, masks: Masks, model: Model) -> None:
        self.masks, self.model = masks, model
        self.eager = "" if devices.graphs_of(masks.scores.device) else "graphs need a GPU"
        self._replay: Callable[[], None] | None = None
        self._x, self._y, self._losses = masks.scores, masks.scores, masks.scores  # for now

    def __call__(self, x: Tensor, y: Tensor) -> Tensor:
        if self._replay is None and not self.eager:
            self._capture(x, y)
        if self._replay is None or x.shape != self._x.shape:
            return self._work(x, y)
        self._x.copy_(x)
        self._y.copy_(y)
        self._replay()
        return self._losses

    def _work(self, x: Tensor, y: Tensor) -> Tensor:
        self.masks.write()
        losses = self.model(x, y)
        self.masks.through()
        return losses

    def _capture(self, x: Tensor, y: Tensor) -> None:
        """Capture the step in a graph, and restore the batch statistics afterwards; scores do not change."""
        running = [t for row in self.model.statistics() for t in row]
        before = [t.clone() for t in running]
        self._x, self._y = x.clone(), y.clone()
        try:
            self._replay, self._losses = devices.captured(x.device, lambda: self._work(self._x, self._y))
        except RuntimeError as error:
            self.eager = str(error).partition("\n")[0]
        for tensor, old in zip(running, before, strict=True):
            tensor.copy_(old)


class Feed:
    """Batches of all masks, x [masks, batch, ...] and y [masks, batch], each in the order of its own task.

    If the splits fit in memory and are not augmented, each is kept on the device once, and a batch is
    gathered in one operation.
    """

    def __init__(self, orders: Sequence[Order], config: Fit.Config, device: torch.device) -> None:
        self.orders, self.config, self.device = orders, config, device
        self.splits = [order.task.train for order in orders]
        distinct: dict[int, Split] = {id(split): split for split in self.splits}
        starts = {key: i * len(self.splits[0]) for i, key in enumerate(distinct)}
        self.starts = np.array([[starts[id(split)]] for split in self.splits])
        self.labels = torch.from_numpy(np.concatenate([split.y for split in distinct.values()])).to(device)
        self.held: Tensor | None = None
        size = len(self.labels) * sample_bytes(self.splits[0])
        if size <= SHARE * free_bytes(device) / 2 and not any(augments(split) for split in distinct.values()):
            self.held = torch.cat([split.take(slice(None), device) for split in distinct.values()])

    def __call__(self, epoch: int) -> Iterator[tuple[Tensor, Tensor, int, int]]:
        rows = np.stack([order_of(order, self.config, epoch) for order in self.orders])  # [masks, n]
        draws = [streams.numpy_generator(order.order_seed, "augment", epoch=epoch) for order in self.orders]
        places = torch.from_numpy(rows + self.starts).to(self.device)
        size = self.config.batch
        of = -(-rows.shape[1] // size)
        for index in range(of):
            now = slice(index * size, (index + 1) * size)
            place = places[:, now]
            if self.held is not None:
                x = self.held.index_select(0, place.reshape(-1)).unflatten(0, place.shape)
            else:
                each = zip(self.splits, rows[:, now], draws, strict=True)
                x = torch.stack(
                    [training_samples(split, mine, rng, self.device) for split, mine, rng in each]
                )
            yield x, self.labels[place], index, of


def sample_bytes(split: Split) -> int:
    """Return the number of bytes of one normalised sample."""
    one = split.take(np.zeros(1, np.int64))
    return one.numel() * one.element_size()


def free_bytes(device: torch.device) -> int:
    """Return the number of bytes of memory with which training may plan."""
    free = devices.free_bytes(device)
    return BYTES if free is None else free


def masks_that_fit(backbone: Backbone, orders: Sequence[Order], config: Fit.Config) -> int:
    """Return how many masks to train at once, from the available memory and an estimate of that of one mask.

    The estimate covers scores, gradient, effective weights and a scratch tensor, the one or two tensors of
    the optimiser, and the temporary memory of selection in the largest layer; the batches; the activations of
    a `Chain` (other networks run for one mask at a time); and the task's data if each mask has its own task.
    """
    sizes, weight = backbone.sizes, backbone.weights[0]
    state = (4 + 2) * sum(sizes) + 4 * max(sizes)
    units = sum(len(w) for w in backbone.weights) if Chain.fits(backbone) else 0
    bytes_each = weight.element_size() * (state + 3 * config.batch * units)
    splits = {id(order.task.train) for order in orders}
    rows = 2 * config.batch + (len(orders[0].task.train) if len(splits) > 1 else 0)
    bytes_each += rows * sample_bytes(orders[0].task.train)
    return max(1, int(SHARE * free_bytes(weight.device) / bytes_each))


def train_stacked(
    backbone: Backbone,
    orders: Sequence[Order],
    rules: Rules,
    config: Fit.Config,
    chunk: int | None,
    pulse: PulseOfMasks | None,
    batch_impl: BatchImpl | None = None,
) -> Iterator[tuple[int, BasisMask]]:
    """Train masks in chunks that make their steps together; see `train_masks`.

    Raises:
        UserError: The network applies dropout, which would depend on the other masks of a chunk.
    """
    if uses_random_numbers(backbone.net):
        raise UserError(
            "executor = 'stacked' cannot train masks of a network with dropout; set its dropout to 0, or use "
            "executor = 'loop' or 'auto'"
        )
    return _chunks(backbone, orders, rules, config, chunk, pulse, batch_impl)


def _chunks(
    backbone: Backbone,
    orders: Sequence[Order],
    rules: Rules,
    config: Fit.Config,
    chunk: int | None,
    pulse: PulseOfMasks | None,
    batch_impl: BatchImpl | None,
) -> Iterator[tuple[int, BasisMask]]:
    sizes = [len(order.task.train) for order in orders]
    for size in sorted(set(sizes), key=sizes.index):
        alike = [i for i, n in enumerate(sizes) if n == size]
        most = chunk or masks_that_fit(backbone, [orders[i] for i in alike], config)
        even = math.ceil(len(alike) / math.ceil(len(alike) / most))  # chunks of about equal size
        for start in range(0, len(alike), even):
            positions = alike[start : start + even]
            yield from _together(
                backbone, positions, [orders[i] for i in positions], rules, config, pulse, batch_impl
            )


@torch.no_grad()
def _together(
    backbone: Backbone,
    positions: Sequence[int],
    orders: Sequence[Order],
    rules: Rules,
    config: Fit.Config,
    pulse: PulseOfMasks | None,
    batch_impl: BatchImpl | None,
) -> list[tuple[int, BasisMask]]:
    """Train one chunk; the time of a chunk is divided evenly among its masks."""
    started = time.perf_counter()
    masks = Masks(backbone, orders, rules, (len(orders),))
    model = model_of(backbone, masks, batch_impl)
    feed: Callable[[int], Iterator[tuple[Tensor, Tensor, int, int]]] = Feed(
        orders, config, masks.scores.device
    )
    with training_mode(backbone.net):
        losses, updates = run_epochs(Gradient(masks, model), masks, feed, config, positions, pulse)
    seconds = (time.perf_counter() - started) / len(orders)
    shared = {"epochs": config.epochs, "updates": updates, "seconds": seconds}
    about = [{"train_loss": loss, **shared} for loss in losses]
    return list(zip(positions, masks.finished(model.statistics(), about), strict=True))

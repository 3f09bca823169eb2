"""Elastic weight consolidation: Kirkpatrick et al., PNAS 2017, arXiv 1612.00796.

A quadratic penalty, weighted by the diagonal of the empirical Fisher information, holds each weight near its
value after the previous task. One anchor and one Fisher are kept: the running mean over the tasks learnt.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from raycl.method import Batch, Buffers, Method, Task, measuring
from raycl.networks import Network
from raycl.space import Float
from raycl.training import Fit

CHUNK = 64  # samples per pass of the exact Fisher
PIECE = 2**17  # entries of a tensor that are worked on at once


class EWC(Method):
    """Finetuning with a penalty; its gradient is written down, so the cost does not grow with the tasks.

    The loss that is reported, and the validation loss, are the cross-entropy alone.
    """

    fit: ClassVar[Mapping[str, Any]] = {"clip": 100.0}  # HAT's code; a large lamb diverges without it
    deviations: ClassVar[Sequence[str]] = (
        "one anchor and the mean Fisher of all tasks, clip at norm 100 (HAT); the paper keeps one per task",
    )
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "spg": {
            "method.lamb": Float(10.0, 1e5, log=True),
            "method.fisher_batch": 20,
            "method.fisher_mode": "train",
        }
    }

    @dataclass(frozen=True, kw_only=True)
    class Config(Method.Config):
        lamb: Annotated[float, Float(50.0, 5e4, log=True)] = 5000.0  # lambda
        fisher_batch: int = 1  # gradients are squared per so many samples; 1 is exact, 20 is HAT's code
        fisher_mode: Literal["eval", "train"] = "eval"  # dropout off, or on, while it is measured

        def __post_init__(self) -> None:
            if self.lamb < 0:
                raise ValueError(f"lamb = {self.lamb} must be at least 0")
            if self.fisher_batch < 1:
                raise ValueError(f"fisher_batch = {self.fisher_batch} must be at least 1")

    config: Config

    def make(self) -> None:
        super().make()
        self.learnt = 0
        self.anchor, self.fisher = Buffers(), Buffers()  # theta*, F; for each parameter of the network
        for p in self.net.parameters():
            self.anchor.append(p.detach().clone())
            self.fisher.append(torch.zeros_like(p))

    def learn(self, task: Task, fit: Fit) -> None:
        fit(self, task)
        self.consolidate(task, fit)

    def consolidate(self, task: Task, fit: Fit) -> None:
        """Move the anchor here and take the task's Fisher into the running mean."""
        new = fisher(
            self.net, task, fit, self.config.fisher_batch, dropout=self.config.fisher_mode == "train"
        )
        with torch.no_grad():
            for old, found in zip(self.fisher, new, strict=True):
                old.mul_(self.learnt).add_(found).div_(self.learnt + 1)
            for anchor, p in zip(self.anchor, self.net.parameters(), strict=True):
                anchor.copy_(p)
        self.learnt += 1

    def edit_gradients(self, batch: Batch) -> None:
        """Add lamb F (theta - theta*), the gradient of lamb/2 F (theta - theta*)^2."""
        if not self.learnt:
            return
        with torch.no_grad():
            for p, anchor, strength in zip(self.net.parameters(), self.anchor, self.fisher, strict=True):
                if p.grad is None:  # heads of other tasks do not move
                    continue
                for gradient, weight, here, there in _pieces(p.grad, strength, p, anchor):
                    gradient.addcmul_(weight, here - there, value=self.config.lamb)


def _pieces(*tensors: Tensor) -> Iterator[tuple[Tensor, ...]]:
    """Tensors of one shape; on a CPU a few rows at a time: what is made of them stays in its cache."""
    first = tensors[0]
    if first.device.type != "cpu" or first.numel() <= PIECE:
        yield tensors
    else:
        rows = max(1, PIECE * len(first) // first.numel())
        yield from zip(*(whole.split(rows) for whole in tensors), strict=True)


def fisher(
    net: Network,
    task: Task,
    fit: Fit,
    size: int = 1,
    *,
    dropout: bool = False,
    forward: Callable[[Tensor, int], Tensor] | None = None,
) -> list[Tensor]:
    """Diagonal of the empirical Fisher of `task`, one tensor for each parameter of the network.

    `forward` answers in the network's place where more than the network makes the logits, such as gates.
    The gradient of the mean cross-entropy over each `size` samples of the training split is squared,
    multiplied by `size` (also where the last batch is smaller, as HAT's code does), summed and divided by
    the number of samples.
    """
    answer: Callable[[Tensor, int], Tensor] = net if forward is None else forward
    found: dict[Tensor, Tensor] = {p: torch.zeros_like(p) for p in net.parameters()}
    trained = net.trainable(task.index)
    layered = size == 1 and _only_layers(net, trained)
    with measuring(net, dropout):
        for batch in fit.batches(task.train, task.index, CHUNK if layered else size):
            if layered:
                pairs: Iterable[tuple[Tensor, Tensor]] = _squared_per_sample(net, answer, batch, task.index)
            else:
                loss = F.cross_entropy(answer(batch.x, task.index), batch.y)
                gradients = torch.autograd.grad(loss, trained)
                pairs = zip(trained, (size * g.square() for g in gradients), strict=True)
            for p, squared in pairs:
                found[p] += squared
    return [value.div_(max(len(task.train), 1)) for value in found.values()]


def _only_layers(net: Network, trained: list[nn.Parameter]) -> bool:
    """Whether all trained parameters belong to plain linear and convolution layers."""
    mine = {p for module in net.modules() if _plain(module) for p in module.parameters(recurse=False)}
    return mine.issuperset(trained)


def _plain(module: nn.Module) -> bool:
    if isinstance(module, nn.Conv2d):
        return module.groups == 1 and not isinstance(module.padding, str) and module.padding_mode == "zeros"
    return isinstance(module, nn.Linear)


def _squared_per_sample(
    net: Network, answer: Callable[[Tensor, int], Tensor], batch: Batch, task: int
) -> Iterator[tuple[Tensor, Tensor]]:
    """Squared gradients of each sample's own loss, summed over the batch, from one backward pass.

    A sample's weight gradient is the outer product of what a layer receives and of what comes back to its
    output, so a linear layer's squares sum to one product of squares, and a convolution's need its patches.
    """
    seen: list[tuple[Any, Tensor, Tensor]] = []

    def note(layer: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        assert all(layer is not other for other, _, _ in seen), "a layer that is used twice in one pass"
        seen.append((layer, inputs[0].detach(), output))

    hooks = [module.register_forward_hook(note) for module in net.modules() if _plain(module)]
    try:
        loss = F.cross_entropy(answer(batch.x, task), batch.y, reduction="sum")
    finally:
        for hook in hooks:
            hook.remove()
    returned = torch.autograd.grad(loss, [output for _, _, output in seen])
    for (layer, x, _), g in zip(seen, returned, strict=True):
        if isinstance(layer, nn.Linear):
            yield layer.weight, g.square().T @ x.square()
        else:
            patches = F.unfold(x, layer.kernel_size, layer.dilation, layer.padding, layer.stride)
            g = g.flatten(2)  # [batch, out, places]
            yield layer.weight, (g @ patches.mT).square().sum(0).view_as(layer.weight)
            g = g.sum(2)
        if layer.bias is not None:
            yield layer.bias, g.square().sum(0)

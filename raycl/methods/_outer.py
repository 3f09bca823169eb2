"""Squared gradients of single samples from one backward pass over many samples, where this is exact.

In a plain layer, the gradient of the weight for one sample is the outer product of the layer's input and of
the gradient of its output. Three checks make sure that these products are the whole gradient:

- Layers: every trained tensor is the weight or bias of an unmodified ``nn.Linear`` or ``nn.Conv2d``.
- Autograd's graph, in each chunk: a layer was called once, with one row for each sample, and its weight and
  bias are used by nothing but its own product.
- Values, once for each call of `squares`: for a few samples, the outer products equal autograd's gradients of
  the single sample, and the logits of a sample do not depend on the other samples in the batch.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.graph import GradientEdge, Node, get_gradient_edge

from raycl import devices
from raycl.method import Task
from raycl.networks._checks import altered
from raycl.tasks import Batch
from raycl.training.fit import Fit

CHUNK = 64  # samples per pass
ROWS = 8  # samples of the pass that is checked by value; the first and the last are compared
TOLERANCE, TOLERANCE_ELSEWHERE = 1e-3, 2e-2  # relative to the largest entry; TF32 rounds to three digits

Answer: TypeAlias = Callable[[Tensor, int], Tensor]


class Inexact(Exception):
    """Raised if outer products are not the gradients of this network."""


@dataclass(frozen=True)
class Passed:
    """One call of a plain layer.

    Attributes:
        layer: the layer.
        x: input of the layer, [batch, inputs] or [batch, channels, height, width].
        version: version counter of `x`, which increases when the tensor is modified in place.
        edge: edge of autograd's graph at which the gradient of the layer's output arrives. It refers to the
            output as the layer returned it, even if the tensor was later modified in place (e.g. by a ReLU).
    """

    layer: Any
    x: Tensor
    version: int
    edge: GradientEdge


def plain_layers(net: nn.Module, trained: Sequence[Tensor]) -> list[nn.Module]:
    """Return the plain layers that contain all trained tensors, or none if a tensor belongs elsewhere."""
    wanted = set(trained)
    layers = [m for m in net.modules() if _plain(m) and not wanted.isdisjoint(m.parameters(recurse=False))]
    contained = {p for layer in layers for p in layer.parameters(recurse=False)}
    return layers if contained >= wanted else []


def _plain(module: nn.Module) -> bool:
    """Return whether a layer is an unmodified layer of torch whose patches `F.unfold` can compute."""
    if altered(module):
        return False
    return not isinstance(module, nn.Conv2d) or (
        module.groups == 1 and not isinstance(module.padding, str) and module.padding_mode == "zeros"
    )


def squares(
    answer: Answer, layers: Sequence[nn.Module], trained: Sequence[Tensor], task: Task, fit: Fit
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield trained tensors with the squares of their gradients for single samples, summed over a chunk.

    Each tensor that the loss depends on is yielded once per chunk.

    Args:
        answer: Function that computes logits from inputs and a task.
        layers: Layers that `plain_layers` found.
        trained: Trained tensors.
        task: Task whose training split is used.
        fit: Training loop, which provides batches and the device.

    Raises:
        Inexact: If the squares would not be exact.
    """
    if not layers:
        raise Inexact
    n = len(task.train)
    if n:
        with _forked(fit.device):
            spread = np.unique(np.linspace(0, n - 1, min(n, ROWS)).astype(np.int64))
            few = next(fit.batches(task.train, task.index, ROWS, order=spread))
            _prove(answer, layers, trained, few, task.index, fit.device)
    wanted = set(trained)
    for batch in fit.batches(task.train, task.index, CHUNK):
        with _watched(layers) as passed:
            loss = F.cross_entropy(answer(batch.x, task.index), batch.y, reduction="sum")
        for layer, x, g in _returned(loss, passed, trained, len(batch)):
            yield from _summed_squares(layer, x, g, wanted)


def _summed_squares(layer: Any, x: Tensor, g: Tensor, wanted: set[Tensor]) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield the weight and bias of a layer with their squared gradients, summed over the samples.

    For a linear layer the sum is a single product of squares; a convolution needs its patches.
    """
    if isinstance(layer, nn.Linear):
        if layer.weight in wanted:
            yield layer.weight, g.square().T @ x.square()
    else:
        g = g.flatten(2)  # [batch, out, places]
        if layer.weight in wanted:
            squares = (g @ _patches(layer, x).mT).square().sum(0)
            yield layer.weight, squares.view_as(layer.weight)
        g = g.sum(2)
    if layer.bias is not None and layer.bias in wanted:
        yield layer.bias, g.square().sum(0)


def _patches(layer: nn.Conv2d, x: Tensor) -> Tensor:
    """Return the patches that a convolution reads, [batch, inputs times pixels of the kernel, places]."""
    assert not isinstance(layer.padding, str)
    return F.unfold(x, layer.kernel_size, layer.dilation, layer.padding, layer.stride)


@contextlib.contextmanager
def _watched(layers: Sequence[nn.Module]) -> Iterator[list[Passed]]:
    """Record the calls of these layers inside a ``with`` block.

    Raises:
        Inexact: At the end, if an input was not a plain tensor, or an output was not one with a gradient.
    """
    passed: list[Passed] = []
    strange: list[nn.Module] = []

    def note(layer: nn.Module, args: tuple[Any, ...], named: dict[str, Any], output: Any) -> None:
        x = args[0] if args else named["input"]
        if type(x) is type(output) is Tensor and output.requires_grad:
            passed.append(Passed(layer, x.detach(), x._version, get_gradient_edge(output)))
        else:
            strange.append(layer)

    hooks = [layer.register_forward_hook(note, with_kwargs=True) for layer in layers]
    try:
        yield passed
    finally:
        for hook in hooks:
            hook.remove()
    if strange:
        raise Inexact


def _returned(
    result: Tensor, passed: Sequence[Passed], trained: Sequence[Tensor], n: int, keep: bool = False
) -> list[tuple[Any, Tensor, Tensor]]:
    """Return (layer, input, gradient of the output) for each layer that `result` depends on.

    Raises:
        Inexact: If a trained tensor is used by anything other than a single product of its layer, with one
            row per sample.
    """
    readers = _readers(result, trained)
    at = {call.layer: call for call in passed}
    if len(at) < len(passed):
        raise Inexact  # a layer was called more than once
    used: dict[Any, Passed] = {}
    for p, reading in readers.items():
        owners = [layer for layer in at if any(p is own for own in layer.parameters(recurse=False))]
        if len(owners) != 1 or len(reading) != 1 or reading[0] is not at[owners[0]].edge.node:
            raise Inexact
        used[owners[0]] = at[owners[0]]
    calls = [call for call in passed if call.layer in used]
    for call in calls:
        dims = 2 if isinstance(call.layer, nn.Linear) else 4
        if call.x.dim() != dims or len(call.x) != n or call.x._version != call.version:
            raise Inexact
    if not calls:
        return []
    back = torch.autograd.grad(result, [call.edge for call in calls], retain_graph=keep, allow_unused=True)
    found = []
    for call, g in zip(calls, back, strict=True):
        if g is None or len(g) != n:
            raise Inexact
        found.append((call.layer, call.x, g))
    return found


def _readers(result: Tensor, trained: Sequence[Tensor]) -> dict[Tensor, list[Node]]:
    """Return, for each trained tensor that `result` depends on, the graph nodes that use it.

    A linear layer uses its weight transposed, so nodes that only transpose are skipped.
    """
    wanted = {id(p): p for p in trained}
    above: dict[Node, list[Node]] = {}
    found: dict[Tensor, list[Node]] = {}
    todo = [result.grad_fn] if result.grad_fn is not None else []
    seen: set[Node] = set(todo)
    while todo:
        node = todo.pop()
        for below, _ in node.next_functions:
            if below is None:
                continue
            above.setdefault(below, []).append(node)
            if below not in seen:
                seen.add(below)
                todo.append(below)
    for node in seen:
        p = wanted.get(id(getattr(node, "variable", None)))
        if p is not None:
            reading = above[node]
            while len(reading) == 1 and reading[0].name() in ("TBackward0", "TransposeBackward0"):
                reading = above[reading[0]]
            found[p] = reading
    return found


def _prove(
    answer: Answer,
    layers: Sequence[nn.Module],
    trained: Sequence[Tensor],
    batch: Batch,
    task: int,
    device: torch.device,
) -> None:
    """Compare outer products with autograd's gradients for single samples.

    The function that is differentiated is a sum over the logits with fixed factors, because the loss of a
    well-learnt sample is a difference of nearly equal numbers. Both kinds of gradient are taken in one graph,
    where rounding cannot switch a ReLU. That a sample by itself has the same gradient is checked by its
    logits and by the norm of its gradient.

    Raises:
        Inexact: If they differ by more than `TOLERANCE`.
    """
    n, before = len(batch), devices.random_state(device)
    with _watched(layers) as passed:
        logits = answer(batch.x, task)
    drawn = not _same(before, devices.random_state(device))
    sums = _probe(logits)
    returned = _returned(sums.sum(), passed, trained, n, keep=True)
    rows = sorted({0, n - 1})
    for row in rows:
        own = torch.autograd.grad(sums[row], trained, retain_graph=True, allow_unused=True)
        wanted = dict(zip(trained, own, strict=True))
        for p, gradient in _outer(returned, row):
            if p in wanted:
                _compare(gradient, wanted.pop(p))
        if any(g is not None and bool(g.any()) for g in wanted.values()):
            raise Inexact
        if not drawn:
            _compare_alone(answer, batch, task, row, logits, trained, own)
    if drawn and n > len(rows):
        # Random draws, e.g. of dropout, can be repeated only for a batch of the same size. So the other
        # samples are replaced by copies of the first one, which must not change the logits.
        devices.set_random_state(before, device)
        x = batch.x[[0] * (n - 1) + [n - 1]]
        with torch.no_grad():
            _compare(answer(x, task)[rows], logits[rows])


def _probe(logits: Tensor) -> Tensor:
    """Return, for each row, the sum of the logits with factors that are all different, [batch]."""
    if logits.dim() != 2:
        raise Inexact
    factors = torch.linspace(0.5, 1.5, logits.shape[1], dtype=logits.dtype, device=logits.device)
    return (logits * factors).sum(1)


def _compare_alone(
    answer: Answer,
    batch: Batch,
    task: int,
    row: int,
    logits: Tensor,
    trained: Sequence[Tensor],
    own: Sequence[Tensor | None],
) -> None:
    """Check that a sample without the others has the same logits, and gradients of nearly the same norm.

    The sample is paired with a copy of itself, because a network that squeezes its output would drop the
    batch dimension of a single sample.
    """
    pair = answer(batch.x[[row, row]], task)
    _compare(pair[0], logits[row])
    alone = torch.autograd.grad(_probe(pair)[0], trained, allow_unused=True)
    for a, b in zip(alone, own, strict=True):
        length, wanted = (0.0 if g is None else float(g.norm()) for g in (a, b))
        if not abs(length - wanted) <= 0.1 * max(length, wanted):
            raise Inexact


def _outer(returned: Sequence[tuple[Any, Tensor, Tensor]], row: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield weights and biases with their gradients for one sample, computed as outer products."""
    for layer, x, g in returned:
        if isinstance(layer, nn.Linear):
            whole, total = torch.outer(g[row], x[row]), g[row]
        else:
            back = g[row].flatten(1)  # [out, places]
            whole, total = back @ _patches(layer, x[row : row + 1])[0].T, back.sum(1)
        yield layer.weight, whole.view_as(layer.weight)
        if layer.bias is not None:
            yield layer.bias, total


def _compare(found: Tensor, wanted: Tensor | None) -> None:
    """Raise `Inexact` unless the tensors are equal up to the tolerance.

    The tolerance is `TOLERANCE`, or 100 times the precision of the dtype if that is more, relative to the
    largest entry of `wanted`.
    """
    if wanted is None:
        wanted = torch.zeros_like(found)
    if found.shape != wanted.shape or found.dtype != wanted.dtype:
        raise Inexact
    found, wanted = found.detach(), wanted.detach()
    share = TOLERANCE if devices.on_cpu(wanted) else TOLERANCE_ELSEWHERE
    allowed = max(share, 100 * torch.finfo(wanted.dtype).eps) * wanted.abs().max()
    if not (found - wanted).abs().max() <= allowed:  # written so that NaN is refused too
        raise Inexact


def _same(one: Sequence[Tensor], other: Sequence[Tensor]) -> bool:
    return all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


@contextlib.contextmanager
def _forked(device: torch.device) -> Iterator[None]:
    """Restore the states of the random generators at the end of a ``with`` block."""
    before = devices.random_state(device)
    try:
        yield
    finally:
        devices.set_random_state(before, device)

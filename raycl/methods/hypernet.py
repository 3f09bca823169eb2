"""Task-conditioned hypernetworks: von Oswald et al., ICLR 2020, arXiv 1906.00695, chunked.

A small network h(c; theta) generates the weights of the main network in chunks, from an embedding c per task.
To remember an old task, h only has to give the same output for the task's embedding, which a penalty ensures.
A chunk is called a piece in this file, because `chunk` is its length.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call

from raycl.method import Method, Task
from raycl.networks._checks import shared_names
from raycl.space import Choice, Float
from raycl.tasks import Batch, Update
from raycl.training.fit import Fit

MOST = 10_000  # largest number of units of a layer


class Place(NamedTuple):
    """Position of a task's own weights among the generated ones, which come in pieces of equal length.

    Attributes:
        whole: ranges of pieces that belong to the task completely.
        parts: (piece, first, last) for pieces that belong to the task from `first` to before `last`.
    """

    whole: list[slice]
    parts: list[tuple[int, int, int]]


class Hypernet(Method):
    """Generated weights for the body and for the heads of all tasks; a task uses only its own head.

    The penalty covers, for each earlier task, the body and that task's head. The reported loss and the
    validation loss are the cross-entropy alone.

    Equations:
        L = CE(f(x; h(c^t; theta)), y) + beta/(t-1) sum_{k<t} |d^k|^2    (eq. 2)
        d^k = h(c^k; theta*) - h(c^k; theta + Delta)

        h       weights of the main network f, generated piece by piece, from c
                and a learnt embedding of the piece; d^k has the weights of the
                body and of head k
        c^t     embedding of the present task t, trained with theta; those of
                earlier tasks are fixed
        theta*  theta after the previous task
        Delta   next step of the optimiser on CE alone, a constant (lookahead)
        CE      mean cross-entropy over a batch (x, y)
    """

    fit_defaults: ClassVar[Mapping[str, Any]] = {"optimiser": "adam", "lr": 1e-3}
    preset_overrides: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "prm": {"fit.lr": Float(1e-4, 1e-2, log=True), "fit.lr_span": 25.0}  # 25 as in .025 to .001
    }
    deviations: ClassVar[Sequence[str]] = (
        "generated weights start with the spread of the network's own initial weights; with torch's default "
        "initialisation of the hypernetwork, wide networks start with logits in the hundreds",
    )

    @dataclass(frozen=True, kw_only=True)
    class Config(Method.Config):
        beta: Annotated[float, Float(1e-3, 1.0, log=True)] = 0.01  # strength of the penalty
        emb: Annotated[int, Choice(32, 96)] = 96  # size of the embeddings of tasks and of pieces
        chunk: Annotated[int, Choice(8000, 42000)] = 42000  # weights per piece, at most all weights
        hidden: Annotated[tuple[int, ...], Choice((10, 10), (50, 50))] = (10, 10)  # units of h's layers
        lookahead: bool = True  # apply the penalty at theta after the optimiser's next step (eq. 2)

        def __post_init__(self) -> None:
            if not self.beta >= 0:
                raise ValueError(f"beta = {self.beta} must be at least 0")
            for name in ("emb", "chunk"):
                if getattr(self, name) < 1:
                    raise ValueError(f"{name} = {getattr(self, name)} must be at least 1")
            if max(self.emb, *self.hidden, 1) > MOST:
                raise ValueError(f"emb = {self.emb} and hidden = {self.hidden} must be at most {MOST} units")
            if min(self.hidden, default=1) < 1:
                raise ValueError(f"hidden = {self.hidden}: each layer needs at least 1 unit")

    config: Config

    def make(self) -> None:
        super().make()
        named = dict(self.net.named_parameters())
        self.shapes = {name: p.shape for name, p in named.items()}
        self.shared = list(shared_names(self.net))  # other names of tied parameters
        chunk = min(self.config.chunk, sum(p.numel() for p in named.values()))
        own = [set(self.net.trainable(task)) for task in range(self.world.tasks)]
        self.places = [place([(p.numel(), p in mine) for p in named.values()], chunk) for mine in own]
        spread = torch.cat([p.detach().square().mean().expand(p.numel()) for p in named.values()])
        for p in named.values():
            p.requires_grad_(False)
            p.data = p.new_empty(0)  # the stored weights are not needed, as weights are generated
        with torch.device("cpu"):  # makes the draws the same on every device
            embeddings = nn.ParameterList(torch.randn(self.config.emb) for _ in own)
            theta = make_parameters(
                self.config.emb, self.config.hidden, chunk, math.ceil(len(spread) / chunk)
            )
        self.embeddings = embeddings.to(torch.get_default_device())  # c, by task
        self.theta = theta.to(torch.get_default_device())
        start_with(spread, self.theta, self.embeddings)
        # While a task is learnt: weight and bias of the last layer of theta*, which is theta after the
        # previous task, and the inputs of that layer by task.
        self.old: tuple[Tensor, Tensor, list[Tensor]] | None = None
        self.learnt = 0

    def learn(self, task: Task, fit: Fit) -> None:
        self.remember()
        fit(self, task)
        self.old = None
        self.learnt += 1

    def remember(self) -> None:
        """Record the weights now generated for all tasks learnt, as targets of the penalty."""
        with torch.no_grad():
            weight, bias = (p.clone() for p in list(self.theta)[-2:])
            received = [activations(list(self.theta), c) for c in list(self.embeddings)[: self.learnt]]
        self.old = weight, bias, received

    def trainable(self, task: int) -> Iterable[Any]:
        return [*self.theta, self.embeddings[task]]

    def forward(self, x: Tensor, task: int) -> Tensor:
        logits: Tensor = functional_call(self.net, self.weights(task), (x, task), tie_weights=False)
        return logits

    def weights(self, task: int) -> dict[str, Tensor]:
        """Return h(c; theta) by the names of the network's parameters.

        The heads of other tasks are generated too, but their values mean nothing.
        """
        sizes = [shape.numel() for shape in self.shapes.values()]
        flat = generated(list(self.theta), self.embeddings[task])[: sum(sizes)]
        parts = zip(self.shapes.items(), flat.split(sizes), strict=True)
        like = dict(self.net.named_parameters())  # empty tensors, but they have the right dtype
        found = {name: part.view(shape).to(like[name].dtype) for (name, shape), part in parts}
        return found | {name: found[first] for name, first in self.shared}

    def step(self, batch: Batch, update: Update) -> Tensor:
        loss = self.loss(batch)
        loss.backward()
        if self.config.beta and self.learnt:
            theta = list(self.theta)
            ahead = update.preview()[: len(theta)] if self.config.lookahead else [0.0] * len(theta)
            candidate = [p + change for p, change in zip(theta, ahead, strict=True)]
            penalty = self.config.beta * self.regulariser(candidate)
            for p, gradient in zip(theta, torch.autograd.grad(penalty, theta), strict=True):
                assert p.grad is not None
                p.grad.add_(gradient)
        update()
        return loss.detach()

    def regulariser(self, theta: Sequence[Tensor]) -> Tensor:
        """Return the mean of |h(c_j; theta*) - h(c_j; theta)|^2 over the tasks j learnt (eq. 2).

        The norm is over the weights that task j uses. The last layer is linear: when its input changes from
        a* to a, its output changes by M v, where M = [W - W*, W*, b - b*] [chunk, 2h + 1] and
        v = [a, a - a*, 1]. For a whole piece |M v|^2 = v' (M'M) v, so that no weights need to be generated
        and the cost hardly grows with the numbers of tasks and pieces.
        """
        assert self.old is not None
        weight, bias, received = self.old
        moved = torch.cat([theta[-2] - weight, weight, (theta[-1] - bias)[:, None]], 1)
        gram = moved.T @ moved
        total = theta[-1].new_zeros(())
        for c, before, (whole, parts) in zip(self.embeddings, received, self.places, strict=False):
            now = activations(theta, c)
            v = torch.cat([now, now - before, torch.ones_like(now[:, :1])], 1)  # [pieces, 2h + 1]
            for pieces in whole:
                total = total + ((v[pieces] @ gram) * v[pieces]).sum()
            for piece, first, last in parts:
                total = total + (moved[first:last] @ v[piece]).square().sum()
        return total / len(received)

    def stored_bytes(self) -> int:
        kept = [*self.theta, *list(self.embeddings)[: self.learnt], *self.net.buffers()]
        return sum(t.numel() * t.element_size() for t in kept)


def make_parameters(emb: int, hidden: Sequence[int], chunk: int, pieces: int) -> nn.ParameterList:
    """Return theta: the embeddings of the pieces [pieces, emb], then weight and bias of each layer."""
    sizes = [2 * emb, *hidden, chunk]
    layers = [nn.Linear(before, after) for before, after in itertools.pairwise(sizes)]
    return nn.ParameterList([torch.randn(pieces, emb), *(p for layer in layers for p in layer.parameters())])


def start_with(spread: Tensor, theta: nn.ParameterList, embeddings: Iterable[Tensor]) -> None:
    """Scale the last layer so that outputs start around 0 with the mean squares `spread` [outputs].

    Each row of the layer computes one output of every piece, so it is scaled by the mean over the pieces.
    """
    weight, bias = list(theta)[-2:]
    chunk, inputs = weight.shape
    beyond = -len(spread) % chunk
    sums, counts = (F.pad(v, (0, beyond)).view(-1, chunk).sum(0) for v in (spread, torch.ones_like(spread)))
    with torch.no_grad():
        received = torch.cat([activations(list(theta), c) for c in embeddings])
        variance = received.square().sum(1).mean() / (3 * inputs)  # torch draws from +-1/sqrt(inputs)
        weight.mul_((sums / counts / variance.clamp_min(1e-6)).sqrt()[:, None])
        bias.zero_()


def activations(theta: Sequence[Tensor], c: Tensor) -> Tensor:
    """Return the input of the last layer [pieces, units] for the embedding c of a task."""
    pieces, *layers = theta
    x = torch.cat([c.expand(len(pieces), -1), pieces], 1)
    for weight, bias in zip(layers[:-2:2], layers[1:-2:2], strict=True):
        x = F.relu(F.linear(x, weight, bias))
    return x


def generated(theta: Sequence[Tensor], c: Tensor) -> Tensor:
    """Return h(c; theta) [pieces times chunk]; the caller cuts off the surplus of the last piece."""
    return F.linear(activations(theta, c), theta[-2], theta[-1]).view(-1)


def place(sizes: Sequence[tuple[int, bool]], chunk: int) -> Place:
    """Return the pieces, whole or in part, that contain a task's own tensors.

    Args:
        sizes: (number of entries, whether the task owns it) for every tensor, in order.
        chunk: Length of a piece.
    """
    found = Place([], [])
    for start, stop in _stretches(sizes):
        first, last = math.ceil(start / chunk), stop // chunk  # pieces that begin, and end, inside
        if first < last:
            found.whole.append(slice(first, last))
        if first > last:
            found.parts.append((last, start % chunk, stop % chunk))
            continue
        if start % chunk:
            found.parts.append((first - 1, start % chunk, chunk))
        if stop % chunk:
            found.parts.append((last, 0, stop % chunk))
    return found


def _stretches(sizes: Sequence[tuple[int, bool]]) -> list[tuple[int, int]]:
    """Return (start, stop) of each run of neighbouring tensors that the task owns."""
    found: list[tuple[int, int]] = []
    at = 0
    for size, own in sizes:
        if own and found and found[-1][1] == at:
            found[-1] = (found[-1][0], at + size)
        elif own:
            found.append((at, at + size))
        at += size
    return found

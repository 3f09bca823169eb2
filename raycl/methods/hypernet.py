"""Task-conditioned hypernetworks: von Oswald et al., ICLR 2020, arXiv 1906.00695, chunked.

A small network h(c; theta) generates the weights of the network that answers, piece by piece, from an
embedding c per task. What must be remembered of an old task is then one point of h, which a penalty holds.
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

MOST = 10_000  # units of a layer


class Place(NamedTuple):
    """Where a task's own weights lie among the generated ones, which come in pieces of equal length.

    Attributes:
        whole: ranges of pieces that are the task's from end to end.
        parts: (piece, first, last) of pieces that are the task's from `first` to before `last`.
    """

    whole: list[slice]
    parts: list[tuple[int, int, int]]


class Hypernet(Method):
    """Weights below the heads and the heads of all tasks are generated; a task uses and keeps its own head.

    The loss that is reported, and the validation loss, are the cross-entropy alone.
    """

    fit_defaults: ClassVar[Mapping[str, Any]] = {"optimiser": "adam", "lr": 1e-3}
    preset_overrides: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "prm": {"fit.lr": Float(1e-4, 1e-2, log=True), "fit.lr_span": 25.0}  # as the preset's .025 to .001
    }
    deviations: ClassVar[Sequence[str]] = (
        "generated weights start with the spread of the network's own initial weights; with layers as torch "
        "starts them, wide networks begin with logits in the hundreds",
    )

    @dataclass(frozen=True, kw_only=True)
    class Config(Method.Config):
        beta: Annotated[float, Float(1e-3, 1.0, log=True)] = 0.01  # strength of the penalty
        emb: Annotated[int, Choice(32, 96)] = 96  # of a task's embedding, and of a piece's
        chunk: Annotated[int, Choice(8000, 42000)] = 42000  # weights in a piece; all of them where fewer
        hidden: Annotated[tuple[int, ...], Choice((10, 10), (50, 50))] = (10, 10)  # units of h's layers
        lookahead: bool = True  # penalise where the optimiser's next step would lead (eq. 2)

        def __post_init__(self) -> None:
            if not self.beta >= 0:
                raise ValueError(f"beta = {self.beta} must be at least 0")
            for name in ("emb", "chunk"):
                if getattr(self, name) < 1:
                    raise ValueError(f"{name} = {getattr(self, name)} must be at least 1")
            if max(self.emb, *self.hidden, 1) > MOST:
                raise ValueError(f"emb = {self.emb} and hidden = {self.hidden}: at most {MOST} units each")
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
            p.data = p.new_empty(0)  # of no use: weights are generated
        with torch.device("cpu"):  # the same draws on every device
            embeddings = nn.ParameterList(torch.randn(self.config.emb) for _ in own)
            theta = make_parameters(
                self.config.emb, self.config.hidden, chunk, math.ceil(len(spread) / chunk)
            )
        self.embeddings = embeddings.to(torch.get_default_device())  # c, by task
        self.theta = theta.to(torch.get_default_device())
        start_with(spread, self.theta, self.embeddings)
        # while a task is learnt: theta* after the task before, as its last layer and what that receives
        self.old: tuple[Tensor, Tensor, list[Tensor]] | None = None
        self.learnt = 0

    def learn(self, task: Task, fit: Fit) -> None:
        self.remember()
        fit(self, task)
        self.old = None
        self.learnt += 1

    def remember(self) -> None:
        """Let the generated weights of all tasks learnt be what the penalty holds."""
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
        """h(c; theta) by the names of the network's parameters; of the heads, only the task's is its own."""
        sizes = [shape.numel() for shape in self.shapes.values()]
        flat = generated(list(self.theta), self.embeddings[task])[: sum(sizes)]
        parts = zip(self.shapes.items(), flat.split(sizes), strict=True)
        like = dict(self.net.named_parameters())  # empty, but of the type of number that is wanted
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
        """Mean of |h(c_j; theta*) - h(c_j; theta)|^2 over the tasks j learnt, on j's own weights (eq. 2).

        The last layer is linear: what it receives turns from a* into a, its outputs move by M v, where
        M = [W - W*, W*, b - b*] [chunk, 2h + 1] and v = [a, a - a*, 1]. Over a whole piece |M v|^2 is
        v' (M'M) v, so that no weights are generated and the cost hardly grows with tasks and pieces.
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
    """theta: embeddings of the pieces [pieces, emb], then weight and bias of each layer."""
    sizes = [2 * emb, *hidden, chunk]
    layers = [nn.Linear(before, after) for before, after in itertools.pairwise(sizes)]
    return nn.ParameterList([torch.randn(pieces, emb), *(p for layer in layers for p in layer.parameters())])


def start_with(spread: Tensor, theta: nn.ParameterList, embeddings: Iterable[Tensor]) -> None:
    """Scale the last layer so that outputs start around 0 with the mean squares `spread` [outputs].

    A row of the layer makes an output of every piece; it takes the mean over the pieces.
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
    """What the last layer receives [pieces, units], for the embedding c of a task."""
    pieces, *layers = theta
    x = torch.cat([c.expand(len(pieces), -1), pieces], 1)
    for weight, bias in zip(layers[:-2:2], layers[1:-2:2], strict=True):
        x = F.relu(F.linear(x, weight, bias))
    return x


def generated(theta: Sequence[Tensor], c: Tensor) -> Tensor:
    """h(c; theta) [pieces times chunk]; what is beyond the weights wanted is cut off by the caller."""
    return F.linear(activations(theta, c), theta[-2], theta[-1]).view(-1)


def place(sizes: Sequence[tuple[int, bool]], chunk: int) -> Place:
    """The pieces that hold a task's own tensors; `sizes` are (entries, whether its own) of all, in order."""
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
    """From where to where neighbouring tensors are a task's own."""
    found: list[tuple[int, int]] = []
    at = 0
    for size, own in sizes:
        if own and found and found[-1][1] == at:
            found[-1] = (found[-1][0], at + size)
        elif own:
            found.append((at, at + size))
        at += size
    return found

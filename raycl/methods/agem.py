"""Averaged gradient episodic memory (A-GEM): Chaudhry et al., ICLR 2019, arXiv 1812.00420.

A few samples of each class of every finished task are kept in a memory. If a step would, to first order,
raise the mean loss over a random batch of the memory, the gradient is projected so that it no longer does.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, cast

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from raycl import devices
from raycl.method import Breaker, Method, Task, measuring, mixed_cross_entropy
from raycl.space import Choice
from raycl.tasks import Batch
from raycl.training.fit import Fit


class AGEM(Method):
    """Finetuning with gradients projected against a reference gradient of the memory.

    Heads of older tasks are part of the projection, so they move when a gradient is projected. The memory
    stores inputs as the network reads them: normalised, not augmented, and in the network's float type.

    Equations:
        g' = g - (g . r / r . r) r    if g . r < 0, else g              (eq. 11)

        g   gradient of the mean cross-entropy over a batch of the present task
        r   gradient of the mean cross-entropy over `ref_batch` random samples
            of the memory, each through the head of its own task
        g'  gradient that the optimiser gets; the products are over all
            parameters of the network
    """

    mixed_batches = True  # batches of the memory
    broken_by: ClassVar[Mapping[Breaker, str]] = {
        "adaptive": "rescales the projected gradient entry by entry: a step may raise the memory's loss",
        "momentum": "adds gradients that were projected against other samples: a step may raise the memory's "
        "loss",
        "decay": "pulls weights towards 0 after the projection: a step may raise the memory's loss",
    }
    deviations: ClassVar[Sequence[str]] = (
        "training takes many epochs under the protocol's stopping rule; the paper passes over the data once",
        "the memory keeps the last m of each class in the order of the training split, regardless of the "
        "shuffled order in which an epoch saw them",
    )

    @dataclass(frozen=True, kw_only=True)
    class Config(Method.Config):
        m: Annotated[int, Choice(1, 5, 13, 20, 50)] = 13  # samples kept of each class
        ref_batch: Annotated[int, Choice(64, 128, 256)] = 256  # samples drawn for the reference gradient

        def __post_init__(self) -> None:
            for name in ("m", "ref_batch"):
                if getattr(self, name) < 1:
                    raise ValueError(f"{name} = {getattr(self, name)} must be at least 1")

    config: Config
    inputs: Tensor  # the memory: [n, channels, height, width]
    labels: Tensor  # [n], within the task
    origins: Tensor  # [n], the task of each

    def make(self) -> None:
        super().make()
        self.register_buffer("inputs", torch.zeros(0, *self.world.input_shape))
        self.register_buffer("labels", torch.zeros(0, dtype=torch.int64))
        self.register_buffer("origins", torch.zeros(0, dtype=torch.int64))
        # Counts of the latest task. On an accelerator that of projections is a tensor, which is read at the
        # end.
        self.steps, self.projections = 0, cast("int | Tensor", 0)
        self.asks = True  # whether to read each step if the gradient is to be projected
        self._tasks = np.empty(0, np.int64)  # `origins`, where the program can read them without waiting

    def learn(self, task: Task, fit: Fit) -> None:
        self.steps = self.projections = 0
        config = fit.config
        # A gradient of zeros leaves the weights of an older head where they are, unless the optimiser is one
        # of those that break A-GEM anyway.
        exact = config.optimiser == "sgd" and not (config.momentum or config.weight_decay)
        self.asks = devices.on_cpu(self.labels) or not exact
        self.origins_here()
        fit(self, task)
        self.remember(task)

    def remember(self, task: Task) -> None:
        """Keep the last m samples of each class, in the order of the training split."""
        y = task.train.y
        rows = np.sort(np.concatenate([np.flatnonzero(y == c)[-self.config.m :] for c in np.unique(y)]))
        labels = torch.as_tensor(y[rows], device=self.labels.device)
        self.inputs = torch.cat([self.inputs, task.train.take(rows, self.inputs.device)])
        self.labels = torch.cat([self.labels, labels])
        self.origins = torch.cat([self.origins, torch.full_like(labels, task.index)])

    def trainable(self, task: int) -> Iterable[Any]:
        """Return the parameters of the body and of the heads up to that of `task`.

        Older heads have a gradient, and therefore move, only when it is projected.
        """
        return dict.fromkeys(p for t in range(task + 1) for p in self.net.trainable(t))

    def loss(self, batch: Batch) -> Tensor:
        if isinstance(batch.task, int):
            return super().loss(batch)
        if not any(isinstance(m, nn.modules.batchnorm._NormBase) for m in self.net.modules()):
            return mixed_cross_entropy(self.net, batch)
        with measuring(self.net, dropout=self.training):  # each task uses its own unchanged statistics
            losses = [
                F.cross_entropy(self(batch.x[rows], task), batch.y[rows], reduction="sum")
                for task, rows in batch.by_task()
            ]
        return torch.stack(losses).sum() / len(batch)

    def edit_gradients(self, batch: Batch) -> None:
        if not len(self.labels):
            return
        parameters = [p for p in self.net.parameters() if p.requires_grad]
        loss = self.loss(self.reference_batch())
        reference = torch.autograd.grad(loss, parameters, allow_unused=True)
        self.steps += 1
        if not self.asks:
            self.projections = self.projections + project_without_asking(parameters, reference)
            return
        gradients = project([p.grad for p in parameters], reference)
        if gradients is not None:
            self.projections += 1
            for p, gradient in zip(parameters, gradients, strict=True):
                p.grad = gradient

    def reference_batch(self) -> Batch:
        """Return `ref_batch` samples of the memory, drawn without replacement, or all if there are fewer."""
        n = len(self.labels)
        if n <= self.config.ref_batch:
            places = torch.arange(n, device=self.labels.device)
            parts = _parts(self.origins_here(), places)
            return Batch(self.inputs, self.labels, self.origins, parts=parts)
        rows = torch.randperm(n, device="cpu")[: self.config.ref_batch]
        tasks = self.origins_here()[rows.numpy()]
        order = torch.from_numpy(np.argsort(tasks, kind="stable"))
        rows, places = devices.sent(torch.stack([rows, order]), self.labels.device)
        parts = _parts(tasks, places)
        return Batch(self.inputs[rows], self.labels[rows], self.origins[rows], parts=parts)

    def origins_here(self) -> NDArray[np.int64]:
        """Return `origins` as an array; it is read from the device once after each change of the memory."""
        if len(self._tasks) != len(self.origins):
            self._tasks = np.array(self.origins.tolist(), np.int64)
        return self._tasks

    def diagnostics(self, task: int) -> dict[str, Any]:
        """Return the number of samples in the memory and the share of updates with a projected gradient."""
        return {"stored_samples": len(self.labels), "projected": int(self.projections) / max(self.steps, 1)}


def project(
    gradients: Sequence[Tensor | None], reference: Sequence[Tensor | None]
) -> list[Tensor | None] | None:
    """Return g - (g.r / r.r) r if g.r < 0 (A-GEM section 4), else None: the gradient should not change.

    g and r are the concatenations of the tensors of each list, in which None stands for zeros. The result is
    also None for r = 0. No input is modified.
    """
    pairs = list(zip(gradients, reference, strict=True))
    dots = [_dot(g, r) for g, r in pairs if g is not None and r is not None]
    if not dots:
        return None
    squares = [_dot(r, r) for r in reference if r is not None]
    ratio = float(torch.stack(dots).sum() / torch.stack(squares).sum())
    if not -math.inf < ratio < 0:
        return None
    return [g if r is None else r * -ratio if g is None else g.sub(r, alpha=ratio) for g, r in pairs]


def project_without_asking(parameters: Sequence[Tensor], reference: Sequence[Tensor | None]) -> Tensor | int:
    """Project the gradients of parameters as `project` does, and return 1 if that changed them, else 0.

    The result stays on the device. A parameter that has no gradient, but a reference, gets a gradient of
    zeros if nothing is projected.
    """
    pairs = [
        (p, r) for p, r in zip(parameters, reference, strict=True) if p.grad is not None or r is not None
    ]
    if not any(p.grad is not None and r is not None for p, r in pairs):
        return 0
    g = torch.cat([torch.zeros_like(p).view(-1) if p.grad is None else p.grad.reshape(-1) for p, _ in pairs])
    r = torch.cat([torch.zeros_like(p).view(-1) if r is None else r.reshape(-1) for p, r in pairs])
    ratio = torch.dot(g, r) / torch.dot(r, r)
    projected = (ratio < 0) & (ratio > -math.inf)
    found = torch.where(projected, g - ratio * r, g)
    for (p, _), gradient in zip(pairs, found.split([p.numel() for p, _ in pairs]), strict=True):
        p.grad = gradient.view_as(p)
    return projected


def _parts(tasks: NDArray[np.int64], places: Tensor) -> Sequence[tuple[int, Tensor]]:
    """Return the tasks of a batch with the positions of each, given all positions in the order of tasks."""
    found, counts = np.unique(tasks, return_counts=True)
    return list(zip(found.tolist(), places.split(counts.tolist()), strict=True))


def _dot(a: Tensor, b: Tensor) -> Tensor:
    return torch.dot(a.reshape(-1), b.reshape(-1))

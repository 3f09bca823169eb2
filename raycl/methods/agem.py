"""Averaged gradient episodic memory (A-GEM): Chaudhry et al., ICLR 2019, arXiv 1812.00420.

A few samples of each class of every finished task are kept in a memory. If a step would, to first order,
raise the mean loss over a random batch of the memory, the gradient is projected so that it no longer does.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from raycl.method import Breaker, Method, Task, measuring, mixed_cross_entropy
from raycl.space import Choice
from raycl.tasks import Batch
from raycl.training.fit import Fit


class AGEM(Method):
    """Finetuning with gradients projected against a reference gradient of the memory.

    Heads of older tasks are part of the projection, so they move when a gradient is projected. The memory
    stores inputs as the network reads them: normalised, not augmented, and in the network's float type.
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
        self.steps = self.projections = 0  # counts of the latest task

    def learn(self, task: Task, fit: Fit) -> None:
        self.steps = self.projections = 0
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
                F.cross_entropy(self(batch.x[rows], int(task)), batch.y[rows], reduction="sum")
                for task in batch.task.unique()
                for rows in [batch.task == task]
            ]
        return torch.stack(losses).sum() / len(batch)

    def edit_gradients(self, batch: Batch) -> None:
        if not len(self.labels):
            return
        parameters = [p for p in self.net.parameters() if p.requires_grad]
        loss = self.loss(self.reference_batch())
        reference = torch.autograd.grad(loss, parameters, allow_unused=True)
        gradients = project([p.grad for p in parameters], reference)
        self.steps += 1
        if gradients is not None:
            self.projections += 1
            for p, gradient in zip(parameters, gradients, strict=True):
                p.grad = gradient

    def reference_batch(self) -> Batch:
        """Return `ref_batch` samples of the memory, drawn without replacement, or all if there are fewer."""
        n = len(self.labels)
        if n <= self.config.ref_batch:
            return Batch(self.inputs, self.labels, self.origins)
        rows = torch.randperm(n, device=self.labels.device)[: self.config.ref_batch]
        return Batch(self.inputs[rows], self.labels[rows], self.origins[rows])

    def diagnostics(self, task: int) -> dict[str, Any]:
        """Return the number of samples in the memory and the share of updates with a projected gradient."""
        return {"stored_samples": len(self.labels), "projected": self.projections / max(self.steps, 1)}


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


def _dot(a: Tensor, b: Tensor) -> Tensor:
    return torch.dot(a.reshape(-1), b.reshape(-1))

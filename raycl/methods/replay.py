"""Sequential learning with stored data: B1 of Konishi et al., ICML 2023, arXiv 2306.14775.

A fraction of each finished task's samples is stored, and every later task is learnt on batches that mix its
own samples with all stored ones.
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from raycl.method import Method, Pooled, Task, mixed_cross_entropy
from raycl.tasks import Batch, Split
from raycl.training.fit import Fit


class Replay(Method):
    """Sequential training on new and stored samples, in which the heads of older tasks continue to learn.

    The stored samples are drawn once, at the end of a task: from each class of the training split and of the
    validation split the given fraction, but at least one sample. Networks with batch statistics per task use
    those of the latest task for all tasks, because its batches contain samples of all tasks.

    Equations:
        L(theta) = 1/B sum_n CE(f(x[n], t[n]; theta), y[n])

        n      samples of a batch, B in number, drawn from the union of D^t and
               M^1, ..., M^{t-1}, where t is the task being learnt
        D^t    training split of task t
        M^k    stored samples of task k: the share `fraction` of D^k, by class
        CE     cross-entropy of a sample
        t[n]   task of sample n, whose head gives its logits f
        theta  body and heads of the tasks 1, ..., t
    """

    mixed_batches = True
    deviations: ClassVar[Sequence[str]] = (
        "stored samples are drawn by class, once per task; the paper does not say how they are chosen",
        "training stops by the current validation set and the same fraction of the older ones; "
        "the paper does not say on which data",
    )

    @dataclass(frozen=True, kw_only=True)
    class Config(Method.Config):
        fraction: float = 0.5  # r, share of a finished task's samples that is stored

        def __post_init__(self) -> None:
            if not 0 < self.fraction <= 1:
                raise ValueError(f"fraction = {self.fraction} must lie in (0, 1]")

    config: Config

    @classmethod
    def samples_per_fit(cls, config: Any, sizes: Sequence[int]) -> list[int]:
        kept = [0, *itertools.accumulate(round(config.fraction * size) for size in sizes)]
        return [size + old for size, old in zip(sizes, kept, strict=False)]

    def make(self) -> None:
        super().make()
        self.kept: list[Kept] = []
        self.latest = 0

    def learn(self, task: Task, fit: Fit) -> None:
        self.latest = task.index
        if self.kept:
            old = [(kept.task.index, Rows(kept.task.train, kept.train)) for kept in self.kept]
            old_val = [(kept.task.index, Rows(kept.task.val, kept.val)) for kept in self.kept]
            train, val = [*old, (task.index, task.train)], [*old_val, (task.index, task.val)]
            fit(self, task, train=Pooled(train), val=Pooled(val))
        else:
            fit(self, task)
        self.kept.append(Kept(task, self.drawn(task.train.y), self.drawn(task.val.y)))

    def drawn(self, y: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the rows to store of a split with labels `y`, in ascending order."""
        labels, sizes = np.unique(y, return_counts=True)
        # The running total is rounded, so that the rounding errors of the classes do not add up.
        shares = np.diff(np.rint(self.config.fraction * np.cumsum(sizes)), prepend=0)
        parts = [np.empty(0, np.int64)]
        for label, share in zip(labels, shares, strict=True):
            rows, count = np.flatnonzero(y == label), max(1, int(share))
            parts.append(rows[torch.randperm(len(rows), device="cpu")[:count].numpy()])
        return np.sort(np.concatenate(parts))

    def trainable(self, task: int) -> Iterable[Any]:
        """Return the parameters of the body and of all heads up to that of `task`."""
        return dict.fromkeys(p for t in range(task + 1) for p in self.net.trainable(t))

    def features(self, x: Tensor) -> Tensor:
        """Return the network's features with the batch statistics of the latest task."""
        return self.net.features(x, self.latest)

    def head(self, h: Tensor, task: int) -> Tensor:
        return self.net.head(h, task)

    def forward(self, x: Tensor, task: int) -> Tensor:
        return self.head(self.features(x), task)

    def loss(self, batch: Batch) -> Tensor:
        return mixed_cross_entropy(self, batch)  # type: ignore[arg-type]  # it has features() and head()

    @property
    def stored_samples(self) -> int:
        """Number of stored samples, for training and validation together."""
        return sum(len(kept.train) + len(kept.val) for kept in self.kept)

    def stored_bytes(self) -> int:
        """Return the bytes including stored samples: a byte per input value and eight per label."""
        return super().stored_bytes() + self.stored_samples * (math.prod(self.world.input_shape) + 8)

    def diagnostics(self, task: int) -> dict[str, Any]:
        return {"stored_samples": self.stored_samples}


class Kept(NamedTuple):
    """Stored samples of a finished task, as rows of its splits; the data are not copied."""

    task: Task
    train: NDArray[np.int64]
    val: NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Rows:
    """Some rows of a split, as a split."""

    split: Split
    rows: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.rows)

    @functools.cached_property
    def y(self) -> NDArray[np.int64]:
        return self.split.y[self.rows]

    @property
    def augment(self) -> Any:
        """Attribute `augment` of the whole split, if it has one; see `raycl.tasks.augments`."""
        return getattr(self.split, "augment", None)

    def take(self, rows: NDArray[np.int64] | slice, device: torch.device | str = "cpu") -> Tensor:
        return self.split.take(self.rows[rows], device)

    def augmented(
        self, rows: NDArray[np.int64], rng: np.random.Generator, device: torch.device | str = "cpu"
    ) -> Tensor:
        """Return inputs as `take` does, augmented in the same way as the whole split."""
        x: Tensor = self.split.augmented(self.rows[rows], rng, device)  # type: ignore[attr-defined]
        return x

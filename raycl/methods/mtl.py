"""Multi-task learning, all tasks at once (MTL): the reference that forgets nothing.

Nothing is learnt until the last task; then one network is trained once on all data, in batches that mix the
tasks (SPG section 4.1; batches of 640). Rows of the accuracy matrix before the end do not exist.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar

from torch import Tensor

from raycl.method import Method, Pooled, Task, mixed_cross_entropy
from raycl.tasks import Batch
from raycl.training.fit import Fit


class MTL(Method):
    """One network, all tasks at once. Networks with batch statistics per task share those of the first."""

    joint = True
    mixed_batches = True
    fit_defaults: ClassVar[Mapping[str, Any]] = {"batch": 640}

    @classmethod
    def samples_per_fit(cls, config: Any, sizes: Sequence[int]) -> list[int]:
        return [sum(sizes)]

    def make(self) -> None:
        super().make()
        self.seen: list[Task] = []

    def learn(self, task: Task, fit: Fit) -> None:
        self.seen.append(task)
        if len(self.seen) == self.world.tasks:
            train = Pooled([(seen.index, seen.train) for seen in self.seen])
            val = Pooled([(seen.index, seen.val) for seen in self.seen])
            fit(self, task, train=train, val=val)

    def trainable(self, task: int) -> Iterable[Any]:
        return self.net.parameters()

    def forward(self, x: Tensor, task: int) -> Tensor:
        return self.net.head(self.net.features(x), task)  # as in training, where a batch has no one task

    def loss(self, batch: Batch) -> Tensor:
        return mixed_cross_entropy(self.net, batch)

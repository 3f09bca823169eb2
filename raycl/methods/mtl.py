"""Multi-task learning of all tasks at once (MTL), a reference without forgetting.

Nothing is learnt until the last task. Then one network is trained once on all data, in batches that mix the
tasks (SPG section 4.1; batches of 640). The accuracy matrix therefore has no rows before the last one.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar

from torch import Tensor

from raycl.method import Method, Pooled, Task, mixed_cross_entropy
from raycl.tasks import Batch
from raycl.training.fit import Fit


class MTL(Method):
    """One network trained on all tasks at once; of batch statistics per task only the first are used.

    Equations:
        L(theta) = 1/B sum_n CE(f(x[n], t[n]; theta), y[n])

        n      samples of a batch, B in number, drawn from all tasks together
        CE     cross-entropy of a sample
        t[n]   task of sample n, whose head gives its logits f
        theta  body and all heads
    """

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
        return self.net.head(self.net.features(x), task)  # as in training, where batches mix tasks

    def loss(self, batch: Batch) -> Tensor:
        return mixed_cross_entropy(self.net, batch)

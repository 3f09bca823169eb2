"""A method of your own, defined in the file of the study: an L2 penalty towards the previous task's weights.

The study names it ``"own_method:L2"``. It is searched, compared and reported like any other method.
"""

from dataclasses import dataclass
from typing import Annotated

import torch

from raycl import Float, Search, Seeds, Study
from raycl.method import Method, Task
from raycl.tasks import Batch
from raycl.training.fit import Fit


class L2(Method):
    """Finetuning with lamb / 2 * |theta - theta*|^2, where theta* are the weights after the previous task."""

    @dataclass(frozen=True, kw_only=True)
    class Config(Method.Config):
        lamb: Annotated[float, Float(1e-4, 1.0, log=True)] = 0.01

    config: Config

    def make(self) -> None:
        super().make()
        self.anchor: list[torch.Tensor] = []

    def learn(self, task: Task, fit: Fit) -> None:
        fit(self, task)
        self.anchor = [p.detach().clone() for p in self.net.body.parameters()]

    def edit_gradients(self, batch: Batch) -> None:
        for p, anchor in zip(self.net.body.parameters(), self.anchor, strict=False):
            if p.grad is not None:
                p.grad.add_(p.detach() - anchor, alpha=self.config.lamb)


STUDY = Study(
    methods={"finetune": {}, "l2": {"method": "own_method:L2"}},
    benchmarks=["digits_split"],
    network="mlp(hidden=64)",
    preset="spg+desk",
    search=Search(trials=4, startup_trials=2),
    final=Seeds(1, 2),
)

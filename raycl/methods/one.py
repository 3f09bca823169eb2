"""One network per task, trained from scratch (ONE): the reference for forward transfer."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from torch import Tensor, nn

from raycl.method import Method, Task
from raycl.networks import Heads, Network
from raycl.training.fit import Fit


class One(Method):
    """A separate network for each task, which is trained on that task alone.

    Equations:
        L(theta^t) = CE(f(x, t; theta^t), y)
        theta^t starts at the same initial weights for every t (init)
        FWT of another method = mean over t of (alpha[t,t] - beta[t])

        CE          mean cross-entropy over a batch (x, y) of task t
        f           logits of the network
        theta^t     weights of the network of task t
        beta[t]     test accuracy of that network
        alpha[t,t]  test accuracy of the other method on task t, right after it
    """

    keeps_logits = True
    is_reference = True
    deviations: ClassVar[Sequence[str]] = (
        "PRM's text says that its STL learns all tasks at once; it is read as single-task learning, which is "
        "its name and what FWT compares with",
    )

    @dataclass(frozen=True, kw_only=True)
    class Config(Method.Config):
        init: Literal["shared", "fresh"] = "shared"  # same initial weights for every task, or not

    config: Config

    def make(self) -> None:
        self.nets = nn.ModuleDict()  # by task
        net = self.world.build()
        self.check_network(net, self.world.tasks)
        self.total = sum(p.numel() for task in range(self.world.tasks) for p in net.trainable(task))

    def _fresh(self, task: int) -> Network:
        """Return the untrained network of `task`, without the heads of other tasks."""
        net = self.world.build(start=task + 1 if self.config.init == "fresh" else 0)
        if isinstance(net, Heads):
            for other in range(len(net.heads)):
                if other != task:
                    net.heads[other] = nn.Identity()
        return net.train(self.training)

    def learn(self, task: Task, fit: Fit) -> None:
        self.nets[str(task.index)] = self._fresh(task.index)
        fit(self, task)

    def trainable(self, task: int) -> Iterable[Any]:
        net = self.nets[str(task)]
        assert isinstance(net, Network)
        return net.trainable(task)

    def forward(self, x: Tensor, task: int) -> Tensor:
        net = self.nets[str(task)] if str(task) in self.nets else self._fresh(task)
        logits: Tensor = net(x, task)
        return logits

    def count_parameters(self) -> int:
        return self.total  # counts the networks of all tasks, including those not trained yet

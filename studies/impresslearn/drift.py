"""Section 5 suggests it and does not run it: following rotated MNIST as it turns, a few batches at a time.

The basis is homogeneous, of the first angle. At each step the images turn by `delta` degrees and `budget`
labelled batches may be seen. Four arms: coefficients that stay (`frozen`), go on from the last step
(`warm`), begin again (`uniform`), and a SupSup mask trained anew from the same batches (`own`). What comes
out stands in the figures of the last task; the accuracies of the table are those of the arm that stays. The
protocol is ours.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch

from raycl import Seeds, Study
from raycl.benchmarks import within
from raycl.benchmarks.families import turned_tasks
from raycl.benchmarks.mnist import RotatedMnist
from raycl.method import Task
from raycl.methods.impresslearn import ImpressLearn
from raycl.probes.backbones import mixture
from raycl.probes.drift import Arm, Coefficients, OwnMask, follow, summary
from raycl.supermasks.alpha import combine
from raycl.tasks import Benchmark
from raycl.training.fit import Fit


@dataclass(frozen=True, kw_only=True)
class Drifting(RotatedMnist):
    """MNIST that turns by `delta` degrees from task to task; task 0 stands upright."""

    id: ClassVar[str] = "drifting_mnist"

    delta: int = 5

    def __post_init__(self) -> None:
        super().__post_init__()
        within("delta", self.delta, 1, 180)

    def angles(self) -> list[int]:
        return [self.delta * step % 360 for step in range(self.first, self.first + self.tasks)]

    def build(self, seed: int) -> Benchmark:
        return self.sequence(turned_tasks(self.pool(), self.angles(), self.id, nearest=True))


class Follower(ImpressLearn):
    """Coefficients for the first task at leisure; then every arm walks the stream on the same batches."""

    preset_overrides: ClassVar[Mapping[str, Mapping[str, Any]]] = ImpressLearn.preset_overrides

    @dataclass(frozen=True, kw_only=True)
    class Config(ImpressLearn.Config):
        basis: Literal["heterogeneous", "homogeneous", "random", "mixed"] = "homogeneous"
        stage: Literal["new", "basis_gn"] = "basis_gn"  # the stream begins at the task of the basis
        budgets: tuple[int, ...] = (0, 5, 20, 100)  # labelled batches at each step

    config: Config

    def learn(self, task: Task, fit: Fit) -> None:
        if not task.index:
            super().learn(task, fit)
            return
        self.start(task.index)
        with torch.no_grad():  # what the matrix shows of later tasks is the arm that stays
            self.alphas[str(task.index)].copy_(self.alpha(0))
        self.finish()

    def examine(self, tasks: Sequence[Task], fit: Fit) -> dict[str, Any]:
        """Accuracy by step of each arm and budget, its mean, and how far the coefficients moved."""
        network = mixture(self.backbone, functools.partial(combine, self.basis))
        readings = []
        for budget in self.config.budgets:
            start = self.alpha(0)
            arms: dict[str, Arm] = {arm: Coefficients(network, start, arm) for arm in KINDS}
            arms["own"] = OwnMask(self.backbone, self.config.density, seed=fit.seed)
            readings += list(follow(arms, tasks, budget, seed=fit.seed, device=fit.device))
        lines = summary(readings)
        return (
            super().examine(tasks, fit)
            | {
                "drift": [dataclasses.asdict(line) for line in lines],
                "drift_curves": {
                    f"{line.arm}-{line.budget}": [
                        r.accuracy for r in readings if (r.arm, r.budget) == (line.arm, line.budget)
                    ]
                    for line in lines
                },
            }
            | {f"drift_{line.arm}_{line.budget}": line.accuracy for line in lines}
        )


KINDS: tuple[Literal["frozen", "warm", "uniform"], ...] = ("frozen", "warm", "uniform")


def study(data: str, steps: int, deltas: tuple[int, ...], sizes: tuple[int, ...], **settings: Any) -> Study:
    """Every size of basis on every speed of drift."""
    return Study(
        methods={
            f"basis-{k}": {"method": "drift:Follower", "method.k": k, "method.density": 0.15} for k in sizes
        },
        benchmarks=[f"drift:Drifting(tasks={steps}, delta={delta}, {data})" for delta in deltas],
        network="lenet_300_100",
        preset="impresslearn_alpha_mnist",
        search=None,
        evaluate="ends",
        **settings,
    )


STUDY = study("val=0.0", 37, (1, 5, 10), (25, 100), final=Seeds(1, 2, 3))
SMALL = study("val=0.0, limit_train=10000, limit_test=2000", 12, (10,), (10,), final=Seeds(1))

"""Following rotated MNIST as it turns, a few batches at a time, which the paper suggests and does not run.

Section 5 has the suggestion; the protocol is that of raycl. The basis is homogeneous and belongs to the first
angle. At each step the images turn by `delta` degrees, and `budget` labelled batches may be seen. There are
four arms. The coefficients stay as they are (`frozen`), are trained further from the last step (`warm`), or
are trained from the start (`uniform`); or a new SupSup mask is trained on the same batches (`own`). The
numbers of the arms are in the diagnostics of the last task, and in a table of their own. All other accuracies
are those of the frozen arm.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch

from raycl import PaperTable, Seeds, Study
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

BUDGETS = (0, 5, 20, 100)


@dataclass(frozen=True, kw_only=True)
class Drifting(RotatedMnist):
    """MNIST that turns by `delta` degrees from task to task; the images of task 0 are upright."""

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
    """ImpressLearn on the first task, followed by the four arms on the same stream of batches."""

    preset_overrides: ClassVar[Mapping[str, Mapping[str, Any]]] = ImpressLearn.preset_overrides

    @dataclass(frozen=True, kw_only=True)
    class Config(ImpressLearn.Config):
        basis: Literal["heterogeneous", "homogeneous", "random", "mixed"] = "homogeneous"
        stage: Literal["new", "basis_gn"] = "basis_gn"  # the stream starts at the task of the basis
        budgets: tuple[int, ...] = BUDGETS  # labelled batches at each step

    config: Config

    def learn(self, task: Task, fit: Fit) -> None:
        if not task.index:
            super().learn(task, fit)
            return
        self.start(task.index)
        with torch.no_grad():  # the accuracy matrix shows the frozen arm
            self.alphas[str(task.index)].copy_(self.alpha(0))
        self.finish()

    def examine(self, tasks: Sequence[Task], fit: Fit) -> dict[str, Any]:
        """Return each arm's and budget's accuracy by step, its mean, and how far the coefficients moved."""
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
    """Return a study of every size of basis on every speed of drift."""
    columns = {
        f"{delta} degrees a step": f"drift:Drifting(tasks={steps}, delta={delta}, {data})" for delta in deltas
    }
    rows = {
        f"K = {k}, {arm}, {budget} batches": (f"basis-{k}", f"drift_{arm}_{budget}")
        for k in sizes
        for arm in (*KINDS, "own")
        for budget in (BUDGETS if arm != "frozen" else BUDGETS[:1])
    }
    return Study(
        methods={
            f"basis-{k}": {"method": "drift:Follower", "method.k": k, "method.density": 0.15} for k in sizes
        },
        paper="impresslearn",
        tables=[
            PaperTable(
                "Mean accuracy over the steps, by arm and batches of a step", rows=rows, columns=columns
            )
        ],
        benchmarks=list(columns.values()),
        network="lenet_300_100",
        preset="impresslearn_alpha_mnist",
        search=None,
        evaluate="ends",
        **settings,
    )


STUDY = study("val=0.0", 37, (1, 5, 10), (25, 100), final=Seeds(1, 2, 3))
SMALL = study("val=0.0, limit_train=10000, limit_test=2000", 12, (10,), (10,), final=Seeds(1))

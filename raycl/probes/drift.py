"""Adaptation to a drifting task: coefficients of a basis against newly trained masks, on few batches.

ImpressLearn suggests this experiment, but does not report it. The stream is a task that changes step by step,
such as RotatedMNIST at the angles a0 + k delta, and the basis was trained at a0. At each step every arm of
the experiment gets the same `budget` labelled batches.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from raycl import streams
from raycl.errors import UserError
from raycl.metrics import mean
from raycl.probes.backbones import Network, accuracy, normalised_by, rows_drawn
from raycl.supermasks.bank import Backbone
from raycl.supermasks.edge_popup import draw_scores, mask_of
from raycl.tasks import Task
from raycl.training.rules import RmsProp

READINGS = (0, 1, 2, 5, 10, 20, 50, 100)  # the numbers of batches after which accuracy is measured
WITHIN = 0.01  # the accuracy counts as reached within 1 percentage point of the reference


class Arm(Protocol):
    """One way to follow the stream; `moves` is false for an arm that does not learn."""

    moves: bool

    def begin(self, step: int) -> None:
        """Begin a step of the stream: set the initial values, and create a fresh optimiser."""
        ...

    def update(self, x: Tensor, y: Tensor) -> None:
        """Learn from one labelled batch."""
        ...

    def logits(self, x: Tensor) -> Tensor: ...

    def movement(self) -> float | None:
        """Return how far the coefficients moved from the last step; None for an arm without coefficients."""
        ...


class Coefficients:
    """Arm that trains the coefficients [K, d] of the basis.

    Coefficients are kept fixed ("frozen"), start from those of the last step ("warm"), or start from 1/K at
    each step ("uniform"). They are trained by RMSprop with PyTorch's defaults and without a penalty, as in
    ImpressLearn's Table 3 for MNIST. The first update of RMSprop changes every coefficient by about 10 lr.

    Args:
        network: The backbone as a function of coefficients and inputs; see `backbones.mixture`.
        start: Coefficients [K, d] before step 0.
        kind: Where each step starts.
        lr: Learning rate.
    """

    def __init__(
        self, network: Network, start: Tensor, kind: Literal["frozen", "warm", "uniform"], lr: float = 0.002
    ) -> None:
        self.network, self.kind, self.lr = network, kind, lr
        self.moves = kind != "frozen"
        self.alpha = start.detach().clone().requires_grad_()
        self.before = start.detach().clone()

    def begin(self, step: int) -> None:
        self.before = self.alpha.detach().clone()
        if self.kind == "uniform":
            with torch.no_grad():
                self.alpha.fill_(1 / len(self.alpha))
        self.optimiser = RmsProp([self.alpha], lr=self.lr, momentum=0.0, weight_decay=0.0)

    def update(self, x: Tensor, y: Tensor) -> None:
        self.optimiser.zero_grad()
        F.cross_entropy(self.network(self.alpha, x), y).backward()
        self.optimiser.step()

    def logits(self, x: Tensor) -> Tensor:
        return self.network(self.alpha, x)

    def movement(self) -> float | None:
        """Return the Frobenius norm of the difference from the coefficients of the last step."""
        return float((self.alpha.detach() - self.before).norm())


class OwnMask:
    """Arm that trains a SupSup mask from fresh scores at every step, on the same batches.

    It uses RMSprop with PyTorch's defaults, and the learning rate of SupSup for masks on MNIST.
    """

    moves = True

    def __init__(self, backbone: Backbone, density: float, lr: float = 1e-4, seed: int = 0) -> None:
        self.backbone, self.density, self.lr, self.seed = backbone, density, lr, seed

    def begin(self, step: int) -> None:
        stream = torch.Generator().manual_seed(streams.seed_of(self.seed, "init", step, fit="drift"))
        self.scores = [draw_scores(weight, stream).requires_grad_() for weight in self.backbone.weights]
        self.optimiser = RmsProp(self.scores, lr=self.lr, momentum=0.0, weight_decay=0.0)

    def update(self, x: Tensor, y: Tensor) -> None:
        self.optimiser.zero_grad()
        F.cross_entropy(self.logits(x), y).backward()
        self.optimiser.step()

    def logits(self, x: Tensor) -> Tensor:
        """Return logits; batch normalisation uses the statistics of the batch, as in `backbones.mixture`."""
        pairs = zip(self.backbone.weights, self.scores, strict=True)
        effective = [weight * mask_of(scores, self.density) for weight, scores in pairs]
        with normalised_by(self.backbone.net, "batch"):
            return self.backbone(effective, x)

    def movement(self) -> float | None:
        return None


@dataclass(frozen=True)
class DriftReading:
    """Results of one arm at one step of the stream.

    Attributes:
        arm: Name of the arm.
        step: Number of the step.
        budget: Number of labelled batches that were available.
        accuracies: Test accuracies as fractions, by the number of batches after which they were measured.
        reached: Smallest of these numbers at which the accuracy is within one percentage point of the
            reference; None if there is none, or no reference.
        movement: Distance of the coefficients from those of the last step; None if there are none.
    """

    arm: str
    step: int
    budget: int
    accuracies: Mapping[int, float]
    reached: int | None
    movement: float | None

    @property
    def accuracy(self) -> float:
        """Accuracy after the whole budget."""
        return self.accuracies[max(self.accuracies)]


@dataclass(frozen=True)
class Summary:
    """Means of one arm over the stream.

    Attributes:
        arm: Name of the arm.
        budget: Number of labelled batches per step.
        steps: Number of steps.
        accuracy: Mean accuracy after the whole budget.
        reached: Share of steps at which the accuracy came within one percentage point of the reference.
        batches: Mean number of batches that this took, over those steps; None if there are none.
        movement: Mean movement of the coefficients; None for an arm without coefficients.
    """

    arm: str
    budget: int
    steps: int
    accuracy: float | None
    reached: float
    batches: float | None
    movement: float | None


def follow(
    arms: Mapping[str, Arm],
    tasks: Sequence[Task],
    budget: int,
    *,
    reference: Sequence[float] | None = None,
    readings: Sequence[int] = READINGS,
    batch: int = 128,
    seed: int = 0,
    device: torch.device | str = "cpu",
) -> Iterator[DriftReading]:
    """Run all arms over the stream, and yield the results of each arm at each step.

    All arms see the same batches, which depend only on `seed` and the step.

    Args:
        arms: The arms by name.
        tasks: The task at each step of the stream, in order.
        budget: Number of labelled batches at each step; may be 0.
        reference: For each step, the test accuracy, as a fraction, of a mask that was fully trained there.
        readings: Numbers of batches after which accuracy is measured, besides 0 and the budget.
        batch: Size of a batch.
        seed: Seed of the batches.
        device: Device of the arms.

    Raises:
        UserError: The budget is negative, or the number of references is not that of the steps.
    """
    if budget < 0:
        raise UserError(f"budget = {budget} batches of a drift study must be at least 0")
    if reference is not None and len(reference) != len(tasks):
        raise UserError(f"{len(reference)} reference accuracies for {len(tasks)} steps: give one per step")
    marks = sorted({0, budget, *(count for count in readings if 0 < count < budget)})
    for step, task in enumerate(tasks):
        rng = streams.numpy_generator(seed, "order", step, fit="drift")
        rows = rows_drawn(len(task.train), batch, budget, rng)
        batches = [(task.train.take(r, device), torch.tensor(task.train.y[r]).to(device)) for r in rows]
        for name, arm in arms.items():
            arm.begin(step)
            found = {0: accuracy(arm.logits, task.test, device)}
            for count, (x, y) in enumerate(batches if arm.moves else [], start=1):
                arm.update(x, y)
                if count in marks:
                    found[count] = accuracy(arm.logits, task.test, device)
            enough = (
                []
                if reference is None
                else [count for count, value in found.items() if value >= reference[step] - WITHIN]
            )
            yield DriftReading(name, step, budget, found, min(enough, default=None), arm.movement())


def summary(found: Sequence[DriftReading]) -> list[Summary]:
    """Return one summary for each arm and budget."""
    lines = []
    for arm, budget in dict.fromkeys((r.arm, r.budget) for r in found):
        mine = [r for r in found if (r.arm, r.budget) == (arm, budget)]
        reached = [float(r.reached) for r in mine if r.reached is not None]
        lines.append(
            Summary(
                arm,
                budget,
                len(mine),
                mean([r.accuracy for r in mine]),
                len(reached) / len(mine),
                mean(reached),
                mean([r.movement for r in mine]),
            )
        )
    return lines

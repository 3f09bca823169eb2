"""Following a task that drifts: coefficients against masks trained anew, a few labelled batches at a time.

ImpressLearn suggests it and does not run it. The stream is one task that moves, such as RotatedMNIST at the
angles a0 + k delta; the basis was trained at a0. At each step an arm gets the same `budget` batches.
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

READINGS = (0, 1, 2, 5, 10, 20, 50, 100)  # batches after which accuracy is measured
WITHIN = 0.01  # of the reference accuracy: "within 1 point"


class Arm(Protocol):
    """One way to follow the stream; `moves` says whether it learns at all."""

    moves: bool

    def begin(self, step: int) -> None:
        """A new step: choose where to start, with a fresh optimiser."""
        ...

    def update(self, x: Tensor, y: Tensor) -> None:
        """Learn from one labelled batch."""
        ...

    def logits(self, x: Tensor) -> Tensor: ...

    def movement(self) -> float | None:
        """How far the coefficients of this step lie from the last step's; None where there are none."""
        ...


class Coefficients:
    """Coefficients [K, d] of the basis: frozen, started from the last step's ("warm"), or from 1/K each time.

    RMSprop with torch's defaults, without a penalty, as ImpressLearn's Table 3 has it for MNIST. Its first
    update is about 10 lr in every coefficient.
    """

    def __init__(
        self, network: Network, start: Tensor, kind: Literal["frozen", "warm", "uniform"], lr: float = 0.002
    ) -> None:
        """`start` [K, d] is where step 0 comes from; for `network` see `backbones.mixture`."""
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
        """Frobenius norm of the difference."""
        return float((self.alpha.detach() - self.before).norm())


class OwnMask:
    """A SupSup mask from fresh scores at every step, trained on the same batches."""

    moves = True

    def __init__(self, backbone: Backbone, density: float, lr: float = 1e-4, seed: int = 0) -> None:
        """RMSprop with torch's defaults, and the rate that SupSup uses for masks on MNIST."""
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
        """Batch normalisation, where there is any, is by the batch, as in `backbones.mixture`."""
        pairs = zip(self.backbone.weights, self.scores, strict=True)
        effective = [weight * mask_of(scores, self.density) for weight, scores in pairs]
        with normalised_by(self.backbone.net, "batch"):
            return self.backbone(effective, x)

    def movement(self) -> float | None:
        return None


@dataclass(frozen=True)
class DriftReading:
    """One arm at one step of the stream.

    Attributes:
        budget: labelled batches it was given.
        accuracies: on test after so many of them (fraction), by their number.
        reached: the first of these numbers whose accuracy is within a point of the reference; None where
            none is, or where there is no reference.
        movement: of the coefficients since the last step.
    """

    arm: str
    step: int
    budget: int
    accuracies: Mapping[int, float]
    reached: int | None
    movement: float | None

    @property
    def accuracy(self) -> float:
        """After the whole budget."""
        return self.accuracies[max(self.accuracies)]


@dataclass(frozen=True)
class Summary:
    """One arm over the stream.

    Attributes:
        accuracy: mean over steps.
        reached: share of steps at which it came within a point of the reference.
        batches: mean number of batches that took, over those steps; None where there is none.
        movement: mean over steps; None where an arm has no coefficients.
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
    """Walk the stream; all arms see the same batches, drawn from `seed` and the step alone.

    Args:
        tasks: steps of the stream, in order.
        budget: labelled batches at each step, 0 for none.
        reference: test accuracy at each step of a mask that was trained in full there (fraction).

    Raises:
        UserError: the budget is negative, or there is not one reference for each step.
    """
    if budget < 0:
        raise UserError(f"budget = {budget} batches of a drift study must be at least 0")
    if reference is not None and len(reference) != len(tasks):
        raise UserError(f"{len(reference)} reference accuracies for {len(tasks)} steps: give one for each")
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
    """One line per arm and budget."""
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

"""Training steps as graphs, which an accelerator repeats without waiting for the program.

A step of a small network is a hundred launches of a few microseconds each, and the program that asks for them
takes longer than the work. A graph records the launches of one step, and repeats them on the same memory by a
single request. The numbers are the same.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from raycl import devices
from raycl.tasks import Batch
from raycl.training.optimiser import OptimiserUpdate
from raycl.training.settings import Config

WARM = 3  # steps of a new shape that are made without a graph, in which libraries choose their kernels


@dataclasses.dataclass
class _Graph:
    """A captured step with the memory that it reads and writes."""

    x: Tensor
    y: Tensor
    loss: Tensor
    replay: Callable[[], None]


class Steps:
    """The steps of one fit, captured in graphs where that is wanted and possible.

    A graph holds for one shape of batches and one learning rate, since the rate is a Python number that is
    recorded with it. The first steps of each shape are made without a graph. If a step cannot be captured,
    this and all later steps are made without one.

    Args:
        learner: What is trained; it declares by `capturable` that its steps may be captured.
        update: The update that steps are given.
        config: Settings of the fit.
        device: Device of the fit.
        wanted: Whether to capture steps at all.

    Attributes:
        reason: Why steps are not captured, in one line; "" while they are.
        captured: Number of graphs captured so far.
        repeated: Number of steps so far that repeated a graph.
    """

    def __init__(
        self, learner: Any, update: OptimiserUpdate, config: Config, device: torch.device, wanted: bool
    ) -> None:
        self.learner, self.update = learner, update
        self.reason = _obstacle(learner, config, device) if wanted else "not wanted"
        self.captured = self.repeated = 0
        self._device = device
        self._graphs: dict[tuple[Any, ...], _Graph] = {}
        self._seen: dict[tuple[Any, ...], int] = {}

    def __call__(self, batch: Batch) -> Tensor:
        """Make one step and return the loss, detached; it is overwritten by a later step."""
        if self.reason:
            loss: Tensor = self.learner.step(batch, self.update)
            return loss
        shape = (batch.x.shape, batch.y.shape, batch.x.dtype)
        graph = self._graphs.get((*shape, self.update.lr))
        if graph is None and self._seen.get(shape, 0) >= WARM:
            graph = self._capture(batch, shape)
        if graph is None:
            self._seen[shape] = self._seen.get(shape, 0) + 1
            return self.learner.step(batch, self.update)  # type: ignore[no-any-return]
        graph.x.copy_(batch.x)
        graph.y.copy_(batch.y)
        with self.learner.step_context(batch):
            graph.replay()
        self.repeated += 1
        return graph.loss

    def about(self) -> str:
        """Return in one line what came of the wish to capture steps."""
        return self.reason or f"{self.repeated} steps repeated {self.captured} graphs"

    def _capture(self, batch: Batch, shape: tuple[Any, ...]) -> _Graph | None:
        """Capture a step on batches of this shape, without making it; return None if that is impossible."""
        stays = dataclasses.replace(batch, x=batch.x.clone(), y=batch.y.clone())
        if any(rate != self.update.lr for *_, rate in self._graphs):
            self._graphs.clear()  # of an earlier rate, which seldom comes back
        try:
            with self.learner.step_context(batch):
                replay, loss = devices.captured(
                    self._device, lambda: self.learner.captured_step(stays, self.update), warm=0
                )
        except RuntimeError as error:
            self.reason = str(error).partition("\n")[0] or type(error).__name__
            self._graphs.clear()
            self.update.clear()
            return None
        self.captured += 1
        graph = self._graphs[(*shape, self.update.lr)] = _Graph(stays.x, stays.y, loss, replay)
        return graph


def _obstacle(learner: Any, config: Config, device: torch.device) -> str:
    """Return why no step of a fit can be captured; "" if nothing speaks against it."""
    kind = type(learner)
    if devices.on_cpu(device):
        return "a CPU has no graphs"
    if not vars(kind).get("capturable", False):  # a subclass has to declare it for itself
        return f"{kind.__name__} does not declare that its steps can be captured"
    if config.optimiser == "adam":
        return "the steps of Adam depend on their number"
    if config.schedule == "cosine_iter":
        return "schedule = 'cosine_iter' changes the learning rate in every step"
    return ""

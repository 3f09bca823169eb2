"""Methods that go wrong in the ways that methods, machines and numbers do."""

from __future__ import annotations

import os
import random
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import torch
from torch import Tensor

from raycl.method import Method, Task
from raycl.networks.lenet_300_100 import LeNet300100
from raycl.space import Float
from raycl.tasks import Batch
from raycl.training.fit import Fit


class Exits(Method):
    """Its process dies in the second task, once; a file remembers that it did."""

    @dataclass(frozen=True, kw_only=True)
    class Config(Method.Config):
        mark: str = ""

    config: Config

    def learn(self, task: Task, fit: Fit) -> None:
        with Path(self.config.mark).open("a") as file:
            file.write(f"{task.index}\n")
        if task.index == 1 and Path(self.config.mark).read_text().count("1") == 1:
            os._exit(1)
        fit(self, task)


class Dawdles(Method):
    """Sleeps in each task for a time of its own, so that trials overtake one another at every rung."""

    @dataclass(frozen=True, kw_only=True)
    class Config(Method.Config):
        strength: Annotated[float, Float(0, 1)] = 0.0  # changes nothing but the times

    config: Config

    def learn(self, task: Task, fit: Fit) -> None:
        time.sleep(0.4 * (self.config.strength * (7 + 3 * task.index) % 1))
        fit(self, task)


class AlwaysExits(Method):
    """Its process dies every time."""

    def learn(self, task: Task, fit: Fit) -> None:
        os._exit(1)


class Hangs(Exits):
    """Waits for ever in the second task, once."""

    def learn(self, task: Task, fit: Fit) -> None:
        with Path(self.config.mark).open("a") as file:
            file.write(f"{task.index}\n")
        while task.index == 1 and Path(self.config.mark).read_text().count("1") == 1:
            time.sleep(1)
        fit(self, task)


class Hoards(Exits):
    """Takes ever more memory in the second task, once."""

    def learn(self, task: Task, fit: Fit) -> None:
        with Path(self.config.mark).open("a") as file:
            file.write(f"{task.index}\n")
        hoard = []
        while task.index == 1 and Path(self.config.mark).read_text().count("1") == 1:
            hoard.append(torch.ones(2**24))
            time.sleep(0.05)
        fit(self, task)


class Raises(Method):
    """Has a bug in its second task."""

    def learn(self, task: Task, fit: Fit) -> None:
        if task.index == 1:
            raise RuntimeError("a bug of the method's own")
        fit(self, task)


class Diverges(Method):
    """NaN for high values of `x`."""

    @dataclass(frozen=True, kw_only=True)
    class Config(Method.Config):
        x: Annotated[float, Float(0.0, 1.0)] = 0.25

    config: Config

    def loss(self, batch: Batch) -> Tensor:
        loss = super().loss(batch)
        return loss * torch.nan if self.config.x > 0.7 else loss


class Sleeps(Method):
    """Takes a random while, which must change nothing."""

    @dataclass(frozen=True, kw_only=True)
    class Config(Method.Config):
        x: Annotated[float, Float(0.0, 1.0)] = 0.25

    config: Config

    def learn(self, task: Task, fit: Fit) -> None:
        time.sleep(random.SystemRandom().random() * 0.15)
        fit(self, task, epochs=1)


class Threads(Method):
    """Reports how many threads torch may use."""

    @dataclass(frozen=True, kw_only=True)
    class Config(Method.Config):
        name: str = ""  # makes another run of it

    def diagnostics(self, task: int) -> dict[str, object]:
        return {"threads": torch.get_num_threads(), "cwd": os.getcwd()}


class Slow(Method):
    """Takes long enough to be interrupted."""

    @dataclass(frozen=True, kw_only=True)
    class Config(Method.Config):
        seconds: float = 0.3
        x: Annotated[float, Float(0.0, 1.0)] = 0.25

    config: Config

    def learn(self, task: Task, fit: Fit) -> None:
        time.sleep(self.config.seconds)
        fit(self, task, epochs=1)


class Deadly(LeNet300100):
    """The process that builds it dies once, unless it is the driver; a file remembers that it did."""

    @dataclass(frozen=True, kw_only=True)
    class Config(LeNet300100.Config):
        mark: str = ""
        driver: int = 0

    def __init__(
        self,
        input_shape: tuple[int, int, int],
        classes: Sequence[int],
        config: Config,
        width: float = 1.0,
    ) -> None:
        super().__init__(input_shape, classes, config, width)
        if os.getpid() != config.driver and not Path(config.mark).exists():
            Path(config.mark).touch()
            os._exit(1)

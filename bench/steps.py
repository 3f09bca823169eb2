"""Cost of a training step of a small network: raycl's methods, a plain PyTorch loop, and Avalanche.

All contestants train ``mlp(hidden=200)`` with SGD on batches of 64 images of 28 x 28 pixels, in turns. Times
are CPU seconds of this process, which uses one thread. Of each contestant the lower quintile counts, because
other processes on the machine disturb the rest.
"""

from __future__ import annotations

import contextlib
import functools
import importlib.util
import statistics
import time
import warnings
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bench.line import Line
from bench.methods import BATCH, CLASSES, SETTINGS, Case, _Measured, _Runner, _task
from raycl import registry
from raycl.method import Method
from raycl.runs.numerics import set_numerics
from raycl.tasks import Batch
from raycl.training.fit import Fit

HIDDEN = 200
CASE = Case(f"mlp(hidden={HIDDEN})", (1, 28, 28), 60, {})
GOALS = {
    "spg": "1.10 or less",
    "hpg": "1.10 or less",
    "packnet": "1.10 or less",
    "cpg": "1.10 or less",
    "hat": "1.20 or less",
    "ehat": "",
    "ewc": "1.20 or less",
    "si": "1.20 or less",
    "pmask": "1.80 or less",
    "ucl": "",
    "acl": "",
    "hypernet": "",
}
"""Goals relative to the plain loop. A method without a goal is bound by what its paper computes: UCL draws
weights, ACL trains a second network and a discriminator, and hypernet computes all weights by a network. CPG
is measured while it trains picks, by Adam, as many real values as there are weights."""

LOOP = "a loop in plain PyTorch"
AVALANCHE_STEPS = 30  # the number of steps of one call of a strategy of Avalanche


class Contestant(Protocol):
    """Something that trains the network."""

    def seconds(self, batches: Sequence[Batch]) -> float:
        """Return the CPU seconds of one step."""
        ...


class Plain:
    """The loop that one writes with PyTorch alone, with batches that are at hand."""

    def __init__(self) -> None:
        self.net = network()
        self.optimiser = torch.optim.SGD(self.net.parameters(), lr=SETTINGS["lr"])

    def seconds(self, batches: Sequence[Batch]) -> float:
        found = []
        for batch in batches:
            started = time.process_time()
            self.optimiser.zero_grad()
            loss = F.cross_entropy(self.net(batch.x), batch.y)
            loss.backward()
            self.optimiser.step()
            found.append(time.process_time() - started)
        return statistics.median(found)


class Avalanche:
    """A strategy of Avalanche in the middle of its second experience, without metrics and loggers."""

    def __init__(self, strategy: str, **settings: Any) -> None:
        from avalanche.benchmarks import tensors_benchmark
        from avalanche.training import supervised
        from avalanche.training.plugins import EvaluationPlugin

        tensors = [_tensors(index) for index in (0, 1)]
        stream = tensors_benchmark(tensors, tensors, task_labels=[0, 0]).train_stream
        net = network()
        self.strategy = getattr(supervised, strategy)(
            model=net,
            optimizer=torch.optim.SGD(net.parameters(), lr=SETTINGS["lr"]),
            criterion=nn.CrossEntropyLoss(),
            train_mb_size=BATCH,
            train_epochs=1,
            evaluator=EvaluationPlugin(strict_checks=False),
            **settings,
        )
        self.strategy.train(stream[0])
        self.second = stream[1]
        self.begun: list[float] = []
        self.strategy.plugins.append(_Clock(self.begun))

    def seconds(self, batches: Sequence[Batch]) -> float:
        self.begun.clear()
        self.strategy.train(self.second)
        return statistics.median(b - a for a, b in zip(self.begun, self.begun[1:], strict=False))


class _Clock:
    """Plugin of Avalanche that takes down when each iteration begins."""

    def __init__(self, begun: list[float]) -> None:
        self.begun = begun

    def before_training_iteration(self, *_: Any, **__: Any) -> None:
        self.begun.append(time.process_time())

    def __getattr__(self, name: str) -> Callable[..., None]:
        if name.startswith(("before_", "after_")):
            return lambda *_, **__: None
        raise AttributeError(name)


def steps() -> list[Line]:
    """Compare a step of each method, and of Avalanche's if installed, to a loop in plain PyTorch."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return [Line(f"{set_numerics('strict')} numerics, CPU time", 1, "thread"), *_compared()]
    finally:
        torch.set_num_threads(threads)


def network() -> nn.Module:
    """Return the network in plain PyTorch."""
    pixels = CASE.shape[1] * CASE.shape[2]
    layers = [nn.Flatten(), nn.Dropout(0.2), nn.Linear(pixels, HIDDEN), nn.ReLU(), nn.Dropout(0.5)]
    layers += [nn.Linear(HIDDEN, HIDDEN), nn.ReLU(), nn.Dropout(0.5), nn.Linear(HIDDEN, CLASSES)]
    return nn.Sequential(*layers)


def _compared() -> list[Line]:
    plain = _Runner(Method, CASE)
    runners = {name: _Runner(registry.method(name), CASE) for name in GOALS}
    peers: dict[str, Contestant] = {LOOP: Plain(), **_avalanche()}
    task = _task(CASE, 1)
    batches = list(Fit(plain.config).batches(task.train, task.index))
    found = _alternately(batches, {"finetuning": plain, **runners}, peers)
    reference, finetuning = found.pop(LOOP), found["finetuning"]
    lines = [Line(f"{CASE.network}: {LOOP}, a step", reference * 1e3, "ms")]
    for name, value in found.items():
        goal = "" if name in peers else GOALS.get(name, "1.00 or less")
        beside = "" if name in peers or name == "finetuning" else f" ({value / finetuning:.2f} of finetuning)"
        lines.append(Line(f"  {name}{beside}", value / reference, "x", goal))
    return lines


def _alternately(
    batches: Sequence[Batch], runners: dict[str, _Runner], peers: dict[str, Contestant]
) -> dict[str, float]:
    """Return the lower quintile of the seconds of a step, each method in the middle of its second task."""
    task = _task(CASE, 1)
    every: dict[str, Contestant] = {**runners, **peers}
    found: dict[str, list[float]] = {name: [] for name in every}

    def measure() -> None:
        names = list(every)
        for number in range(1 + CASE.rounds):
            first = number % len(names)  # a different contestant comes first in each round
            for name in names[first:] + names[:first]:
                seconds = every[name].seconds(batches)
                if number:  # the first round warms up
                    found[name].append(seconds)
        raise _Measured

    then: Callable[[], None] = measure
    for runner in runners.values():
        then = functools.partial(runner.within, task, then)
    with contextlib.suppress(_Measured):
        then()
    return {name: sorted(values)[len(values) // 5] for name, values in found.items()}


def _avalanche() -> dict[str, Contestant]:
    """Return strategies of Avalanche, if it is installed (``pip install avalanche-lib``)."""
    if importlib.util.find_spec("avalanche") is None:
        return {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return {
            "Avalanche's Naive": Avalanche("Naive"),
            "Avalanche's EWC": Avalanche("EWC", ewc_lambda=1.0, mode="online", decay_factor=1.0),
        }


def _tensors(index: int) -> tuple[Tensor, Tensor]:
    """Return images and labels of a few batches."""
    generator = torch.Generator().manual_seed(index)
    count = AVALANCHE_STEPS * BATCH
    return torch.randn(count, *CASE.shape, generator=generator), torch.randint(CLASSES, (count,))

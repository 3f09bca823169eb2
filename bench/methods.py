"""Cost of a training step of regularised and masked methods, relative to a step of finetuning.

Times are CPU seconds of this process, which uses one thread, so that on a shared machine the time during
which other processes run does not count.
"""

from __future__ import annotations

import contextlib
import math
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from bench.line import Line
from raycl import calls, registry
from raycl.method import Method, World
from raycl.methods import spg
from raycl.methods.piggyback import Piggyback
from raycl.networks import Network, Start
from raycl.runs.numerics import set_numerics
from raycl.space import fields_of, make_config
from raycl.tasks import ArraySplit, Batch, Task
from raycl.training.fit import Fit
from raycl.training.optimiser import OptimiserUpdate
from raycl.training.rules import optimiser_of

TASKS, CLASSES, BATCH = 10, 10, 64
GOALS = {"SPG": "1.05 or less", "EWC": "1.10 or less", "SI": "1.10 or less", "HAT": "1.15 or less"}
MASKED = {"Piggyback": "1.10 or less", "KSM": "1.10 or less"}  # methods on a trained backbone
MASKS = 10  # the number of tasks whose masks are stored
SOFT = 0.121  # the share of KSM's kernels that have a factor, inferred from the model size in the paper
STEPS = 3  # the number of steps of one method in one round
HEADS = 6  # the number of heads of SPG's cross-head importance
SETTINGS: dict[str, Any] = {"epochs": 1, "schedule": "constant", "stop": "never", "lr": 0.01}


class Case(NamedTuple):
    """Network with its input shape, number of rounds, methods with their goals, and number of tasks."""

    network: str
    shape: tuple[int, int, int]
    rounds: int
    goals: Mapping[str, str]
    tasks: int = TASKS


CASES = (Case("alexnet", (3, 32, 32), 11, GOALS), Case("mlp", (1, 28, 28), 25, GOALS))
VGG = Case("vgg16_bn(width=.25)", (3, 32, 32), 11, MASKED, tasks=1 + MASKS)


def methods() -> list[Line]:
    """Compare steps of regularised and masked methods to steps of finetuning, and joint to separate heads."""
    path = "MKL" if torch.backends.mkl.is_available() else "torch's own products"
    numerics = f"{set_numerics('strict')} numerics, {path}, {torch.get_default_dtype()}, torch's dropout"
    lines = [Line(numerics, torch.get_num_threads(), "thread")]
    for case in CASES:
        lines += _steps(case) + _heads(case)
    lines += _steps(VGG)
    for name in MASKED:
        lines += _kept(name.lower(), VGG)
    return lines


# ------------------------------------------------------------------------------------- a step of a method


class _Measured(Exception):
    """All measurements are done; it is raised to skip what methods do after training."""


class _Inside(Fit):
    """Fit that does not train, but calls `then` at the point at which a method would begin to train."""

    def __init__(self, config: Fit.Config, then: Callable[[], None]) -> None:
        super().__init__(config)
        self.then = then

    def __call__(self, learner: Any, task: Task, **settings: Any) -> Any:
        self.then()


class _Runner:
    """Method that has learnt the first task."""

    def __init__(self, kind: type[Method], case: Case) -> None:
        self.method = kind(_world(case), _config(kind))
        self.config = Fit.Config(**{**kind.fit_defaults, **SETTINGS, "batch": BATCH})
        fit = Fit(self.config)
        fit.begin(0)
        self.method.learn(_task(case, 0), fit)

    def within(self, task: Task, then: Callable[[], None]) -> None:
        """Call `then` while the method learns `task`, with an optimiser ready for `seconds`."""

        def ready() -> None:
            self.update = OptimiserUpdate(
                optimiser_of(self.config, list(self.method.trainable(task.index))), self.config.clip
            )
            self.method.train(True)
            then()

        self.method.learn(task, _Inside(self.config, ready))

    def seconds(self, batches: Sequence[Batch]) -> float:
        """Return the median over the batches of the seconds of a step."""
        found = []
        for batch in batches:
            started = time.process_time()
            self.update.clear()
            self.method.step(batch, self.update)
            found.append(time.process_time() - started)
        return statistics.median(found)


def _steps(case: Case) -> list[Line]:
    """Measure steps of all methods alternately, while every method is in the middle of its second task."""
    known = {name: goal for name, goal in case.goals.items() if name.lower() in registry.method_names()}
    plain = _Runner(Method, case)
    runners = {name: _Runner(registry.method(name.lower()), case) for name in known}
    task, every = _task(case, 1), [plain, *runners.values()]
    batches = list(Fit(plain.config).batches(task.train, task.index))[:STEPS]
    base: list[float] = []
    ratios: dict[str, list[float]] = {name: [] for name in known}

    def measure() -> None:
        for number in range(1 + case.rounds):
            first = number % len(every)  # a different method comes first in each round
            seconds = {runner: runner.seconds(batches) for runner in every[first:] + every[:first]}
            if number:  # the first round warms up
                base.append(seconds[plain])
                for name, runner in runners.items():
                    ratios[name].append(seconds[runner] / seconds[plain])
        raise _Measured

    def enter(depth: int) -> None:
        if depth == len(every):
            measure()
        every[depth].within(task, lambda: enter(depth + 1))

    with contextlib.suppress(_Measured):
        enter(0)
    lines = [Line(f"{case.network}: a step of finetuning", statistics.median(base) * 1e3, "ms")]
    for name, goal in known.items():
        clip = runners[name].config.clip
        what = f"{case.network}: {name.lower()}" + (f", gradients clipped at {clip:g}" if clip else "")
        lines.append(Line(what, statistics.median(ratios[name]), "x", goal))
    return lines


# --------------------------------------------------------------------------------------------- stored masks


def _kept(name: str, case: Case) -> list[Line]:
    """Measure the bytes of the stored masks of `MASKS` tasks, relative to masks of floats."""
    kind = registry.method(name)
    runner = _Runner(kind, case)
    method = runner.method
    assert isinstance(method, Piggyback)

    def drawn() -> None:
        """Set the share `SOFT` of the real values below the threshold; without training, all are above it."""
        for real in method.real:
            real.data.copy_(torch.where(torch.rand_like(real) < SOFT, 0.0, 1.0))

    packed = floats = 0
    for index in range(1, MASKS + 1):
        runner.within(_task(case, index), drawn)
        packed += sum(mask.nbytes for mask in method.done[index])
        floats += sum(4 * math.prod(mask.shape) for mask in method.done[index])
    soft = method.config.soft
    what = f"{case.network}: {name}, masks of {MASKS} tasks" + (f", {SOFT:.1%} soft" if soft else "")
    return [
        Line(what, packed / 2**20, "MiB"),
        Line(
            "  of their bytes as float32", packed / floats, "x", "0.16 or less" if soft else "0.032 or less"
        ),
    ]


# ------------------------------------------------------------------------------ importance of several heads


def _heads(case: Case) -> list[Line]:
    """Compare gradients through `HEADS` heads by one forward pass per batch to one forward pass per head."""
    net, task = _world(case).build(), _task(case, HEADS - 1)
    fit, heads = Fit(Fit.Config(batch=BATCH, **SETTINGS)), range(HEADS)

    def shared() -> list[list[Tensor]]:
        return spg.summed_gradients(net, task, fit, heads)

    def apart() -> list[list[Tensor]]:
        return [spg.summed_gradients(net, task, fit, [head])[0] for head in heads]

    ratios = []
    for _ in range(5):
        seconds = []
        for way in (apart, shared):
            started = time.process_time()
            way()
            seconds.append(time.process_time() - started)
        ratios.append(seconds[0] / seconds[1])
    what = f"{case.network}: {HEADS} heads, one forward pass against {HEADS}"
    return [
        Line(what, statistics.median(ratios), "x faster", "1.8 or more"),
        Line(
            "  without dropout, gradients differ by",
            _difference(net, shared, apart),
            "of the largest",
            "1e-6",
        ),
    ]


def _difference(
    net: Network, one: Callable[[], list[list[Tensor]]], other: Callable[[], list[list[Tensor]]]
) -> float:
    net.train(False)
    left, right = (torch.cat([g.reshape(-1) for head in way() for g in head]) for way in (one, other))
    net.train(True)
    return float((left - right).abs().max() / right.abs().max())


# ------------------------------------------------------------------------------------------------ the data


def _task(case: Case, index: int) -> Task:
    """Return a task of a few batches of noise."""
    rng = np.random.Generator(np.random.PCG64(index))
    n, channels = STEPS * BATCH, case.shape[0]
    noise = rng.integers(0, 256, (n, *case.shape), dtype=np.uint8)
    labels = rng.integers(0, CLASSES, n)
    split = ArraySplit(noise, np.arange(n), labels, (0.5,) * channels, (0.25,) * channels)
    empty = ArraySplit(noise, split.rows[:0], split.y[:0])
    return Task(index, "noise", CLASSES, split, empty, empty)


def _config(kind: type[Method]) -> Method.Config:
    """Return the method's defaults, with the first task, which is not measured, trained like the others."""
    found = fields_of(kind.Config)
    return kind.Config(**({"initial": ""} if "initial" in found else {}))


def _world(case: Case) -> World:
    kind = registry.network(case.network)
    settings = calls.parse(case.network, "network").settings(kind.Config, case.network)
    classes = (CLASSES,) * case.tasks
    start = Start(kind, make_config(kind.Config, settings, case.network), case.shape, classes, 0)
    return World(case.shape, classes, start)

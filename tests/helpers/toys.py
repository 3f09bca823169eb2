"""Small benchmarks from random arrays, and a method on them in two lines."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from raycl import calls, registry, streams
from raycl.method import Method, World
from raycl.networks import Block, Blocks, Heads, Start
from raycl.runs import sequence
from raycl.runs.reports import TaskReport
from raycl.space import make_config
from raycl.supermasks.bank import backbone_of, random_mask
from raycl.tasks import ArraySplit, Benchmark, Split, Task
from raycl.training.fit import Fit

CLASSES = (2, 3, 2)
CALM: dict[str, Any] = {"lr": 0.05, "epochs": 4, "batch": 16, "schedule": "constant", "stop": "never"}
BRIEF: dict[str, dict[str, Any]] = {
    "cpg": {"stage_epochs": 1, "ramp_epochs": 1, "repick_epochs": 2, "initial_epochs": 20},
    "packnet": {"retrain_epochs": 5, "initial_epochs": 20},
}
"""Fields of methods that train long by themselves, unless a test gives others."""
EAGER: dict[str, Any] = {"optimiser": "adam", "lr": 0.01, "epochs": 10, "batch": 8}
"""Settings under which any method learns a toy task, however small the network."""


class Chain(Blocks, Heads):
    """Linear layers of given widths with ReLU, and a head per task."""

    @dataclass(frozen=True, kw_only=True)
    class Config(Heads.Config):
        widths: tuple[int, ...] = (5, 4)

    def __init__(
        self, input_shape: tuple[int, int, int], classes: Sequence[int], config: Config, width: float = 1.0
    ) -> None:
        super().__init__(input_shape, classes, config, width)
        sizes = [int(np.prod(input_shape)), *config.widths]
        self.body = nn.ModuleList(
            Block(nn.Linear(before, after), flatten=True) for before, after in itertools.pairwise(sizes)
        )
        self.make_heads(sizes[-1], classes)


def chain(*widths: int) -> str:
    """A `Chain` of these widths, as studies name it."""
    return f"{__name__}:Chain(widths={widths})"


@dataclass(frozen=True, eq=False)
class TensorSplit:
    """Inputs as they are, for cases whose numbers are given."""

    x: Tensor
    y: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.y)

    def take(self, rows: NDArray[np.int64] | slice, device: torch.device | str = "cpu") -> Tensor:
        return self.x[rows].to(device=device, dtype=torch.get_default_dtype())


def split(
    images: NDArray[np.uint8], y: NDArray[np.int64], rows: NDArray[np.int64] | None = None
) -> ArraySplit:
    """All rows, or some, of an image array."""
    rows = np.arange(len(y)) if rows is None else rows
    return ArraySplit(images, rows, y[rows])


def benchmark(
    classes: Sequence[int] = CLASSES,
    train: int = 48,
    val: int = 24,
    test: int = 24,
    shape: tuple[int, int, int] = (1, 4, 4),
    seed: int = 0,
) -> Benchmark:
    """Tasks whose classes are noisy copies of a pattern each: easy, and different from one another."""
    rng = np.random.default_rng(seed)
    tasks = []
    for index, count in enumerate(classes):
        patterns = rng.integers(0, 256, (count, *shape))
        y = np.arange(train + val + test, dtype=np.int64) % count
        noisy = patterns[y] + rng.normal(0, 40, (len(y), *shape))
        images = np.clip(noisy, 0, 255).astype(np.uint8)
        order = rng.permutation(len(y))
        parts = [
            split(images, y, order[a:b]) for a, b in ((0, train), (train, train + val), (train + val, None))
        ]
        tasks.append(Task(index, f"toy {index}", count, *parts))
    return Benchmark("toy", tuple(tasks), shape)


def given(tasks: Sequence[tuple[Tensor, Tensor]], classes: Sequence[int], *, val: str = "train") -> Benchmark:
    """Tasks from given numbers; validation on the training samples, or ("none") on nothing."""
    found = []
    for index, ((x, y), count) in enumerate(zip(tasks, classes, strict=True)):
        whole = TensorSplit(x, y.numpy().astype(np.int64))
        nothing = TensorSplit(x[:0], np.empty(0, np.int64))
        held: Split = whole if val == "train" else nothing
        found.append(Task(index, f"given {index}", count, whole, held, whole))
    return Benchmark("given", tuple(found), tuple(tasks[0][0].shape[1:]))  # type: ignore[arg-type]


def method(name: str, on: Benchmark, network: str = "mlp(hidden=32)", seed: int = 0, **config: Any) -> Method:
    """A fresh method for a benchmark, as a run makes it."""
    kind = registry.method(name)
    net = registry.network(network)
    settings = calls.parse(network, "network").settings(net.Config, "network")
    start = Start(net, make_config(net.Config, settings, "network"), on.input_shape, on.classes, seed)
    made = make_config(kind.Config, config or BRIEF.get(name, {}), name)
    world = World(on.input_shape, on.classes, start, inputs_for(kind, made, start))
    streams.reseed(seed, "method")
    return kind(world, made)


def inputs_for(kind: type[Method], config: Any, start: Start) -> dict[str, Any]:
    """For a method that wants basis masks, random ones in their place."""
    if not hasattr(config, "counts"):
        return {}
    sizes = backbone_of(start(), 0, config.backbone_init).sizes
    count = sum(config.counts.values())
    return {"basis": [random_mask(sizes, config.density, number) for number in range(count)]}


def benchmark_for(name: str, classes: Sequence[int] = CLASSES, **sizes: Any) -> Benchmark:
    """A benchmark that suits a method: equally many classes a task where one head serves all tasks."""
    shared = getattr(registry.method(name).Config(), "head", "own") == "shared"
    return benchmark((max(classes),) * len(classes) if shared else classes, **sizes)


def fit(seed: int = 0, **settings: Any) -> Fit:
    """A training loop with `CALM` settings, or others."""
    return Fit(make_config(Fit.Config, CALM | settings, "fit"), seed=seed)


def fit_for(name: str, seed: int = 0, **settings: Any) -> Fit:
    """The same with what the method itself wants of its training."""
    return fit(seed, **({**registry.method(name).fit_defaults, "batch": CALM["batch"]} | settings))


def works_on(name: str, network: str) -> bool:
    """Whether a method accepts a network."""
    return all(issubclass(registry.network(network), need) for need in registry.method(name).needs)


def learn(
    subject: Method, on: Benchmark, loop: Fit, evaluate: sequence.Evaluate | None = None
) -> list[TaskReport]:
    """Learn all tasks."""
    return list(sequence.run_sequence(subject, on, loop, evaluate=evaluate))


def learn_one(subject: Method, on: Benchmark, loop: Fit, task: int) -> None:
    """Learn one task, measuring nothing."""
    loop.begin(task)
    subject.learn(on.tasks[task], loop)

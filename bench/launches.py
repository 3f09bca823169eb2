"""Launches and waits of a training step, counted on a pretended accelerator.

A GPU begins each operation with a launch of a few microseconds, which is longer than the operation itself in
a small network. So the number of launches bounds the speed of a step from below, unless the step is captured
in a graph. Waits let the GPU run out of work; no method should have any.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch

from bench import pretend
from bench.line import Line
from bench.processes import environment
from raycl import calls, registry, streams
from raycl.method import Method, World
from raycl.networks import Start
from raycl.runs import sequence
from raycl.space import make_config
from raycl.supermasks.bank import backbone_of, random_mask
from raycl.tasks import ArraySplit, Batch, Benchmark, Task
from raycl.training.fit import Fit

NETWORK = "mlp(hidden=16)"
GOALS = {
    "hat": "150 or fewer",
    "ehat": "150 or fewer",
    "pmask": "150 or fewer",
    "cat": "150 or fewer",
    "ucl": "200 or fewer",
    "acl": "500 or fewer",
}
SHAPE, CLASSES, SAMPLES = (1, 4, 4), 2, 24
BRIEF: dict[str, Any] = {  # fields of methods that train long by themselves
    "goal_epochs": 1,
    "initial_epochs": 1,
    "repick_epochs": 1,
    "retrain_epochs": 1,
    "retrain_milestone": 0,
    "stage_epochs": 1,
}


def launches() -> list[Line]:
    """Count the launches of a training step of each method, and its waits, on a pretended accelerator."""
    code = "from bench.launches import write; write()"
    done = subprocess.run(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, check=True, env=environment(), encoding="utf-8"
    )
    found: dict[str, tuple[float, float]] = json.loads(done.stdout)
    lines = []
    for name, (launched, waited) in found.items():
        lines.append(Line(f"{NETWORK}, {name}", launched, "launches a step", GOALS.get(name, "")))
        if waited:
            lines.append(Line("  of which each waits", waited, "times", "0"))
    return lines


def write() -> None:
    """Print, as JSON, launches and waits of a step by method; changes torch in this process for good."""
    torch.set_num_threads(1)
    pretend.install_for_raycl()
    json.dump({name: counted(name) for name in registry.method_names()}, sys.stdout)


def counted(name: str, network: str = NETWORK) -> tuple[float, float]:
    """Return the median launches, and the mean waits, of the training steps of a method's second task.

    Methods that learn all tasks at once, or that need one task only, are counted in what they train last.
    """
    device = torch.device(pretend.DEVICE)
    benchmark = benchmark_of(SAMPLES)
    method = method_of(name, network, benchmark, device)
    config = make_config(
        Fit.Config,
        {
            **registry.method(name).fit_defaults,
            "epochs": 1,
            "batch": 8,
            "stop": "never",
            "schedule": "constant",
        },
        "fit",
    )
    fit = _CountingFit(config, device=device)
    with torch.device(device):
        for _ in sequence.run_sequence(method, benchmark, fit):
            pass
    return statistics.median(fit.launches[-3:]), statistics.mean(fit.waits[-3:])


class _CountingFit(Fit):
    """A training loop that counts what each of its steps asks of the device.

    Attributes:
        launches, waits: numbers for each batch of a pass over a training split, with the work of fetching the
            next one.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.launches: list[int] = []
        self.waits: list[int] = []

    def batches(self, *args: Any, **kwargs: Any) -> Iterator[Batch]:
        inner, trains = super().batches(*args, **kwargs), "epoch" in kwargs
        batch = next(inner, None)
        while batch is not None:
            with pretend.record() as found:
                yield batch
                batch = next(inner, None)
            if trains:
                self.launches.append(found.launches.total())
                self.waits.append(found.waits.total())


def benchmark_of(samples: int) -> Benchmark:
    """Return two tasks of noise with that many samples in each split."""
    rng = np.random.Generator(np.random.PCG64(0))
    tasks = []
    for index in range(2):
        images = rng.integers(0, 256, (samples, *SHAPE), dtype=np.uint8)
        split = ArraySplit(images, np.arange(samples), np.arange(samples) % CLASSES)
        tasks.append(Task(index, f"noise {index}", CLASSES, split, split, split))
    return Benchmark("noise", tuple(tasks), SHAPE)


def method_of(name: str, network: str, benchmark: Benchmark, device: torch.device) -> Method:
    """Return a method on a device, with as little training of its own as it allows."""
    kind, net = registry.method(name), registry.network(network)
    known = kind.Config.__dataclass_fields__
    config = make_config(kind.Config, {k: v for k, v in BRIEF.items() if k in known}, name)
    settings = calls.parse(network, "network").settings(net.Config, "network")
    start = Start(net, make_config(net.Config, settings, network), SHAPE, benchmark.classes, 0)
    inputs: dict[str, Any] = {}
    if hasattr(config, "counts"):  # a method that combines basis masks: random ones cost the same
        sizes = backbone_of(start(), 0, config.backbone_init).sizes
        count = sum(config.counts.values())
        inputs["basis"] = [random_mask(sizes, config.density, number) for number in range(count)]
    with torch.device(device):
        streams.reseed(0, "method")
        return kind(World(SHAPE, benchmark.classes, start, inputs), config)

"""Speed of training a small network, and the share of the data pipeline in it."""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from dataclasses import replace

import numpy as np

from bench.line import Line
from bench.processes import environment
from raycl import registry
from raycl.benchmarks import sources
from raycl.benchmarks.pools import shuffled
from raycl.benchmarks.transforms import Permute
from raycl.method import World
from raycl.networks import Start
from raycl.runs.sequence import run_sequence
from raycl.tasks import ArraySplit, Benchmark, Split, Task
from raycl.training.fit import Fit


def _images(n: int) -> ArraySplit:
    """Return MNIST's training images if they are prepared, and noise of the same shape otherwise."""
    if sources.status("mnist") == "present":
        images = sources.arrays("mnist")["train_images"][:n]
        labels = sources.arrays("mnist")["train_labels"][:n]
        return ArraySplit(images, np.arange(len(images)), np.asarray(labels, np.int64), (0.1307,), (0.3081,))
    rng = np.random.Generator(np.random.PCG64(0))
    noise = rng.integers(0, 256, (n, 1, 28, 28), dtype=np.uint8)
    return ArraySplit(noise, np.arange(n), rng.integers(0, 10, n), (0.1307,), (0.3081,))


def one_task(n: int) -> Benchmark:
    """Return a benchmark of a single task with `n` training images, without validation or test images."""
    split = _images(n)
    empty = ArraySplit(split.images, split.rows[:0], split.y[:0], split.mean, split.std)
    return Benchmark("bench", (Task(0, "mnist", 10, split, empty, empty),), (1, 28, 28))


def world_of(benchmark: Benchmark, network: str) -> World:
    """Return the `World` of a benchmark, with a network in its default settings."""
    kind = registry.network(network)
    start = Start(kind, kind.Config(), benchmark.input_shape, benchmark.classes, 0)
    return World(benchmark.input_shape, benchmark.classes, start)


def data() -> list[Line]:
    """Measure the share of the data pipeline in a step of LeNet-300-100, batch 128."""
    benchmark = one_task(12_800)
    fit = Fit(Fit.Config(batch=128, epochs=1, schedule="constant", stop="never", lr=0.01))
    kind = registry.method("raycl.method:Method")
    method = kind(world_of(benchmark, "lenet_300_100"), kind.Config())
    task = benchmark.tasks[0]
    fit(method, task)  # warm up: modules are imported, and the split is cached
    whole, feeding = [], []
    for _ in range(7):
        started = time.perf_counter()
        fit(method, task)
        whole.append(time.perf_counter() - started)
        started = time.perf_counter()
        order = np.random.Generator(np.random.PCG64(0)).permutation(len(task.train))
        for _batch in fit.batches(task.train, 0, order=order):
            pass
        feeding.append(time.perf_counter() - started)
    steps = len(task.train) / 128
    share = statistics.median(d / w for d, w in zip(feeding, whole, strict=True))
    return [
        Line("one step", statistics.median(whole) / steps * 1e3, "ms"),
        Line("  data pipeline in it", statistics.median(feeding) / steps * 1e3, "ms"),
        Line("share of the data pipeline", 100 * share, "%", "under 10"),
        Line("take of 128 images", _take_seconds(task.train) * 1e6, "us", "under 100"),
        Line("take of 128 images, permuted", _take_seconds(_permuted(task.train)) * 1e6, "us", "under 100"),
    ]


def _permuted(split: Split) -> ArraySplit:
    assert isinstance(split, ArraySplit)
    pixels = int(np.prod(split.images.shape[2:]))
    return replace(split, transforms=(Permute(shuffled(pixels, 0, 0)),))


def _take_seconds(split: Split) -> float:
    """Return the median seconds of `take` for 128 random rows of the split."""
    order, seconds = shuffled(len(split), 0, 1), []
    for _ in range(5):
        for start in range(0, len(split) - 127, 128):
            started = time.perf_counter()
            split.take(order[start : start + 128])
            seconds.append(time.perf_counter() - started)
    return statistics.median(seconds)


def epoch() -> list[Line]:
    """Measure one epoch of finetuning on MNIST's 60,000 images, batch 64."""
    lines = []
    benchmark = one_task(60_000)
    for network, repeats in (("lenet_300_100", 3), ("mlp", 1)):
        kind = registry.method("raycl.method:Method")
        method = kind(world_of(benchmark, network), kind.Config())
        fit = Fit(Fit.Config(epochs=1, schedule="constant", stop="never", lr=0.01))
        seconds = []
        for _ in range(repeats):
            (report,) = run_sequence(method, benchmark, fit)
            seconds.append(report.seconds["main"])
        lines.append(
            Line(f"{network}, including the first epoch", 60_000 / statistics.median(seconds), "samples/s")
        )
        lines.append(Line("peak memory of the process", report.peak_bytes / 2**20, "MiB"))
    return lines


_WORK = """
import sys, time
import numpy as np, torch
torch.set_num_threads(1)
from bench.training import one_task, world_of
from raycl import registry
from raycl.training.fit import Fit
benchmark = one_task(12_800)
kind = registry.method("raycl.method:Method")
method = kind(world_of(benchmark, "lenet_300_100"), kind.Config())
fit = Fit(Fit.Config(batch=128, epochs=int(sys.argv[1]), schedule="constant", stop="never", lr=0.01))
fit(method, benchmark.tasks[0], epochs=1)
print("ready", flush=True)
for line in sys.stdin:
    started = time.perf_counter()
    fit(method, benchmark.tasks[0])
    print(time.perf_counter() - started, flush=True)
"""


def pair() -> list[Line]:
    """Compare two one-thread processes at once to a single one, LeNet-300-100."""
    command = [sys.executable, "-c", _WORK, "20"]
    workers = [
        subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, encoding="utf-8", env=environment()
        )
        for _ in range(2)
    ]

    def read(worker: subprocess.Popen[str]) -> str:
        assert worker.stdout is not None
        return worker.stdout.readline()

    def seconds(chosen: list[subprocess.Popen[str]]) -> float:
        started = time.perf_counter()
        for worker in chosen:
            assert worker.stdin is not None
            worker.stdin.write("go\n")
            worker.stdin.flush()
        for worker in chosen:
            read(worker)
        return time.perf_counter() - started

    try:
        for worker in workers:
            read(worker)
        ratios = [2 * seconds(workers[:1]) / seconds(workers) for _ in range(5)]
    finally:
        for worker in workers:
            worker.terminate()
            worker.wait()
    return [Line("throughput of two relative to one", statistics.median(ratios), "x", "1.8 or more")]

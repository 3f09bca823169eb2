"""How fast this machine is at what raycl does. Ratios are taken within one run, interleaved, as medians."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from raycl import benchmarks, names
from raycl.benchmarks import sources
from raycl.benchmarks.pools import shuffled
from raycl.benchmarks.transforms import Permute
from raycl.errors import UserError, nearest
from raycl.method import World
from raycl.networks import Start
from raycl.sequence import run
from raycl.tasks import ArraySplit, Benchmark, Split, Task
from raycl.training import Fit


@dataclass(frozen=True)
class Line:
    """One measured thing: what, how much, and in which unit."""

    what: str
    value: float
    unit: str
    goal: str = ""

    def __str__(self) -> str:
        goal = f"   (goal {self.goal})" if self.goal else ""
        return f"  {self.what:<52}{self.value:>10,.3g} {self.unit}{goal}"


def run_benchmarks(name: str | None) -> int:
    """Run and print one benchmark, or all.

    Raises:
        UserError: there is none of that name.
    """
    known: dict[str, Callable[[], list[Line]]] = {
        "start": _start,
        "data": _data,
        "epoch": _epoch,
        "pair": _pair,
        "trials": _trials,
        "masks": _masks,
        "alpha": _alpha,
        "bank": _bank,
        "methods": _methods,
        "scale": _scale,
    }
    if name is not None and name not in known:
        raise UserError(f"unknown bench {name!r}{nearest(name, known)} (known: {', '.join(known)})")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    print(f"torch {torch.__version__}, {torch.backends.cpu.get_cpu_capability()}, {os.cpu_count()} CPUs, "
          "1 thread unless said")  # fmt: skip
    for chosen in [name] if name else known:
        print(f"{chosen}: {(known[chosen].__doc__ or '').splitlines()[0]}")
        for line in known[chosen]():
            print(line, flush=True)
    torch.set_num_threads(threads)
    return 0


def _masks() -> list[Line]:
    """Training basis masks, against edge-popup in plain PyTorch."""
    from raycl.bench_masks import masks  # takes `Line` from here

    return masks()


def _alpha() -> list[Line]:
    """Combining basis masks, against stacked float masks under autograd."""
    from raycl.bench_alpha import alpha

    return alpha()


def _methods() -> list[Line]:
    """Steps of regularised and masked methods, against steps of finetuning."""
    from raycl.bench_methods import methods

    return methods()


def _scale() -> list[Line]:
    """What a study of 20,000 trivial jobs costs its driver; nothing is trained. Minutes."""
    from raycl.bench_scale import scale  # takes `Line` from here

    return scale()


def _bank() -> list[Line]:
    """A bank of 64 LeNet masks, trained by one worker and by as many as there are CPUs."""
    from raycl.tune.bench import bank_seconds

    lines, alone = [], 0.0
    for workers in sorted({1, 2, os.cpu_count() or 1}):
        with tempfile.TemporaryDirectory(prefix="raycl-bench-") as folder:
            seconds = bank_seconds(Path(folder), workers)
        alone = alone or seconds
        lines.append(Line(f"{workers} worker{'s' if workers > 1 else ''}", seconds, "s"))
        if workers > 1:
            goal = "0.6 or less" if workers == 2 else ""
            lines.append(Line(f"  of one worker's time, with {workers}", seconds / alone, "x", goal))
    return lines


def _start() -> list[Line]:
    """How long the command line takes to say something."""
    command = [sys.executable, "-m", "raycl.cli", "--help"]
    seconds = []
    for _ in range(5):
        started = time.perf_counter()
        subprocess.run(command, capture_output=True, check=True)
        seconds.append(time.perf_counter() - started)
    return [Line("raycl --help", statistics.median(seconds), "s", "under 0.5")]


def _images(n: int) -> ArraySplit:
    """MNIST's training images where they are prepared, else noise of the same shape."""
    if sources.status("mnist") == "present":
        images = sources.arrays("mnist")["train_images"][:n]
        labels = sources.arrays("mnist")["train_labels"][:n]
        return ArraySplit(images, np.arange(len(images)), np.asarray(labels, np.int64), (0.1307,), (0.3081,))
    rng = np.random.Generator(np.random.PCG64(0))
    noise = rng.integers(0, 256, (n, 1, 28, 28), dtype=np.uint8)
    return ArraySplit(noise, np.arange(n), rng.integers(0, 10, n), (0.1307,), (0.3081,))


def _one_task(n: int) -> Benchmark:
    split = _images(n)
    empty = ArraySplit(split.images, split.rows[:0], split.y[:0], split.mean, split.std)
    return Benchmark("bench", (Task(0, "mnist", 10, split, empty, empty),), (1, 28, 28))


def _world(benchmark: Benchmark, network: str) -> World:
    kind = names.network(network)
    start = Start(kind, kind.Config(), benchmark.input_shape, benchmark.classes, 0)
    return World(benchmark.input_shape, benchmark.classes, start)


def _data() -> list[Line]:
    """The data pipeline's share of a step of LeNet-300-100, batch 128."""
    benchmark = _one_task(12_800)
    fit = Fit(Fit.Config(batch=128, epochs=1, schedule="constant", stop="never", lr=0.01))
    kind = names.method("raycl.method:Method")
    method = kind(_world(benchmark, "lenet_300_100"), kind.Config())
    task = benchmark.tasks[0]
    fit(method, task)  # warm: imports, and the split made resident
    whole, data = [], []
    for _ in range(7):
        started = time.perf_counter()
        fit(method, task)
        whole.append(time.perf_counter() - started)
        started = time.perf_counter()
        order = np.random.Generator(np.random.PCG64(0)).permutation(len(task.train))
        for _batch in fit.batches(task.train, 0, order=order):
            pass
        data.append(time.perf_counter() - started)
    steps = len(task.train) / 128
    share = statistics.median(d / w for d, w in zip(data, whole, strict=True))
    return [
        Line("one step", statistics.median(whole) / steps * 1e3, "ms"),
        Line("of it data", statistics.median(data) / steps * 1e3, "ms"),
        Line("share of data", 100 * share, "%", "under 10"),
        Line("take of 128 images", _take_seconds(task.train) * 1e6, "us", "under 100"),
        Line("take of 128 images, permuted", _take_seconds(_permuted(task.train)) * 1e6, "us", "under 100"),
    ]


def _permuted(split: Split) -> ArraySplit:
    assert isinstance(split, ArraySplit)
    pixels = int(np.prod(split.images.shape[2:]))
    return replace(split, transforms=(Permute(shuffled(pixels, 0, 0)),))


def _take_seconds(split: Split) -> float:
    """Median seconds of `take` of 128 rows from all over the split."""
    order, seconds = shuffled(len(split), 0, 1), []
    for _ in range(5):
        for start in range(0, len(split) - 127, 128):
            started = time.perf_counter()
            split.take(order[start : start + 128])
            seconds.append(time.perf_counter() - started)
    return statistics.median(seconds)


def _epoch() -> list[Line]:
    """One epoch of finetune over MNIST's 60,000 images, batch 64."""
    lines = []
    benchmark = _one_task(60_000)
    for network, repeats in (("lenet_300_100", 3), ("mlp", 1)):
        kind = names.method("raycl.method:Method")
        method = kind(_world(benchmark, network), kind.Config())
        fit = Fit(Fit.Config(epochs=1, schedule="constant", stop="never", lr=0.01))
        seconds = []
        for _ in range(repeats):
            (report,) = run(method, benchmark, fit)
            seconds.append(report.seconds["main"])
        lines.append(
            Line(f"{network}, first epochs included", 60_000 / statistics.median(seconds), "samples/s")
        )
        lines.append(Line("peak memory of the process", report.peak_bytes / 2**20, "MiB"))
    return lines


_WORK = """
import sys, time
import numpy as np, torch
torch.set_num_threads(1)
from raycl.bench import _one_task, _world
from raycl import names
from raycl.training import Fit
benchmark = _one_task(12_800)
kind = names.method("raycl.method:Method")
method = kind(_world(benchmark, "lenet_300_100"), kind.Config())
fit = Fit(Fit.Config(batch=128, epochs=int(sys.argv[1]), schedule="constant", stop="never", lr=0.01))
fit(method, benchmark.tasks[0], epochs=1)
print("ready", flush=True)
for line in sys.stdin:
    started = time.perf_counter()
    fit(method, benchmark.tasks[0])
    print(time.perf_counter() - started, flush=True)
"""


def _pair() -> list[Line]:
    """Two one-thread processes at once against one, LeNet-300-100."""
    command = [sys.executable, "-c", _WORK, "20"]
    workers = [
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, encoding="utf-8")
        for _ in range(2)
    ]

    def read(worker: subprocess.Popen[str]) -> str:
        assert worker.stdout is not None
        return worker.stdout.readline()

    def play(chosen: list[subprocess.Popen[str]]) -> float:
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
        ratios = [2 * play(workers[:1]) / play(workers) for _ in range(5)]
    finally:
        for worker in workers:
            worker.terminate()
            worker.wait()
    return [Line("throughput of two against one", statistics.median(ratios), "x", "1.8 or more")]


def _trials() -> list[Line]:
    """Overhead of Ray Tune per trivial trial, actors reused; and memory of a worker."""
    from raycl.tune.bench import trivial_trials

    with tempfile.TemporaryDirectory(prefix="raycl-bench-") as folder:
        benchmarks.load("digits_split")
        first, each, live, peak = trivial_trials(Path(folder))
    return [
        Line("until the first trial has ended (Ray and worker start)", first, "s"),
        Line("wall time per trial from then on", each, "s", "under 0.35"),
        Line("of it inside the trial", live, "s"),
        Line("peak memory of a worker", peak / 2**20, "MiB"),
    ]

"""Everything that has to be measured on a machine with a GPU, in one command: ``python -m bench.gpu``.

It runs the tests that need a GPU, compares each method's losses with those of the CPU, and measures the time
and memory of steps, the training of many masks at once, and several runs that share the GPU. The page that it
writes has all figures. A part that fails is reported on the page, and the other parts go on.
"""

from __future__ import annotations

import argparse
import math
import re
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from bench import launches
from bench.processes import environment
from raycl import devices, registry
from raycl.runs import sequence
from raycl.runs.numerics import set_numerics
from raycl.space import make_config
from raycl.training.feeding import forget_inputs
from raycl.training.fit import Fit

TOLERANCE = 1e-4  # of a loss on the GPU, relative to that on the CPU or to 1
HOME = Path(__file__).parent.parent
GPU_TESTS = ("tests/supermasks/test_alpha.py", "tests/supermasks/test_executors.py")
NO_GPU = "no GPU here: torch finds no accelerator, so that there is nothing to measure"


@dataclass(frozen=True)
class Sizes:
    """How much is measured.

    Attributes:
        steps: steps whose losses are compared.
        timed: steps of a task whose times are measured.
        networks: networks whose steps are timed.
        methods: methods whose steps are measured and compared.
        masks: numbers of masks that are trained at once.
        batches: number of batches of an epoch of masks.
        runs: numbers of runs that share the GPU.
        seconds: how long runs that share the GPU train.
        tests: files with tests that need a GPU.
    """

    steps: int = 20
    timed: int = 100
    networks: tuple[str, ...] = ("mlp(hidden=200, drop1=0.0, drop2=0.0)", "lenet_300_100")
    methods: tuple[str, ...] = field(default_factory=lambda: tuple(registry.method_names()))
    masks: tuple[int, ...] = (1, 16, 64, 250)
    batches: int = 50
    runs: tuple[int, ...] = (1, 2, 4, 8)
    seconds: float = 6.0
    tests: tuple[str, ...] = GPU_TESTS


@dataclass(frozen=True)
class Trained:
    """Steps of a method on a device.

    Attributes:
        losses: Losses of the first steps; empty with graphs.
        milliseconds: Time of a step of the last task, the capture of graphs included.
        peak: Largest number of bytes of the device's memory.
        graphs: What came of capturing steps in graphs.
    """

    losses: list[float]
    milliseconds: float
    peak: int | None
    graphs: str = ""


class _Losses(Fit):
    """A training loop that keeps the losses of its first steps, and the time of all of them.

    Attributes:
        losses: losses of training steps, as tensors of the device.
        times: seconds of each pass over the training split, and its number of steps.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.losses: list[Tensor] = []
        self.times: list[tuple[float, int]] = []

    def __call__(self, learner: Any, task: Any, **kwargs: Any) -> Any:
        if self.graphs:  # a repeated step does not call the method
            done, started = self.updates, self.clock()
            fitted = super().__call__(learner, task, **kwargs)
            self.times.append((self.clock() - started, max(1, self.updates - done)))
            return fitted
        step, before, started = learner.step, len(self.losses), self.clock()

        def noting(batch: Any, update: Any) -> Tensor:
            self.losses.append(step(batch, update))
            return self.losses[-1]

        learner.step = noting
        try:
            return super().__call__(learner, task, **kwargs)
        finally:
            del learner.step
            if steps := len(self.losses) - before:
                self.times.append((self.clock() - started, steps))


class _DrawsOfTheCpu(TorchFunctionMode):
    """Draws all random numbers on the CPU, whose generator differs from that of a GPU."""

    _NAMES = ("rand", "randn", "rand_like", "randn_like", "bernoulli")

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        if getattr(func, "__name__", "") not in self._NAMES:
            return func(*args, **kwargs)
        given = next((a for a in args if isinstance(a, Tensor)), None)
        device = kwargs.pop("device", None) or (torch.get_default_device() if given is None else given.device)
        here = [a.cpu() if isinstance(a, Tensor) else a for a in args]
        return (
            func(*here, **kwargs, device="cpu").to(device)
            if given is None
            else func(*here, **kwargs).to(device)
        )


def train(
    name: str,
    network: str,
    device: torch.device,
    steps: int,
    common: bool = False,
    graphs: bool = False,
) -> Trained:
    """Train a method on two small tasks.

    Args:
        common: Whether random numbers are drawn on the CPU, so that they are the same on every device.
        graphs: Whether to capture steps in graphs.
    """
    forget_inputs()
    benchmark = launches.benchmark_of(8 * steps)
    method = launches.method_of(name, network, benchmark, device)
    fixed = {"epochs": 1, "batch": 8, "stop": "never", "schedule": "constant", "shuffle": True}
    fit = _Losses(
        make_config(Fit.Config, {**registry.method(name).fit_defaults, **fixed}, "fit"),
        device=device,
        graphs=graphs,
    )
    devices.forget_peak(device)
    with torch.device(device):
        if common:
            with _DrawsOfTheCpu():
                list(sequence.run_sequence(method, benchmark, fit))
        else:
            list(sequence.run_sequence(method, benchmark, fit))
    seconds, count = fit.times[-1]
    losses = [float(loss) for loss in fit.losses[:steps]]
    return Trained(losses, 1e3 * seconds / count, devices.peak_bytes(device), fit.about_graphs)


# -------------------------------------------------------------------------------------- parts of the page


def parity(device: torch.device, sizes: Sizes) -> list[str]:
    """Compare the losses of each method's first steps with those on the CPU, in strict numerics."""
    rows = ["| method | largest difference | |", "|---|---|---|"]
    for name in sizes.methods:
        network = sizes.networks[0]
        try:
            here, there = (
                train(name, network, where, sizes.steps, common=True).losses
                for where in (torch.device("cpu"), device)
            )
            apart = max(abs(a - b) / max(1.0, abs(a)) for a, b in zip(here, there, strict=True))
            verdict = "" if apart <= TOLERANCE else f"**above {TOLERANCE:g}**"
            rows.append(f"| {name} | {apart:.1e} | {verdict} |")
        except Exception as error:
            rows.append(f"| {name} | | **failed: {_line_of(error)}** |")
    return rows


def step_times(device: torch.device, sizes: Sizes) -> list[str]:
    """Measure the wall-clock time of each method's step, eager and captured, and the peak of memory."""
    rows = ["| method | network | ms a step | captured | peak MiB | graphs |", "|---|---|---|---|---|---|"]
    for network in sizes.networks:
        for name in sizes.methods:
            if not all(issubclass(registry.network(network), need) for need in registry.method(name).needs):
                continue
            try:
                train(name, network, device, 4)  # warm up
                found = train(name, network, device, sizes.timed)
                peak = "" if found.peak is None else f"{found.peak / 2**20:.0f}"
                captured = train(name, network, device, sizes.timed, graphs=True)
                rows.append(
                    f"| {name} | {network} | {found.milliseconds:.2f} | {captured.milliseconds:.2f} "
                    f"| {peak} | {captured.graphs} |"
                )
            except Exception as error:
                rows.append(f"| {name} | {network} | **failed: {_line_of(error)}** | | | |")
    return rows


def many_masks(device: torch.device, sizes: Sizes) -> list[str]:
    """Measure the training of many masks at once against one at a time, LeNet-300-100."""
    from bench.masks import masks_per_second  # needs torchvision, which the runs that share a GPU do not

    alone = masks_per_second(device, 1, "loop", sizes.batches, 3)
    rows = ["| masks at once | masks times samples a second | ratio |", "|---|---|---|"]
    rows.append(f"| one at a time, eager | {alone:,.0f} | 1 |")
    for count in sizes.masks:
        found = masks_per_second(device, count, "stacked", sizes.batches, 3)
        rows.append(f"| {count} | {found:,.0f} | {found / alone:.1f} |")
    return rows


_SHARER = """
import sys, time, torch
from bench import gpu
torch.set_num_threads(1)
name, device, seconds = sys.argv[1], torch.device(sys.argv[2]), float(sys.argv[3])
network = gpu.Sizes().networks[0]
gpu.train(name, network, device, 4)
print("ready", flush=True)
sys.stdin.readline()
steps, started = 0, time.perf_counter()
while time.perf_counter() - started < seconds:
    gpu.train(name, network, device, 50)
    steps += 100
print(steps / (time.perf_counter() - started), flush=True)
"""


def shared(device: torch.device, sizes: Sizes) -> list[str]:
    """Measure the steps a second of several runs of HAT that share the device."""
    rows = ["| runs at once | steps a second, all together | of one |", "|---|---|---|"]
    first = 0.0
    for count in sizes.runs:
        command = [sys.executable, "-c", _SHARER, "hat", str(device), str(sizes.seconds)]
        workers = [
            subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, encoding="utf-8", env=environment()
            )
            for _ in range(count)
        ]
        try:
            for worker in workers:
                assert worker.stdout is not None
                if worker.stdout.readline() != "ready\n":
                    raise RuntimeError(f"one of {count} runs ended before it was measured")
            for worker in workers:
                assert worker.stdin is not None
                worker.stdin.write("go\n")
                worker.stdin.flush()
            rate = sum(float(worker.communicate()[0] or math.nan) for worker in workers)
        finally:
            for worker in workers:
                worker.kill()
                worker.wait()
        first = first or rate
        rows.append(f"| {count} | {rate:,.0f} | {rate / first:.2f} |")
    return rows


def tests(device: torch.device, sizes: Sizes) -> list[str]:
    """Run the tests that need a GPU."""
    command = [sys.executable, "-m", "pytest", "-q", "-k", "gpu", "-p", "no:cacheprovider", *sizes.tests]
    done = subprocess.run(
        command, cwd=HOME, capture_output=True, encoding="utf-8", env=environment(), timeout=240
    )
    last = (done.stdout.strip().splitlines() or ["pytest printed nothing"])[-1]
    return [f"{'Passed' if done.returncode == 0 else '**Failed**'}: {last.strip('= ')}"]


PARTS: dict[str, Callable[[torch.device, Sizes], list[str]]] = {
    "Tests": tests,
    "Losses on the GPU and on the CPU": parity,
    "Time and memory of a step": step_times,
    "Many masks at once": many_masks,
    "Runs that share the GPU": shared,
}


def page(device: torch.device, sizes: Sizes) -> str:
    """Return the page with all figures."""
    numerics = set_numerics("strict")
    lines = [f"# raycl on {devices.title(device)}", "", f"torch {torch.__version__}, {numerics} numerics."]
    for title, part in PARTS.items():
        started = time.perf_counter()
        try:
            found = part(device, sizes)
        except Exception as error:
            traceback.print_exc()
            found = [f"**failed: {_line_of(error)}**"]
        seconds = time.perf_counter() - started
        lines += ["", f"## {title}", "", *found, "", f"This took {seconds:.0f} s."]
    return "\n".join(lines) + "\n"


def _line_of(error: Exception) -> str:
    text = (str(error).splitlines() or [""])[0]
    return re.sub(r"[|*]", " ", f"{type(error).__name__}: {text}")[:200]


def main(argv: Sequence[str] | None = None) -> int:
    """Write the page, and return the exit code, which is 2 without a GPU."""
    parser = argparse.ArgumentParser(prog="python -m bench.gpu", description="Measure raycl on a GPU.")
    parser.add_argument("--out", type=Path, default=Path("gpu.md"), help="the page (default: gpu.md)")
    arguments = parser.parse_args(argv)
    if not devices.available():
        sys.stderr.write(f"raycl: {NO_GPU}\n")
        return 2
    text = page(torch.device(devices.kind()), Sizes())
    arguments.out.write_text(text, encoding="utf-8")
    sys.stdout.write(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())

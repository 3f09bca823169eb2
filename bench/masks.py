"""Speed of training basis masks, compared to edge-popup as it is commonly written in plain PyTorch."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn
from torch.func import functional_call
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms

from bench.line import Line
from bench.processes import environment
from raycl import devices, registry
from raycl.networks import Start
from raycl.process.allocator import keep_freed_memory
from raycl.runs.numerics import set_numerics
from raycl.specs import Numerics
from raycl.supermasks import flat, loop
from raycl.supermasks.bank import Backbone, backbone_of
from raycl.supermasks.rules import Order, Rules
from raycl.supermasks.training import train_masks
from raycl.tasks import ArraySplit, Task
from raycl.training.fit import Fit

ROUNDS = 7
DENSITY = 0.1


class Case(NamedTuple):
    """Network with data of its usual shape."""

    network: str
    settings: dict[str, Any]
    shape: tuple[int, int, int]
    batch: int
    optimiser: dict[str, Any]
    steps: tuple[int, int]  # numbers of steps timed in one round: plain PyTorch, and the loop executor
    goal: str


CASES = {
    "LeNet-300-100": Case(
        "lenet_300_100", {}, (1, 28, 28), 128, {"optimiser": "rmsprop", "lr": 0.002}, (20, 469), "15 or more"
    ),
    "ResNet-18, width 1/4": Case(
        "resnet18", {"nf": 16}, (3, 32, 32), 32, {"optimiser": "adam", "lr": 1e-3}, (4, 8), "2 or more"
    ),
}


def masks() -> list[Line]:
    """Compare training of basis masks to edge-popup in plain PyTorch; on a GPU, also train many at once."""
    lines: list[Line] = []
    try:
        for name, case in CASES.items():
            for numerics in ("strict", "fast"):
                lines += _compared(name, case, numerics)
            for what in ("plain", "loop"):
                code = f"from bench.masks import peak; peak({name!r}, {what!r})"
                done = subprocess.run(
                    [sys.executable, "-c", code], capture_output=True, check=True, env=environment()
                )
                lines.append(
                    Line(f"{name}, {what}: memory for training", json.loads(done.stderr) / 1024, "MiB")
                )
        if devices.available():
            lines += _on_gpu()
    finally:
        set_numerics("strict")
    return lines


# ------------------------------------------------------------------ edge-popup as it is commonly written


class _Popup(torch.autograd.Function):
    """Mask made by sorting all scores, with a straight-through gradient."""

    @staticmethod
    def forward(ctx: Any, scores: Tensor, density: float) -> Tensor:
        out = scores.clone()
        _, order = scores.flatten().sort()
        dropped = int((1 - density) * scores.numel())
        flat = out.flatten()
        flat[order[:dropped]] = 0
        flat[order[dropped:]] = 1
        return flat.view_as(scores)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        return gradients[0], None


class Plain(nn.Module):
    """Network whose layers are masked by their scores."""

    def __init__(self, backbone: Backbone, seed: int) -> None:
        super().__init__()
        self.backbone = backbone
        fit = flat.Masks(backbone, [Order(_task((1, 1, 1), 1), DENSITY, seed, 0)], Rules(), ())
        self.scores = nn.ParameterList(s.clone() for s in fit.shaped(fit.scores))

    def masks(self) -> list[Tensor]:
        return [_Popup.apply(scores.abs(), DENSITY) for scores in self.scores]

    def forward(self, x: Tensor) -> Tensor:
        weights = [w * m for w, m in zip(self.backbone.weights, self.masks(), strict=True)]
        named = dict(zip(self.backbone.names, weights, strict=True))
        logits: Tensor = functional_call(self.backbone.net, named, (x, 0), tie_weights=False)
        return logits


class Samples(Dataset[tuple[Tensor, int]]):
    """Dataset of single images, which pass through torchvision's transforms."""

    def __init__(self, split: ArraySplit) -> None:
        self.split = split
        self.transform = transforms.Compose(
            [transforms.ToTensor(), transforms.Normalize(split.mean, split.std)]
        )

    def __len__(self) -> int:
        return len(self.split)

    def __getitem__(self, i: int) -> tuple[Tensor, int]:
        image = Image.fromarray(np.moveaxis(self.split.images[i], 0, -1).squeeze())
        return self.transform(image), int(self.split.y[i])


def _plain_steps(plain: Plain, case: Case, split: ArraySplit, steps: int) -> float:
    """Return the seconds per step of plain PyTorch."""
    kind: Any = {"rmsprop": torch.optim.RMSprop, "adam": torch.optim.Adam}[case.optimiser["optimiser"]]
    optimiser = kind(plain.parameters(), lr=case.optimiser["lr"])
    batches: Iterator[Any] = iter(DataLoader(Samples(split), batch_size=case.batch, shuffle=True))
    started = time.perf_counter()
    for _ in range(steps):
        x, y = next(batches)
        optimiser.zero_grad()
        F.cross_entropy(plain(x), y).backward()
        optimiser.step()
    return (time.perf_counter() - started) / steps


# -------------------------------------------------------------------------------------- the measurements


def _task(shape: tuple[int, int, int], n: int) -> Task:
    rng = np.random.Generator(np.random.PCG64(0))
    noise = rng.integers(0, 256, (n, *shape), dtype=np.uint8)
    channels = shape[0]
    split = ArraySplit(noise, np.arange(n), rng.integers(0, 10, n), (0.5,) * channels, (0.25,) * channels)
    empty = ArraySplit(noise, split.rows[:0], split.y[:0])
    return Task(0, "noise", 10, split, empty, empty)


def _backbone(case: Case) -> Backbone:
    kind = registry.network(case.network)
    config: Any = kind.Config
    return backbone_of(Start(kind, config(**case.settings), case.shape, (10,), 0)(), 0, "kaiming_normal")


def _fit(case: Case) -> Fit.Config:
    fixed: dict[str, Any] = {"epochs": 1, "schedule": "constant", "stop": "never", "keep": "last"}
    return Fit.Config(batch=case.batch, **fixed, **case.optimiser)


def _compared(name: str, case: Case, numerics: Numerics) -> list[Line]:
    """Measure the rates of both implementations alternately, their ratio, and whether their results agree."""
    path = set_numerics(numerics)
    if "oneDNN" not in path:
        path += ": MKL" if torch.backends.mkl.is_available() else ": torch's own products"
    backbone, (plain_steps, steps) = _backbone(case), case.steps
    plain, fit = Plain(backbone, 0), _fit(case)
    order = Order(_task(case.shape, steps * case.batch), DENSITY, 0, 0)
    assert isinstance(order.task.train, ArraySplit)
    _plain_steps(plain, case, order.task.train, 1)  # warm up
    slow, quick = [], []
    for _ in range(ROUNDS):
        slow.append(_plain_steps(plain, case, order.task.train, plain_steps))
        ((_, mask),) = train_masks(backbone, [order], Rules(), fit, executor="loop")
        quick.append(mask.about["seconds"] / mask.about["updates"])
    ratio = statistics.median(a / b for a, b in zip(slow, quick, strict=True))
    difference, entries = _equality(case)
    return [
        Line(f"{name}, {path}", case.batch / statistics.median(quick), "samples/s"),
        Line("  as commonly written in plain PyTorch", case.batch / statistics.median(slow), "samples/s"),
        Line("  ratio", ratio, "x", case.goal),
        Line("  gradients of a step (float64) differ by", difference, "of the largest", "1e-6"),
        Line("  mask entries that differ (float64)", entries, "", "0"),
    ]


def _equality(case: Case) -> tuple[float, int]:
    """Return how much the score gradients of one step differ, and how many mask entries differ.

    The first number is the largest absolute difference relative to the largest gradient. Both are computed in
    double precision, in which only a mistake could cause differences beyond rounding errors.
    """
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        backbone, order = _backbone(case), Order(_task(case.shape, case.batch), DENSITY, 0, 0)
        plain = Plain(backbone, 0)
        x, y = order.task.train.take(slice(None)), torch.tensor(order.task.train.y)
        F.cross_entropy(plain(x), y).backward()
        wanted = torch.cat([scores.grad.reshape(-1) for scores in plain.scores if scores.grad is not None])
        with torch.no_grad():
            trained = flat.Masks(backbone, [order], Rules(), ())
            trained.write()
            loop.model_of(backbone, trained)(x, y)
            trained.through()
            trained.write_factors()
            other = torch.cat([mask.reshape(-1) for mask in plain.masks()])
        difference = float((trained.gradient - wanted).abs().max() / wanted.abs().max())
        return difference, int((trained.effective != other).sum())
    finally:
        torch.set_default_dtype(before)


def peak(name: str, what: str) -> None:
    """Write to stderr, as JSON, by how many KiB a few steps raise the peak memory of this process (Linux)."""
    torch.set_num_threads(1)
    keep_freed_memory()
    case = CASES[name]
    backbone, task = _backbone(case), _task(case.shape, 2 * case.batch)
    assert isinstance(task.train, ArraySplit)
    F.linear(torch.ones(8, 8), torch.ones(8, 8))  # load the libraries before measuring
    Path("/proc/self/clear_refs").write_text("5", encoding="utf-8")  # reset the peak to the present memory
    before = _peak_kib()
    if what == "plain":
        _plain_steps(Plain(backbone, 0), case, task.train, 2)
    else:
        list(train_masks(backbone, [Order(task, DENSITY, 0, 0)], Rules(), _fit(case), executor="loop"))
    sys.stderr.write(json.dumps(_peak_kib() - before))


def _peak_kib() -> int:
    (line,) = [
        x
        for x in Path("/proc/self/status").read_text(encoding="utf-8", errors="replace").splitlines()
        if x.startswith("VmHWM")
    ]
    return int(line.split()[1])


def _on_gpu(counts: Sequence[int] = (1, 16, 64, 250)) -> list[Line]:
    """Compare training of many masks at once to one at a time, in samples times masks per second."""
    device = torch.device(devices.kind())
    alone = masks_per_second(device, 1, "loop")
    lines = [Line("GPU, eager, one at a time", alone, "samples/s")]
    for n in counts:
        found = masks_per_second(device, n, "stacked")
        lines.append(Line(f"GPU, {n} at once", found, "samples/s"))
        lines.append(Line("  ratio", found / alone, "x", "30 or more" if n == 64 else ""))
    return lines


def masks_per_second(
    device: torch.device,
    count: int,
    executor: Literal["loop", "stacked"],
    batches: int = 100,
    rounds: int = 5,
) -> float:
    """Return the number of samples times masks per second in training masks of LeNet-300-100.

    Args:
        device: Device to train on.
        count: Number of masks, which the stacked executor trains at once.
        executor: Executor that trains them.
        batches: Number of batches of an epoch.
        rounds: Number of measurements, of which the median counts.
    """
    set_numerics("strict")
    case = CASES["LeNet-300-100"]
    with torch.device(device):
        backbone = _backbone(case)
    task, fit = _task(case.shape, batches * case.batch), _fit(case)
    orders = [Order(task, DENSITY, i, i) for i in range(count)]
    seconds = []
    for _ in range(rounds):
        devices.synchronise(device)
        started = time.perf_counter()
        list(train_masks(backbone, orders, Rules(), fit, executor=executor, chunk=count))
        devices.synchronise(device)
        seconds.append(time.perf_counter() - started)
    return count * len(task.train) / statistics.median(seconds)

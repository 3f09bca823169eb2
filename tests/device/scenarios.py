"""What tests run in the process that has the pretended accelerator: whole runs, watched."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from bench.pretend import PretendTensor, Record, record
from raycl import registry
from raycl.method import Method
from raycl.tasks import Batch, Benchmark
from raycl.training import feeding
from raycl.training.fit import Fit
from tests.helpers import pretend, toys

SHAPES: dict[str, tuple[int, int, int]] = {
    "mlp(hidden=16)": (1, 4, 4),
    "mlp(hidden=16, drop1=0.0, drop2=0.0)": (1, 4, 4),
    "lenet_300_100": (1, 4, 4),
    "resnet18(nf=1)": (3, 8, 8),
    "alexnet(width=0.05)": (3, 32, 32),
    "vgg16_bn(width=0.02)": (3, 32, 32),
    "resnet50(width=0.02)": (3, 32, 32),
}
BRIEF: dict[str, Any] = {  # fields of methods that train long by themselves
    "e_steps": 1,
    "generations": 2,
    "goal_epochs": 1,
    "initial_epochs": 1,
    "prune_every": 1,
    "repick_epochs": 1,
    "retrain_epochs": 1,
    "retrain_milestone": 0,
    "stage_epochs": 1,
}


@dataclass(frozen=True)
class Watched:
    """What a run asked of its device.

    Attributes:
        waits: waits from the first batch of a pass over data to its end, by the function that made the pass,
            the reason and the line.
        steps: number of training steps.
        state: all parameters and buffers afterwards, as plain numbers.
    """

    waits: Mapping[str, int]
    steps: int
    state: Mapping[str, list[float]]


class Watch:
    """Watches every pass over data that any training loop makes, while it is patched in."""

    def __init__(self) -> None:
        self.waits: Counter[str] = Counter()
        self.steps = 0
        self._batches = Fit.batches

    def install(self, patch: pytest.MonkeyPatch) -> None:
        watch = self

        def batches(fit: Fit, *args: Any, **kwargs: Any) -> Iterator[Batch]:
            who = sys._getframe(1).f_code.co_name
            return watch._pass(who, watch._batches(fit, *args, **kwargs))

        patch.setattr(Fit, "batches", batches)

    def _pass(self, who: str, inner: Iterator[Batch]) -> Iterator[Batch]:
        found = Record()
        first = next(inner, None)  # what has to be sent is sent before it
        if first is None:
            return
        try:
            with record() as found:
                self.steps += who == "_epoch"
                yield first
                for batch in inner:
                    self.steps += who == "_epoch"
                    yield batch
        finally:
            self.waits.update({f"{who}: {reason}": count for reason, count in found.waits.items()})


def small(name: str, network: str, classes: tuple[int, int] = (2, 3), **sizes: int) -> Benchmark:
    """Two tasks, on which a method takes a few steps."""
    return toys.benchmark_for(
        name, classes, shape=SHAPES[network], **({"train": 20, "val": 8, "test": 8} | sizes)
    )


def subject(
    name: str, network: str, on: Benchmark, device: torch.device | str, config: Mapping[str, Any]
) -> Method:
    """A fresh method on a device, with as little training of its own as it allows."""
    known = {field.name for field in fields(registry.method(name).Config)}
    brief = {key: value for key, value in BRIEF.items() if key in known}
    with torch.device(device):
        return toys.method(name, on, network, **(brief | config or _default(name)))


def _default(name: str) -> dict[str, Any]:
    """A setting that equals its default: `toys.method` takes none as a request for brief ones."""
    field = next(iter(fields(registry.method(name).Config)), None)
    return {} if field is None else {field.name: field.default}


def run(name: str, network: str, where: str = "", config: Any = None, fit: Any = None) -> Watched:
    """Learn two tasks on the pretended device, or elsewhere, and tell what that asked of it."""
    device = torch.device(where) if where else pretend.device()
    classes = (2, 2) if (config or {}).get("head") == "shared" else (2, 3)
    watch, on = Watch(), small(name, network, classes)
    feeding.forget_inputs()
    settings = {"epochs": 2, "batch": 8} | (fit or {})
    with pytest.MonkeyPatch.context() as patch:
        watch.install(patch)
        method = subject(name, network, on, device, config or {})
        loop = Fit(toys.fit_for(name, **settings).config, device=device)
        with torch.device(device):
            toys.learn(method, on, loop)
    check_devices(method, device)
    return Watched(dict(watch.waits), watch.steps, numbers(method))


def check_devices(method: nn.Module, device: torch.device) -> None:
    """Assert that all that a method keeps is on its device."""
    for name, tensor in method.state_dict().items():
        assert isinstance(tensor, Tensor) and tensor.device.type == device.type, (name, tensor.device)


def numbers(method: nn.Module) -> dict[str, list[float]]:
    """Parameters and buffers as plain numbers."""
    found = {}
    for name, tensor in method.state_dict().items():
        bare = tensor.host if isinstance(tensor, PretendTensor) else tensor
        found[name] = bare.detach().double().reshape(-1).tolist()
    return found

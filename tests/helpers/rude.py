"""Methods that leave the process otherwise than they found it, each in a way of its own."""

from __future__ import annotations

import builtins
import ctypes
import io
import os
import random
import signal
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from torch import nn
from torch.optim.optimizer import register_optimizer_step_pre_hook
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from raycl.method import Method, Task
from raycl.methods.hat import HAT
from raycl.methods.si import SI
from raycl.networks.mlp import MLP
from raycl.training.fit import Fit

HELD: list[Any] = []  # so that nothing is undone because it is collected
COUNT = 0
DRAWS = np.random.default_rng(0)


class Rude(Method):
    """Finetuning that leaves something behind after its first task."""

    def learn(self, task: Task, fit: Fit) -> None:
        fit(self, task)
        if task.index == 0:
            self.leave()

    def leave(self) -> None:
        """Nothing: the decent one."""

    def diagnostics(self, task: int) -> dict[str, Any]:
        return {"pid": os.getpid()}


class Pids(Rude):
    """A decent one."""

    @dataclass(frozen=True, kw_only=True)
    class Config(Rude.Config):
        name: str = ""  # makes another run of it

    config: Config


class OtherFunctions(TorchFunctionMode):
    """Halves every ReLU."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        found = func(*args, **(kwargs or {}))
        return found / 2 if func is torch.nn.functional.relu else found


class OtherOperators(TorchDispatchMode):
    """Sees every operator."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return func(*args, **(kwargs or {}))


def halved(function: Callable[..., Any]) -> Callable[..., Any]:
    return lambda *args, **kwargs: function(*args, **kwargs) / 2


def enter(context: Any) -> None:
    """Enter something and never leave it."""
    context.__enter__()
    HELD.append(context)


def forward_hook(module: Any, args: Any, output: Any) -> Any:
    return output * 0.5 if isinstance(module, nn.Linear) else None


def step_hook(optimiser: Any, args: Any, kwargs: Any) -> None:
    for group in optimiser.param_groups:
        group["lr"] *= 0.5


def rounds_down() -> None:
    """The processor's rounding: towards minus infinity."""
    ctypes.CDLL(None).fesetround(0x400)


def changed_default() -> None:
    Fit.__call__.__kwdefaults__["keep"] = "last"


def own_counter() -> None:
    global COUNT
    COUNT += 1


def own_list() -> None:
    Hoarder.memory.append(1)


class Hoarder(Rude):
    """Keeps a list on the class."""

    memory: ClassVar[list[int]] = []


class RudeNet(MLP):
    """Halves every ReLU of the process as soon as it is built."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if not hasattr(torch.nn.functional.relu, "halved"):
            torch.nn.functional.relu = halved(torch.nn.functional.relu)  # type: ignore[assignment]
            torch.nn.functional.relu.halved = True  # type: ignore[attr-defined]


LEAVES: dict[str, Callable[[], object]] = {
    "default dtype": lambda: torch.set_default_dtype(torch.float64),
    "gradients": lambda: torch.set_grad_enabled(False),
    "inference": lambda: enter(torch.inference_mode()),
    "autocast": lambda: enter(torch.autocast("cpu", torch.bfloat16)),
    "device": lambda: torch.set_default_device("meta"),
    "denormals": lambda: torch.set_flush_denormal(True),
    "determinism": lambda: torch.use_deterministic_algorithms(True),
    "precision": lambda: torch.set_float32_matmul_precision("medium"),
    "fp32 precision": lambda: setattr(torch.backends.mkldnn.matmul, "fp32_precision", "bf16"),
    "onednn": lambda: torch.backends.mkldnn.set_flags(False),
    "threads of torch": lambda: torch.set_num_threads(2),
    "function": lambda: setattr(torch.nn.functional, "relu", halved(torch.nn.functional.relu)),
    "torch function": lambda: setattr(torch, "relu", halved(torch.relu)),
    "tensor's method": lambda: setattr(torch.Tensor, "relu", halved(torch.relu)),
    "deleted function": lambda: delattr(torch.nn.functional, "cross_entropy"),
    "module's method": lambda: setattr(nn.Linear, "forward", lambda self, x: x @ self.weight.T),
    "initialiser": lambda: setattr(nn.init, "uniform_", nn.init.zeros_),
    "optimiser": lambda: setattr(torch.optim.SGD, "step", lambda self, closure=None: None),
    "forward hook": lambda: nn.modules.module.register_module_forward_hook(forward_hook),
    "optimiser hook": lambda: register_optimizer_step_pre_hook(step_hook),
    "saved tensors": lambda: enter(torch.autograd.graph.saved_tensors_hooks(lambda t: t * 2, lambda t: t)),
    "anomaly": lambda: torch.autograd.set_detect_anomaly(True),
    "function mode": lambda: enter(OtherFunctions()),
    "dispatch mode": lambda: enter(OtherOperators()),
    "seed function": lambda: setattr(torch, "manual_seed", lambda seed: None),
    "numpy": lambda: setattr(np, "arange", lambda n: np.zeros(n, np.int64)),
    "permutation": lambda: setattr(np.random, "Generator", random.Random),
    "builtin": lambda: setattr(builtins, "len", lambda things: 2),
    "clock": lambda: setattr(time, "perf_counter", lambda: 0.0),
    "another's attribute": lambda: setattr(SI, "version", 7),
    "another's defaults": lambda: setattr(HAT.Config, "smax", 1.0),
    "settings of training": lambda: setattr(Fit.Config, "lr", 1e-9),
    "raycl's function": lambda: setattr(Fit, "accuracy", lambda *args: 1.0),
    "raycl's arguments": changed_default,
    "errors of numpy": lambda: np.seterr(all="raise"),
    "handler": lambda: signal.signal(signal.SIGINT, signal.SIG_IGN),
    "alarm": lambda: signal.setitimer(signal.ITIMER_REAL, 3600),
    "recursion": lambda: sys.setrecursionlimit(500),
    "directory": lambda: os.chdir("/"),
    "environment": lambda: os.environ.update(PATH="/nowhere"),
    "collector": lambda: __import__("gc").disable(),
    "output": lambda: setattr(sys, "stdout", io.StringIO()),
    "own counter": own_counter,
    "own list": own_list,
    "own generator": lambda: DRAWS.random(3),
}
OVER = threading.Event()  # keeps threads waiting until a test is over
STAYS: dict[str, Callable[[], object]] = {
    "timer": lambda: threading.Timer(60, torch.set_default_dtype, [torch.float64]).start(),
    "thread": lambda: threading.Thread(target=waits, daemon=True).start(),
    "rounding": rounds_down,
    "kernel": lambda: HELD.append(kernel()),
}
RAISES: dict[str, Callable[[], object]] = {
    "sys.exit": lambda: sys.exit(0),
    "sys.exit with a text": lambda: sys.exit("enough"),
    "interrupt": lambda: throw(KeyboardInterrupt()),
    "generator's end": lambda: throw(GeneratorExit()),
    "stop": lambda: throw(StopIteration()),
    "base exception": lambda: throw(Strange("quite")),
    "memory": lambda: throw(MemoryError()),
    "recursion": lambda: deep(1),
    "speechless": lambda: throw(Speechless()),
}


class Strange(BaseException):
    """No Exception."""


class Speechless(Exception):
    """Cannot be printed."""

    def __str__(self) -> str:
        raise SystemExit(0)


def throw(error: BaseException) -> None:
    raise error


def deep(n: int) -> int:
    return deep(n + 1) + 1


def waits() -> None:
    OVER.wait(60)


def kernel() -> Any:
    """Another ReLU for every CPU."""
    library = torch.library.Library("aten", "IMPL")
    library.impl("hardsigmoid", lambda x: x * 0, "CPU")
    return library


def made(what: str, act: Callable[[], object], base: type[Rude] = Rude) -> type[Rude]:
    """A method that does one of these things."""

    def leave(self: Rude) -> None:
        act()

    name = "".join(filter(str.isalnum, what.title()))
    return type(name, (base,), {"leave": leave, "__module__": __name__})


CLASSES = {what: made(what, act) for what, act in {**LEAVES, **STAYS}.items()}
CLASSES["wide"] = made("wide", lambda: torch.set_num_threads(2))
CLASSES |= {f"raises {what}": made(f"raises {what}", act) for what, act in RAISES.items()}
globals().update({kind.__name__: kind for kind in CLASSES.values()})

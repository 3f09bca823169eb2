"""The list of measurements, and the function that runs them.

Ratios are medians over alternating measurements within one run, so that they depend little on the load of the
machine.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable

import torch

from bench.line import Line
from raycl.errors import UserError, nearest
from raycl.process.allocator import keep_freed_memory

KNOWN = {  # name of a measurement, which is also that of its function: module that defines the function
    "start": "start",
    "data": "training",
    "epoch": "training",
    "pair": "training",
    "trials": "trials",
    "masks": "masks",
    "alpha": "alpha",
    "bank": "trials",
    "methods": "methods",
    "steps": "steps",
    "launches": "launches",
    "scale": "scale",
    "growth": "growth",
    "tracked": "tracked",
    "pruning": "pruning",
}
LONG = ("growth", "pruning")  # measurements of many minutes, which are made only if they are named


def function_of(name: str) -> Callable[[], list[Line]]:
    """Return the function of a measurement.

    The module of the function is imported only now, because some measurements report the memory of this
    process.

    Raises:
        UserError: There is no measurement of that name.
    """
    if name not in KNOWN:
        raise UserError(f"unknown measurement {name!r}{nearest(name, KNOWN)} (known: {', '.join(KNOWN)})")
    function: Callable[[], list[Line]] = getattr(importlib.import_module(f"bench.{KNOWN[name]}"), name)
    return function


def run_benchmarks(name: str | None) -> int:
    """Run one measurement, or all of them except the long ones, and print the results.

    Raises:
        UserError: There is no measurement of that name.
    """
    chosen = [name] if name is not None else [each for each in KNOWN if each not in LONG]
    function_of(chosen[0])  # raise for an unknown name before anything is printed
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    keep_freed_memory()  # like every process in which raycl trains
    print(
        f"torch {torch.__version__}, {torch.backends.cpu.get_cpu_capability()}, {os.cpu_count()} CPUs, "
        "1 thread unless stated otherwise"
    )
    for measurement in chosen:
        function = function_of(measurement)
        print(f"{measurement}: {(function.__doc__ or '').splitlines()[0]}")
        for line in function():
            print(line, flush=True)
    torch.set_num_threads(threads)
    return 0

"""What can be measured, and measuring it.

Ratios are taken within one run, interleaved, as medians.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable

import torch

from bench.line import Line
from raycl.errors import UserError, nearest

KNOWN = {  # name of a benchmark, which is that of a function: the module that defines it
    "start": "start",
    "data": "training",
    "epoch": "training",
    "pair": "training",
    "trials": "trials",
    "masks": "masks",
    "alpha": "alpha",
    "bank": "trials",
    "methods": "methods",
    "scale": "scale",
}


def function_of(name: str) -> Callable[[], list[Line]]:
    """The function that measures a benchmark.

    Its module is imported when it is asked for, since this process's memory is among the figures.

    Raises:
        UserError: there is no benchmark of that name.
    """
    if name not in KNOWN:
        raise UserError(f"unknown bench {name!r}{nearest(name, KNOWN)} (known: {', '.join(KNOWN)})")
    function: Callable[[], list[Line]] = getattr(importlib.import_module(f"bench.{KNOWN[name]}"), name)
    return function


def run_benchmarks(name: str | None) -> int:
    """Run and print one benchmark, or all.

    Raises:
        UserError: there is none of that name.
    """
    chosen = [name] if name is not None else list(KNOWN)
    function_of(chosen[0])  # an unknown name is told before anything is printed
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    print(
        f"torch {torch.__version__}, {torch.backends.cpu.get_cpu_capability()}, {os.cpu_count()} CPUs, "
        "1 thread unless said"
    )
    for benchmark in chosen:
        function = function_of(benchmark)
        print(f"{benchmark}: {(function.__doc__ or '').splitlines()[0]}")
        for line in function():
            print(line, flush=True)
    torch.set_num_threads(threads)
    return 0

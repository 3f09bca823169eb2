"""A process with a pretended accelerator (`bench.pretend`), in which tests run functions of theirs.

The device changes torch for good, so a test never has it in its own process. A function that is to run with
it is defined at the top of its module, takes and returns plain values, and is called as
``pretend.run(function, argument)``.
"""

from __future__ import annotations

import multiprocessing
import os
import warnings
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from typing import Any, ParamSpec, TypeVar

import torch

P = ParamSpec("P")
R = TypeVar("R")


class PretendProcess:
    """A child process that has the device; it starts at the first call and ends with `close`."""

    def __init__(self) -> None:
        fresh = multiprocessing.get_context("spawn")
        self._pool = ProcessPoolExecutor(1, fresh, _begin, (dict(os.environ),))

    def run(self, function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """Return what the function returns there, or raise what it raises."""
        return self._pool.submit(function, *args, **kwargs).result()

    def close(self) -> None:
        self._pool.shutdown()


def _begin(environment: dict[str, str]) -> None:
    from bench import pretend

    warnings.simplefilter("error")
    os.environ.update(environment)
    torch.set_num_threads(1)
    pretend.install_for_raycl()


def device() -> Any:
    """Return the device, in the process that has it."""
    from bench import pretend

    return torch.device(pretend.DEVICE)

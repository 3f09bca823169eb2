"""Named random streams: every draw of a run comes from one, so nothing shifts when something is added.

A stream is named by (seed, purpose, task, fit, epoch). Two methods that use the same names see the same
batches; a method that measures a Fisher in between moves no later draw of its own.
"""

from __future__ import annotations

import functools
import hashlib
import random
from typing import Literal, TypeAlias, get_args

import numpy as np
import torch

Purpose: TypeAlias = Literal["init", "split", "order", "dropout", "augment", "memory", "method"]


def seed_of(seed: int, purpose: Purpose, task: int = -1, fit: str = "main", epoch: int = -1) -> int:
    """A 63-bit integer that depends on nothing but the stream's name (SHA-256, the same everywhere)."""
    assert purpose in get_args(Purpose), purpose
    name = f"raycl/{seed}/{purpose}/{task}/{fit}/{epoch}".encode()
    return int.from_bytes(hashlib.sha256(name).digest()[:8], "big") >> 1


@functools.cache
def _has_accelerator() -> bool:
    return torch.accelerator.is_available()


def numpy_generator(
    seed: int, purpose: Purpose, task: int = -1, fit: str = "main", epoch: int = -1
) -> np.random.Generator:
    """The stream as a NumPy generator: orders, splits, subsets."""
    return np.random.Generator(np.random.PCG64(seed_of(seed, purpose, task, fit, epoch)))


def reseed(seed: int, purpose: Purpose, task: int = -1, fit: str = "main", epoch: int = -1) -> None:
    """Let torch's own generators (all devices) draw from the stream from here on: dropout, initial scores.

    Python's and NumPy's too, which no method of raycl's draws from: in a user's method they would go on from
    where the run before this one left them, or from anywhere in a new process.
    """
    number = seed_of(seed, purpose, task, fit, epoch)
    if _has_accelerator():
        torch.manual_seed(number)
    else:  # asking for generators that are not there takes a hundred times as long as seeding this one
        torch.default_generator.manual_seed(number)
    random.seed(number)
    np.random.seed(number % 2**32)  # noqa: NPY002 - it is the one that is meant

"""Named random streams, from which all random numbers of a run are drawn.

A stream is named by (seed, purpose, task, fit, epoch). Since streams are independent of each other,
additional draws from one do not change the numbers of any other: two methods that use the same names see the
same batches, and a method that estimates a Fisher matrix between two tasks does not change its later batches.
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
    """Return a 63-bit seed that depends only on the stream's name, by SHA-256, on every machine alike."""
    assert purpose in get_args(Purpose), purpose
    name = f"raycl/{seed}/{purpose}/{task}/{fit}/{epoch}".encode()
    return int.from_bytes(hashlib.sha256(name).digest()[:8], "big") >> 1


@functools.cache
def _has_accelerator() -> bool:
    return torch.accelerator.is_available()


def numpy_generator(
    seed: int, purpose: Purpose, task: int = -1, fit: str = "main", epoch: int = -1
) -> np.random.Generator:
    """Return the stream as a NumPy generator, for orders, splits and subsets."""
    return np.random.Generator(np.random.PCG64(seed_of(seed, purpose, task, fit, epoch)))


def reseed(seed: int, purpose: Purpose, task: int = -1, fit: str = "main", epoch: int = -1) -> None:
    """Seed PyTorch's global generators on all devices from the stream, for dropout and initial scores.

    The global generators of Python and NumPy are seeded as well. The methods of raycl do not use them, but in
    a user's method they would otherwise continue from where the previous run of the process left them.
    """
    number = seed_of(seed, purpose, task, fit, epoch)
    if _has_accelerator():
        torch.manual_seed(number)
    else:  # asking for generators that are not there takes a hundred times as long as seeding this one
        torch.default_generator.manual_seed(number)
    random.seed(number)
    np.random.seed(number % 2**32)  # noqa: NPY002 - the global generator is meant

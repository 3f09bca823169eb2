"""Ownership of the weights of a pruned network by tasks: shares by layer, and bytes (PackNet, CPG).

Owners are tensors of the shape of a weight. An entry is the number of a task, counted from 1, or 0 for a free
weight.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

from torch import Tensor

from raycl.probes.gates import diagnostics_of


def owner_diagnostics(owners: Sequence[Tensor], layers: Sequence[str], task: int) -> dict[str, Any]:
    """Return shares of weights after `task`, overall and by layer, as plain JSON.

    Later tasks do not change the result. `free_share` and `owned_share` are the shares of a layer's weights
    that are free after the task and owned by it. `survivor_share` is the share that the task owns of the
    weights that were free before it; it is left out if there were none.
    """
    counts = {
        "all": [owner.numel() for owner in owners],
        "free": [int(((owner == 0) | (owner > task + 1)).sum()) for owner in owners],
        "owned": [int((owner == task + 1).sum()) for owner in owners],
    }
    room = [a + b for a, b in zip(counts["free"], counts["owned"], strict=True)]
    shares = {
        "free_share": shares_of(counts["free"], counts["all"]),
        "owned_share": shares_of(counts["owned"], counts["all"]),
        "survivor_share": shares_of(counts["owned"], room),
    }
    return diagnostics_of(shares, layers)


def shares_of(counts: Sequence[int], of: Sequence[int]) -> list[float]:
    """Return counts / of for each layer and finally for all layers; NaN where `of` is 0."""
    pairs = zip([*counts, sum(counts)], [*of, sum(of)], strict=True)
    return [count / whole if whole else math.nan for count, whole in pairs]


def bytes_of(tensors: Iterable[Tensor]) -> int:
    """Return the number of bytes of all tensors but batch counters, which nothing reads."""
    return sum(t.numel() * t.element_size() for t in tensors if t.is_floating_point())

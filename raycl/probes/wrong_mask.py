"""The control experiment "X", `x_acc`: the mask of one task alone on another task (ImpressLearn section 4.2).

The paper finds accuracies at chance level. Neighbouring angles of RotatedMNIST cannot be at chance level, so
the gap between the two tasks is recorded for each pair.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from torch import Tensor

from raycl import streams
from raycl.metrics import mean, std
from raycl.probes.backbones import accuracy, estimated_statistics, normalised_by, norms_of, rows_drawn
from raycl.supermasks.bank import Backbone, BasisMask
from raycl.tasks import Task


@dataclass(frozen=True)
class Crossing:
    """Accuracy of mask number `mask` on task number `task`.

    Attributes:
        accuracy: Accuracy with the batch statistics that were collected under the mask on its own task; None
            if the mask does not have any, although the network needs them.
        refreshed: Accuracy with statistics estimated anew on images of `task`; None without batch
            normalisation.
        gap: Distance between the two tasks, if the caller provides it.
    """

    mask: int
    task: int
    accuracy: float | None
    refreshed: float | None = None
    gap: float | None = None


@dataclass(frozen=True)
class Summary:
    """Means over the pairs whose gap is at least `gap`, with the standard deviation (ddof 1) over pairs."""

    gap: float
    pairs: int
    accuracy: float | None
    std: float | None
    highest: float | None
    refreshed: float | None


def crossings(masks: int, tasks: int, most: int | None = None, seed: int = 0) -> list[tuple[int, int]]:
    """Return (mask, task) for all mask != task, or a sample of `most` of them that is fixed by `seed`."""
    pairs = [(t, u) for t, u in itertools.product(range(masks), range(tasks)) if t != u]
    if most is None or len(pairs) <= most:
        return pairs
    chosen = streams.numpy_generator(seed, "order", fit="wrong masks").choice(len(pairs), most, replace=False)
    return [pairs[i] for i in sorted(chosen)]


def angle_gap(first: float, second: float) -> float:
    """Return the angle between two rotations in degrees, from 0 to 180."""
    turn = abs(first - second) % 360
    return min(turn, 360 - turn)


def wrong_masks(
    backbone: Backbone,
    masks: Sequence[BasisMask],
    tasks: Sequence[Task],
    pairs: Iterable[tuple[int, int]],
    *,
    gap: Callable[[int, int], float] | None = None,
    batches: int = 20,
    batch: int = 128,
    seed: int = 0,
) -> list[Crossing]:
    """Measure the accuracy of mask t alone on the test images of task u, for pairs (t, u).

    Args:
        backbone: The frozen network.
        masks: The masks.
        tasks: The tasks.
        pairs: Pairs (t, u), as `crossings` returns them.
        gap: Function from (t, u) to the distance between the two tasks.
        batches, batch: Number and size of batches of task u's training images (without labels) on which
            statistics are estimated for `Crossing.refreshed`.
        seed: Seed of these batches.
    """
    device = backbone.weights[0].device
    normalises = bool(norms_of(backbone.net))
    found = []
    for t, group in itertools.groupby(sorted(pairs), lambda pair: pair[0]):
        held = masks[t].tensors(backbone.weights)
        effective = [w * m for w, m in zip(backbone.weights, held, strict=True)]

        def logits(x: Tensor, effective: Sequence[Tensor] = effective) -> Tensor:
            return backbone(effective, x)

        for _, u in group:
            own = refreshed = None
            if masks[t].statistics or not normalises:
                with normalised_by(backbone.net, masks[t].statistics):
                    own = accuracy(logits, tasks[u].test, device)
            if normalises:
                train, rng = tasks[u].train, streams.numpy_generator(seed, "order", u, fit="batch statistics")
                drawn = (train.take(rows, device) for rows in rows_drawn(len(train), batch, batches, rng))
                with normalised_by(backbone.net, estimated_statistics(backbone.net, logits, drawn)):
                    refreshed = accuracy(logits, tasks[u].test, device)
            found.append(Crossing(t, u, own, refreshed, None if gap is None else gap(t, u)))
    return found


def summary(found: Sequence[Crossing], gaps: Sequence[float] = (0.0,)) -> list[Summary]:
    """Return a summary for each of `gaps`, over pairs with at least that gap; a missing gap counts as 0."""
    lines = []
    for least in gaps:
        mine = [pair for pair in found if (pair.gap or 0.0) >= least]
        values = [pair.accuracy for pair in mine]
        known = [value for value in values if value is not None]
        lines.append(
            Summary(
                least,
                len(mine),
                mean(values),
                std(known) if len(known) == len(values) else None,
                max(known, default=None),
                mean([pair.refreshed for pair in mine]),
            )
        )
    return lines

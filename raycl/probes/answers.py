"""Probes as a method of masks asks them: which task is a batch of, and what masks have in common.

Each function gives figures, plain JSON that travels in a run's report.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import torch
from torch import Tensor

from raycl.probes.backbones import mixture
from raycl.probes.overlap import overlaps, summary
from raycl.probes.task_inference import (
    STEPS,
    Candidates,
    Found,
    Rate,
    binary,
    gradient,
    infer_tasks,
    one_hot,
    one_shot,
    trials,
)
from raycl.probes.wrong_mask import angle_gap, crossings, wrong_masks
from raycl.probes.wrong_mask import summary as crossed_summary
from raycl.supermasks.alpha import Basis, combine
from raycl.supermasks.bank import Backbone, BasisMask
from raycl.tasks import Task

Inference: TypeAlias = Literal["given", "one_shot", "binary", "gradient"]
PAIRS = 45  # of masks, or of a mask and a task, at most
REPEATS = 20  # batches of each task that are asked for their task
GAPS = (0.0, 10.0, 30.0, 60.0)  # degrees between turned tasks, at which accuracies are read


def candidates_of(
    backbone: Backbone, masks: Sequence[BasisMask] | Basis, coefficients: Tensor | None = None
) -> Candidates:
    """Tasks with coefficients [U, K, layers] on K masks; by default each mask is a task's own."""
    basis = masks if isinstance(masks, Basis) else Basis(backbone.weights, masks)
    if coefficients is None:
        coefficients = one_hot(len(basis), len(backbone.weights))
    return Candidates(Mixed(backbone, basis), coefficients.to(backbone.weights[0]))


@dataclass(frozen=True)
class Mixed:
    """`backbones.mixture` of a basis, as a value that a checkpoint can hold."""

    backbone: Backbone
    basis: Basis

    def __call__(self, coefficients: Tensor, x: Tensor) -> Tensor:
        return mixture(self.backbone, functools.partial(combine, self.basis))(coefficients, x)


def found(how: Inference, candidates: Candidates, batches: Sequence[Tensor], steps: int) -> Found:
    """The task of these batches."""
    if how == "gradient":
        return gradient(candidates, batches, steps=steps)
    return (one_shot if how == "one_shot" else binary)(candidates, batches[0])


def inference_diagnostics(
    how: Inference, candidates: Candidates, tasks: Sequence[Task], device: torch.device | str = "cpu"
) -> dict[str, Any]:
    """How often the task of a batch of test images is found, for batches of 128 and of one image.

    `task_inference_acc` and `task_inference_acc_1` hold the rates by number of steps, and the interval of
    each (95 %, Wilson). One-shot and binary inference use a single batch.
    """
    steps = STEPS if how == "gradient" else (1,)
    diagnostics: dict[str, Any] = {}

    def ask(batches: Sequence[Tensor]) -> Found:
        answer = found(how, candidates, batches, max(steps))
        return answer if how == "gradient" else Found((answer.task,))  # rounds on one batch are no steps

    for name, size in (("task_inference_acc", 128), ("task_inference_acc_1", 1)):
        asked = trials(
            [task.test for task in tasks], size=size, batches=max(steps), repeats=REPEATS, device=device
        )
        rates = infer_tasks(ask, asked, steps)
        diagnostics |= {name: _by_steps(rates), f"{name}_interval": {str(r.steps): r.interval for r in rates}}
    return diagnostics


def _by_steps(rates: Sequence[Rate]) -> dict[str, float]:
    return {str(rate.steps): rate.rate for rate in rates}


def overlap_diagnostics(masks: Sequence[BasisMask], sizes: Sequence[int]) -> dict[str, Any]:
    """Measured over expected overlap of pairs of masks, of all layers but the last, and by layer with z.

    The last layer is left out of `overlap_ratio` because it is small and every mask wants the same of it.
    """
    chosen = masks[: math.isqrt(2 * PAIRS) + 1]
    if len(chosen) < 2:
        return {}
    bits = {str(number): mask.bits for number, mask in enumerate(chosen)}
    lines = summary(overlaps({"mask": bits}, sizes, most=PAIRS))
    ratios = [line.ratio for line in lines]
    known = [ratio for ratio in ratios[:-1] or ratios if ratio is not None]
    return {
        "overlap_ratio": sum(known) / len(known) if known else None,
        "overlap_ratio_by_layer": ratios,
        "overlap_z_by_layer": [line.z for line in lines],
    }


def wrong_mask_diagnostics(
    backbone: Backbone, masks: Sequence[BasisMask], tasks: Sequence[Task]
) -> dict[str, Any]:
    """`x_acc`, the mean accuracy of a task under the mask of another, and every pair it is the mean of.

    Where tasks are turned images also over the pairs that lie at least so many degrees apart; where there is
    batch normalisation, `x_acc_refreshed` with statistics estimated anew on the task.
    """
    pairs = crossings(len(masks), len(tasks), PAIRS)
    if not pairs:
        return {}
    angles = [angle_of(task) for task in tasks]
    turned = all(angle is not None for angle in angles)

    def gap(first: int, second: int) -> float:
        return angle_gap(angles[first] or 0.0, angles[second] or 0.0)

    crossed = wrong_masks(backbone, masks, tasks, pairs, gap=gap if turned else None)
    lines = crossed_summary(crossed, GAPS if turned else GAPS[:1])
    diagnostics: dict[str, Any] = {"x_acc": lines[0].accuracy, "x_acc_refreshed": lines[0].refreshed}
    diagnostics |= {f"x_acc_gap_{line.gap:g}": line.accuracy for line in lines[1:]}
    diagnostics["x_pairs"] = [[pair.mask, pair.task, pair.accuracy, pair.gap] for pair in crossed]
    return diagnostics


def angle_of(task: Task) -> float | None:
    """Degrees by which a task's images are turned; None where they are not a turned set of images."""
    turns = [t.degrees for t in getattr(task.test, "transforms", ()) if hasattr(t, "degrees")]
    return float(turns[0]) if turns else None

"""Diagnostics that methods with masks report: task inference, overlap of masks, and masks on other tasks.

Each of the functions that end in ``_diagnostics`` returns plain JSON, which becomes part of a run's report.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import torch
from torch import Tensor, nn

from raycl import streams
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
from raycl.tasks import Split, Task

Inference: TypeAlias = Literal["given", "one_shot", "binary", "gradient"]
PAIRS = 45  # the largest number of pairs of masks, or of a mask and a task, that are measured
REPEATS = 20  # the number of trials of task inference for each task
GN_BATCH = 128  # the number of images of one task by which it is inferred, in SupSup's code
GAPS = (0.0, 10.0, 30.0, 60.0)  # smallest angles in degrees between rotated tasks, for means over pairs


def candidates_of(
    backbone: Backbone, masks: Sequence[BasisMask] | Basis, coefficients: Tensor | None = None
) -> Candidates:
    """Return the candidate tasks, given by coefficients [U, K, layers] of K masks.

    By default, each mask is that of one task.
    """
    basis = masks if isinstance(masks, Basis) else Basis(backbone.weights, masks)
    if coefficients is None:
        coefficients = one_hot(len(basis), len(backbone.weights))
    return Candidates(Mixed(backbone, basis), coefficients.to(backbone.weights[0]))


@dataclass(frozen=True)
class Mixed:
    """The function `backbones.mixture` of a basis, as an object that a checkpoint can contain."""

    backbone: Backbone
    basis: Basis

    def __call__(self, coefficients: Tensor, x: Tensor) -> Tensor:
        return mixture(self.backbone, functools.partial(combine, self.basis))(coefficients, x)


def found(how: Inference, candidates: Candidates, batches: Sequence[Tensor], steps: int) -> Found:
    """Infer the task of these batches by the method `how`."""
    if how == "gradient":
        return gradient(candidates, batches, steps=steps)
    return (one_shot if how == "one_shot" else binary)(candidates, batches[0])


def inference_diagnostics(
    how: Inference, candidates: Candidates, tasks: Sequence[Task], device: torch.device | str = "cpu"
) -> dict[str, Any]:
    """Measure how often the task of a batch of test images is found, for batches of 128 images and of one.

    `task_inference_acc` and `task_inference_acc_1` are the rates by number of steps. The same names with
    ``_interval`` appended are their 95 % Wilson intervals. One-shot and binary inference use a single batch.
    """
    steps = STEPS if how == "gradient" else (1,)
    diagnostics: dict[str, Any] = {}

    def ask(batches: Sequence[Tensor]) -> Found:
        answer = found(how, candidates, batches, max(steps))
        # The rounds of binary inference all use the same batch, so they do not count as steps.
        return answer if how == "gradient" else Found((answer.task,))

    for name, size in (("task_inference_acc", GN_BATCH), ("task_inference_acc_1", 1)):
        asked = trials(
            [task.test for task in tasks], size=size, batches=max(steps), repeats=REPEATS, device=device
        )
        rates = infer_tasks(ask, asked, steps)
        diagnostics |= {name: _by_steps(rates), f"{name}_interval": {str(r.steps): r.interval for r in rates}}
    return diagnostics


def accuracy_over_orders(
    model: nn.Module,
    splits: Sequence[Split],
    orders: int,
    size: int,
    seed: int,
    device: torch.device | str = "cpu",
) -> dict[str, Any]:
    """Measure the accuracy of a model that infers the task of each batch, over several orders of the images.

    Args:
        model: The model; its second argument, the true task, is not known to the inference.
        splits: The test images of each task.
        orders: The number of orders.
        size: The number of images by which a task is inferred.
        seed: The seed of the orders.
        device: The device of the model.

    Returns:
        `gn_acc`, the mean over tasks and orders, and `gn_acc_by_order`, the mean over tasks for each order.
    """
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        found = [
            [_in_order(model, split, task, order, size, seed, device) for task, split in enumerate(splits)]
            for order in range(orders)
        ]
    finally:
        for module, mode in modes:
            module.training = mode
    means = [sum(accuracies) / len(accuracies) for accuracies in found]
    return {"gn_acc": sum(means) / len(means), "gn_acc_by_order": means}


def _in_order(
    model: nn.Module,
    split: Split,
    task: int,
    order: int,
    size: int,
    seed: int,
    device: torch.device | str,
) -> float:
    """Return the accuracy on all images of a task, which are batched in a random order."""
    rng = streams.numpy_generator(seed, "order", task, fit="orders of inference", epoch=order)
    rows = rng.permutation(len(split))
    right = 0
    for start in range(0, len(split), size):
        chosen = rows[start : start + size]
        with torch.no_grad():
            logits = model(split.take(chosen, device), task)
        right += int((logits.argmax(1) == torch.tensor(split.y[chosen]).to(device)).sum())
    return right / len(split)


def _by_steps(rates: Sequence[Rate]) -> dict[str, float]:
    return {str(rate.steps): rate.rate for rate in rates}


def overlap_diagnostics(masks: Sequence[BasisMask], sizes: Sequence[int]) -> dict[str, Any]:
    """Measure the ratio of measured to expected overlap of pairs of masks, and the z-score of each layer.

    `overlap_ratio` is the mean over all layers but the last, which is left out because it is small and all
    masks tend to keep the same weights in it. The result is empty for fewer than two masks.
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
    """Measure `x_acc`, the mean accuracy on a task under the mask of another one, over pairs of both.

    `x_pairs` lists the pairs. If the tasks are rotations of images, there are also means over the pairs that
    differ by at least each of `GAPS` degrees. With batch normalisation, `x_acc_refreshed` is the mean with
    statistics estimated anew on the task. The result is empty if there are no pairs.
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
    """Return the angle in degrees by which the images of a task are rotated, or None if they are not."""
    turns = [t.degrees for t in getattr(task.test, "transforms", ()) if hasattr(t, "degrees")]
    return float(turns[0]) if turns else None

"""Basis-GN: whether the alpha stage finds a basis task's own mask (ImpressLearn, Figs. 2 to 5, right panels).

These are pure functions of coefficients [K, d] that were trained from the initial value 1/K on a task whose
own mask is part of the basis.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from raycl.errors import UserError
from raycl.metrics import mean

CAUTION = (
    "Basis-GN trains its coefficients on the class labels of a whole training set; entropy-based inference "
    "(SupSup GN) sees one unlabelled batch. They are not equally informed."
)
MOST_TASKS = 25  # the paper shows the first min(K, 25) basis tasks


def hits(alpha: Tensor, true: int) -> list[bool]:
    """Return, for each layer, whether its largest coefficient (with its sign) is that of mask `true`."""
    _check(alpha, true)
    return [int(layer.argmax()) == true for layer in alpha.T]


def alpha_mass(alpha: Tensor, true: int) -> list[float]:
    """Return |alpha_true| / sum_t |alpha_t| for each layer, as a fraction; NaN if all coefficients are 0."""
    _check(alpha, true)
    size = alpha.detach().double().abs()
    return [float(share) for share in size[true] / size.sum(0)]


@dataclass(frozen=True)
class Comparison:
    """Results for one basis task that was learnt without its identity being given.

    Attributes:
        basis: Kind of the basis. In a homogeneous basis only task 0 has masks, so other tasks have no hits.
        masks: Number of masks K.
        task: Number of the task.
        accuracy: Test accuracy with the coefficients that were trained from 1/K, as a fraction.
        given: Accuracy of the task's own mask (SupSup GG); None if it was not measured.
        inferred: Accuracy of the mask that is found by entropy (SupSup GN); None if it was not measured.
        hits: Result of the function `hits`; empty if the basis does not have a mask of the task.
        mass: Result of `alpha_mass`; empty if the basis does not have a mask of the task.
    """

    basis: str
    masks: int
    task: int
    accuracy: float
    given: float | None = None
    inferred: float | None = None
    hits: tuple[bool, ...] = ()
    mass: tuple[float, ...] = ()

    @property
    def recovered(self) -> bool | None:
        """Whether every layer hits the true mask, or the accuracy is at least that of the true mask."""
        if self.given is not None and self.accuracy >= self.given:
            return True
        if self.hits:
            return all(self.hits)
        return None if self.given is None else False


@dataclass(frozen=True)
class Summary:
    """Means over tasks for one kind and size of basis; None if the number is missing for any task.

    Attributes:
        basis: Kind of the basis.
        masks: Number of masks K.
        tasks: Number of tasks.
        accuracy, given, inferred: Means of the fields of `Comparison`.
        recovered: Share of tasks whose mask was recovered.
        hit_rate, alpha_mass: Means per layer, over the tasks that have a mask in the basis.
        caution: Note to be printed wherever `accuracy` is compared with `inferred`.
    """

    basis: str
    masks: int
    tasks: int
    accuracy: float | None
    given: float | None
    inferred: float | None
    recovered: float | None
    hit_rate: tuple[float, ...]
    alpha_mass: tuple[float, ...]
    caution: str = CAUTION


def compared(
    basis: str,
    alpha: Tensor,
    task: int,
    accuracy: float,
    *,
    true: int | None,
    given: float | None = None,
    inferred: float | None = None,
) -> Comparison:
    """Return the results for one task.

    `true` is the position of the task's mask in the basis, or None if the basis does not have one.
    """
    found = () if true is None else tuple(hits(alpha, true))
    mass = () if true is None else tuple(alpha_mass(alpha, true))
    return Comparison(basis, len(alpha), task, accuracy, given, inferred, found, mass)


def summary(records: Sequence[Comparison]) -> list[Summary]:
    """Return one summary for each kind and size of basis."""
    lines = []
    for basis, masks in dict.fromkeys((r.basis, r.masks) for r in records):
        mine = [r for r in records if (r.basis, r.masks) == (basis, masks)]
        known = [r for r in mine if r.hits]
        verdicts = [r.recovered for r in mine]
        lines.append(
            Summary(
                basis,
                masks,
                len(mine),
                mean([r.accuracy for r in mine]),
                mean([r.given for r in mine]),
                mean([r.inferred for r in mine]),
                mean([None if v is None else float(v) for v in verdicts]),
                _by_layer([[float(hit) for hit in r.hits] for r in known]),
                _by_layer([r.mass for r in known]),
            )
        )
    return lines


def _by_layer(rows: Sequence[Sequence[float]]) -> tuple[float, ...]:
    return tuple(math.fsum(layer) / len(layer) for layer in zip(*rows, strict=True))


def _check(alpha: Tensor, true: int) -> None:
    if alpha.dim() != 2 or not 0 <= true < len(alpha):
        raise UserError(
            f"mask {true} is not among coefficients of shape {tuple(alpha.shape)}: "
            f"give [masks, layers] and the position of the task's mask"
        )

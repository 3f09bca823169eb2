"""Basis-GN: does the alpha stage find a basis task's own mask (ImpressLearn, right panels of Figs. 2 to 5)?

Pure measures of coefficients [K, d] that were trained from 1/K on a task whose own mask stands in the basis.
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
MOST_TASKS = 25  # the paper presents the first min(K, 25) basis tasks


def hits(alpha: Tensor, true: int) -> list[bool]:
    """Of each layer, whether its largest coefficient (with its sign) is that of mask `true`."""
    _check(alpha, true)
    return [int(layer.argmax()) == true for layer in alpha.T]


def alpha_mass(alpha: Tensor, true: int) -> list[float]:
    """|alpha_true| / sum_t |alpha_t| of each layer (fraction); NaN where all are 0."""
    _check(alpha, true)
    size = alpha.detach().double().abs()
    return [float(share) for share in size[true] / size.sum(0)]


@dataclass(frozen=True)
class Comparison:
    """One basis task, presented without saying which it is.

    Attributes:
        basis: kind of the basis. In a homogeneous one only task 0 has masks, so others hit nothing.
        masks: K.
        accuracy: of the coefficients trained from 1/K, on test (fraction).
        given: of the task's own mask: SupSup GG; None where not measured.
        inferred: of the mask that entropy finds: SupSup GN; None where not measured.
        hits, mass: per layer; empty where the basis has no mask of the task.
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
        """Whether every layer points to the true mask, or the accuracy is at least that mask's own."""
        if self.given is not None and self.accuracy >= self.given:
            return True
        if self.hits:
            return all(self.hits)
        return None if self.given is None else False


@dataclass(frozen=True)
class Summary:
    """Means over tasks; None where a task lacks the number.

    Attributes:
        hit_rate, alpha_mass: per layer.
        recovered: share of tasks.
        caution: to be printed wherever `accuracy` stands beside `inferred`.
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
    """The record of one task; `true` is the place of its mask in the basis, None where it has none."""
    found = () if true is None else tuple(hits(alpha, true))
    mass = () if true is None else tuple(alpha_mass(alpha, true))
    return Comparison(basis, len(alpha), task, accuracy, given, inferred, found, mass)


def summary(records: Sequence[Comparison]) -> list[Summary]:
    """One line per kind and size of basis."""
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
            f"give [masks, layers] and the place of the task's mask"
        )

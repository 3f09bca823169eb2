"""Basis-GN: measures of coefficients whose answers are worked out on paper."""

from __future__ import annotations

import math

import pytest
import torch

from raycl.errors import UserError
from raycl.probes.basis_gn import CAUTION, Comparison, alpha_mass, compared, hits, summary

# three masks, two layers; in the second a negative coefficient is the largest in size
ALPHA = torch.tensor([[0.2, 0.3], [0.6, -0.5], [-0.2, 0.2]])


def test_hits_and_mass_by_hand() -> None:
    assert hits(ALPHA, 1) == [True, False]  # the sign counts: -0.5 is not the largest
    assert hits(ALPHA, 0) == [False, True]
    assert alpha_mass(ALPHA, 1) == pytest.approx([0.6, 0.5])
    assert [sum(layer) for layer in zip(*(alpha_mass(ALPHA, t) for t in range(3)), strict=True)] == (
        pytest.approx([1, 1])
    )


def test_extremes() -> None:
    one_hot = torch.eye(4)[:, [2, 2, 2]]
    assert hits(one_hot, 2) == [True] * 3 and alpha_mass(one_hot, 2) == [1.0] * 3
    assert alpha_mass(torch.full((5, 2), 1 / 5), 3) == pytest.approx([0.2, 0.2])
    assert math.isnan(alpha_mass(torch.zeros(2, 1), 0)[0])
    with pytest.raises(UserError, match=r"mask 3 is not among coefficients of shape \(3, 2\)"):
        hits(ALPHA, 3)
    with pytest.raises(UserError, match="mask -1"):
        alpha_mass(ALPHA, -1)


def test_a_task_is_recovered_by_every_layer_or_by_its_accuracy() -> None:
    assert Comparison("het", 2, 0, 0.8, given=0.9, hits=(True, True)).recovered is True
    assert Comparison("het", 2, 0, 0.8, given=0.9, hits=(True, False)).recovered is False
    assert Comparison("het", 2, 0, 0.9, given=0.9, hits=(False, False)).recovered is True
    assert Comparison("hom", 2, 1, 0.8, given=0.9).recovered is False
    assert Comparison("hom", 2, 1, 0.8).recovered is None


def test_summary_by_hand() -> None:
    records = [
        compared("heterogeneous", ALPHA, 1, 0.8, true=1, given=0.9, inferred=0.5),
        compared("heterogeneous", ALPHA, 0, 0.6, true=0, given=0.5, inferred=0.3),
        compared("homogeneous", ALPHA, 4, 0.7, true=None, given=0.6),
    ]
    assert records[2].hits == () and records[0].masks == 3
    het, hom = summary(records)
    assert (het.tasks, hom.tasks) == (2, 1)
    assert (het.accuracy, het.given, het.inferred) == pytest.approx((0.7, 0.7, 0.4))
    assert het.recovered == 0.5  # the first misses a layer and stays below its own mask
    assert het.hit_rate == (0.5, 0.5)
    assert het.alpha_mass == pytest.approx(((0.6 + 0.2) / 2, (0.5 + 0.3) / 2))
    assert hom.hit_rate == hom.alpha_mass == () and hom.inferred is None and hom.recovered == 1.0
    assert het.caution == CAUTION and "labels" in CAUTION

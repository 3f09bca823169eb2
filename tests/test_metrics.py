"""Metrics on small matrices, worked out on paper; and the identities between them."""

from __future__ import annotations

import numpy as np
import pytest

from raycl import metrics

A = np.array([[0.8, 0.1, 0.2], [0.6, 0.9, 0.3], [0.5, 0.7, 0.85]])
ONE = [0.7, 0.95, 0.8]


def test_worked_example() -> None:
    assert metrics.acc(A) == pytest.approx(2.05 / 3)
    assert metrics.acc_just(A) == pytest.approx(2.55 / 3)
    assert metrics.fwt_vs_one(A, ONE) == pytest.approx(0.1 / 3)
    assert metrics.fwt_vs_one_task(A, ONE).tolist() == pytest.approx([0.1, -0.05, 0.05])
    assert metrics.bwt(A) == pytest.approx(-0.25)
    assert metrics.bwt_T(A) == pytest.approx(-0.5 / 3)
    assert metrics.forgetting(A) == pytest.approx((0.3 + 0.2) / 2)
    ncl = np.array([[0.8, 0, 0], [0.1, 0.9, 0], [0.2, 0.3, 0.9]])
    assert metrics.gain_over_ncl(A, ncl) == pytest.approx((0.3 + 0.4 - 0.05) / 3)


def test_forgetting_looks_at_learnt_rows_or_at_all() -> None:
    a = np.array([[0.5, 0.95, 0.0], [0.9, 0.6, 0.0], [0.7, 0.8, 0.4]])
    assert metrics.forgetting(a) == pytest.approx((0.2 - 0.2) / 2)  # 0.9 - 0.7, 0.6 - 0.8
    assert metrics.forgetting(a, rows="all") == pytest.approx((0.2 + 0.15) / 2)  # 0.95 before it was learnt
    assert metrics.forgetting_matrix(a).tolist() == [[0, 0, 0], pytest.approx([-0.4, 0, 0]),
                                                     pytest.approx([0.2, -0.2, 0])]  # fmt: skip
    with pytest.raises(ValueError, match="neither 'learnt' nor 'all'"):
        metrics.forgetting_matrix(a, rows="some")


def test_forgetting_ratio() -> None:
    last = [[0.0, 0.0], [0.6, 0.8]]
    assert metrics.forgetting_ratio(last, [0.5, 0.5], [0.9, 0.8]) == pytest.approx((0.1 / 0.4 + 1) / 2 - 1)
    assert metrics.forgetting_ratio(last, [0.5, 0.8], [0.9, 0.8]) is None  # joint no better than random


def test_identities() -> None:
    rng = np.random.default_rng(0)
    for tasks in (2, 3, 10):
        a, one, ncl = rng.random((tasks, tasks)), rng.random(tasks), rng.random((tasks, tasks))
        values = {name: getattr(metrics, name)(a) for name in ("acc", "acc_just", "bwt", "bwt_T")}
        forward = metrics.fwt_vs_one(a, one)
        assert forward is not None
        assert values["acc"] == pytest.approx(one.mean() + forward + values["bwt_T"], abs=1e-12)
        assert values["bwt_T"] == pytest.approx(values["bwt"] * (tasks - 1) / tasks, abs=1e-12)
        assert values["acc_just"] == pytest.approx(values["acc"] - values["bwt_T"], abs=1e-12)
        assert metrics.gain_over_ncl(a, ncl) == pytest.approx(values["acc"] - metrics.acc(ncl), abs=1e-12)


def test_what_was_not_measured_is_absent() -> None:
    a = metrics.matrix([{0: 0.8}, {1: 0.9}, {0: 0.5, 1: 0.7, 2: 0.85}])  # diagonal and last row
    assert np.isnan(a).sum() == 4
    assert metrics.acc(a) == pytest.approx(2.05 / 3) and metrics.bwt(a) == pytest.approx(-0.25)
    assert metrics.forgetting(a) is None
    joint = metrics.matrix([{}, {}, {0: 0.5, 1: 0.7, 2: 0.85}])
    assert metrics.acc(joint) is not None
    for name in ("acc_just", "bwt", "bwt_T", "forgetting"):
        assert getattr(metrics, name)(joint) is None
    assert metrics.fwt_vs_one(joint, ONE) is None and metrics.gain_over_ncl(A, joint) is not None


def test_one_task() -> None:
    assert metrics.acc([[0.7]]) == metrics.acc_just([[0.7]]) == 0.7
    assert metrics.bwt([[0.7]]) is None and metrics.forgetting([[0.7]]) is None
    assert metrics.bwt_T([[0.7]]) == 0.0


def test_spread() -> None:
    assert metrics.ps([0.5, 0.7, 0.9]) == pytest.approx(np.sqrt(0.08 / 3))  # over trials, ddof 0
    assert metrics.std([0.5, 0.7, 0.9]) == pytest.approx(0.2)  # over seeds, ddof 1
    assert metrics.ps([0.5]) is None and metrics.std([0.5]) is None
    assert metrics.mean([0.5, 0.7]) == pytest.approx(0.6)
    assert metrics.mean([]) is None and metrics.mean([0.5, None]) is None


def test_shapes_that_are_none() -> None:
    with pytest.raises(ValueError, match=r"an accuracy matrix is \[tasks, tasks\], not \(1, 2\)"):
        metrics.acc([[0.5, 0.6]])
    with pytest.raises(ValueError, match="3 tasks against \\(2,\\) reference accuracies"):
        metrics.fwt_vs_one(A, [0.5, 0.5])

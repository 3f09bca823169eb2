"""Metrics replay what the authors' code prints for random matrices (golden 14)."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from raycl import metrics
from tests.helpers import facts

CASE = facts.golden("14_metrics")
VALUES = facts.drawn(CASE)


@pytest.mark.parametrize("n", range(3))
def test_a_random_matrix(n: int) -> None:
    run: dict[str, Any] = CASE["runs"][n]
    a, one = VALUES[f"A{n}"].numpy(), VALUES[f"one{n}"].numpy()
    for learnt, wanted in run["SPG MyMetrics equal"].items():
        size = int(learnt) + 1
        part = a[:size, :size]
        assert metrics.acc(part) == pytest.approx(wanted["acc__Overall"], abs=1e-9)
        assert (metrics.bwt(part) or 0.0) == pytest.approx(wanted["btf__Overall"], abs=1e-9)
    matrix = run["FACIL forgetting matrix (max over earlier rows - current, u<t)"]
    assert np.allclose(metrics.forgetting_matrix(a, rows="all"), matrix, atol=1e-9)
    (line,) = (value for name, value in run.items() if name.startswith("formula: ACC"))
    found = [metrics.acc(a), metrics.fwt_vs_one(a, one), metrics.bwt(a), metrics.bwt_T(a)]
    assert found == pytest.approx(line[:4], abs=1e-9)
    assert found[0] == pytest.approx(one.mean() + found[1] + found[3], abs=1e-12)

"""ACL replays the difference loss of the authors' own code (golden 12)."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from raycl.methods.acl import difference_loss
from tests.helpers import facts

CASE = facts.golden("12_acl_diffloss")
VALUES = facts.drawn(CASE)


@pytest.mark.parametrize("run", CASE["runs"], ids=lambda run: f"run {run['i']}")
def test_value_and_gradients(run: dict[str, Any]) -> None:
    name = "4d" if str(run["i"]).startswith("4d") else run["i"]
    shared, private = (VALUES[f"{kind}{name}"].clone().requires_grad_() for kind in ("shared", "private"))
    value = difference_loss(shared, private)
    value.backward()
    facts.assert_close(value, run["value"], "value")
    if name != "4d":
        facts.assert_close(shared.grad, run["grad_shared"], "shared")  # type: ignore[arg-type]
        facts.assert_close(private.grad, run["grad_private"], "private")  # type: ignore[arg-type]


def test_a_vector_of_length_zero() -> None:
    (wanted,) = (value for key, value in CASE.items() if key.startswith("zero_row_check"))
    assert wanted == 0.249999  # 1/4, less what is added to the norms
    shared = torch.tensor([[0.0, 0, 0], [1, 0, 0]], dtype=torch.float64)
    private = torch.tensor([[1.0, 0, 0], [0, 1, 0]], dtype=torch.float64)
    facts.assert_close(difference_loss(shared, private), wanted)

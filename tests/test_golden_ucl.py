"""UCL replays the regulariser of the authors' own code (golden 07a)."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.helpers import facts, toys

CASE = facts.golden("07a_ucl_mlp")
LAYERS = ("fc1", "fc2", "fc3")


def ucl(**settings: Any) -> Any:
    """UCL on the case's network, 784-2-5-4."""
    on = toys.given([(torch.zeros(1, 1, 28, 28), torch.zeros(1, dtype=torch.long))], (2,))
    return toys.method("ucl", on, toys.chain(2, 5, 4), **settings)


def places(subject: Any) -> dict[str, Tensor]:
    """Means, biases and rho under the names of the golden file."""
    found: dict[str, Tensor] = {}
    for name, block, rho in zip(LAYERS, subject.net.body, subject.rho, strict=True):
        found |= {f"{name}.weight_mu": block.layer.weight, f"{name}.bias": block.layer.bias}
        found[f"{name}.weight_rho"] = rho
    return found


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("run", CASE["runs"], ids=lambda run: f"saved {run['saved']}, beta {run['beta']}")
def test_value_and_gradients_of_the_regulariser(run: dict[str, Any]) -> None:
    values = facts.drawn(CASE)
    subject = ucl(beta=float(run["beta"]), ratio=run["ratio"], alpha=float(run["alpha"]))
    subject.learnt = run["saved"]
    anchors = dict(zip([n for n in places(subject) if "rho" not in n], subject.anchor, strict=True))
    anchors |= dict(zip([n for n in places(subject) if "rho" in n], subject.anchor_rho, strict=True))
    with torch.no_grad():
        for name, p in places(subject).items():
            old, delta = (values[f"{kind}:{name}"].view(p.shape) for kind in ("old", "delta"))
            anchors[name].copy_(old)
            p.copy_(old + delta)
    value = subject.regulariser() / run["batch"]
    value.backward()
    facts.assert_close(value, run["value"], "value")
    for name, wanted in run["grad"].items():
        grad = places(subject)[name].grad
        assert grad is not None
        facts.assert_close(grad.view(np.shape(wanted)), wanted, name)
    total, size, first = run["grad fc1.weight_mu sum, abs sum, first 20"]
    grad = subject.net.body[0].layer.weight.grad
    facts.assert_close(torch.stack([grad.sum(), grad.abs().sum()]), [total, size], "fc1.weight_mu")
    facts.assert_close(grad.view(-1)[:20], first, "fc1.weight_mu")
    assert len(run["grad"]) == 8 and subject.net.heads[0].weight.grad is None


@pytest.mark.usefixtures("float64")
def test_rho_at_the_start() -> None:
    subject = ucl(ratio=0.5)
    for rho, name in zip(subject.rho, LAYERS, strict=True):
        wanted = CASE["official_init_rho(ratio 0.5)"][f"{name}.weight_rho"]
        facts.assert_close(rho, [wanted] * len(rho), name)

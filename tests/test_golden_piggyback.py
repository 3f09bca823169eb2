"""Piggyback's masks and training replay the numbers of the authors' own code (golden 06a)."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from tests.helpers import facts, toys
from tests.helpers.single import begun, train

CASE = facts.golden("06a_piggyback")
TRAINED = "adam(lr=5e-3, 8 steps, loss=sum(y*c)/10+mean(y^2))"


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("run", CASE["runs"], ids=lambda run: f"{run['kind']}-{run['fn']}")
def test_masks_gradients_and_eight_steps(run: dict[str, Any]) -> None:
    values = facts.drawn(CASE)
    kind, options = run["kind"], {"binarizer": "binary", "ternarizer": "ternary"}
    method, on = begun("piggyback", values, kind, values[f"{kind}:R"], values=options[run["fn"]])
    c = values[f"{kind}:c"]
    y = method(on.tasks[1].test.take(slice(None)), 1)
    facts.assert_close(y if kind == "linear" else y[0, 0], run["output"], "output")
    facts.assert_close(method.masks(1)[0], run["mask"], "mask")
    loss = (y * c).sum()
    loss.backward()
    facts.assert_close(loss, run["loss"], "loss")
    facts.assert_close(method.real[0].grad, run["grad_R"], "gradient of R")
    assert method.net.body.weight.grad is None and method.net.body.bias.grad is None
    losses = train(method, on, c, 5e-3, 8)
    facts.assert_close(losses, run[TRAINED]["loss"], "losses")
    facts.assert_close(method.real[0], run[TRAINED]["R_final"], "R after training")
    method.finish()
    assert int((method.masks(1)[0] == 1).sum()) == run[TRAINED]["kept"]


@pytest.mark.usefixtures("float64")
def test_the_threshold_itself_is_dropped() -> None:
    (examples,) = CASE["binarizer_examples"]
    on = toys.benchmark()
    for values, key in (("binary", "bin"), ("ternary", "ter")):
        method: Any = toys.method("piggyback", on, values=values)
        assert method.kept(torch.tensor(examples["inp"])).tolist() == examples[key]

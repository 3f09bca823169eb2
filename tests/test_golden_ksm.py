"""KSM's masks and training replay the numbers of the authors' own code (golden 05)."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from tests.helpers import facts
from tests.helpers.single import begun, train

CASE = facts.golden("05_ksm_mask")
GRANULARITY = {"kernel_wise": "kernel", "element": "element"}  # others are the code's alone
RUNS = [run for run in CASE["runs"] if run["mask"] in GRANULARITY]
(TRAINED,) = (value for key, value in CASE.items() if key.startswith("adam_training"))
EQUAL = "all dropped equal"  # 0/0 in the authors' code

pytestmark = pytest.mark.usefixtures("float64")


@pytest.mark.parametrize("run", RUNS, ids=lambda run: f"{run['R']}-{'soft' if run['soft'] else 'hard'}")
def test_masks_outputs_and_gradients(run: dict[str, Any]) -> None:
    values = facts.drawn(CASE)
    of = run["mask"]
    method, on = begun("ksm", values, of, values[run["R"]], granularity=GRANULARITY[of], soft=run["soft"])
    x, c = on.tasks[1].test.take(slice(None)), values[f"{of}:c"]
    y = method(x, 1)
    (mask,), shape = method.masks(1), torch.tensor(run["mask_train"]).shape
    facts.assert_close(mask.reshape(shape), run["mask_train"], "mask")
    assert int((mask == 1).sum()) == run["n_kept"]
    loss = (y * c).sum()
    loss.backward()
    facts.assert_close(loss, run["loss"], "loss")
    facts.assert_close(method.real[0].grad.reshape(shape), run["grad_R"], "gradient of R")
    if "output_first_channel" in run:
        facts.assert_close(y[0, 0], run["output_first_channel"], "output")
    method.finish()  # what stays of it
    method.train(False)
    with torch.no_grad():
        facts.assert_close((method(x, 1) * c).sum(), run["eval_loss"], "loss of the finished task")


@pytest.mark.parametrize("run", CASE["special_kernel_wise"], ids=lambda run: run["name"])
def test_zeros_thresholds_and_layers_without_a_range(run: dict[str, Any]) -> None:
    values = facts.drawn(CASE)
    real = torch.tensor(run["R"])
    method, on = begun("ksm", values, "special", real.reshape(*real.shape, 1, 1))
    y = method(on.tasks[1].test.take(slice(None)), 1)
    y.sum().backward()
    facts.assert_close(method.real[0].grad.reshape(real.shape), run["grad_R"], "gradient of R")
    mask = method.masks(1)[0].reshape(real.shape)
    if run["name"] == EQUAL:
        assert not mask.any() and not y.any()
    else:
        facts.assert_close(mask, run["mask"], "mask")
        facts.assert_close(y.sum(), run["output_sum"], "sum of outputs")


@pytest.mark.parametrize("run", TRAINED, ids=lambda run: f"lr {run['lr']}")
def test_twelve_steps_of_adam(run: dict[str, Any]) -> None:
    values = facts.drawn(CASE)
    method, on = begun("ksm", values, "train", None)
    losses = train(method, on, values["train:c"], run["lr"], run["steps"])
    facts.assert_close(losses, run["loss"], "losses")
    facts.assert_close(method.real[0].squeeze(), run["R_final"], "R after training")
    facts.assert_close(method.masks(1)[0].squeeze(), run["mask_final"], "mask after training")


def test_constants_are_those_of_the_code() -> None:
    method, _ = begun("ksm", facts.drawn(CASE), "train", None)
    constants = CASE["constants"]
    assert method.config.slope == constants["Beta"] / constants["temperature"]
    assert method.real[0].unique().tolist() == [constants["init"]]
    below, at = torch.tensor(constants["threshold"]).nextafter(torch.tensor(0.0)), constants["threshold"]
    assert method.kept(torch.stack([below, torch.tensor(at)])).tolist() == [0.0, 1.0]

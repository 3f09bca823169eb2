"""PackNet's bookkeeping replays the numbers of the authors' own code (golden 06b)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from raycl.methods._owned import lowest
from raycl.networks import Heads
from raycl.tasks import Batch
from tests.helpers import facts, toys

CASE = facts.golden("06b_packnet")
TIES = CASE["tie_examples(one 6-weight layer, owner 1 everywhere)"]
RANKS = CASE["cutoff_rank round(rate*n) in Python 3 (half to even)"]
LAYERS = ("conv", "fc1", "fc2")

pytestmark = pytest.mark.usefixtures("float64")


class Recorded(Heads):
    """The layers of the recorded network; its last one is no head here, since it is pruned as well."""

    def __init__(
        self, input_shape: tuple[int, int, int], classes: Sequence[int], config: Heads.Config,
        width: float = 1.0,
    ) -> None:  # fmt: skip
        super().__init__(input_shape, classes, config, width)
        self.body = nn.Sequential(
            nn.Conv2d(2, 3, 3), nn.BatchNorm2d(3), nn.ReLU(), nn.Flatten(), nn.Linear(12, 7), nn.ReLU(),
            nn.Linear(7, 5),
        )  # fmt: skip
        self.make_heads(5, classes)


def recorded() -> Any:
    """PackNet on that network with its initial weights, nothing learnt."""
    on = toys.benchmark(shape=(2, 4, 4))
    packnet: Any = toys.method("packnet", on, f"{__name__}:Recorded")
    values = facts.drawn(CASE)
    with torch.no_grad():
        for name, weight in zip(LAYERS, packnet.weights, strict=True):
            weight.copy_(values[f"init:{name}.weight"])
        packnet.weights[2][0, 0], packnet.weights[2][0, 1] = 0.25, -0.25
    return packnet


def assert_state(packnet: Any, owners: Any, weights: Any) -> None:
    for name, owner, weight in zip(LAYERS, packnet.owners, packnet.weights, strict=True):
        assert owner.tolist() == owners[name], name
        facts.assert_close(weight, weights[name], name)


def step(packnet: Any, task: dict[str, Any], values: dict[str, Tensor]) -> None:
    """One step with the recorded gradients, masked by the method, over what it trains."""
    for name, weight in zip(LAYERS, packnet.weights, strict=True):
        weight.grad = values[f"grad[task{task['task']}]:{name}"].clone()
    packnet.edit_gradients(Batch(torch.zeros(0), torch.zeros(0), task["task"] - 1))
    for name, weight in zip(LAYERS, packnet.weights, strict=True):
        facts.assert_close(weight.grad, task["grad_after_masking"][name], name)
    torch.optim.SGD(packnet.trainable(task["task"] - 1), lr=0.5).step()


def test_three_tasks() -> None:
    packnet, values = recorded(), facts.drawn(CASE)
    for task in CASE["tasks"]:
        index = task["task"] - 1
        packnet.begin(index)
        if index:
            begun = task["owner_after_make_finetuning_mask"]
            assert [o.tolist() for o in packnet.owners] == [begun[name] for name in LAYERS]
            step(packnet, task, values)
            for name, weight in zip(LAYERS, packnet.weights, strict=True):
                facts.assert_close(weight, task["weights_after_step(w-=0.5*masked grad)"][name], name)
        packnet.cut(index, task["prune_rate"], over_free=False)
        assert_state(packnet, task["owner_after_prune"], task["weights_after_prune"])
        packnet.finish()
    for applied in CASE["apply_mask"]:
        found = packnet.effective(applied["dataset_idx"] - 1)
        for name, weight in zip(LAYERS, found.values(), strict=True):
            facts.assert_close(weight, applied["weights"][name], name)


def test_biases_and_batch_normalisation_have_no_gradients_after_the_first_task() -> None:
    packnet = recorded()
    assert all(task["bias_grad_after_masking_all_zero"] for task in CASE["tasks"][1:])
    packnet.begin(0)
    packnet.finish()
    packnet.begin(1)
    x = torch.randn(6, 2, 4, 4)
    packnet.train(True)
    packnet(x, 1).sum().backward()
    grads = {name: p.grad is not None for name, p in packnet.net.body.named_parameters()}
    weights = {name: name in {"0.weight", "4.weight", "6.weight"} for name in grads}
    assert grads == weights


@pytest.mark.parametrize("example", TIES, ids=lambda example: str(example["rate"]))
def test_ties_go_together(example: dict[str, Any]) -> None:
    weights = torch.tensor(example["weights"], dtype=torch.float64)
    gone = lowest(weights, torch.ones_like(weights, dtype=torch.bool), example["rate"])
    assert (1 - gone.int()).tolist() == example["owner_after"]


def test_rank_of_the_last_weight_to_go() -> None:
    for count, share, rank in RANKS:
        weights = torch.arange(1.0, count + 1)
        assert int(lowest(weights, weights > 0, share).sum()) == rank

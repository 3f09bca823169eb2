"""SupSup's masks and training replay the numbers of the authors' own code (golden 04a, 04b)."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from raycl.masks import count_kept, pack, top_k, unpack
from raycl.methods.supsup import SupSup
from raycl.supermasks.edge_popup import mask_of
from tests.helpers import facts, toys

MASKS = facts.golden("04a_supsup_masks")
TRAINING = facts.golden("04b_supsup_training")
RUNS = {name: run for name, run in TRAINING.items() if name.startswith("optimiser ")}
SETTINGS: dict[str, dict[str, Any]] = {
    "optimiser adam lr=0.01": {"optimiser": "adam", "lr": 0.01},
    "optimiser sgd lr=0.5 momentum=0.9 wd=1e-4": {"lr": 0.5, "momentum": 0.9, "weight_decay": 1e-4},
    "optimiser rmsprop lr=0.01": {"optimiser": "rmsprop", "lr": 0.01},
}


def test_counts_and_masks() -> None:
    values = facts.drawn(MASKS)
    for n, k, ones in MASKS["counts(n,k,ones)"]:
        assert count_kept(n, k) == ones
        assert int(top_k(torch.randperm(n).double(), k).sum()) == ones
    for row in MASKS["mask of |scores|"]:
        scores = values[row["scores"]]
        mask = mask_of(scores, row["k"])
        assert "".join("01"[int(v)] for v in mask.reshape(-1)) == row["mask"]
        assert int(mask.sum()) == row["ones"] == count_kept(row["n"], row["k"])
        assert torch.equal(unpack(pack(mask), scores.shape), mask.float())


def test_ties_keep_the_right_number() -> None:
    for row in MASKS["ties"]:
        assert int(mask_of(torch.tensor(row["scores"]), row["k"]).sum()) == sum(row["mask"])


def test_threshold() -> None:
    scores = facts.drawn(MASKS)["scores_fast"].clone()
    scores[0, 0] = 0.0
    name = "GetSubnetFast(scores>=0); element [0,0] overwritten by exactly 0.0"
    assert mask_of(scores, 0.5, rule="threshold").tolist() == MASKS[name]


def test_signed() -> None:
    scores = facts.drawn(MASKS)["scores_fast"].clone()
    scores[0, 0] = 0.0
    wanted = MASKS["get_subnet_signed(k=0.4) on scores_fast(with 0.0)"]
    assert mask_of(scores, 0.4, values="signed").tolist() == wanted


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("name", RUNS)
def test_six_steps_of_training(name: str) -> None:
    values = facts.drawn(TRAINING)
    x = torch.cat([values[f"x[step{i}]"] for i in range(6)]).reshape(-1, 1, 1, 6)
    y = torch.cat([values[f"y[step{i}]"] for i in range(6)])
    on = toys.given([(x, y)], (4,), val="none")
    supsup = toys.method("supsup", on, toys.chain(8, 7), density=TRAINING["density_k"])
    assert isinstance(supsup, SupSup)
    layers = supsup.layers(0)
    with torch.no_grad():
        for i, weight in enumerate(layers.values()):
            weight.copy_(values[f"w{i}"].sign() * TRAINING[f"signed_constant_std{i}"])
        supsup.start(0)
        for i, scores in enumerate(supsup.scores):
            scores.copy_(values[f"scores[task0][layer{i}]"])
    run, losses, seen = RUNS[name], [], []
    step, edit, forward = supsup.step, supsup.edit_gradients, supsup.forward

    def editing(batch: Any) -> None:
        edit(batch)
        seen.append(([m.clone() for m in supsup.masks(0)], [s.grad.clone() for s in supsup.scores]))

    def stepping(batch: Any, update: Any) -> torch.Tensor:
        losses.append(step(batch, update))
        wanted = run[len(losses) - 1]
        for i, value in enumerate(wanted.get("scores_after", [])):
            facts.assert_close(supsup.scores[i], value, f"scores of layer {i} after step {len(losses)}")
        return losses[-1]

    facts.assert_close(forward(x[:10], 0), run[0]["logits"], "logits at the start")
    supsup.step, supsup.edit_gradients = stepping, editing  # type: ignore[method-assign]
    loop = toys.fit(epochs=1, batch=10, shuffle=False, **SETTINGS[name])
    loop(supsup, on.tasks[0])
    facts.assert_close(torch.stack(losses), [r["loss"] for r in run], "losses")
    for i, (mask, gradient) in enumerate(zip(*seen[0], strict=True)):
        facts.assert_close(mask, run[0]["masks"][i], f"mask of layer {i}")
        facts.assert_close(gradient, run[0]["score_grad"][i], f"score gradient of layer {i}")
    supsup.finish()
    for i, mask in enumerate(supsup.masks(0)):
        facts.assert_close(mask, TRAINING[f"final masks {name.removeprefix('optimiser ')}"][i], f"final {i}")

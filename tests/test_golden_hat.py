"""HAT replays the numbers of the authors' own code (golden 02b): soft masks, so every factor shows."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from raycl.masks import weight_factors
from tests.helpers import facts, toys


@pytest.fixture
def case() -> dict[str, Any]:
    return facts.golden("02b_hat_mlp_smax10")


@pytest.fixture
def replay(float64: None, case: dict[str, Any]) -> tuple[Any, Any, dict[str, Tensor]]:
    values = facts.drawn(case)
    classes = [count for _, count in case["taskcla"]]
    on = toys.given([(values[f"x[task{t}]"], values[f"y[task{t}]"]) for t in range(3)], classes)
    settings = {"lamb": case["lamb"], "smax": float(case["smax"]), "anneal": "samples"}
    hat: Any = toys.method("hat", on, toys.chain(6, 6), **settings)
    facts.put(facts.named(hat.net), values)
    with torch.no_grad():
        for t in range(3):
            for at, e in enumerate(hat.embeddings[t].parameters(), start=1):
                e.copy_(values[f"init:efc{at}.weight"][t])
    return hat, on, values


def test_logits_and_masks_at_every_slope(case: dict[str, Any], replay: tuple[Any, Any, Any]) -> None:
    hat, on, _ = replay
    for wanted in case["forward_at_init"]:
        hat.slope, t = float(wanted["s"]), wanted["task"]
        for gate, mask in zip(hat.gates(t), wanted["masks"], strict=True):
            facts.assert_close(gate, mask[0], f"gates at s = {hat.slope}")
        x = on.tasks[t].train.take(slice(0, 4))
        facts.assert_close(hat(x, t), wanted["head_output"], f"logits at s = {hat.slope}")


class Record:
    """What a HAT does while it trains, taken down as it happens."""

    def __init__(self, hat: Any, weights: dict[str, Tensor]) -> None:
        self.edits: list[tuple[float, dict[str, Tensor], dict[str, Tensor]]] = []  # slope, raw, final
        self.validated: list[Tensor] = []
        self.regularisers: list[Tensor] = []
        self.losses: list[Tensor] = []
        edit = hat.edit_gradients

        def editing(batch: Any) -> None:
            raw = facts.gradients(weights)
            edit(batch)
            final = facts.gradients(weights)
            for at, e in enumerate(hat.embeddings[batch.task].parameters(), start=1):
                final[f"efc{at}"] = e.grad.clone()
            self.edits.append((hat.slope, raw, final))

        hat.edit_gradients = editing
        hat.validation_loss = self.noting(hat.validation_loss, self.validated)
        hat.regulariser = self.noting(hat.regulariser, self.regularisers)
        hat.step = self.noting(hat.step, self.losses)

    @staticmethod
    def noting(call: Any, into: list[Tensor]) -> Any:
        def noted(*arguments: Any) -> Tensor:
            into.append(call(*arguments))
            return into[-1]

        return noted

    def clear(self) -> None:
        for collected in (self.edits, self.validated, self.regularisers, self.losses):
            collected.clear()


def check_steps(record: Record, wanted: dict[str, Any], t: int, before: list[Tensor], smax: float) -> None:
    """Gradients of the first steps, before and after editing; losses of the first batches."""
    for i, found in enumerate(wanted["steps"]):
        slope, raw, final = record.edits[i]
        for key in raw.keys() & found["raw"].keys():
            facts.assert_close(raw[key], found["raw"][key], f"task {t} step {i} raw {key}")
            facts.assert_close(final[key], found["final"][key], f"task {t} step {i} final {key}")
        for at in (1, 2):
            key = f"efc{at}.weight"
            facts.assert_close(final[f"efc{at}"], found["final"][key][t], f"task {t} step {i} {key}")
            if i == 0:  # equation 4 as it is written turns the raw gradient into the final one
                e = before[at - 1]
                factor = smax / slope * (torch.cosh((slope * e).clip(-50, 50)) + 1) / (torch.cosh(e) + 1)
                turned = torch.tensor(found["raw"][key][t]) * factor
                facts.assert_close(final[f"efc{at}"], turned.tolist())
    for i, (loss, regulariser) in enumerate(wanted["first_batches(total_loss,regulariser)"]):
        facts.assert_close(record.losses[i], loss, f"task {t} loss {i}")
        facts.assert_close(record.regularisers[i], regulariser, f"task {t} regulariser {i}")
    for epoch, value in enumerate(wanted["valid_total_loss_per_epoch"]):
        facts.assert_close(record.validated[epoch], value, f"task {t} validation loss {epoch}")


def check_masks(hat: Any, wanted: dict[str, Any], t: int) -> None:
    """Used units, gates and gradient factors after the task."""
    for at in range(2):
        facts.assert_close(hat.used[at], wanted["mask_pre(cumulative at smax)"][at][0], "used units")
        facts.assert_close(hat.gates(t)[at], wanted["mask_task_at_smax"][at][0], "gates")
    for at, pair in enumerate(weight_factors(hat.body.blocks, list(hat.used)), start=1):
        for kind, factor in zip(("weight", "bias"), pair, strict=True):
            view = wanted["mask_back(1-min view)"][f"fc{at}.{kind}"]
            facts.assert_close(factor, view, f"factor {at} {kind}")


def check_weights(hat: Any, weights: dict[str, Tensor], wanted: dict[str, Any], t: int) -> None:
    """All weights and embeddings with the best epoch restored."""
    for key, value in wanted["weights_after(best valid restored)"].items():
        if key.startswith("e"):
            rows = [list(hat.embeddings[u].parameters())[int(key[3]) - 1] for u in range(3)]
            facts.assert_close(torch.stack(rows), value, f"task {t} {key}")
        else:
            facts.assert_close(weights[key], value, f"task {t} {key}")


def test_three_tasks_as_the_official_code_trains_them(
    case: dict[str, Any], replay: tuple[Any, Any, Any]
) -> None:
    hat, on, _ = replay
    weights = facts.named(hat.net)
    record = Record(hat, weights)
    loop = toys.fit(lr=case["lr"], epochs=case["epochs"], batch=8, shuffle=False, clip=float(case["clip"]))
    for t, wanted in enumerate(case["tasks"]):
        before = [e.detach().clone() for e in hat.embeddings[t].parameters()]
        record.clear()
        toys.learn_one(hat, on, loop, t)
        assert [slope for slope, _, _ in record.edits[:3]] == pytest.approx(case["s_sequence_per_epoch"])
        check_steps(record, wanted, t, before, case["smax"])
        check_masks(hat, wanted, t)
        check_weights(hat, weights, wanted, t)
        hat.train(False)
        for u, value in enumerate(wanted["outputs_on_old_tasks(first 3 samples, s=smax)"]):
            x = on.tasks[u].train.take(slice(0, 3))
            facts.assert_close(hat(x, u), value, f"logits of task {u} after task {t}")

"""SPG replays the numbers of the authors' own code (golden 01a)."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from tests.helpers import facts, toys


def check_importance(found: Any, wanted: dict[str, Any], what: str) -> None:
    places = [("fc1", "weight"), ("fc1", "bias"), ("fc2", "weight"), ("fc2", "bias")]
    for tensor, (layer, kind) in zip(found, places, strict=True):
        facts.assert_close(tensor, wanted[layer][kind], f"importance {what} {layer}.{kind}")


@pytest.mark.usefixtures("float64")
def test_three_tasks_as_the_official_code_trains_them() -> None:
    case = facts.golden("01a_spg_mlp")
    values = facts.drawn(case)
    tasks = []
    for t in range(3):
        parts = [(values[f"x[task{t}][batch{b}]"], values[f"y[task{t}][batch{b}]"]) for b in range(3)]
        x = torch.cat([x for x, _ in parts]).reshape(-1, 1, 1, 6)
        tasks.append((x, torch.cat([y for _, y in parts])))
    on = toys.given(tasks, case["n_classes"])
    spg: Any = toys.method("spg", on, toys.chain(5, 4))
    weights = facts.named(spg.net, head="head.{}")
    facts.put(weights, values)
    loop = toys.fit(lr=case["lr"], epochs=2, batch=8, shuffle=False, keep="last")
    steps: list[tuple[Tensor, dict[str, Tensor], dict[str, Tensor]]] = []
    measured: list[list[Tensor]] = []
    validated: list[Tensor] = []
    edit, step, measure, validate = spg.edit_gradients, spg.step, spg.importance, spg.validation_loss

    def editing(batch: Any) -> None:
        raw = facts.gradients(weights)
        edit(batch)
        steps.append((torch.tensor(0.0), raw, facts.gradients(weights)))

    def stepping(batch: Any, update: Any) -> Tensor:
        loss = step(batch, update)
        steps[-1] = (loss, *steps[-1][1:])
        return loss

    def measuring(task: Any, fit: Any) -> list[Tensor]:
        measured.append(measure(task, fit))
        return measured[-1]

    def validating(batch: Any) -> Tensor:
        validated.append(validate(batch))
        return validated[-1]

    spg.edit_gradients, spg.step, spg.importance = editing, stepping, measuring
    spg.validation_loss = validating
    for t, wanted in enumerate(case["tasks"]):
        steps.clear()
        validated.clear()
        accumulated = list(spg.accumulated)
        mean = float(torch.cat([a.reshape(-1) for a in accumulated]).mean()) if t else 0.0
        facts.assert_close(1 - mean, wanted["head_factor"], "head factor")
        toys.learn_one(spg, on, loop, t)
        for which, name in ((1, "first_step_grad_raw"), (2, "first_step_grad_modified")):
            for key, value in wanted[name].items():
                facts.assert_close(steps[0][which][key], value, f"task {t} {name} {key}")
        for epoch, (train, val, _) in enumerate(wanted["epoch_loss_train_sum,loss_val_sum,acc_val"]):
            losses = [loss for loss, _, _ in steps[3 * epoch : 3 * epoch + 3]]
            facts.assert_close(torch.stack(losses).sum(), train, "training loss")
            facts.assert_close(3 * validated[epoch], val, "validation loss, three equal batches")
        accuracy = wanted["epoch_loss_train_sum,loss_val_sum,acc_val"][-1][2]
        assert loop.accuracy(spg, t, on.tasks[t].val) == pytest.approx(accuracy, abs=1e-6)
        for key, value in wanted["weights_after_training"].items():
            facts.assert_close(weights[key], value, f"task {t} {key} after training")
        check_importance(measured[t], wanted["importance_task(max over heads 0..t)"], f"task {t}")
        check_importance(spg.accumulated, wanted["importance_accumulated(max over tasks)"], f"up to {t}")

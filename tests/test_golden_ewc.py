"""EWC replays the numbers of HAT's code (golden 03)."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from raycl.methods.ewc import fisher
from raycl.tasks import Batch
from tests.helpers import facts, toys


def by_name(ewc: Any, tensors: Any) -> dict[str, Tensor]:
    """Tensors that stand in the order of the network's parameters, under the names of the golden file."""
    names = {id(p): name for name, p in facts.named(ewc.net).items()}
    return {names[id(p)]: t for p, t in zip(ewc.net.parameters(), tensors, strict=True)}


@pytest.mark.usefixtures("float64")
def test_three_tasks_as_the_official_code_trains_them() -> None:
    case = facts.golden("03_ewc")
    values = facts.drawn(case)
    on = toys.given([(values[f"x[task{t}]"], values[f"y[task{t}]"]) for t in range(3)], (3, 2, 4), val="none")
    settings = {"lamb": float(case["lamb"]), "fisher_batch": case["fisher_batch"]}
    ewc: Any = toys.method("ewc", on, toys.chain(5, 4, 4), **settings)
    weights = facts.named(ewc.net)
    facts.put(weights, values)
    loop = toys.fit(
        lr=case["lr"],
        epochs=case["epochs"],
        batch=case["train_batch"],
        shuffle=False,
        clip=float(case["clip"]),
    )
    for t, wanted in enumerate(case["tasks"]):
        toys.learn_one(ewc, on, loop, t)
        for key, value in wanted["weights_after_training"].items():
            facts.assert_close(weights[key], value, f"task {t} {key}")
        for name, size in (("fisher_new(fisher_batch=20)", 20), ("fisher_new(fisher_batch=1)", 1)):
            found = by_name(ewc, fisher(ewc.net, on.tasks[t], loop, size))
            for key, value in wanted.get(name, {}).items():
                facts.assert_close(found[key], value, f"task {t} {name} {key}")
        merged = by_name(ewc, ewc.fisher)
        for key, value in wanted["fisher_merged"].items():
            facts.assert_close(merged[key], value, f"task {t} merged {key}")
        if "perturbed(task t+1 first 16 samples)" in wanted:
            check_perturbed(ewc, on, t, values, wanted["perturbed(task t+1 first 16 samples)"])


def check_perturbed(ewc: Any, on: Any, t: int, values: dict[str, Tensor], wanted: dict[str, Any]) -> None:
    """Away from the anchor: the penalty's gradient, and that of the whole."""
    weights = facts.named(ewc.net)
    saved = facts.state(ewc.net)
    with torch.no_grad():
        for key, p in weights.items():
            p.add_(values.get(f"perturbation[after task{t}]:{key}", 0.0))
    batch = Batch(on.tasks[t + 1].train.take(slice(0, 16)), torch.tensor(on.tasks[t + 1].train.y[:16]), t + 1)
    loss = ewc.loss(batch)
    facts.assert_close(loss, wanted["ce"], "cross-entropy")
    terms = zip(ewc.fisher, ewc.net.parameters(), ewc.anchor, strict=True)
    penalty = ewc.config.lamb * sum((f * (p - a) ** 2).sum() / 2 for f, p, a in terms)
    facts.assert_close(penalty, wanted["penalty_times_lamb"], "penalty")
    facts.assert_close(loss + penalty, wanted["total"], "total")
    for name, start in (("grad_penalty", torch.zeros(())), ("grad_total", loss)):
        for p in weights.values():
            p.grad = torch.zeros_like(p)
        if name == "grad_total":
            start.backward()
        ewc.edit_gradients(batch)
        for key, value in wanted[name].items():
            facts.assert_close(weights[key].grad, value, f"after task {t} {name} {key}")
    ewc.net.load_state_dict(saved)
    for p in weights.values():
        p.grad = None

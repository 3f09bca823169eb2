"""TAG replays the steps of the authors' own code (golden 08, float32)."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from raycl.methods.tag import History, Rule
from tests.helpers import facts

CASE = facts.golden("08_tag")
TENSORS = ("fc1.weight", "fc1.bias", "conv.weight", "conv.bias")
RUNS = [run for run in CASE["runs"] if run["optim"] == "rms"]


def close(found: Tensor, wanted: Any, what: str, rtol: float = 1e-6) -> None:
    torch.testing.assert_close(
        found.detach(), torch.tensor(wanted).float(), rtol=rtol, atol=1e-6, msg=lambda text: f"{what}: {text}"
    )


def drawn() -> dict[str, Tensor]:
    """The case's draws, checked to the eight digits that this file has."""
    rs = np.random.RandomState(CASE["seed"])
    found = {}
    for entry in CASE["draws"]:
        value = float(entry["note"].removeprefix("x = ").split("*")[0]) * rs.randn(*entry["shape"])
        assert np.isclose(value.sum(), entry["sum"], rtol=1e-7), entry["name"]
        assert np.allclose(value.reshape(-1)[:2], entry["first"], rtol=1e-7), entry["name"]
        found[entry["name"]] = torch.from_numpy(value)
    return found


def gradient(values: dict[str, Tensor], task: int, step: int, name: str) -> Tensor:
    """Of the body with the first task's mixed in: 1, and -1.5, times, as the case says."""
    own = values[f"grad[task{task}][step{step}]:{name}"]
    if task and not name.startswith("head"):
        own = own + (1.0 if task == 1 else -1.5) * values[f"grad[task0][step{step}]:{name}"]
    return own.float()


@pytest.mark.parametrize("run", RUNS, ids=lambda run: f"lr {run['lr']}, b {run['b']}")
def test_fifteen_steps_of_three_tasks(run: dict[str, Any]) -> None:
    values = drawn()
    heads = [f"head{t}.{kind}" for t in range(3) for kind in ("weight", "bias")]
    weights = {name: nn.Parameter(values[f"init:{name}"].float()) for name in (*TENSORS, *heads)}
    histories = {name: History(p) for name, p in weights.items()}
    b = run["b"]
    for t, wanted in enumerate(run["tasks"]):
        names = [*TENSORS, f"head{t}.weight", f"head{t}.bias"]
        rule = Rule([weights[n] for n in names], [histories[n] for n in names], b)
        for step in range(5):
            for name in names:
                weights[name].grad = gradient(values, t, step, name)
            rule.step(run["lr"])
            for name, m in zip(TENSORS, rule.m, strict=False):
                earlier = histories[name].weights(m, m.norm(), b).tolist()
                alphas = [*earlier, math.exp(-b) if t else 1.0]
                rtol = 1e-6 * b  # exp(-b c) is off by b times what c is off by
                close(torch.tensor(alphas), wanted["alpha_per_step"][step][name], f"{t}.{step} {name}", rtol)
        for name, value in wanted["params_after"].items():
            if not name.startswith("head") or t == 0:
                close(weights[name], value, f"after task {t} {name}")
        for name, m, v in zip(TENSORS, rule.m, rule.v, strict=False):
            histories[name].append(m, v)
        close(histories["fc1.weight"].squares[t].view(3, 4), wanted["v_fc1_weight"], "v")
        close(histories["fc1.weight"].directions[t], wanted["m_normalised_fc1_weight"], "m")
    assert len(RUNS) == 3

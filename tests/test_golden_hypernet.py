"""Hypernet replays the chunked hypernetwork of the authors' own code (golden 11a)."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from raycl import registry
from raycl.method import World
from raycl.methods.hypernet import generated
from raycl.networks import Start
from tests.helpers import facts, toys

CASE = facts.golden("11a_hypercl_chunked")
VALUES = facts.drawn(CASE)
TENSORS = 7  # of theta
TRAINED = next(value for key, value in CASE.items() if key.startswith("train task 2"))

pytestmark = pytest.mark.usefixtures("float64")


class OneHead(toys.Chain):
    """The case's network: one output layer for all tasks."""

    def make_heads(self, features: int, classes: Any) -> None:
        self.heads = nn.ModuleList([nn.Linear(features, classes[0])])

    def head(self, h: Tensor, task: int) -> Tensor:
        logits: Tensor = self.heads[0](h)
        return logits

    def trainable(self, task: int) -> list[nn.Parameter]:
        return list(self.parameters())


def hypernet(theta: list[Tensor], **settings: Any) -> Any:
    """The method with the case's embeddings and `theta`; `remember` is left to the test."""
    kind = registry.method("hypernet")
    shape, classes = (1, 1, 3), (2, 2, 2)
    start = Start(OneHead, OneHead.Config(widths=(4,)), shape, classes, seed=0)
    config = kind.Config(chunk=CASE["chunk_dim"], hidden=tuple(CASE["layers"]), **settings)  # type: ignore[call-arg]
    method: Any = kind(World(shape, classes, start), config)
    assert [list(shape) for shape in method.shapes.values()] == CASE["target_shapes"]
    assert len(method.theta) == TENSORS and len(method.theta[0]) == CASE["num_chunks"]
    method.embeddings = nn.ParameterList(VALUES[f"task_emb[{task}]"] for task in range(3))
    method.theta = nn.ParameterList(tensor.clone() for tensor in theta)
    return method


def parts(name: str) -> list[Tensor]:
    return [VALUES[f"{name}[{index}]"] for index in range(TENSORS)]


def moved(learnt: int = 2, **settings: Any) -> Any:
    """So many tasks are learnt; since then theta has moved by `delta_theta`."""
    method = hypernet(parts("theta"), **settings)
    method.learnt = learnt
    method.remember()
    with torch.no_grad():
        for p, change in zip(method.theta, parts("delta_theta"), strict=True):
            p.add_(change)
    return method


def check(found: Any, wanted: Any, what: str) -> None:
    for index, (tensor, value) in enumerate(zip(found, wanted, strict=True)):
        facts.assert_close(tensor, value, f"{what} {index}")


def test_outputs() -> None:
    method = hypernet(parts("theta"))
    assert [list(p.shape) for p in method.theta] == CASE["theta_shapes"]
    for key, subject in (("outputs", method), ("outputs_after_delta", moved())):
        for task, wanted in enumerate(CASE[key]):
            check(subject.weights(task).values(), wanted, f"{key}, task {task}")
    flat = generated(list(method.theta), method.embeddings[0])
    assert len(flat) == CASE["chunk_dim"] * CASE["num_chunks"] > sum(map(math.prod, CASE["target_shapes"]))


@pytest.mark.parametrize("ahead", ["None", "lookahead"])
def test_regulariser(ahead: str) -> None:
    method, wanted = moved(), CASE[f"reg task_id=2, targets, dTheta={ahead}"]
    theta = list(method.theta)
    if ahead == "lookahead":
        theta = [p + change for p, change in zip(theta, parts("lookahead"), strict=True)]
    value = method.regulariser(theta)
    facts.assert_close(value, wanted["value"], "value")
    value.backward()
    check([p.grad for p in method.theta], wanted["grad_theta"], "theta")
    check([c.grad for c in method.embeddings[:2]], wanted["grad_task_embs"][:2], "embedding")
    assert method.embeddings[2].grad is None and wanted["grad_task_embs"][2] is None


def test_regulariser_of_one_task() -> None:
    method = moved(learnt=1)
    value = method.regulariser(list(method.theta))
    facts.assert_close(value, CASE["reg task_id=1, targets[:1], dTheta=None (value)"])


def test_three_steps() -> None:
    """SGD on all six samples, the look-ahead being -lr times the task's gradient."""
    inputs = (VALUES["x"].view(6, 1, 1, 3), VALUES["y"])
    on = toys.given([inputs] * 3, (2, 2, 2), val="none")
    method = moved(beta=0.3)
    losses: list[Tensor] = []
    penalties: list[Tensor] = []
    step, regulariser = method.step, method.regulariser

    def stepping(*args: Any) -> Tensor:
        loss: Tensor = step(*args)
        losses.append(loss)
        return loss

    def regularising(*args: Any) -> Tensor:
        penalty: Tensor = regulariser(*args)
        penalties.append(penalty)
        return penalty

    method.step, method.regulariser = stepping, regularising
    toys.fit(lr=0.05, epochs=3, batch=6, shuffle=False)(method, on.tasks[2])
    assert len(losses) == len(TRAINED["steps"]) == 3
    for loss, penalty, wanted in zip(losses, penalties, TRAINED["steps"], strict=True):
        facts.assert_close(loss, wanted["loss"], "loss")
        facts.assert_close(0.3 * penalty, wanted["reg_times_beta"], "penalty")
    check(method.theta, TRAINED["theta"], "theta")
    facts.assert_close(method.embeddings[2], TRAINED["task_emb_2"], "embedding")
    for task in (0, 1):
        assert facts.same_bits(method.embeddings[task], VALUES[f"task_emb[{task}]"])

"""EWC-GI: strength 0 is finetuning, gamma is SPG's, the penalty's gradient by hand."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import pytest
import torch

from raycl import registry
from raycl.methods.spg import gradient_importance
from raycl.tasks import Batch
from tests.helpers import facts, toys

STILL = "mlp(hidden=16, drop1=0.0, drop2=0.0)"


@pytest.mark.parametrize("clip", [None, 0.05])
def test_strength_zero_is_finetuning_bit_for_bit(clip: float | None) -> None:
    on = toys.benchmark()
    settings = {"momentum": 0.9, "weight_decay": 1e-3, "clip": clip, "epochs": 3}
    ours, plain = toys.method("ewc_gi", on, lamb=0.0), toys.method("finetune", on)
    left = toys.learn(ours, on, toys.fit(**settings))
    right = toys.learn(plain, on, toys.fit(**settings))
    facts.assert_same_state(facts.state(ours.net), facts.state(plain.net))
    assert [r.test for r in left] == [r.test for r in right]


def test_importance_after_the_first_task_is_that_of_spg_bit_for_bit() -> None:
    on = toys.benchmark()
    ours: Any = toys.method("ewc_gi", on)
    spg: Any = toys.method("spg", on)
    for subject in (ours, spg):
        toys.learn_one(subject, on, toys.fit(epochs=2), 0)
    gamma = dict(zip(ours.net.parameters(), ours.fisher, strict=True))
    for p, wanted in zip(ours.net.body.parameters(), spg.accumulated, strict=True):
        assert facts.same_bits(gamma[p], wanted) and float(wanted.max()) > 0.5
    for p in ours.net.heads.parameters():
        assert not gamma[p].any()  # heads are not held


@pytest.mark.parametrize("chi", [True, False])
def test_importance_is_the_largest_of_all_tasks(chi: bool) -> None:
    on = toys.benchmark()
    ours: Any = toys.method("ewc_gi", on, STILL, chi=chi, lamb=0.01)
    n = len(list(ours.net.body.parameters()))
    wanted = [torch.zeros_like(p) for p in ours.net.body.parameters()]
    crossed = False
    for t in range(3):
        toys.learn_one(ours, on, toys.fit(epochs=2), t)
        own, cross = gradient_importance(ours.net, on.tasks[t], toys.fit())
        if cross is not None:
            crossed |= any(bool((c > o).any()) for c, o in zip(cross, own, strict=True))
        for found in (own, cross if chi and cross is not None else own):
            wanted = [torch.maximum(a, b) for a, b in zip(wanted, found, strict=True)]
        for gamma, value in zip(list(ours.fisher)[:n], wanted, strict=True):
            assert facts.same_bits(gamma, value)
        for anchor, p in zip(ours.anchor, ours.net.parameters(), strict=True):
            assert facts.same_bits(anchor, p.detach())
    assert crossed and ours.learnt == 3


@pytest.mark.usefixtures("float64")
def test_gradient_of_the_penalty_by_hand() -> None:
    on = toys.given([(torch.tensor([[[[0.5]]], [[[2.0]]]]), torch.tensor([0, 1]))] * 2, (2, 2))
    ours: Any = toys.method("ewc_gi", on, toys.chain(2), lamb=3.0)
    weight, bias = ours.net.body[0].layer.weight, ours.net.body[0].layer.bias
    for i, p in enumerate(ours.net.parameters()):
        ours.anchor[i].copy_(p.detach())
    ours.fisher[0].copy_(torch.tensor([[0.25], [1.0]]))
    ours.fisher[1].copy_(torch.tensor([0.0, 0.5]))
    ours.learnt = 1
    with torch.no_grad():
        weight += torch.tensor([[0.1], [-0.2]])
        bias += torch.tensor([5.0, 0.4])
        for p in ours.net.heads.parameters():
            p += 1.0
    trained = list(ours.net.trainable(1))
    for p in trained:
        p.grad = torch.full_like(p, 0.01)
    ours.edit_gradients(Batch(on.tasks[1].train.take(slice(None)), torch.tensor([0, 1]), 1))
    torch.testing.assert_close(weight.grad, torch.tensor([[0.01 + 3 * 0.25 * 0.1], [0.01 - 3 * 0.2]]))
    torch.testing.assert_close(bias.grad, torch.tensor([0.01, 0.01 + 3 * 0.5 * 0.4]))
    for p in ours.net.heads[1].parameters():
        assert p.grad is not None and bool((p.grad == 0.01).all())
    assert all(p.grad is None for p in ours.net.heads[0].parameters())


def test_the_stronger_the_penalty_the_less_the_body_moves() -> None:
    on = toys.benchmark()
    moved = []
    for lamb in (0.0, 0.3, 3.0):
        ours = toys.method("ewc_gi", on, STILL, lamb=lamb)
        loop = toys.fit(epochs=8)
        toys.learn_one(ours, on, loop, 0)
        before = facts.state(ours.net.body)
        toys.learn_one(ours, on, loop, 1)
        moved.append(
            sum(float((v - before[n]).square().sum()) for n, v in facts.state(ours.net.body).items())
        )
    assert moved[0] > moved[1] > moved[2] and moved[2] < 0.5 * moved[0]


def test_settings_of_the_fisher_are_gone() -> None:
    kind = registry.method("ewc_gi")
    assert [f.name for f in fields(kind.Config)] == ["lamb", "chi", "val_penalty"]
    assert kind.preset_overrides == {"spg": {"method.val_penalty": True}}
    with pytest.raises(ValueError, match=r"lamb = -1\.0 must be at least 0"):
        toys.method("ewc_gi", toys.benchmark(), lamb=-1.0)

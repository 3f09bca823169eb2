"""EWC: strength 0 is finetuning, the penalty's gradient, the Fisher by hand and by plain loops."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from raycl.methods.ewc import fisher
from raycl.tasks import Batch
from tests.helpers import facts, toys


@pytest.mark.parametrize("clip", [None, 0.05])
def test_strength_zero_is_finetuning_bit_for_bit(clip: float | None) -> None:
    on = toys.benchmark()
    settings = {"momentum": 0.9, "weight_decay": 1e-3, "clip": clip, "epochs": 3}
    ewc, plain = toys.method("ewc", on, lamb=0.0), toys.method("finetune", on)
    left = toys.learn(ewc, on, toys.fit(**settings))
    right = toys.learn(plain, on, toys.fit(**settings))
    facts.assert_same_state(facts.state(ewc.net), facts.state(plain.net))
    assert [r.test for r in left] == [r.test for r in right]


def test_the_stronger_the_penalty_the_less_the_body_moves() -> None:
    on = toys.benchmark()
    moved = []
    for lamb in (0.0, 300.0, 1000.0):
        ewc = toys.method("ewc", on, "mlp(hidden=32, drop1=0.0, drop2=0.0)", lamb=lamb)
        loop = toys.fit(epochs=10)
        toys.learn_one(ewc, on, loop, 0)
        before = facts.state(ewc.net.body)
        toys.learn_one(ewc, on, loop, 1)
        moved.append(sum(float((v - before[n]).square().sum()) for n, v in facts.state(ewc.net.body).items()))
    assert moved[0] > moved[1] > moved[2] and moved[2] < 0.8 * moved[0]


@pytest.mark.usefixtures("float64")
def test_gradient_of_the_penalty_is_autograd_s() -> None:
    on = toys.benchmark()
    ewc: Any = toys.method("ewc", on, lamb=7.0)
    toys.learn_one(ewc, on, toys.fit(epochs=1), 0)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for p in ewc.net.parameters():
            p.add_(torch.randn(p.shape, generator=generator))
    batch = Batch(on.tasks[1].train.take(slice(0, 8)), torch.tensor(on.tasks[1].train.y[:8]), 1)
    parameters = list(ewc.net.trainable(1))
    ewc.train(False)
    ewc.zero_grad()
    ewc.loss(batch).backward()
    ewc.edit_gradients(batch)
    written = [p.grad.clone() for p in parameters]
    penalty = 3.5 * sum(
        (f * (p - a) ** 2).sum() for f, p, a in zip(ewc.fisher, ewc.net.parameters(), ewc.anchor, strict=True)
    )
    wanted = torch.autograd.grad(ewc.loss(batch) + penalty, parameters)
    for one, other in zip(written, wanted, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-12)
    assert penalty.item() > 1e-3


@pytest.mark.parametrize("name", ["ewc", "ewc_gi"])
def test_the_validation_loss_includes_the_penalty_on_request(name: str) -> None:
    on = toys.benchmark()
    batch = Batch(on.tasks[1].val.take(slice(0, 8)), torch.tensor(on.tasks[1].val.y[:8]), 1)
    losses = {}
    for included in (False, True):
        ewc: Any = toys.method(name, on, lamb=7.0, val_penalty=included)
        before = ewc.train(False).validation_loss(batch).item()
        toys.learn_one(ewc, on, toys.fit(epochs=1), 0)
        with torch.no_grad():
            for p in ewc.net.parameters():
                p.add_(0.1)
        losses[included] = ewc.train(False).validation_loss(batch).item()
    penalty = 3.5 * sum(float((0.01 * f).sum()) for f in ewc.fisher)
    assert penalty > 1e-3 and losses[True] - losses[False] == pytest.approx(penalty, rel=1e-4)
    alone: Any = toys.method(name, on, lamb=7.0)
    assert before == alone.train(False).validation_loss(batch).item()


@pytest.mark.parametrize("network", ["mlp(hidden=33)", "alexnet(width=0.05)"])
def test_the_penalty_acts_on_whatever_has_a_gradient(network: str) -> None:
    on = toys.benchmark(shape=(1, 20, 20))
    ewc: Any = toys.method("ewc", on, network, lamb=7.0)
    toys.learn_one(ewc, on, toys.fit(epochs=1), 0)
    batch = Batch(on.tasks[1].train.take(slice(0, 8)), torch.tensor(on.tasks[1].train.y[:8]), 1)
    trained = list(ewc.net.trainable(1))
    with torch.no_grad():
        for p in trained:
            p.add_(0.1)
    ewc.zero_grad()
    ewc.edit_gradients(batch)
    assert all(p.grad is None for p in ewc.net.parameters())
    for p in trained:
        p.grad = torch.full_like(p, 0.25)
    ewc.edit_gradients(batch)
    for p, anchor, strength in zip(ewc.net.parameters(), ewc.anchor, ewc.fisher, strict=True):
        if p.grad is None:  # the head of another task
            assert all(p is not mine for mine in trained)
        else:
            torch.testing.assert_close(p.grad, 0.25 + 7.0 * strength * (p.detach() - anchor))
    assert any(bool((p.grad != 0.25).any()) for p in trained)


@pytest.mark.usefixtures("float64")
def test_fisher_of_a_network_of_two_numbers_by_hand() -> None:
    x, y = np.array([0.5, 2.0, -1.0]), np.array([0, 1, 1])
    on = toys.given([(torch.tensor(x).reshape(3, 1, 1, 1), torch.tensor(y))], (2,))
    ewc: Any = toys.method("ewc", on, toys.chain(1))
    w, b, v, c = 0.8, 0.1, np.array([0.3, -0.6]), np.array([0.2, 0.0])
    values = {
        "init:fc1.weight": w,
        "init:fc1.bias": b,
        "init:last.0.weight": v[:, None],
        "init:last.0.bias": c,
    }
    facts.put(facts.named(ewc.net), {k: torch.as_tensor(np.asarray(value)) for k, value in values.items()})
    squares = np.zeros((3, 6))  # w, b, v (2), c (2)
    for n in range(3):
        h = max(w * x[n] + b, 0.0)
        p = np.exp(v * h + c) / np.exp(v * h + c).sum()
        back = p - np.eye(2)[y[n]]  # dL / dlogits
        into = (back @ v) * (w * x[n] + b > 0)
        squares[n] = np.array([into * x[n], into, *(back * h), *back]) ** 2
    found = torch.cat([f.reshape(-1) for f in fisher(ewc.net, on.tasks[0], toys.fit())])
    np.testing.assert_allclose(found.numpy(), squares.mean(0), rtol=1e-12)


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize(
    ("network", "shape"),
    [("mlp(hidden=7)", (1, 4, 4)), ("alexnet(width=0.05)", (2, 20, 20)), ("resnet18(nf=2)", (1, 8, 8))],
)
def test_exact_fisher_equals_a_plain_loop_over_samples(network: str, shape: tuple[int, int, int]) -> None:
    on = toys.benchmark(train=70, shape=shape)  # more than one chunk, and a rest
    ewc: Any = toys.method("ewc", on, network)
    task = on.tasks[1]
    before = facts.state(ewc)
    found = fisher(ewc.net, task, toys.fit())
    ewc.net.train(False)
    parameters = ewc.net.trainable(1)
    wanted = {id(p): torch.zeros_like(p) for p in parameters}
    for n in range(70):
        loss = F.cross_entropy(
            ewc.net(task.train.take(slice(n, n + 1)), 1), torch.tensor(task.train.y[n : n + 1])
        )
        for p, g in zip(parameters, torch.autograd.grad(loss, parameters), strict=True):
            wanted[id(p)] += g.square() / 70
    for p, f in zip(ewc.net.parameters(), found, strict=True):
        torch.testing.assert_close(f, wanted.get(id(p), torch.zeros_like(p)), rtol=1e-9, atol=1e-15)
    assert all(
        float(f.max()) > 0 for p, f in zip(ewc.net.parameters(), found, strict=True) if id(p) in wanted
    )
    facts.assert_same_state(before, facts.state(ewc))  # neither weights nor batch statistics moved


def test_train_mode_draws_dropout_and_leaves_the_mode() -> None:
    on = toys.benchmark()
    ewc: Any = toys.method("ewc", on)
    ewc.net.train(False)
    quiet, again = (fisher(ewc.net, on.tasks[0], toys.fit())[0] for _ in range(2))
    loud = fisher(ewc.net, on.tasks[0], toys.fit(), dropout=True)[0]
    assert torch.equal(quiet, again) and not torch.equal(quiet, loud)
    assert not ewc.net.training


@pytest.mark.parametrize("size", [1, 20])
def test_batch_statistics_stay_whatever_the_mode(size: int) -> None:
    on = toys.benchmark(shape=(1, 8, 8))
    ewc: Any = toys.method("ewc", on, "resnet18(nf=2)")
    before = facts.state(ewc)
    assert ewc.net.training
    loud = fisher(ewc.net, on.tasks[0], toys.fit(), size, dropout=True)
    quiet = fisher(ewc.net, on.tasks[0], toys.fit(), size)
    facts.assert_same_state(before, facts.state(ewc))
    assert all(facts.same_bits(a, b) for a, b in zip(loud, quiet, strict=True))  # it has no dropout
    assert all(module.training for module in ewc.net.modules())


def test_fishers_are_averaged_over_tasks_and_the_anchor_moves() -> None:
    on = toys.benchmark()
    ewc: Any = toys.method("ewc", on, lamb=50.0)
    loop, singles = toys.fit(epochs=1), []
    for t in range(3):
        toys.learn_one(ewc, on, loop, t)
        singles.append(fisher(ewc.net, on.tasks[t], loop)[0])
        for anchor, p in zip(ewc.anchor, ewc.net.parameters(), strict=True):
            assert facts.same_bits(anchor, p.detach())
    torch.testing.assert_close(ewc.fisher[0], sum(singles) / 3)
    n = sum(p.numel() for p in ewc.net.parameters())
    assert ewc.stored_bytes() == 3 * 4 * n and math.isclose(ewc.count_parameters(), n)

"""EHAT: HAT where the penalty is nothing, the Fisher under the gates, and what the penalty does."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from raycl import methods, registry
from raycl.methods.ewc import fisher
from raycl.tasks import Batch, Benchmark
from tests.helpers import facts, toys

NETWORKS = [("mlp(hidden=7)", (1, 4, 4)), ("alexnet(width=0.04)", (2, 20, 20))]


def whole(on: Benchmark, task: int) -> Batch:
    split = on.tasks[task].train
    return Batch(split.take(slice(None)), torch.tensor(split.y), task)


def by_hand(ehat: Any, on: Benchmark, task: int, size: int = 1) -> list[Tensor]:
    """The Fisher of the trunk, from one backward pass per sample (or `size` of them) through the gates."""
    ehat.train(False)
    trunk, batch = list(ehat.net.body.parameters()), whole(on, task)
    total = [torch.zeros_like(p) for p in trunk]
    gates = [torch.sigmoid(ehat.config.smax * e.detach()) for e in ehat.embeddings[task].parameters()]
    for at in range(0, len(batch), size):
        logits = ehat.net.head(ehat.net.features(batch.x[at : at + size], task, gates), task)
        loss = F.cross_entropy(logits, batch.y[at : at + size])
        for sum_, gradient in zip(total, torch.autograd.grad(loss, trunk), strict=True):
            sum_ += size * gradient.square()
    return [sum_ / len(batch) for sum_ in total]


def test_strength_zero_is_hat_bit_for_bit() -> None:
    on = toys.benchmark()
    settings = {"momentum": 0.9, "weight_decay": 1e-3, "epochs": 3}
    ehat, hat = toys.method("ehat", on, ewc_lamb=0.0, fisher_mode="train"), toys.method("hat", on)
    mine = toys.learn(ehat, on, toys.fit_for("ehat", **settings), "full")
    theirs = toys.learn(hat, on, toys.fit_for("hat", **settings), "full")
    state = facts.state(ehat)
    assert any(bool((f > 0).any()) for f in ehat.fisher)  # type: ignore[attr-defined]
    facts.assert_same_state(facts.state(hat), {name: state[name] for name in facts.state(hat)})
    for one, other in zip(mine, theirs, strict=True):
        assert (one.val, one.test, one.epochs, one.updates, one.parameters, one.diagnostics) == (
            other.val, other.test, other.epochs, other.updates, other.parameters, other.diagnostics,
        )  # fmt: skip


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize(("network", "shape"), NETWORKS)
@pytest.mark.parametrize("size", [1, 4])
def test_fisher_under_the_gates_equals_a_plain_loop(
    network: str, shape: tuple[int, int, int], size: int
) -> None:
    on = toys.benchmark(shape=shape, train=24)
    ehat: Any = toys.method("ehat", on, network, fisher_batch=size, smax=3.0)
    toys.learn_one(ehat, on, toys.fit(epochs=1, lr=0.01), 0)
    assert len(ehat.fisher) == len(list(ehat.net.body.parameters()))
    for found, wanted in zip(ehat.fisher, by_hand(ehat, on, 0, size), strict=True):
        torch.testing.assert_close(found, wanted, rtol=1e-9, atol=1e-14)
    bare = fisher(ehat.net, on.tasks[0], toys.fit(), size)  # as EWC has it
    assert not torch.allclose(bare[0], ehat.fisher[0], rtol=0.1, atol=0)


@pytest.mark.parametrize("size", [1, 4])
def test_a_unit_whose_gate_is_shut_has_no_fisher(size: int) -> None:
    on = toys.benchmark()
    ehat: Any = toys.method("ehat", on, "mlp(hidden=8)", fisher_batch=size)
    with torch.no_grad():
        for e in ehat.embeddings[0].parameters():
            e.copy_(torch.where(torch.arange(8) < 4, 3.0, -3.0))
    ehat.learnt = 1
    ehat.consolidate(on.tasks[0], toys.fit())
    first, first_bias, second, second_bias = ehat.fisher
    assert not first[4:].any() and not first_bias[4:].any() and not second_bias[4:].any()
    assert not second[4:].any() and not second[:, 4:].any()
    assert bool(first[:4].any()) and bool(second[:4, :4].any())


@pytest.mark.usefixtures("float64")
def test_fisher_and_anchor_over_tasks() -> None:
    on = toys.benchmark(train=12)
    ehat: Any = toys.method("ehat", on, "mlp(hidden=6)", smax=3.0, ewc_lamb=1.0)
    singles = []
    for t in range(3):
        toys.learn_one(ehat, on, toys.fit(epochs=1), t)
        singles.append(by_hand(ehat, on, t))
        mean = [sum(parts) / (t + 1) for parts in zip(*singles, strict=True)]
        for found, wanted in zip(ehat.fisher, mean, strict=True):
            torch.testing.assert_close(found, wanted, rtol=1e-9, atol=1e-14)
        for anchor, p in zip(ehat.anchor, ehat.net.body.parameters(), strict=True):
            assert facts.same_bits(anchor, p.detach())


def test_the_fisher_is_measured_at_smax_and_with_dropout_only_if_asked() -> None:
    on = toys.benchmark()
    found = []
    for mode in ("eval", "train"):
        ehat: Any = toys.method("ehat", on, "mlp(hidden=16, drop2=0.5)", fisher_mode=mode)
        toys.learn_one(ehat, on, toys.fit(epochs=1), 0)
        assert ehat.slope == 400.0
        close = [
            torch.allclose(f, w, rtol=1e-3, atol=1e-8)
            for f, w in zip(ehat.fisher, by_hand(ehat, on, 0), strict=True)
        ]
        found.append(all(close))
    assert found == [True, False]


@pytest.mark.usefixtures("float64")
def test_gradient_is_that_of_the_penalised_loss_and_then_blocked() -> None:
    on = toys.benchmark()
    ehat: Any = toys.method("ehat", on, "mlp(hidden=6)", ewc_lamb=1000.0, smax=3.0)
    toys.learn_one(ehat, on, toys.fit(epochs=1), 0)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for p in ehat.net.parameters():
            p.add_(torch.randn(p.shape, generator=generator))
    ehat.factors = methods.hat.weight_factors(ehat.body.blocks, list(ehat.used))
    batch, trunk = whole(on, 1), list(ehat.net.body.parameters())
    ehat.train(False)
    ehat.zero_grad()
    ehat.loss(batch).backward()
    ehat.edit_gradients(batch)
    penalty = 500 * sum(
        (f * (p - a) ** 2).sum() for f, p, a in zip(ehat.fisher, trunk, ehat.anchor, strict=True)
    )
    wanted = torch.autograd.grad(ehat.loss(batch) + penalty, [*trunk, *ehat.net.heads[1].parameters()])
    factors = [factor for pair in ehat.factors for factor in pair]
    for p, gradient, factor in zip(trunk, wanted, factors, strict=False):
        torch.testing.assert_close(p.grad, factor * gradient, rtol=1e-10, atol=1e-13)
    for p, gradient in zip(ehat.net.heads[1].parameters(), wanted[-2:], strict=True):  # no penalty on heads
        torch.testing.assert_close(p.grad, gradient, rtol=1e-10, atol=1e-13)
    assert penalty.item() > 1e-3


def test_the_stronger_the_penalty_the_less_what_mattered_moves() -> None:
    on = toys.benchmark((2, 2))
    moved = []
    for ewc_lamb in (0.0, 300.0, 3000.0):
        ehat: Any = toys.method("ehat", on, "mlp(hidden=32, drop1=0.0, drop2=0.0)", ewc_lamb=ewc_lamb)
        loop = toys.fit_for("ehat", epochs=10)
        toys.learn_one(ehat, on, loop, 0)
        for used in ehat.used:
            used.zero_()  # all open
        importance = [f.clone() for f in ehat.fisher]
        before = [p.detach().clone() for p in ehat.net.body.parameters()]
        toys.learn_one(ehat, on, loop, 1)
        pairs = zip(importance, before, ehat.net.body.parameters(), strict=True)
        moved.append(float(sum((f * (p.detach() - b).square()).sum() for f, b, p in pairs)))
    assert moved[0] > 1.5 * moved[1] > 1.5 * 1.5 * moved[2]


def test_binary_gates_freeze_what_they_use_bit_for_bit() -> None:
    on = toys.benchmark()
    ehat: Any = toys.method("ehat", on)
    loop = toys.fit_for("ehat", momentum=0.9, epochs=2)
    for t in (0, 1):
        toys.learn_one(ehat, on, loop, t)
        with torch.no_grad():
            for e in ehat.embeddings[t].parameters():
                e.copy_(torch.where(torch.arange(len(e)) % 3 == t, 3.0, -3.0))
        for used, gate in zip(ehat.used, ehat.gates(t), strict=True):
            used.copy_(torch.maximum(used.round(), gate.detach()))
    kept = facts.logits(ehat, on, [0, 1])
    with torch.no_grad():  # away from the anchor: the penalty pulls, and blocked weights do not follow
        for anchor in ehat.anchor:
            anchor.add_(0.1)
    before = facts.state(ehat.net.body)
    toys.learn_one(ehat, on, loop, 2)
    for t, logits in facts.logits(ehat, on, [0, 1]).items():
        assert facts.same_bits(kept[t], logits)
    assert not facts.same_bits(before["1.layer.weight"], facts.state(ehat.net.body)["1.layer.weight"])


def test_parameters_and_bytes() -> None:
    on = toys.benchmark()
    ehat, hat = toys.method("ehat", on, "mlp(hidden=16)"), toys.method("hat", on, "mlp(hidden=16)")
    trunk = sum(p.numel() for p in ehat.net.body.parameters())
    assert ehat.count_parameters() == hat.count_parameters()
    assert ehat.stored_bytes() == hat.stored_bytes() + 4 * 2 * trunk


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("ewc_lamb", -1.0, "ewc_lamb = -1.0 must be at least 0"),
        ("fisher_batch", 0, "fisher_batch = 0 must be at least 1"),
        ("clamp", 0.0, "must be above 0"),
    ],
)
def test_settings_that_make_no_sense(field: str, value: float, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        registry.method("ehat").Config(**{field: value})

"""HPG: what is blocked, its limits (finetuning and a frozen body), and that a blocked weight stays."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import torch

from raycl import registry
from raycl.space import make_config
from tests.helpers import facts, toys

PULLING: dict[str, Any] = {"momentum": 0.9, "weight_decay": 1e-2, "epochs": 3}
"""Training that moves what has no gradient."""


def fixed(subject: Any, threshold: float) -> None:
    """Another threshold from here on."""
    subject.config = type(subject.config)(threshold=threshold, head_scale=subject.config.head_scale)


def test_what_exceeds_the_threshold_is_blocked() -> None:
    on = toys.benchmark()
    hpg: Any = toys.method("hpg", on, "mlp(hidden=4)", threshold=0.3)
    hpg.accumulated[0].view(-1)[:4] = torch.tensor([0.3, 0.30001, 0.29999, 1.0])
    blocked = hpg.blocking()
    assert blocked[0].view(-1)[:5].tolist() == [0.0, 1.0, 0.0, 1.0, 0.0]  # strictly above
    assert all(b.dtype == a.dtype for a, b in zip(hpg.accumulated, blocked, strict=True))
    diagnostics = hpg.diagnostics(0)
    assert diagnostics["blocked"] == 2 / (64 + 4 + 16 + 4)
    assert diagnostics["blocked_layers"] == {"fc1": 2 / 68, "fc2": 0.0}
    assert diagnostics["importance"] == pytest.approx((0.3 + 0.30001 + 0.29999 + 1.0) / 88)


def test_gradients_are_taken_or_left() -> None:
    on = toys.benchmark()
    hpg: Any = toys.method("hpg", on)
    loop = toys.fit(epochs=1)
    toys.learn_one(hpg, on, loop, 0)
    blocked = hpg.blocking()
    share = float(torch.cat([b.reshape(-1) for b in blocked]).double().mean())
    assert 0.1 < share < 0.9
    edit, pairs = hpg.edit_gradients, []
    body, head = list(hpg.net.body.parameters()), hpg.net.heads[1].weight

    def editing(batch: Any) -> None:
        raw = [p.grad.clone() for p in (*body, head)]
        edit(batch)
        pairs.append((raw, [p.grad.clone() for p in (*body, head)]))

    hpg.edit_gradients = editing
    toys.learn_one(hpg, on, loop, 1)
    assert len(pairs) == 3
    for raw, edited in pairs:
        for g, left, b in zip(raw, edited, blocked, strict=False):
            assert torch.equal(left, torch.where(b == 1, torch.zeros(()), g))
        torch.testing.assert_close(edited[-1], raw[-1] * (1 - share))


def test_above_one_it_is_finetuning_bit_for_bit() -> None:
    on = toys.benchmark()
    kind = registry.method("hpg").Config
    assert (
        make_config(kind, {"threshold": 1.1}, "hpg").threshold == 1.1
    )  # no domain forbids a value that is given
    hpg, plain = toys.method("hpg", on, threshold=1.1), toys.method("finetune", on)
    left = toys.learn(hpg, on, toys.fit(**PULLING))
    right = toys.learn(plain, on, toys.fit(**PULLING))
    facts.assert_same_state(facts.state(hpg.net), facts.state(plain.net))
    assert [r.test for r in left] == [r.test for r in right]
    assert [r.diagnostics["blocked"] for r in left] == [0.0] * 3


@pytest.mark.parametrize("optimiser", ["sgd", "adam"])
def test_below_zero_the_body_is_frozen_and_heads_learn_alone(optimiser: str) -> None:
    on = toys.benchmark()
    settings = PULLING | {"optimiser": optimiser}
    hpg: Any = toys.method("hpg", on, threshold=-0.1, head_scale="none")
    plain: Any = toys.method("finetune", on)
    for subject in (hpg, plain):
        toys.learn_one(subject, on, toys.fit(**settings), 0)
    start = facts.state(hpg.net.body)
    loop = toys.fit(**settings)
    toys.learn_one(hpg, on, loop, 1)
    loop.begin(1)
    loop(plain, on.tasks[1], over=plain.net.heads[1].parameters())
    facts.assert_same_state(start, facts.state(hpg.net.body))
    facts.assert_same_state(facts.state(hpg.net), facts.state(plain.net))
    assert not facts.same_bits(hpg.net.heads[1].weight, toys.method("hpg", on).net.heads[1].weight)


def test_below_zero_a_scaled_head_has_no_gradient_either() -> None:
    on = toys.benchmark()
    hpg: Any = toys.method("hpg", on, threshold=-0.1)
    toys.learn_one(hpg, on, toys.fit(), 0)
    before = facts.state(hpg.net)
    toys.learn_one(hpg, on, toys.fit(), 1)  # no weight decay
    facts.assert_same_state(before, facts.state(hpg.net))


@pytest.mark.parametrize("settings", [PULLING, PULLING | {"optimiser": "adam", "lr": 0.01}, {"clip": 0.1}])
def test_blocked_weights_stay_bit_for_bit_and_the_others_move(settings: dict[str, Any]) -> None:
    on = toys.benchmark()
    hpg: Any = toys.method("hpg", on)
    loop = toys.fit(**settings)
    for t in range(2):
        toys.learn_one(hpg, on, loop, t)
    blocked = [b == 1 for b in hpg.blocking()]
    before = [p.detach().clone() for p in hpg.net.body.parameters()]
    toys.learn_one(hpg, on, loop, 2)
    for p, old, b in zip(hpg.net.body.parameters(), before, blocked, strict=True):
        assert facts.same_bits(p[b], old[b])
        assert not torch.equal(p[~b], old[~b])
    assert not hpg.held


def test_what_is_blocked_stays_blocked() -> None:
    on = toys.benchmark()
    hpg: Any = toys.method("hpg", on)
    seen = []
    for t in range(3):
        toys.learn_one(hpg, on, toys.fit(epochs=1), t)
        seen.append(hpg.blocking())
    for earlier, later in itertools.pairwise(seen):
        assert all(bool((b >= a).all()) for a, b in zip(earlier, later, strict=True))


def test_the_higher_the_threshold_the_less_is_blocked() -> None:
    on = toys.benchmark((2,))
    hpg: Any = toys.method("hpg", on)
    toys.learn_one(hpg, on, toys.fit(), 0)
    shares = []
    for threshold in (-0.1, 0.1, 0.3, 0.5, 0.7, 0.9, 1.0):
        fixed(hpg, threshold)
        shares.append(hpg.diagnostics(0)["blocked"])
    assert shares == sorted(shares, reverse=True) and len(set(shares)) == 7
    assert shares[0] == 1.0 and shares[-1] == 0.0


def test_a_bit_is_stored_for_each_parameter_of_the_body() -> None:
    on = toys.benchmark()
    hpg: Any = toys.method("hpg", on, "mlp(hidden=3)")
    body = 16 * 3 + 3 + 9 + 3
    assert sum(p.numel() for p in hpg.net.body.parameters()) == body == 63
    assert hpg.stored_bytes() == 4 * hpg.count_parameters() + 8

"""SPG-FI: the Fisher by hand as importance, whatever its size, and no part for older heads."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from raycl import registry
from raycl.methods.ewc import fisher
from tests.helpers import facts, toys


def by_hand() -> tuple[Any, Any, NDArray[np.float64]]:
    """A unit that reads three numbers, and the Fisher of its three weights."""
    x = np.array([[1.0, 2.0, -0.5], [0.5, -1.0, 0.1], [2.0, 0.3, 0.7]])
    y, w, b, v = np.array([0, 1, 1]), np.array([0.7, 0.4, -0.2]), 0.2, np.array([0.3, -0.6])
    on = toys.given([(torch.tensor(x).reshape(3, 1, 1, 3), torch.tensor(y))], (2,))
    subject: Any = toys.method("spg_fi", on, toys.chain(1))
    values = {"init:fc1.weight": w[None], "init:fc1.bias": np.array([b]), "init:last.0.weight": v[:, None],
              "init:last.0.bias": np.zeros(2)}  # fmt: skip
    facts.put(facts.named(subject.net), {k: torch.from_numpy(value) for k, value in values.items()})
    h = x @ w + b
    assert (h > 0).all()
    logits = h[:, None] * v
    back = np.exp(logits) / np.exp(logits).sum(1, keepdims=True) - np.eye(2)[y]
    return subject, on, (((back @ v)[:, None] * x) ** 2).mean(0)


def with_norm(subject: Any, norm: str) -> Any:
    subject.config = type(subject.config)(fi_norm=norm)
    return subject


@pytest.mark.usefixtures("float64")
def test_importance_by_hand() -> None:
    subject, on, f = by_hand()
    weight, bias = subject.importance(on.tasks[0], toys.fit())
    wanted = np.abs(np.tanh((f - f.mean()) / f.std(ddof=1)))
    np.testing.assert_allclose(weight[0].numpy(), wanted, rtol=1e-9)
    assert bias.tolist() == [0.0]  # a tensor of one number varies with nothing
    weight, bias = with_norm(subject, "max").importance(on.tasks[0], toys.fit())
    np.testing.assert_allclose(weight[0].numpy(), f / f.max(), rtol=1e-12)
    assert bias.tolist() == [1.0]


@pytest.mark.parametrize("norm", ["tanh_std", "max"])
def test_the_size_of_the_gradients_does_not_matter(norm: str) -> None:
    on = toys.benchmark((2,))
    found = []
    for size in (1e-4, 1e-7):  # the Fisher is about 1e-10, then 1e-16
        subject: Any = toys.method("spg_fi", on, "mlp(hidden=8)", fi_norm=norm)
        with torch.no_grad():
            subject.net.heads[0].weight.mul_(size)
            subject.net.heads[0].bias.zero_()
        found.append(subject.importance(on.tasks[0], toys.fit()))
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-4)
        assert float(one.max()) > 0.5


def test_importance_lies_within_0_and_1_and_is_0_where_nothing_is_felt() -> None:
    on = toys.benchmark()
    for norm in ("tanh_std", "max"):
        subject: Any = toys.method("spg_fi", on, fi_norm=norm)
        for p, a in zip(
            subject.net.body.parameters(), subject.importance(on.tasks[0], toys.fit()), strict=True
        ):
            assert a.shape == p.shape and float(a.min()) >= 0 and float(a.max()) <= 1
            assert norm != "max" or float(a.max()) == 1
        with torch.no_grad():
            subject.net.heads[0].weight.zero_()
        assert all(float(a.max()) == 0 for a in subject.importance(on.tasks[0], toys.fit()))


def test_older_heads_have_no_part() -> None:
    on = toys.benchmark()
    subject: Any = toys.method("spg_fi", on)
    before = subject.importance(on.tasks[1], toys.fit())
    with torch.no_grad():
        subject.net.heads[0].weight.mul_(-3.0)
    after = subject.importance(on.tasks[1], toys.fit())
    assert all(facts.same_bits(a, b) for a, b in zip(before, after, strict=True))
    assert not {"chi", "importance_mode"} & {f.name for f in fields(subject.config)}
    diagnostics = toys.learn(subject, on, toys.fit(epochs=1))[-1].diagnostics
    assert set(diagnostics) == {"blocked", "blocked_layers", "importance"}


def test_the_fisher_is_measured_as_the_fields_say() -> None:
    on = toys.benchmark()
    kinds: list[tuple[dict[str, Any], int, bool]] = [
        ({}, 1, False),
        ({"fisher_batch": 20, "fisher_mode": "train"}, 20, True),
    ]
    found: list[Tensor] = []
    for settings, size, dropout in kinds:
        subject: Any = toys.method("spg_fi", on, fi_norm="max", **settings)
        torch.manual_seed(5)
        first = subject.importance(on.tasks[0], toys.fit())[0]
        torch.manual_seed(5)
        whole = fisher(subject.net, on.tasks[0], toys.fit(), size, dropout=dropout)[0]
        torch.testing.assert_close(first, whole / whole.max())
        found.append(first)
    assert not torch.allclose(found[0], found[1])


def test_importance_scales_the_gradients_of_later_tasks() -> None:
    on = toys.benchmark()
    subject: Any = toys.method("spg_fi", on)
    plain: Any = toys.method("finetune", on)
    for one in (subject, plain):
        toys.learn_one(one, on, toys.fit(), 0)
    facts.assert_same_state(facts.state(subject.net), facts.state(plain.net))
    importance = [a.clone() for a in subject.accumulated]
    torch.testing.assert_close(importance, subject.importance(on.tasks[0], toys.fit()))
    edit, body, pairs = subject.edit_gradients, list(subject.net.body.parameters()), []

    def editing(batch: Any) -> None:
        raw = [p.grad.clone() for p in body]
        edit(batch)
        pairs.append((raw, [p.grad.clone() for p in body]))

    subject.edit_gradients = editing
    toys.learn_one(subject, on, toys.fit(epochs=1), 1)
    assert len(pairs) == 3
    for raw, edited in pairs:
        for g, scaled, a in zip(raw, edited, importance, strict=True):
            assert facts.same_bits(scaled, g * (1 - a))
    assert all(bool((now >= old).all()) for now, old in zip(subject.accumulated, importance, strict=True))


def test_importance_after_an_epoch_is_spg_s_road() -> None:
    on = toys.benchmark((2,))
    early: Any = toys.method("spg_fi", on, importance_epoch=1)
    short: Any = toys.method("spg_fi", on)
    loop = toys.fit(epochs=3)
    toys.learn_one(early, on, loop, 0)
    toys.learn_one(short, on, toys.fit(epochs=1, keep="last"), 0)
    assert loop.epochs == {"importance": 1, "main": 3}
    assert all(facts.same_bits(a, b) for a, b in zip(early.accumulated, short.accumulated, strict=True))


@pytest.mark.parametrize("name", ["fisher_batch", "importance_epoch"])
def test_nonsense_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match=f"{name} = 0 must be at least 1"):
        registry.method("spg_fi").Config(**{name: 0})

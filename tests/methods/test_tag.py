"""TAG: RMSProp in the first task, the denominator by hand, what has a history and what moves."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from raycl import registry
from raycl.methods.tag import History, Rule
from raycl.training.fit import Fit
from tests.helpers import facts, toys


def rule_of(values: list[list[float]], histories: list[History] | None = None, b: float = 5) -> Rule:
    tensors = [nn.Parameter(torch.tensor(value)) for value in values]
    return Rule(tensors, histories or [History(p) for p in tensors], b)


def steps(rule: Rule, *gradients: list[list[float]], lr: float = 0.1) -> list[np.ndarray[Any, Any]]:
    """One step per entry, an entry being a gradient per tensor."""
    for each in gradients:
        for p, g in zip(rule.tensors, each, strict=True):
            p.grad = torch.tensor(g)
        rule.step(lr)
    return [p.detach().numpy().copy() for p in rule.tensors]


@pytest.mark.parametrize("b", [1, 7])
@pytest.mark.usefixtures("float64")
def test_the_first_task_is_rmsprop_without_correction_of_bias(b: int) -> None:
    gradients = [[0.3, -2.0], [0.1, 0.0], [-0.5, 1.0]]
    theta, v = np.array([1.0, -1.0]), np.zeros(2)
    for g in np.array(gradients):
        v = 0.99 * v + 0.01 * g**2
        theta = theta - 0.1 * g / (np.sqrt(v) + 1e-8)
    (found,) = steps(rule_of([[1.0, -1.0]], b=b), *([g] for g in gradients))
    np.testing.assert_allclose(found, theta, rtol=1e-12)
    (first,) = steps(rule_of([[1.0, -1.0]], b=b), [[0.3, -2.0]])
    np.testing.assert_allclose(first, [1 - 0.1 / 0.1, -1 + 0.1 / 0.1], atol=1e-6)  # sqrt(0.01 g^2) = |g| / 10


@pytest.mark.parametrize("network", ["mlp(hidden=16)", "resnet18(nf=2)"])
def test_the_first_task_is_finetuning_with_torch_s_rmsprop_bit_for_bit(network: str) -> None:
    on = toys.benchmark(shape=(1, 8, 8))
    tag: Any = toys.method("tag", on, network)
    plain: Any = toys.method("finetune", on, network)
    toys.learn_one(tag, on, toys.fit(lr=1e-3, epochs=2), 0)
    toys.learn_one(plain, on, toys.fit(lr=1e-3, epochs=2, optimiser="rmsprop"), 0)
    facts.assert_same_state(facts.state(tag.net), facts.state(plain.net))


@pytest.mark.usefixtures("float64")
def test_denominator_of_the_third_task_by_hand() -> None:
    b, past, history = 3, [[[0.6, 0.8], [0.2, -0.1]], [[-1.0, 0.5]]], History(torch.zeros(2))
    kept = []
    for gradients in past:
        rule = rule_of([[0.0, 0.0]], [history], b)
        steps(rule, *([g] for g in gradients))
        m, v = np.zeros(2), np.zeros(2)
        for g in np.array(gradients):
            m, v = 0.9 * m + 0.1 * g, 0.99 * v + 0.01 * g**2
        kept.append((m / np.sqrt((m**2).sum()), v))
        history.append(rule.m[0], rule.v[0])
    theta, m, v = np.array([1.0, 2.0]), np.zeros(2), np.zeros(2)
    rule = rule_of([[1.0, 2.0]], [history], b)
    for g in np.array([[0.4, -0.3], [0.1, 0.9]]):
        m, v = 0.9 * m + 0.1 * g, 0.99 * v + 0.01 * g**2  # moments first
        below = math.exp(-b) * v
        for direction, squares in kept:
            below = below + math.exp(-b * (m @ direction) / np.sqrt(m @ m)) * squares
        theta = theta - 0.1 * g / (np.sqrt(below) + 1e-8)
        (found,) = steps(rule, [g.tolist()])
        np.testing.assert_allclose(found, theta, rtol=1e-10)
    for (direction, squares), row, second in zip(kept, history.directions, history.squares, strict=True):
        np.testing.assert_allclose(row.numpy(), direction, rtol=1e-10)
        np.testing.assert_allclose(second.numpy(), squares, rtol=1e-10)


def test_related_tasks_step_further_than_conflicting_ones() -> None:
    history = History(torch.zeros(3))
    history.append(torch.tensor([1.0, 2.0, -1.0]), torch.full((3,), 0.05))
    along, across, against = ([1.0, 2.0, -1.0], [2.0, -1.0, 0.0], [-1.0, -2.0, 1.0])
    found = [history.weights(torch.tensor(m), torch.tensor(m).norm(), 5.0) for m in (along, across, against)]
    torch.testing.assert_close(torch.cat(found), torch.tensor([math.exp(-5), 1.0, math.exp(5)]))
    moved = [abs(steps(rule_of([[0.0] * 3], [history]), [g])[0][0]) / abs(g[0]) for g in (along, against)]
    assert moved[0] > 10 * moved[1]


def test_of_each_tensor_its_own_history_counts() -> None:
    """One tensor goes on as in the task before, the other turns round; a third has no past."""
    histories = [History(torch.zeros(2)) for _ in range(3)]
    for history in histories[:2]:
        history.append(torch.tensor([3.0, 4.0]), torch.tensor([0.01, 0.01]))
    rule = rule_of([[0.0, 0.0]] * 3, histories, b=2)
    found = steps(rule, [[3.0, 4.0], [-3.0, -4.0], [3.0, 4.0]], lr=1.0)
    v = 0.01 * np.array([9.0, 16.0])
    for theta, alpha, sign in zip(found, (math.exp(-2), math.exp(2)), (-1, 1), strict=False):
        wanted = np.array([3.0, 4.0]) / (np.sqrt(math.exp(-2) * v + alpha * 0.01) + 1e-8)
        np.testing.assert_allclose(theta, sign * wanted, rtol=1e-5)
    np.testing.assert_allclose(found[2], [-10.0, -10.0], rtol=1e-5)  # weight 1


def test_nothing_moves_without_a_gradient_and_nothing_breaks_with_a_zero_one() -> None:
    history = History(torch.zeros(2))
    history.append(torch.zeros(2), torch.zeros(2))
    assert len(history) == 0  # no direction
    history.append(torch.tensor([1.0, 0.0]), torch.tensor([1.0, 0.0]))
    rule = rule_of([[0.5, -0.5], [0.5, -0.5]], [history, history])
    rule.tensors[0].grad = torch.zeros(2)
    rule.step(0.1)
    for p in rule.tensors:
        assert facts.same_bits(p, torch.tensor([0.5, -0.5]))
    assert not rule.m[1].any() and not rule.v[1].any()
    for tiny in (1e-30, -1e-29):  # squares are below what float32 holds: the norm is 0, the product is not
        rule.tensors[0].grad = torch.tensor([tiny, 0.0])
        rule.step(0.1)
        assert rule.tensors[0].isfinite().all()


def test_histories_are_of_tensors_that_tasks_share() -> None:
    on = toys.benchmark()
    tag: Any = toys.method("tag", on, "mlp(hidden=16)")
    size = tag.stored_bytes()
    body = [p.numel() for p in tag.net.body.parameters()]
    frozen: list[bytes] = []
    for task in range(3):
        toys.learn_one(tag, on, toys.fit_for("tag", epochs=1), task)
        assert [len(history) for history in tag.histories] == [task + 1] * 4 + [0] * 6
        assert tag.stored_bytes() == size + 4 * 2 * (task + 1) * sum(body)
        first = tag.histories[0]
        torch.testing.assert_close(first.directions.norm(dim=1), torch.ones(task + 1))
        assert [facts.bits(row) for row in (*first.directions[:task], *first.squares[:task])] == frozen
        frozen = [facts.bits(row) for row in (*first.directions, *first.squares)]
    assert tag.rule is None and tag.count_parameters() == sum(p.numel() for p in tag.net.parameters())


def test_a_head_that_all_tasks_share_has_a_history() -> None:
    on = toys.benchmark((3, 3))
    tag: Any = toys.method("tag", on, "lenet_300_100")
    toys.learn(tag, on, toys.fit_for("tag", epochs=1))
    assert [len(history) for history in tag.histories] == [2, 2, 2]


def test_each_task_begins_with_fresh_moments() -> None:
    on = toys.benchmark()
    tag: Any = toys.method("tag", on)
    seen = []
    step = tag.step

    def stepping(batch: Any, update: Any) -> Any:
        seen.append([m.any().item() for m in (*tag.rule.m, *tag.rule.v)])
        return step(batch, update)

    tag.step = stepping
    for task in range(2):
        toys.learn_one(tag, on, toys.fit(epochs=1, batch=48), task)
    assert len(seen) == 2 and not any(any(each) for each in seen)


def test_optimiser_momentum_decay_and_clipping_do_not_apply() -> None:
    on = toys.benchmark()
    found = []
    for settings in ({}, {"optimiser": "adam", "weight_decay": 0.1, "clip": 1e-3}, {"momentum": 0.9}):
        tag = toys.method("tag", on)
        toys.learn(tag, on, toys.fit_for("tag", epochs=1, **settings))
        found.append(facts.state(tag))
    facts.assert_same_state(found[0], found[1])
    facts.assert_same_state(found[0], found[2])


def test_the_rate_follows_the_schedule() -> None:
    on = toys.benchmark()
    tag: Any = toys.method("tag", on)
    rates = []

    class Watched(Rule):
        def step(self, lr: float) -> None:
            rates.append(lr)
            super().step(lr)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("raycl.methods.tag.Rule", Watched)
        settings: dict[str, Any] = {
            "schedule": "steps",
            "milestones": (1, 2),
            "factor": 10.0,
            "epochs": 3,
            "batch": 48,
        }
        toys.learn_one(tag, on, toys.fit_for("tag", **settings), 0)
    assert rates == pytest.approx([1e-3, 1e-4, 1e-5])


def test_the_floor_of_the_rate_goes_with_the_rate() -> None:
    kind = registry.method("tag")
    assert Fit.Config(**{**kind.fit_defaults, "lr": 5e-4}).floor == pytest.approx(2e-6)
    domain = kind.preset_overrides["spg"]["fit.lr"]
    assert kind.fit_defaults["lr"] in domain and (domain.low, domain.high, domain.log) == (1e-5, 5e-3, True)


def test_moments_stay_where_training_ended_when_the_best_weights_come_back() -> None:
    on = toys.benchmark((2, 2))
    # The more is learnt the worse it looks: epoch 1 is the best.
    object.__setattr__(on.tasks[0].val, "y", 1 - on.tasks[0].val.y)
    found: list[Any] = []
    for epochs, keep in ((4, "best"), (1, "best"), (4, "last")):
        found.append(toys.method("tag", on))
        toys.learn_one(found[-1], on, toys.fit_for("tag", lr=0.01, epochs=epochs, keep=keep), 0)
    long, short, last = found
    facts.assert_same_state(facts.state(long.net), facts.state(short.net))
    facts.assert_same_state(facts.state(long.histories), facts.state(last.histories))
    assert not facts.same_bits(long.histories[0].squares, short.histories[0].squares)


def test_nonsense_is_refused() -> None:
    config: Any = registry.method("tag").Config
    with pytest.raises(ValueError, match="b = -1 must be at least 0"):
        config(b=-1)

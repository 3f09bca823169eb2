"""ONE: a task's network knows nothing of the others; and the identity of the transfer metrics."""

from __future__ import annotations

from typing import Any

import pytest

from raycl import metrics
from tests.helpers import facts, toys


def test_a_task_learns_the_same_whatever_came_before() -> None:
    on = toys.benchmark()
    all_tasks, alone = toys.method("one", on), toys.method("one", on)
    toys.learn(all_tasks, on, toys.fit())
    toys.learn_one(alone, on, toys.fit(), 2)
    left, right = (facts.logits(subject, on, [2])[2] for subject in (all_tasks, alone))
    assert facts.same_bits(left, right)


def test_starts() -> None:
    on = toys.benchmark((2, 2))
    plain = facts.state(toys.method("finetune", on).net.body)
    for init, same in (("shared", True), ("fresh", False)):
        one: Any = toys.method("one", on, init=init)
        bodies = [facts.state(one._fresh(task).body) for task in range(2)]
        for body in bodies:
            assert facts.same_bits(body["0.layer.weight"], plain["0.layer.weight"]) == same
        assert facts.same_bits(bodies[0]["0.layer.weight"], bodies[1]["0.layer.weight"]) == same


def test_parameters_are_those_of_all_networks_with_their_own_heads() -> None:
    on = toys.benchmark()
    one = toys.method("one", on, "mlp(hidden=16)")
    body = 17 * 16 + 17 * 16
    assert one.count_parameters() == 3 * body + 17 * 7
    toys.learn_one(one, on, toys.fit(epochs=1), 0)
    assert one.stored_bytes() == 4 * (body + 17 * 2)
    toys.learn_one(one, on, toys.fit(epochs=1), 1)
    assert one.stored_bytes() == 4 * (2 * body + 17 * 5)
    assert one.count_parameters() == 3 * body + 17 * 7


def test_accuracy_is_reference_plus_transfers() -> None:
    on = toys.benchmark()
    beta = [r.test[r.task] for r in toys.learn(toys.method("one", on), on, toys.fit(epochs=2))]
    reports = toys.learn(toys.method("finetune", on), on, toys.fit(epochs=2, lr=0.3))
    a = metrics.matrix([r.test for r in reports])
    forward, backward = metrics.fwt_vs_one(a, beta), metrics.bwt_T(a)
    assert forward is not None and backward is not None
    assert metrics.acc(a) == pytest.approx(sum(beta) / 3 + forward + backward, abs=1e-12)

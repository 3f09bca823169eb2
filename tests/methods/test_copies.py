"""Copies: finetuning that keeps what it passes, or goes back to the first task's network each time."""

from __future__ import annotations

from typing import Any

import pytest

from tests.helpers import facts, toys

DECAYED = {"momentum": 0.9, "weight_decay": 1e-2, "epochs": 2}
NETWORKS = ("mlp(hidden=16)", "resnet18(nf=2)")


@pytest.mark.parametrize("network", NETWORKS)
def test_the_copy_of_a_task_is_the_finetuned_network_of_that_moment(network: str) -> None:
    on = toys.benchmark(shape=(1, 8, 8))
    copies: Any = toys.method("copies", on, network)
    plain: Any = toys.method("finetune", on, network)
    for task in range(3):
        for subject in (copies, plain):
            toys.learn_one(subject, on, toys.fit(**DECAYED), task)
        left, right = facts.state(copies.nets[str(task)]), facts.state(plain.net)
        assert left.keys() <= right.keys() and len(left) > 3
        facts.assert_same_state(left, {name: right[name] for name in left})
        now, wanted = (facts.logits(subject, on, [task])[task] for subject in (copies, plain))
        assert facts.same_bits(now, wanted)


@pytest.mark.parametrize("start", ["previous", "first"])
@pytest.mark.parametrize("network", NETWORKS)
def test_earlier_logits_are_the_same_bits(network: str, start: str) -> None:
    on = toys.benchmark(shape=(1, 8, 8))
    copies = toys.method("copies", on, network, start=start)
    kept: dict[int, Any] = {}
    for task in range(3):
        toys.learn_one(copies, on, toys.fit(**DECAYED), task)
        now = facts.logits(copies, on, range(task + 1))
        for earlier, logits in kept.items():
            assert facts.same_bits(now[earlier], logits)
        kept = now


def test_starts_part_at_the_third_task() -> None:
    on = toys.benchmark()
    first, previous = (toys.method("copies", on, start=start) for start in ("first", "previous"))
    for subject in (first, previous):
        toys.learn(subject, on, toys.fit(epochs=2))
    left, right = (facts.logits(subject, on, range(3)) for subject in (first, previous))
    assert [facts.same_bits(left[task], right[task]) for task in range(3)] == [True, True, False]


@pytest.mark.parametrize("start", ["previous", "first"])
def test_only_from_the_first_does_a_task_not_hang_on_those_between(start: str) -> None:
    on = toys.benchmark()
    whole, short = (toys.method("copies", on, start=start) for _ in range(2))
    for subject, tasks in ((whole, (0, 1, 2)), (short, (0, 2))):
        for task in tasks:
            toys.learn_one(subject, on, toys.fit(epochs=2), task)
    left, right = (facts.logits(subject, on, [2])[2] for subject in (whole, short))
    assert facts.same_bits(left, right) == (start == "first")


def test_first_task_is_learnt_from_scratch_and_later_ones_are_not() -> None:
    on = toys.benchmark()
    copies, one = toys.method("copies", on), toys.method("one", on)
    for subject in (copies, one):
        for task in (0, 1):
            toys.learn_one(subject, on, toys.fit(epochs=2), task)
    left, right = (facts.logits(subject, on, (0, 1)) for subject in (copies, one))
    assert facts.same_bits(left[0], right[0]) and not facts.same_bits(left[1], right[1])
    assert one.is_reference and not copies.is_reference  # transfer is measured from scratch, not from a copy


@pytest.mark.parametrize("start", ["previous", "first"])
def test_a_task_not_learnt_is_answered_by_what_it_would_start_from(start: str) -> None:
    on = toys.benchmark()
    copies: Any = toys.method("copies", on, start=start)
    untrained = facts.logits(toys.method("finetune", on), on, [2])[2]
    assert facts.same_bits(facts.logits(copies, on, [2])[2], untrained)
    for task in (0, 1):
        toys.learn_one(copies, on, toys.fit(epochs=2), task)
    asked = facts.logits(copies, on, [2])[2]
    source: Any = copies.nets["1" if start == "previous" else "0"]
    for name, value in facts.state(copies._fresh(2).body).items():
        assert facts.same_bits(value, source.body.state_dict()[name])
    assert not facts.same_bits(asked, untrained) and sorted(copies.nets) == ["0", "1"]


def test_parameters_are_those_of_all_networks_and_storage_grows_with_the_tasks() -> None:
    on = toys.benchmark()
    copies = toys.method("copies", on, "mlp(hidden=16)")
    body = 17 * 16 + 17 * 16
    stored = []
    for report in toys.learn(copies, on, toys.fit(epochs=1)):
        assert report.parameters == 3 * body + 17 * 7
        stored.append(report.stored_bytes)
    assert stored == [4 * (body + 17 * 2), 4 * (2 * body + 17 * 5), 4 * (3 * body + 17 * 7)]

"""Frozen: the first task is finetuning; then a linear classifier on features that never change."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from raycl.networks import Heads, PerTaskBatchNorm
from tests.helpers import facts, toys

DECAYED = {"momentum": 0.9, "weight_decay": 1e-2, "epochs": 2}


NORMED = f"{__name__}:Normed"


class Normed(Heads):
    """A convolution, a normalisation (of a task's own, then of all tasks), and a head per task."""

    def __init__(
        self,
        input_shape: tuple[int, int, int],
        classes: Sequence[int],
        config: Heads.Config,
        width: float = 1.0,
    ) -> None:
        super().__init__(input_shape, classes, config, width)
        self.body = nn.ModuleDict(
            {
                "conv": nn.Conv2d(input_shape[0], 4, 3),
                "own": PerTaskBatchNorm(4, len(classes)),
                "all": nn.BatchNorm2d(4),
            }
        )
        self.make_heads(4, classes)

    def features(self, x: Tensor, task: int = 0) -> Tensor:
        assert isinstance(self.body, nn.ModuleDict)
        x = self.body["own"](self.body["conv"](x), task)
        return F.relu(self.body["all"](x)).mean((2, 3))


def test_first_task_is_finetuning_bit_for_bit() -> None:
    on = toys.benchmark()
    frozen, plain = toys.method("frozen", on), toys.method("finetune", on)
    for subject in (frozen, plain):
        toys.learn_one(subject, on, toys.fit(**DECAYED), 0)
    facts.assert_same_state(facts.state(frozen.net), facts.state(plain.net))


def test_trunk_stays_and_each_head_is_trained_once() -> None:
    on = toys.benchmark()
    frozen: Any = toys.method("frozen", on)
    start = facts.state(frozen.net.heads)
    toys.learn_one(frozen, on, toys.fit(**DECAYED), 0)
    trunk, heads = facts.state(frozen.net.body), facts.state(frozen.net.heads)
    for p in frozen.net.parameters():
        p.grad = None
    for task in (1, 2):
        assert list(frozen.trainable(task)) == list(frozen.net.heads[task].parameters())
        toys.learn_one(frozen, on, toys.fit(**DECAYED), task)
        facts.assert_same_state(trunk, facts.state(frozen.net.body))
        now = facts.state(frozen.net.heads)
        for name in heads:
            moved = not facts.same_bits(now[name], heads[name])
            assert moved == name.startswith(f"{task}."), name
        heads = now
    assert all(p.grad is None for p in frozen.net.body.parameters())  # none is computed in vain
    assert not any(facts.same_bits(heads[name], start[name]) for name in heads)
    n = sum(p.numel() for p in frozen.net.parameters())
    assert frozen.count_parameters() == n and frozen.stored_bytes() == 4 * n


@pytest.mark.parametrize("network", ["mlp(hidden=16)", NORMED])
def test_earlier_logits_are_the_same_bits(network: str) -> None:
    on = toys.benchmark(shape=(1, 8, 8))
    frozen: Any = toys.method("frozen", on, network)
    kept: dict[int, Tensor] = {}
    for task in range(3):
        toys.learn_one(frozen, on, toys.fit(**DECAYED), task)
        now = facts.logits(frozen, on, range(task + 1))
        for earlier, logits in kept.items():
            assert facts.same_bits(now[earlier], logits)
        kept = now


def test_shared_statistics_freeze_with_the_trunk_and_a_task_s_own_do_not() -> None:
    on = toys.benchmark(shape=(1, 8, 8))
    frozen: Any = toys.method("frozen", on, NORMED)
    toys.learn_one(frozen, on, toys.fit(**DECAYED), 0)
    for subject in (frozen, facts.reloaded(frozen)):
        subject.train(True)
        body: Any = subject.net.body
        assert not body["all"].training
        assert body["own"].norms[1].training and body["conv"].training
    toys.learn_one(frozen, on, toys.fit(**DECAYED), 1)
    body = frozen.net.body
    batches = [int(norm.num_batches_tracked) for norm in (*body["own"].norms, body["all"])]
    assert batches[0] == batches[3] and batches[1] > 0 and batches[2] == 0


@pytest.mark.usefixtures("float64")
def test_a_later_task_is_regression_on_fixed_features() -> None:
    on = toys.benchmark()
    frozen: Any = toys.method("frozen", on, "mlp(hidden=16, drop1=0.0, drop2=0.0)")
    toys.learn_one(frozen, on, toys.fit(epochs=2), 0)
    x, y = on.tasks[1].train.take(slice(None)), torch.tensor(on.tasks[1].train.y)
    with torch.no_grad():
        h = frozen.net.features(x, 1)
        weight, bias = (p.clone() for p in frozen.net.heads[1].parameters())
        for _ in range(6):
            back = ((h @ weight.T + bias).softmax(1) - F.one_hot(y, 3)) / len(y)
            weight, bias = weight - 0.2 * back.T @ h, bias - 0.2 * back.sum(0)
    toys.learn_one(frozen, on, toys.fit(lr=0.2, epochs=6, batch=48, keep="last"), 1)
    torch.testing.assert_close(frozen.net.heads[1].weight.detach(), weight, rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(frozen.net.heads[1].bias.detach(), bias, rtol=1e-9, atol=1e-12)

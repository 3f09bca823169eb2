"""MTL: nothing before the end, then all tasks at once, each sample on its own head."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F

from raycl import metrics
from raycl.tasks import Batch
from tests.helpers import facts, toys


def test_rows_before_the_end_do_not_exist() -> None:
    on = toys.benchmark()
    mtl = toys.method("mtl", on)
    start = facts.state(mtl.net)
    loop = toys.fit()
    toys.learn_one(mtl, on, loop, 0)
    facts.assert_same_state(start, facts.state(mtl.net))
    reports = toys.learn(toys.method("mtl", on), on, toys.fit())
    assert [r.test for r in reports[:2]] == [{}, {}] and [r.val for r in reports[:2]] == [{}, {}]
    assert [r.updates for r in reports] == [0, 0, 4 * 9]
    a = metrics.matrix([r.test for r in reports])
    assert metrics.acc(a) is not None
    assert metrics.bwt(a) is None and metrics.forgetting(a) is None and metrics.acc_just(a) is None


def test_batches_mix_tasks_and_every_sample_counts_the_same() -> None:
    on = toys.benchmark()
    mtl: Any = toys.method("mtl", on)
    batches, step = [], mtl.step
    mtl.step = lambda batch, update: batches.append(batch) or step(batch, update)
    for t in range(3):
        toys.learn_one(mtl, on, toys.fit(epochs=1), t)
    assert sum(len(batch) for batch in batches) == 3 * 48
    assert all(len(batch.task.unique()) > 1 for batch in batches)
    mtl.train(False)
    x = torch.cat([task.train.take(slice(0, 3 + task.index)) for task in on.tasks])
    y = torch.cat([torch.tensor(task.train.y[: 3 + task.index]) for task in on.tasks])
    where = torch.tensor([0] * 3 + [1] * 4 + [2] * 5)
    single = [F.cross_entropy(mtl(x[i : i + 1], int(where[i])), y[i : i + 1]) for i in range(12)]
    with torch.no_grad():
        mixed = float(mtl.loss(Batch(x, y, where)))
    assert mixed == pytest.approx(float(torch.stack(single).detach().mean()), rel=1e-6)


def test_batch_statistics_are_shared() -> None:
    on = toys.benchmark(shape=(1, 8, 8))
    mtl: Any = toys.method("mtl", on, "resnet18(nf=2)")
    reports = toys.learn(mtl, on, toys.fit(**toys.EAGER))
    assert all(accuracy >= 0.75 for accuracy in reports[-1].test.values())
    norms = mtl.net.body["stem"][1].norms
    assert int(norms[0].num_batches_tracked) > 0 and int(norms[1].num_batches_tracked) == 0

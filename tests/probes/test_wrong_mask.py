"""Wrong masks: each pair is measured under the statistics that it names, and nothing stays changed."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from raycl.probes.backbones import accuracy, normalised_by, norms_of
from raycl.probes.wrong_mask import Crossing, angle_gap, crossings, summary, wrong_masks
from raycl.supermasks.bank import BasisMask, random_mask
from tests.helpers import facts, toys
from tests.helpers.small import backbone


def test_pairs() -> None:
    assert crossings(2, 3) == [(0, 1), (0, 2), (1, 0), (1, 2)]
    every = crossings(10, 10)
    assert len(every) == 90 and not any(t == u for t, u in every)
    some = crossings(10, 10, most=15, seed=1)
    assert len(set(some)) == 15 and set(some) <= set(every)
    assert some == crossings(10, 10, most=15, seed=1) != crossings(10, 10, most=15, seed=2)


def test_gap_of_two_angles() -> None:
    assert [angle_gap(*pair) for pair in ((0, 10), (10, 0), (350, 10), (0, 180), (5, 365), (-90, 90))] == (
        [10, 10, 20, 180, 0, 180]
    )


def test_a_mask_alone_on_another_task() -> None:
    on, benchmark = backbone(), toys.benchmark((3, 3, 3))
    masks = [random_mask(on.sizes, 0.4, seed) for seed in range(3)]
    found = wrong_masks(on, masks, benchmark.tasks, crossings(3, 3), gap=lambda t, u: abs(t - u))
    assert [(p.mask, p.task, p.gap) for p in found] == [(t, u, abs(t - u)) for t, u in crossings(3, 3)]
    for pair in found:
        split = benchmark.tasks[pair.task].test
        x, held = split.take(slice(None)).flatten(1), masks[pair.mask].tensors(on.weights)
        for layer, (weight, mask) in enumerate(zip(on.weights, held, strict=True)):
            x = x @ (weight * mask).T if layer == 0 else x.relu() @ (weight * mask).T
        assert pair.accuracy == float(np.mean(x.argmax(1).numpy() == split.y))
        assert pair.refreshed is None


def test_both_readings_of_batch_statistics() -> None:
    on = backbone("resnet18(nf=2)", (1, 8, 8), width=1)
    benchmark = toys.benchmark((3, 3), test=120, shape=(1, 8, 8))
    bits = random_mask(on.sizes, 0.5, 0).bits
    effective = [w * m for w, m in zip(on.weights, BasisMask(bits).tensors(on.weights), strict=True)]

    def collected(images: torch.Tensor) -> tuple[np.ndarray, ...]:
        on.net.train()
        for norm in norms_of(on.net):
            norm.momentum = 1.0
        on(effective, images)
        kept = [t.clone().numpy() for n in norms_of(on.net) for t in (n.running_mean, n.running_var)]
        for norm in norms_of(on.net):
            norm.momentum = 0.1
            norm.reset_running_stats()
        on.net.eval()
        return tuple(kept)

    train = [task.train.take(slice(None)) for task in benchmark.tasks]
    own = BasisMask(bits, statistics=collected(train[0]))
    before = facts.state(on.net)
    (pair,) = wrong_masks(on, [own], benchmark.tasks, [(0, 1)], batches=1, batch=48)
    facts.assert_same_state(before, facts.state(on.net))
    for reading, statistics in ((pair.accuracy, own.statistics), (pair.refreshed, collected(train[1]))):
        with normalised_by(on.net, statistics):
            wanted = accuracy(lambda x: on(effective, x), benchmark.tasks[1].test)
        assert reading == wanted
    assert pair.accuracy != pair.refreshed
    (without,) = wrong_masks(on, [BasisMask(bits)], benchmark.tasks, [(0, 1)], batches=1, batch=48)
    assert without.accuracy is None and without.refreshed == pair.refreshed


def test_summary_by_hand() -> None:
    found = [Crossing(0, 1, 0.5, gap=10), Crossing(0, 2, 0.1, gap=90), Crossing(1, 2, 0.3, 0.2, gap=90)]
    every, far = summary(found, (0, 45))
    assert (every.pairs, far.pairs) == (3, 2)
    assert every.accuracy == pytest.approx(0.3) and every.std == pytest.approx(0.2) and every.highest == 0.5
    assert far.accuracy == pytest.approx(0.2) and far.std == pytest.approx(0.02**0.5) and far.highest == 0.3
    assert every.refreshed is None  # not measured for all
    assert summary(found[2:])[0].refreshed == 0.2
    (nothing,) = summary(found, (180,))
    assert nothing.pairs == 0 and nothing.accuracy is nothing.std is nothing.highest is None

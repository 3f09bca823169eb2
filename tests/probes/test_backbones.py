"""Probes leave a backbone as it was, whatever batch statistics they put under it."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from raycl.errors import UserError
from raycl.probes.backbones import (
    accuracy,
    estimated_statistics,
    mixture,
    normalised_by,
    norms_of,
    rows_drawn,
)
from tests.helpers import facts, toys
from tests.helpers.small import backbone, effective, random_masks

RESNET = {"network": "resnet18(nf=2)", "shape": (1, 8, 8), "width": 1.0}


def test_statistics_of_the_batch_are_those_of_training() -> None:
    on = backbone(**RESNET)  # type: ignore[arg-type]
    x = torch.randn(6, 1, 8, 8)
    before = facts.state(on.net)
    with normalised_by(on.net, "batch"):
        found = on(on.weights, x)
    facts.assert_same_state(before, facts.state(on.net))
    on.net.train()
    assert facts.same_bits(found, on(on.weights, x))
    assert not torch.equal(before["body.stem.1.norms.0.running_mean"], norms_of(on.net)[0].running_mean)


def test_given_statistics_are_used_in_order_and_taken_away_again() -> None:
    on = backbone(**RESNET)  # type: ignore[arg-type]
    x = torch.randn(6, 1, 8, 8)
    on.net.train()
    for _ in range(5):
        on(on.weights, torch.randn(16, 1, 8, 8) * 3 + 1)
    kept = [t.clone().numpy() for norm in norms_of(on.net) for t in (norm.running_mean, norm.running_var)]
    on.net.eval()
    wanted = on(on.weights, x)
    for norm in norms_of(on.net):
        norm.reset_running_stats()
    on.net.body.train()  # modes that differ are kept apart
    fresh, modes = facts.state(on.net), [m.training for m in on.net.modules()]
    with normalised_by(on.net, kept):
        assert facts.same_bits(on(on.weights, x), wanted)
    with normalised_by(on.net, "running"):
        assert not facts.same_bits(on(on.weights, x), wanted)
    facts.assert_same_state(fresh, facts.state(on.net))
    assert modes == [m.training for m in on.net.modules()] and len(set(modes)) == 2
    with pytest.raises(UserError, match="2 x 20"), normalised_by(on.net, kept[:-1]):
        pass
    facts.assert_same_state(fresh, facts.state(on.net))


def test_estimated_statistics_are_the_mean_of_the_batches() -> None:
    on = backbone(**RESNET)  # type: ignore[arg-type]
    batches = [torch.randn(8, 1, 8, 8) + i for i in range(3)]
    before = facts.state(on.net)
    found = estimated_statistics(on.net, lambda x: on(on.weights, x), batches)
    facts.assert_same_state(before, facts.state(on.net))
    assert len(found) == 2 * len(norms_of(on.net)) == 40
    stem = [F.conv2d(x, on.weights[0], padding=1) for x in batches]
    np.testing.assert_allclose(found[0], sum(h.mean((0, 2, 3)) for h in stem) / 3, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(found[1], sum(h.var((0, 2, 3)) for h in stem) / 3, rtol=1e-5)


def test_a_mixture_of_one_mask_is_the_network_under_it() -> None:
    on = backbone()
    masks = random_masks(on.weights, 3, 0.5, seed=0)
    network = mixture(on, effective(on.weights, masks))
    x = torch.randn(4, 1, 4, 4)
    only = torch.zeros(3, 3)
    only[1] = 1
    by_hand = x.flatten(1)
    for layer, weight in enumerate(on.weights):
        by_hand = by_hand @ (weight * masks[layer][1]).T
        by_hand = by_hand.relu() if layer < 2 else by_hand
    torch.testing.assert_close(network(only, x), by_hand)


def test_every_row_comes_once_before_any_comes_again() -> None:
    rows = rows_drawn(10, 4, 5, np.random.default_rng(0))
    assert [len(r) for r in rows] == [4] * 5
    flat = np.concatenate(rows)
    assert sorted(flat[:10]) == sorted(flat[10:]) == list(range(10))
    assert [len(r) for r in rows_drawn(3, 8, 2, np.random.default_rng(0))] == [3, 3]
    assert rows_drawn(10, 4, 0, np.random.default_rng(0)) == []


def test_accuracy_by_hand() -> None:
    x = torch.eye(4).repeat(100, 1)  # more than one batch of evaluation; answers are 0, 1, 2, 3, 0, ..
    split = toys.TensorSplit(x, np.tile(np.array([0, 1, 2, 0], np.int64), 100))
    assert accuracy(lambda some: some, split) == 0.75
    assert math.isnan(accuracy(lambda some: some, toys.TensorSplit(x[:0], np.empty(0, np.int64))))

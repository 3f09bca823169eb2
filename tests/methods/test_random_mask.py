"""Random masks: PMASK whose embeddings do not move, and what chance says of its masks."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from raycl import space
from raycl.methods.random_mask import RandomMask
from tests.helpers import facts, toys


@pytest.mark.parametrize("store", ["hard", "soft"])
def test_is_pmask_whose_embeddings_do_not_move(store: str) -> None:
    on = toys.benchmark()
    pmask: Any = toys.method("pmask", on, emb_lr_mult=0.0, store=store)
    control: Any = toys.method("random_mask", on, store=store)
    loops = [toys.fit(momentum=0.9, weight_decay=1e-2, epochs=3) for _ in range(2)]
    for task in range(3):
        for subject, loop in zip((pmask, control), loops, strict=True):
            toys.learn_one(subject, on, loop, task)
    facts.assert_same_state(facts.state(pmask), facts.state(control))
    for one, other in zip(pmask.masks.values(), control.masks.values(), strict=True):
        assert all((a == b).all() for a, b in zip(one, other, strict=True))
    assert pmask.diagnostics(2) == control.diagnostics(2)
    wanted = facts.logits(pmask, on, range(3))
    for task, logits in facts.logits(control, on, range(3)).items():
        assert facts.same_bits(logits, wanted[task])


def test_shares_are_those_of_chance() -> None:
    on = toys.benchmark((2, 2, 2, 2, 2))
    control: Any = toys.method("random_mask", on, "mlp(hidden=150)")
    reports = toys.learn(control, on, toys.fit(epochs=1))
    n = sum(control.sizes)
    for t, report in enumerate(reports):
        share = 1 - 0.5 ** (t + 1)
        assert report.diagnostics["capacity_used"] == pytest.approx(
            share, abs=4 * np.sqrt(share * (1 - share) / n)
        )
        assert report.diagnostics["kept_share"] == pytest.approx(0.5, abs=2 / np.sqrt(n))
        assert report.diagnostics["flip_share"] == 0
        assert report.diagnostics["reuse"] == pytest.approx([0.5] * t, abs=4 / np.sqrt(2 * n))
        if t:
            assert report.diagnostics["reuse_lift"] == pytest.approx(1, abs=0.05)


def test_embeddings_are_neither_trained_nor_counted_nor_searched() -> None:
    on = toys.benchmark()
    control: Any = toys.method("random_mask", on, "mlp(hidden=16)")
    control.begin(0, decays=True)
    assert not any(e.requires_grad for e in control.embeddings)
    moved = {id(p) for p in control.trainable(0)}
    assert moved == {id(p) for p in control.net.trainable(0)}
    assert control.count_parameters() == sum(p.numel() for p in control.net.parameters())
    assert space.space_of(RandomMask.Config) == {}
    assert set(RandomMask.preset_overrides["pmask"]) == {"fit.lr"}

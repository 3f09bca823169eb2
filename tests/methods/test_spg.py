"""SPG: importance by hand, what is blocked, the head's scale, importance after epoch n."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch

from raycl import methods
from raycl.methods.spg import gradient_importance, summed_gradients
from raycl.tasks import Batch
from tests.helpers import facts, toys


def standardised(g: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    return np.abs(np.tanh((g - g.mean()) / g.std(ddof=1)))


@pytest.mark.usefixtures("float64")
def test_importance_of_a_network_of_two_weights_by_hand() -> None:
    x = np.array([[1.0, 2.0], [0.5, -1.0], [2.0, 0.3]])
    y = np.array([0, 1, 1])
    tasks = [(torch.tensor(x).reshape(3, 1, 1, 2), torch.tensor(y))] * 2
    on = toys.given(tasks, (2, 2))
    spg: Any = toys.method("spg", on, toys.chain(1))
    w, b, old, new = np.array([0.7, 0.4]), 0.2, np.array([0.5, 0.4]), np.array([0.3, -0.6])
    values = {"init:fc1.weight": w[None], "init:fc1.bias": np.array([b]), "init:last.0.weight": old[:, None],
              "init:last.0.bias": np.zeros(2), "init:last.1.weight": new[:, None],
              "init:last.1.bias": np.zeros(2)}  # fmt: skip
    facts.put(facts.named(spg.net), {k: torch.from_numpy(v) for k, v in values.items()})
    h = x @ w + b
    assert (h > 0).all()
    logits = h[:, None] * new
    back = np.exp(logits) / np.exp(logits).sum(1, keepdims=True) - np.eye(2)[y]
    through_own = ((back @ new)[:, None] * x).sum(0) / 3  # the batch mean of the cross-entropy
    through_old = (old.sum() * x).sum(0)  # the sum of all logits
    own, cross = gradient_importance(spg.net, on.tasks[1], toys.fit(batch=3))
    np.testing.assert_allclose(own[0][0].numpy(), standardised(through_own), rtol=1e-9)
    assert cross is not None
    np.testing.assert_allclose(cross[0][0].numpy(), standardised(through_old), rtol=1e-9)
    assert own[0][0].tolist() == pytest.approx([math.tanh(math.sqrt(0.5))] * 2)  # always so for two numbers
    assert own[1].tolist() == cross[1].tolist() == [0.0]  # a tensor of one number varies with nothing
    _, nothing = gradient_importance(spg.net, on.tasks[1], toys.fit(batch=3), chi=False)
    assert nothing is None


@pytest.mark.usefixtures("float64")
def test_a_smaller_last_batch_counts_by_sample_through_old_heads_and_by_batch_through_the_own() -> None:
    """Three samples in batches of 2 and 1: sums of logits, and sums of batch means of the cross-entropy."""
    x = np.array([[1.0, 2.0, 0.4], [0.5, 1.0, 3.0], [2.0, 0.3, 0.7]])
    y = np.array([0, 1, 1])
    tasks = [(torch.tensor(x).reshape(3, 1, 1, 3), torch.tensor(y))] * 2
    on = toys.given(tasks, (2, 2))
    spg: Any = toys.method("spg", on, toys.chain(1))
    w, b, old, new = np.array([0.7, 0.4, 0.2]), 0.2, np.array([0.5, 0.4]), np.array([0.3, -0.6])
    values = {"init:fc1.weight": w[None], "init:fc1.bias": np.array([b]), "init:last.0.weight": old[:, None],
              "init:last.0.bias": np.zeros(2), "init:last.1.weight": new[:, None],
              "init:last.1.bias": np.zeros(2)}  # fmt: skip
    facts.put(facts.named(spg.net), {k: torch.from_numpy(v) for k, v in values.items()})
    logits = (x @ w + b)[:, None] * new
    back = np.exp(logits) / np.exp(logits).sum(1, keepdims=True) - np.eye(2)[y]
    samples = (back @ new)[:, None] * x  # gradient of each sample's cross-entropy
    own = samples[:2].sum(0) / 2 + samples[2]  # not samples.sum(0)
    cross = (old.sum() * x).sum(0)
    of_means = old.sum() * (x[:2].sum(0) / 4 + x[2] / 2)  # what the mean of a batch's logits would give
    raw = summed_gradients(spg.net, on.tasks[1], toys.fit(batch=2), [0, 1])
    np.testing.assert_allclose(raw[0][0][0].numpy(), cross, rtol=1e-9)
    np.testing.assert_allclose(raw[1][0][0].numpy(), own, rtol=1e-9)
    found = gradient_importance(spg.net, on.tasks[1], toys.fit(batch=2))
    assert found[1] is not None
    np.testing.assert_allclose(found[0][0][0].numpy(), standardised(own), rtol=1e-9)
    np.testing.assert_allclose(found[1][0][0].numpy(), standardised(cross), rtol=1e-9)
    for other, right in ((of_means, cross), (samples.sum(0), own)):
        assert np.abs(standardised(other) - standardised(right)).max() > 0.01


def test_heads_in_groups_come_to_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    on = toys.benchmark((2, 2, 2, 2, 2))
    spg: Any = toys.method("spg", on)
    own, cross = gradient_importance(spg.net, on.tasks[4], toys.fit(), dropout=False)
    monkeypatch.setattr(methods.spg, "GROUP", 2)
    parts = gradient_importance(spg.net, on.tasks[4], toys.fit(), dropout=False)
    for one, other in zip([*own, *cross], [*parts[0], *parts[1]], strict=True):  # type: ignore[misc]
        assert facts.same_bits(one, other)


def test_importance_needs_one_forward_pass_per_batch() -> None:
    on = toys.benchmark((2, 2, 2, 2))
    spg: Any = toys.method("spg", on)
    calls, features = [], spg.net.features
    spg.net.features = lambda *args: calls.append(1) or features(*args)
    gradient_importance(spg.net, on.tasks[3], toys.fit(batch=16))
    assert len(calls) == 3  # 48 samples, although four heads are asked


def test_batches_are_summed_before_they_arestandardised() -> None:
    on = toys.benchmark()
    spg: Any = toys.method("spg", on)
    whole, cross = gradient_importance(spg.net, on.tasks[1], toys.fit(batch=48), dropout=False)
    parts, cross_parts = gradient_importance(spg.net, on.tasks[1], toys.fit(batch=12), dropout=False)
    for one, other in zip([*whole, *cross], [*parts, *cross_parts], strict=True):  # type: ignore[misc]
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


def test_a_dead_tensor_has_no_importance_and_a_dead_unit_has_some() -> None:
    on = toys.benchmark()
    spg: Any = toys.method("spg", on)
    with torch.no_grad():
        spg.net.body[1].layer.bias.fill_(-100.0)  # the second layer never fires
    own, _ = gradient_importance(spg.net, on.tasks[0], toys.fit())
    assert all(float(tensor.abs().max()) == 0.0 for tensor in own)
    with torch.no_grad():
        spg.net.body[1].layer.bias.zero_()
        spg.net.body[1].layer.bias[0] = -100.0
    own, _ = gradient_importance(spg.net, on.tasks[0], toys.fit())
    assert float(own[2][0].min()) > 0  # its zero gradients are off the mean


def test_blocked_means_exactly_one_in_float32() -> None:
    z = torch.tensor([9.0105, 9.0115], dtype=torch.float32)
    factor = 1 - z.tanh()
    assert factor[0] > 0 and factor[1] == 0
    on = toys.benchmark()
    spg: Any = toys.method("spg", on, "mlp(hidden=4)")
    spg.accumulated[0].view(-1)[:6] = z.tanh().repeat(3)  # 3 of 64 weights and 4 biases
    diagnostics = spg.diagnostics(0)
    assert diagnostics["blocked_layers"] == {"fc1": 3 / 68, "fc2": 0.0}
    assert diagnostics["blocked"] == 3 / (68 + 20)


def test_gradients_are_scaled_once() -> None:
    on = toys.benchmark()
    spg: Any = toys.method("spg", on)
    loop = toys.fit(epochs=1)
    toys.learn_one(spg, on, loop, 0)
    importance = [a.clone() for a in spg.accumulated]
    mean = float(torch.cat([a.reshape(-1) for a in importance]).double().mean())
    edit, pairs = spg.edit_gradients, []
    body, head, old = list(spg.net.body.parameters()), spg.net.heads[1].weight, spg.net.heads[0].weight

    def editing(batch: Batch) -> None:
        raw = [p.grad.clone() for p in (*body, head)]
        edit(batch)
        pairs.append((raw, [p.grad.clone() for p in (*body, head)]))

    spg.edit_gradients = editing
    before = old.detach().clone()
    toys.learn_one(spg, on, loop, 1)
    assert len(pairs) == 3
    for raw, edited in pairs:
        for one, other, a in zip(raw, edited, importance, strict=False):
            assert facts.same_bits(other, one * (1 - a))
        torch.testing.assert_close(edited[-1], raw[-1] * (1 - mean))
    assert 0.1 < mean < 0.9 and facts.same_bits(before, old.detach())


def test_plain_heads() -> None:
    on = toys.benchmark()
    spg: Any = toys.method("spg", on, head_scale="none")
    loop, seen = toys.fit(epochs=1), []
    toys.learn_one(spg, on, loop, 0)
    edit = spg.edit_gradients

    def editing(batch: Batch) -> None:
        raw = spg.net.heads[1].weight.grad.clone()
        edit(batch)
        seen.append(facts.same_bits(raw, spg.net.heads[1].weight.grad))

    spg.edit_gradients = editing
    toys.learn_one(spg, on, loop, 1)
    assert seen == [True] * 3


def test_importance_one_freezes_bit_for_bit() -> None:
    on = toys.benchmark()
    spg: Any = toys.method("spg", on)
    loop = toys.fit(epochs=2, momentum=0.9)  # fresh momentum of a zero gradient is zero
    toys.learn_one(spg, on, loop, 0)
    for a in spg.accumulated:
        a.fill_(1.0)
    before = facts.state(spg.net.body)
    toys.learn_one(spg, on, loop, 1)
    facts.assert_same_state(before, facts.state(spg.net.body))


def test_importance_never_shrinks() -> None:
    on = toys.benchmark()
    spg: Any = toys.method("spg", on)
    loop = toys.fit(epochs=1)
    toys.learn_one(spg, on, loop, 0)
    before = [a.clone() for a in spg.accumulated]
    toys.learn_one(spg, on, loop, 1)
    assert all(bool((now >= old).all()) for now, old in zip(spg.accumulated, before, strict=True))
    assert all(float(a.min()) >= 0 and float(a.max()) <= 1 for a in spg.accumulated)


def test_the_first_task_is_finetuning() -> None:
    on = toys.benchmark()
    spg, plain = toys.method("spg", on), toys.method("finetune", on)
    for subject in (spg, plain):
        toys.learn_one(subject, on, toys.fit(), 0)
    facts.assert_same_state(facts.state(spg.net), facts.state(plain.net))


@pytest.mark.parametrize("epoch", [1, 3])
def test_importance_after_epoch_n_is_that_of_the_first_n_epochs(epoch: int) -> None:
    on = toys.benchmark()
    early: Any = toys.method("spg", on, importance_epoch=epoch)
    short: Any = toys.method("spg", on)
    whole: Any = toys.method("spg", on)
    loop = toys.fit(epochs=5)
    toys.learn_one(early, on, loop, 0)
    assert loop.epochs == {"importance": epoch, "main": 5}
    assert loop.seconds.keys() == {"importance", "main"}
    toys.learn_one(short, on, toys.fit(epochs=epoch, keep="last"), 0)
    toys.learn_one(whole, on, toys.fit(epochs=5), 0)
    for a, b, c in zip(early.accumulated, short.accumulated, whole.accumulated, strict=True):
        assert facts.same_bits(a, b)
        assert a.numel() == 1 or not facts.same_bits(a, c)
    facts.assert_same_state(facts.state(early.net), facts.state(whole.net))  # the real fit is not touched


def test_importance_after_epoch_n_is_not_that_of_the_best_epoch_so_far() -> None:
    on = toys.benchmark((2,))
    task = on.tasks[0]
    # The more is learnt the worse it looks: epoch 1 is the best.
    object.__setattr__(on.tasks[0].val, "y", 1 - task.val.y)
    early: Any = toys.method("spg", on, importance_epoch=3)
    short: Any = toys.method("spg", on)
    toys.learn_one(early, on, toys.fit(epochs=4, lr=0.2), 0)
    toys.learn_one(short, on, toys.fit(epochs=3, lr=0.2, keep="last"), 0)
    assert all(facts.same_bits(a, b) for a, b in zip(early.accumulated, short.accumulated, strict=True))
    best: Any = toys.method("spg", on)
    toys.learn_one(best, on, toys.fit(epochs=3, lr=0.2), 0)
    assert not facts.same_bits(early.accumulated[0], best.accumulated[0])


def test_an_epoch_that_training_does_not_reach_means_the_final_weights() -> None:
    on = toys.benchmark()
    for settings in ({"epochs": 3}, {"epochs": 40, "lr": 0.3, "schedule": "plateau", "stop": "first_plateau",
                                     "patience": 1}):  # fmt: skip
        late: Any = toys.method("spg", on, importance_epoch=30, importance_mode="eval")
        plain: Any = toys.method("spg", on, importance_mode="eval")
        loop = toys.fit(**settings)
        toys.learn_one(late, on, loop, 0)
        toys.learn_one(plain, on, toys.fit(**settings), 0)
        assert loop.epochs["main"] < 30
        for a, b in zip(late.accumulated, plain.accumulated, strict=True):
            assert facts.same_bits(a, b)


def test_what_older_heads_add_is_told() -> None:
    on = toys.benchmark()
    spg: Any = toys.method("spg", on)
    reports = toys.learn(spg, on, toys.fit(epochs=1))
    assert not reports[0].diagnostics.keys() & {"f_each", "g_total"}
    for name in ("f_each", "g_each", "f_total", "g_total"):
        assert 0 <= reports[1].diagnostics[name] <= 1
    plain: Any = toys.method("spg", on, chi=False)
    assert "f_each" not in toys.learn(plain, on, toys.fit(epochs=1))[2].diagnostics

"""A-GEM: what is remembered, the reference gradient, and a projection that never opposes the memory."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from raycl import registry
from raycl.methods.agem import project, project_without_asking
from raycl.tasks import Batch, Benchmark
from tests.helpers import facts, toys

QUIET = "mlp(hidden=16, drop1=0.0, drop2=0.0)"


def twins(flip: bool = False) -> Benchmark:
    """Two tasks of the same twelve samples; with `flip` the second swaps the labels."""
    x = torch.randn(12, 1, 2, 2, generator=torch.Generator().manual_seed(0))
    y = torch.arange(12) % 2
    return toys.given([(x, y), (x, 1 - y if flip else y)], (2, 2))


def equal_heads(subject: Any) -> None:
    with torch.no_grad():
        for new, old in zip(
            subject.net.heads[1].parameters(), subject.net.heads[0].parameters(), strict=True
        ):
            new.copy_(old)


def flat(tensors: Any) -> Tensor:
    return torch.cat([t.reshape(-1) for t in tensors])


def test_projection_by_hand() -> None:
    g, r = torch.tensor([1.0, 0.0]), torch.tensor([-1.0, 1.0])
    found = project([g], [r])
    assert found is not None and found[0] is not None and found[0].tolist() == [0.5, 0.5]
    assert g.tolist() == [1.0, 0.0] and r.tolist() == [-1.0, 1.0]  # nothing is written to
    # A head that the batch does not reach counts as zeros, and so does one that the memory does not reach.
    found = project(
        [torch.tensor([1.0]), None, torch.tensor([7.0])], [torch.tensor([-1.0]), torch.ones(1), None]
    )
    assert found is not None and [None if t is None else t.item() for t in found] == [0.5, 0.5, 7.0]
    assert project([torch.tensor([1.0]), None], [None, torch.ones(1)]) is None
    assert project([g, None], [torch.zeros(2), None]) is None


@pytest.mark.usefixtures("float64")
def test_a_projected_gradient_is_the_nearest_that_does_not_oppose() -> None:
    generator, projected = torch.Generator().manual_seed(3), 0
    for _ in range(200):
        g, r, other = (torch.randn(5, generator=generator) for _ in range(3))
        found = project(g.split([2, 3]), r.split([2, 3]))
        assert (found is None) == bool(g @ r >= 0)
        if found is not None:
            projected += 1
            near = flat(found)
            assert abs(float(near @ r)) < 1e-12
            allowed = other if other @ r >= 0 else -other
            assert (near - g).norm() <= (allowed - g).norm()
    assert 50 < projected < 150


def test_a_memory_gradient_that_vanishes_is_no_direction() -> None:
    g, r = torch.tensor([1e10, 1.0]), torch.tensor([-1e-30, 0.0])  # r.r is 0 in float32, g.r is not
    assert project([g], [r]) is None


def test_the_memory_is_the_last_m_of_each_class() -> None:
    x = torch.arange(7.0).reshape(7, 1, 1, 1)
    first, second = torch.tensor([0, 1, 0, 0, 1, 1, 2]), torch.tensor([1, 1, 1, 0, 0, 1, 1])
    on = toys.given([(x, first), (x + 10, second)], (3, 2))
    agem: Any = toys.method("agem", on, toys.chain(3), m=2)
    toys.learn_one(agem, on, toys.fit(epochs=1), 0)
    assert agem.inputs.flatten().tolist() == [2, 3, 4, 5, 6]  # of class 2 there is but one
    assert agem.labels.tolist() == [0, 0, 1, 1, 2] and agem.origins.tolist() == [0] * 5
    toys.learn_one(agem, on, toys.fit(epochs=1), 1)
    assert agem.inputs.flatten().tolist() == [2, 3, 4, 5, 6, 13, 14, 15, 16]
    assert agem.labels.tolist() == [0, 0, 1, 1, 2, 0, 0, 1, 1] and agem.origins.tolist() == [0] * 5 + [1] * 4
    assert agem.diagnostics(1)["stored_samples"] == 9
    n = sum(p.numel() for p in agem.net.parameters())
    assert agem.stored_bytes() == 4 * n + 9 * (4 + 8 + 8) and agem.count_parameters() == n


def test_a_task_is_remembered_from_the_next_on() -> None:
    on = toys.benchmark()
    agem: Any = toys.method("agem", on, m=5)
    seen, edit = [], agem.edit_gradients
    agem.edit_gradients = lambda batch: seen.append(agem.origins.unique().tolist()) or edit(batch)
    for t in range(3):
        seen.clear()
        toys.learn_one(agem, on, toys.fit(epochs=1), t)
        assert seen == [list(range(t))] * 3


def test_the_reference_batch_is_drawn_without_replacement() -> None:
    on = toys.benchmark()
    agem: Any = toys.method("agem", on, m=20, ref_batch=64)
    for t in range(3):
        agem.remember(on.tasks[t])
    whole = {
        (x.sum().item(), int(y), int(t))
        for x, y, t in zip(agem.inputs, agem.labels, agem.origins, strict=True)
    }
    assert len(whole) == len(agem.labels) == 40 + 48 + 40  # of a class of the second task there are 16
    drawn = [agem.reference_batch() for _ in range(2)]
    for batch in drawn:
        assert len(batch) == 64 and isinstance(batch.task, Tensor)
        rows = {
            (x.sum().item(), int(y), int(t)) for x, y, t in zip(batch.x, batch.y, batch.task, strict=True)
        }
        assert len(rows) == 64 and rows <= whole
    assert not facts.same_bits(drawn[0].x, drawn[1].x)
    few: Any = toys.method("agem", on, m=1, ref_batch=64)
    few.remember(on.tasks[0])
    assert len(few.reference_batch()) == 2


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("flip", [False, True])
def test_one_step_by_plain_loops(flip: bool) -> None:
    on = twins(flip)
    agem: Any = toys.method("agem", on, QUIET, m=4)
    agem.remember(on.tasks[0])
    equal_heads(agem)
    net, task = agem.net, on.tasks[1]
    parameters = list(net.parameters())
    samples = [
        F.cross_entropy(net(agem.inputs[i : i + 1], 0), agem.labels[i : i + 1])
        for i in range(len(agem.labels))
    ]
    r = torch.autograd.grad(
        torch.stack(samples).mean(), parameters, materialize_grads=True, allow_unused=True
    )
    batch = Batch(task.train.take(slice(None)), torch.tensor(task.train.y), 1)
    agem.loss(batch).backward()
    g = [torch.zeros_like(p) if p.grad is None else p.grad.clone() for p in parameters]
    dot, square = float(flat(g) @ flat(r)), float(flat(r) @ flat(r))
    assert (dot < 0) == flip
    agem.edit_gradients(batch)
    edited = [torch.zeros_like(p) if p.grad is None else p.grad for p in parameters]
    for one, plain, reference in zip(edited, g, r, strict=True):
        if flip:
            torch.testing.assert_close(one, plain - dot / square * reference, rtol=1e-10, atol=1e-13)
        else:
            assert facts.same_bits(one, plain)
    assert float(flat(edited) @ flat(r)) >= -1e-12
    assert all((p.grad is None) != flip for p in net.heads[0].parameters())  # old heads take part, or do not
    assert (agem.steps, agem.projections) == (1, int(flip))


def test_while_gradients_agree_it_is_finetuning_bit_for_bit() -> None:
    on = twins()
    agem: Any = toys.method("agem", on, QUIET, m=20)
    plain: Any = toys.method("finetune", on, QUIET)
    for subject in (agem, plain):
        loop = toys.fit(batch=5, epochs=6, lr=0.01, momentum=0.9, weight_decay=1e-2)
        toys.learn_one(subject, on, loop, 0)
        equal_heads(subject)
        toys.learn_one(subject, on, loop, 1)
    assert agem.diagnostics(1)["projected"] == 0.0 and agem.steps == 6 * 3
    facts.assert_same_state(facts.state(agem.net), facts.state(plain.net))


def test_where_gradients_disagree_the_first_task_is_kept_longer() -> None:
    on = twins(flip=True)
    losses = {}
    for name in ("agem", "finetune"):
        subject: Any = toys.method(name, on, QUIET)
        loop = toys.fit(batch=12, epochs=30, lr=0.05, keep="last")
        toys.learn_one(subject, on, loop, 0)
        before = loop.loss(subject, 0, on.tasks[0].train)
        equal_heads(subject)
        toys.learn_one(subject, on, loop, 1)
        losses[name] = loop.loss(subject, 0, on.tasks[0].train) - before
        if name == "agem":
            assert subject.diagnostics(1)["projected"] > 0
    assert losses["agem"] < 0.01 < losses["finetune"]


def test_the_first_task_is_finetuning() -> None:
    on = toys.benchmark()
    agem, plain = toys.method("agem", on), toys.method("finetune", on)
    for subject in (agem, plain):
        toys.learn_one(subject, on, toys.fit(), 0)
    facts.assert_same_state(facts.state(agem.net), facts.state(plain.net))


def test_heads_of_later_tasks_are_not_handed_out() -> None:
    on = toys.benchmark()
    agem: Any = toys.method("agem", on)
    given = list(agem.trainable(1))
    wanted = [*agem.net.body.parameters(), *agem.net.heads[0].parameters(), *agem.net.heads[1].parameters()]
    assert len(given) == len(wanted) and {id(p) for p in given} == {id(p) for p in wanted}


def test_dropout_is_drawn_in_the_reference_pass() -> None:
    on = toys.benchmark()
    agem: Any = toys.method("agem", on)
    agem.remember(on.tasks[0])
    batch = agem.reference_batch()
    assert agem.loss(batch).item() != agem.loss(batch).item()
    agem.train(False)
    assert agem.loss(batch).item() == agem.loss(batch).item()


def test_each_task_is_remembered_by_its_own_batch_statistics() -> None:
    on = toys.benchmark((2, 2), shape=(1, 8, 8))
    agem: Any = toys.method("agem", on, "resnet18(nf=2)", m=3)
    loop = toys.fit(epochs=1)
    for t in range(2):
        toys.learn_one(agem, on, loop, t)
    before = facts.state(agem)
    batch = agem.reference_batch()
    agem.train()
    found = agem.loss(batch).item()
    assert all(module.training for module in agem.modules())
    facts.assert_same_state(before, facts.state(agem))
    agem.train(False)
    single = [
        F.cross_entropy(agem(batch.x[i : i + 1], int(batch.task[i])), batch.y[i : i + 1]).item()
        for i in range(len(batch))
    ]
    assert found == pytest.approx(np.mean(single), rel=1e-5)
    agem.net.heads[0] = nn.Sequential(nn.Dropout(0.5), agem.net.heads[0])
    agem.train()
    assert agem.loss(batch).item() != agem.loss(batch).item()  # dropout is drawn all the same


@pytest.mark.parametrize("name", ["m", "ref_batch"])
def test_nonsense_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match=f"{name} = 0 must be at least 1"):
        registry.method("agem").Config(**{name: 0})


@pytest.mark.parametrize("sign", [-1.0, 1.0])
def test_projecting_without_asking_gives_the_same_gradients(sign: float) -> None:
    """An accelerator takes this form. A parameter with a reference alone gets zeros where nothing changes."""
    draws = torch.Generator().manual_seed(1)
    parameters = [torch.zeros(n) for n in (3, 4, 2, 5)]
    r = [torch.randn(3, generator=draws), torch.randn(4, generator=draws), torch.ones(2), None]
    gradients = [sign * r[0] + 0.1, sign * r[1], None, torch.ones(5)]
    for p, gradient in zip(parameters, gradients, strict=True):
        p.grad = None if gradient is None else gradient.clone()
    wanted = project(gradients, r)
    changed = project_without_asking(parameters, r)
    assert int(changed) == (wanted is not None) == (sign < 0)
    if wanted is None:
        wanted = [torch.zeros(2) if gradient is None else gradient for gradient in gradients]
    for p, gradient in zip(parameters, wanted, strict=True):
        torch.testing.assert_close(p.grad, gradient)
    first = parameters[0].grad
    assert first is not None and (sign < 0 or facts.same_bits(first, gradients[0]))


def test_projecting_without_asking_needs_a_common_parameter() -> None:
    parameters = [torch.zeros(2), torch.zeros(1)]
    parameters[0].grad = torch.ones(2)
    assert project_without_asking(parameters, [None, torch.ones(1)]) == 0 and parameters[1].grad is None
    infinite = torch.zeros(2)
    infinite.grad = torch.tensor([1.0, -1.0])
    assert not project_without_asking([infinite], [torch.tensor([float("inf"), 1.0])])
    assert infinite.grad.tolist() == [1.0, -1.0]

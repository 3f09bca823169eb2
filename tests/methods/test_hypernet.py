"""Hypernet: pieces by hand, the penalty by its definition, the look-ahead, strength 0 and a great one."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from raycl import registry, space
from raycl.method import Method
from raycl.methods.hypernet import Place, place
from raycl.tasks import Batch
from tests.helpers import facts, toys

PLAIN = "mlp(hidden=8, drop1=0.0, drop2=0.0)"
BODY = (16 * 8 + 8) + (8 * 8 + 8)  # weights of PLAIN on toys: 16 inputs; 2, 3 and 2 classes
HEADS = [8 * n + n for n in (2, 3, 2)]


def batch_of(on: Any, task: int, n: int = 8) -> Batch:
    part = on.tasks[task].train
    return Batch(part.take(slice(0, n)), torch.tensor(part.y[:n]), task)


def shaken(subject: Any, by: float = 0.1) -> None:
    """theta away from where it is."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for p in subject.theta:
            p.add_(by * torch.randn(p.shape, generator=generator))


def kept(subject: Any, task: int) -> Tensor:
    """The generated weights that are the task's own, as one vector."""
    weights = subject.weights(task).items()
    own = (f"heads.{task}.", "body.")
    return torch.cat([w.reshape(-1) for name, w in weights if name.startswith(own)])


def differing(left: dict[str, Tensor], right: dict[str, Tensor]) -> set[str]:
    return {name for name in left if not facts.same_bits(left[name], right[name])}


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("chunk", [7, BODY, 10_000])
def test_weights_piece_by_piece(chunk: int) -> None:
    on = toys.benchmark()
    subject: Any = toys.method("hypernet", on, PLAIN, chunk=chunk, emb=3, hidden=(5, 4))
    total = BODY + sum(HEADS)
    shaken(subject)
    pieces, w1, b1, w2, b2, w3, b3 = (p.detach().numpy() for p in subject.theta)
    assert len(pieces) == math.ceil(total / chunk) and len(b3) == min(chunk, total)
    for task in range(3):
        c = subject.embeddings[task].detach().numpy()
        flat = []
        for piece in pieces:
            h = np.maximum(w1 @ np.concatenate([c, piece]) + b1, 0)
            flat.append(w3 @ np.maximum(w2 @ h + b2, 0) + b3)
        at = 0
        names_of = [f"body.{i}.layer.{kind}" for i in (0, 1) for kind in ("weight", "bias")]
        names_of += [f"heads.{i}.{kind}" for i in range(3) for kind in ("weight", "bias")]
        weights = subject.weights(task)
        assert list(weights) == names_of
        for w in weights.values():
            np.testing.assert_allclose(
                w.detach().numpy().reshape(-1), np.concatenate(flat)[at : at + w.numel()], rtol=1e-12
            )
            at += w.numel()
        assert at == total


@pytest.mark.usefixtures("float64")
def test_a_task_is_answered_by_the_weights_of_its_embedding() -> None:
    on = toys.benchmark()
    subject: Any = toys.method("hypernet", on, PLAIN)
    net = subject.world.build()
    for task in range(3):
        net.load_state_dict(subject.weights(task))
        x = batch_of(on, task).x
        torch.testing.assert_close(subject(x, task), net(x, task))


def test_where_a_task_s_weights_lie() -> None:
    assert place([(6, True), (4, True), (3, False)], 4) == Place([slice(0, 2)], [(2, 0, 2)])
    assert place([(6, False), (4, True), (3, False)], 4) == Place([], [(1, 2, 4), (2, 0, 2)])
    assert place([(5, False), (2, True), (9, False)], 4) == Place([], [(1, 1, 3)])
    assert place([(4, True), (4, False), (8, True)], 4) == Place([slice(0, 1), slice(2, 4)], [])
    assert place([(3, True), (1, False), (2, True)], 6) == Place([], [(0, 0, 3), (0, 4, 6)])
    assert place([(2, True), (4, True)], 6) == Place([slice(0, 1)], [])


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("chunk", [1, 7, 8, 18, BODY, BODY + 3, 10_000])
def test_the_penalty_is_what_its_definition_says(chunk: int) -> None:
    """Mean squared distance to the old weights, generated in full, heads of other tasks left out."""
    on = toys.benchmark()
    subject: Any = toys.method("hypernet", on, PLAIN, chunk=chunk, emb=3, hidden=(5, 4))
    subject.learnt = 2
    subject.remember()
    targets = [kept(subject, task).detach() for task in range(2)]
    assert subject.regulariser(list(subject.theta)).item() == 0
    shaken(subject)
    theta = list(subject.theta)
    distance = sum((kept(subject, task) - targets[task]).square().sum() for task in range(2)) / 2
    value = subject.regulariser(theta)
    torch.testing.assert_close(value, distance)
    assert len(targets[1]) == BODY + HEADS[1]
    found, wanted = torch.autograd.grad(value, theta), torch.autograd.grad(distance, theta)  # type: ignore[arg-type]
    for one, other in zip(found, wanted, strict=True):
        torch.testing.assert_close(one, other)


def test_small_movements_are_not_lost_in_rounding() -> None:
    on = toys.benchmark()
    subject: Any = toys.method("hypernet", on, PLAIN, chunk=7)
    subject.learnt = 1
    subject.remember()
    before = kept(subject, 0).detach().double()
    with torch.no_grad():
        subject.theta[-1].add_(1e-6)
    moved = subject.theta[-1].detach().double().numpy()  # the bias began at 0
    wanted = sum(moved[i % 7] ** 2 for i in range(len(before)))
    assert subject.regulariser(list(subject.theta)).item() == pytest.approx(wanted, rel=1e-4)


def test_strength_0_is_no_penalty_bit_for_bit() -> None:
    on = toys.benchmark()
    states = []
    for without in (False, True):
        subject: Any = toys.method("hypernet", on, PLAIN, beta=0.0)
        if without:
            subject.step = lambda *args, plain=subject: Method.step(plain, *args)
        else:
            subject.regulariser = None
        for task in range(3):
            toys.learn_one(subject, on, toys.fit_for("hypernet", epochs=2), task)
        states.append(facts.state(subject))
    facts.assert_same_state(*states)


def test_strength_matters_from_the_second_task_on() -> None:
    on = toys.benchmark()
    first, second = [], []
    for beta in (0.0, 1.0):
        subject: Any = toys.method("hypernet", on, PLAIN, beta=beta)
        loop = toys.fit_for("hypernet", epochs=2)
        toys.learn_one(subject, on, loop, 0)
        first.append(facts.state(subject))
        toys.learn_one(subject, on, loop, 1)
        second.append(facts.state(subject))
    facts.assert_same_state(*first)
    assert differing(*second)


def test_with_a_great_strength_old_weights_barely_move() -> None:
    on = toys.benchmark()
    moved = []
    for beta in (0.0, 1e4):
        subject: Any = toys.method("hypernet", on, PLAIN, beta=beta)
        loop = toys.fit_for("hypernet", epochs=6, lr=3e-3, keep="last")
        toys.learn_one(subject, on, loop, 0)
        before = kept(subject, 0).detach(), facts.logits(subject, on, [0])[0]
        toys.learn_one(subject, on, loop, 1)
        after = kept(subject, 0).detach(), facts.logits(subject, on, [0])[0]
        moved.append([(a - b).norm().item() for a, b in zip(after, before, strict=True)])
    assert moved[1][0] < 0.15 * moved[0][0]
    assert moved[1][1] < 0.15 * moved[0][1]


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("lookahead", [True, False])
def test_the_penalty_is_taken_where_the_next_step_would_lead(lookahead: bool) -> None:
    """SGD: theta moves by -lr (g + beta dR/dtheta at theta - lr g); c by its share of g alone."""
    on = toys.benchmark()
    subject: Any = toys.method("hypernet", on, PLAIN, beta=0.5, lookahead=lookahead)
    subject.learnt = 1
    subject.remember()
    shaken(subject, 0.01)
    batch = batch_of(on, 1, 48)
    theta, c = list(subject.theta), subject.embeddings[1]
    *g, g_c = torch.autograd.grad(subject.loss(batch), [*theta, c])
    at = [p - lookahead * 0.05 * gradient for p, gradient in zip(theta, g, strict=True)]
    pull = torch.autograd.grad(subject.regulariser(at), theta)
    wanted = [(p - 0.05 * (a + 0.5 * b)).detach() for p, a, b in zip(theta, g, pull, strict=True)]
    wanted_c = (c - 0.05 * g_c).detach()
    toys.fit(lr=0.05, epochs=1, batch=48, shuffle=False, keep="last")(subject, on.tasks[1])
    for p, value in zip(theta, wanted, strict=True):
        torch.testing.assert_close(p.detach(), value)
    torch.testing.assert_close(c.detach(), wanted_c)


def test_looking_ahead_leaves_everything_as_it_was() -> None:
    """Parameters, gradients and the optimiser's state, in the middle of training with Adam."""
    on = toys.benchmark()
    subject: Any = toys.method("hypernet", on, PLAIN)
    loop = toys.fit_for("hypernet", epochs=1, clip=1.0)
    toys.learn_one(subject, on, loop, 0)
    step, looks = subject.step, []

    def stepping(batch: Batch, update: Any) -> Tensor:
        preview = update.preview

        def everything() -> list[Tensor]:
            inside = [v for s in update.optimiser.state.values() for v in s.values()]
            gradients = [p.grad for p in subject.parameters() if p.grad is not None]
            return [t.detach().clone() for t in (*subject.parameters(), *gradients, *inside)]

        def previewing() -> Any:
            before = everything()
            change = preview()
            after = everything()
            assert len(before) == len(after)
            assert all(facts.same_bits(a, b) for a, b in zip(before, after, strict=True))
            looks.append(len(before))
            return change

        update.preview = previewing
        loss: Tensor = step(batch, update)
        update.preview = preview
        return loss

    subject.step = stepping
    toys.learn_one(subject, on, loop, 1)
    assert len(looks) == 3 and looks[-1] > looks[0]  # the optimiser has a state by then


def test_embeddings_of_other_tasks_stay() -> None:
    on = toys.benchmark()
    subject: Any = toys.method("hypernet", on)
    handed = {id(p) for p in subject.trainable(1)}
    assert handed == {id(p) for p in (*subject.theta, subject.embeddings[1])}
    toys.learn_one(subject, on, toys.fit(epochs=1), 0)
    before = facts.state(subject)
    toys.learn_one(subject, on, toys.fit(epochs=1, momentum=0.9, weight_decay=0.01), 1)
    moved = differing(before, facts.state(subject))
    assert {name for name in moved if name.startswith("embeddings")} == {"embeddings.1"}
    assert {name for name in moved if name.startswith("theta")} == {f"theta.{i}" for i in range(7)}


@pytest.mark.parametrize("chunk", [1000, 42000])
def test_weights_start_as_wide_as_the_network_s_own(chunk: int) -> None:
    on = toys.benchmark((5,) * 4)
    subject: Any = toys.method("hypernet", on, "mlp(hidden=64)", chunk=chunk)
    own = subject.world.build().state_dict()
    for name in ("body.0.layer.weight", "body.1.layer.weight") if chunk == 42000 else ():
        found = torch.stack([subject.weights(task)[name].detach().square().mean() for task in range(4)])
        assert found.mean().item() == pytest.approx(own[name].square().mean().item(), rel=0.2)
    whole = [torch.cat([w.detach().reshape(-1) for w in subject.weights(t).values()]) for t in range(4)]
    every = torch.cat([p.reshape(-1) for p in own.values()])
    wanted = every.square().mean()
    assert torch.stack(whole).square().mean().item() == pytest.approx(wanted.item(), rel=0.2)
    assert max(v.std().item() for v in facts.logits(subject, on, range(4)).values()) < 1


def test_other_seeds_and_tasks_have_other_weights() -> None:
    on = toys.benchmark()
    one, other = (toys.method("hypernet", on, PLAIN, seed=seed) for seed in (0, 1))
    assert len(differing(facts.state(one), facts.state(other))) == 3 + 7 - 1  # the last bias begins at 0
    assert not torch.equal(kept(one, 0), kept(one, 2))


def test_counts_by_hand() -> None:
    on = toys.benchmark()
    total = BODY + sum(HEADS)
    subject: Any = toys.method("hypernet", on, PLAIN)
    theta = 96 + (192 * 10 + 10) + (10 * 10 + 10) + (10 * total + total)
    assert subject.count_parameters() == theta + 3 * 96
    assert subject.stored_bytes() == 4 * theta
    toys.learn_one(subject, on, toys.fit(epochs=1), 0)
    assert subject.count_parameters() == theta + 3 * 96
    assert subject.stored_bytes() == 4 * (theta + 96)
    assert subject.old is None and all(p.numel() == 0 for p in subject.net.parameters())
    pieces = math.ceil(total / 50)
    subject = toys.method("hypernet", on, PLAIN, chunk=50, emb=32, hidden=(7,))
    assert subject.count_parameters() == (pieces + 3) * 32 + (64 * 7 + 7) + (7 * 50 + 50)


def test_alexnet() -> None:
    on = toys.benchmark((2, 2), train=8, val=4, test=4, shape=(1, 28, 28))
    subject: Any = toys.method("hypernet", on, "alexnet(width=0.05)", chunk=8000)
    assert len(subject.theta[0]) > 1
    for task in range(2):
        toys.learn_one(subject, on, toys.fit_for("hypernet", epochs=1), task)
    assert facts.logits(subject, on, [0])[0].shape == (4, 2)


@pytest.mark.parametrize(
    ("field", "value", "text"),
    [
        ("beta", -1.0, "beta = -1.0 must be at least 0"),
        ("emb", 0, "emb = 0 must be at least 1"),
        ("chunk", 0, "chunk = 0 must be at least 1"),
        ("hidden", (10, 0), "each layer needs at least 1 unit"),
    ],
)
def test_nonsense_is_refused(field: str, value: Any, text: str) -> None:
    with pytest.raises(ValueError, match=text):
        registry.method("hypernet").Config(**{field: value})


def test_layers_are_given_as_a_list_or_a_tuple() -> None:
    kind = registry.method("hypernet").Config
    assert space.make_config(kind, {"hidden": [50, 50]}, "hypernet") == kind(hidden=(50, 50))  # type: ignore[call-arg]
    assert (50, 50) in space.space_of(kind)["hidden"] and (50,) not in space.space_of(kind)["hidden"]

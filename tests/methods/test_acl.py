"""ACL: who moves in which update, the reversed gradient, only the shared encoder drifts, counts by hand."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from raycl import registry
from raycl.methods.acl import difference_loss, labelled, reversed_gradient
from raycl.tasks import Batch
from tests.helpers import facts, toys

PLAIN = "mlp(hidden=16, drop1=0.0, drop2=0.0)"
OWN: dict[str, Any] = {"momentum": 0.9, "weight_decay": 0.01}


def batch_of(on: Any, task: int, n: int = 8) -> Batch:
    part = on.tasks[task].train
    return Batch(part.take(slice(0, n)), torch.tensor(part.y[:n]), task)


def begun(on: Any, task: int, network: str = PLAIN, **settings: Any) -> Any:
    """The method inside `learn`, nothing trained yet."""
    acl: Any = toys.method("acl", on, network, **settings)
    acl.learnt = task
    acl.learn(on.tasks[task], lambda *_: _keep(acl))
    acl.discriminator = acl.kept
    del acl.kept
    return acl


def _keep(acl: Any) -> None:
    acl.kept = acl.discriminator


def watched_steps(acl: Any, seen: list[set[str]]) -> None:
    """Note for every update which tensors it moves."""
    step = acl.step

    def stepping(batch: Batch, update: Any) -> Tensor:
        def updating() -> None:
            before = facts.state(acl)
            update()
            seen.append({n for n, v in facts.state(acl).items() if not facts.same_bits(v, before[n])})

        loss: Tensor = step(batch, updating)
        return loss

    acl.step = stepping


def test_five_updates_of_the_encoders_and_one_of_the_discriminator() -> None:
    on = toys.benchmark()
    acl: Any = toys.method("acl", on, PLAIN)
    toys.learn_one(acl, on, toys.fit(epochs=1), 0)
    seen: list[set[str]] = []
    watched_steps(acl, seen)
    toys.learn_one(acl, on, toys.fit(epochs=1, **OWN), 1)
    assert len(seen) == 3 * 6
    for index, moved in enumerate(seen):
        if index % 6 == 5:
            assert moved == {f"discriminator.{i}.{kind}" for i in (0, 2, 3) for kind in ("weight", "bias")}
        else:
            assert {name.split(".")[0] for name in moved} == {"net", "to_latent", "private", "heads"}
            own = {name for name in moved if name.startswith(("private", "heads"))}
            assert all(name.startswith(("private.1.", "heads.1.")) for name in own)


@pytest.mark.parametrize("d_steps", [0, 1, 3])
def test_each_batch_moves_the_discriminator_d_steps_times(d_steps: int) -> None:
    on = toys.benchmark()
    acl: Any = toys.method("acl", on, PLAIN, d_steps=d_steps, e_steps=2)
    seen: list[set[str]] = []
    watched_steps(acl, seen)
    toys.learn_one(acl, on, toys.fit(epochs=1), 0)  # three batches
    kinds = ["d" if any(name.startswith("discriminator") for name in moved) else "e" for moved in seen]
    assert kinds == [*["e"] * 2, *["d"] * d_steps] * 3


def test_more_steps_of_the_discriminator_tell_the_task_from_noise_better() -> None:
    on, losses = toys.benchmark(), []
    for d_steps in (0, 1, 8):
        acl = begun(on, 1, d_steps=d_steps, e_steps=1, d_lr=0.05, lam_adv=0.0)
        batch = batch_of(on, 1)
        optimiser = torch.optim.SGD(acl.trainable(1), lr=0.01)
        torch.manual_seed(0)
        acl.step(batch, optimiser.step)
        torch.manual_seed(1)  # the same noise
        losses.append(float(acl.discriminator_loss(batch).detach()))
    assert losses[0] > losses[1] > losses[2]


def test_rates_and_their_course() -> None:
    """Plain SGD: each update is minus a rate times a gradient; both rates fall with the schedule's."""
    on = toys.benchmark()
    rates: list[tuple[float, float]] = []
    acl: Any = toys.method("acl", on, PLAIN, e_lr=0.02, d_lr=0.004, e_steps=1)
    step = acl.step

    def stepping(batch: Batch, update: Any) -> Tensor:
        found: list[float] = []

        def updating() -> None:
            p = acl.to_latent.bias if acl.to_latent.bias.grad is not None else acl.discriminator[3].bias
            before, gradient = p.detach().clone(), p.grad.clone()
            update()
            found.append(float((before - p.detach()).norm() / gradient.norm()))

        loss: Tensor = step(batch, updating)
        rates.append((found[0], found[1]))
        return loss

    acl.step = stepping
    toys.learn_one(
        acl,
        on,
        toys.fit(
            lr=0.3, epochs=2, batch=48, schedule="steps", milestones=(1,), factor=10.0, weight_decay=0.0
        ),
        0,
    )
    assert rates[0] == pytest.approx((0.02, 0.004), rel=1e-3)
    assert rates[1] == pytest.approx((0.002, 0.0004), rel=1e-2)


def test_reversed_gradient() -> None:
    z = torch.tensor([0.1, -1e-30, 3e7, 0.0], requires_grad=True)
    same = reversed_gradient(z)
    assert facts.same_bits(same, z)
    same.backward(torch.tensor([1.0, 2.0, -3.0, 4.0]))
    assert z.grad is not None and z.grad.tolist() == [-1.0, -2.0, 3.0, -4.0]


@pytest.mark.usefixtures("float64")
def test_loss_term_by_term() -> None:
    """The shared encoder climbs the discriminator's loss; nobody else feels it."""
    on = toys.benchmark()
    acl = begun(on, 1, lam_adv=0.3, lam_diff=0.7)
    batch = batch_of(on, 1)
    private, shared = acl.private[1](batch.x), acl.to_latent(acl.net.features(batch.x))
    task = F.cross_entropy(acl.heads[1](torch.cat([private, shared], 1)), batch.y)
    known = F.cross_entropy(acl.discriminator(shared), torch.full((8,), 2))  # the second task
    apart = difference_loss(shared, private)
    loss = acl.loss(batch)
    torch.testing.assert_close(loss, task + 0.3 * known + 0.7 * apart)
    encoder = [*acl.net.parameters(), *acl.to_latent.parameters()]
    rest = [*acl.private[1].parameters(), *acl.heads[1].parameters()]
    loss.backward()
    assert all(p.grad is None for p in acl.discriminator.parameters())
    wanted = torch.autograd.grad(task - 0.3 * known + 0.7 * apart, encoder, retain_graph=True)
    for p, g in zip(encoder, wanted, strict=True):
        torch.testing.assert_close(p.grad, g)
    for p, g in zip(rest, torch.autograd.grad(task + 0.7 * apart, rest), strict=True):
        torch.testing.assert_close(p.grad, g)
    torch.testing.assert_close(acl.validation_loss(batch), task)


@pytest.mark.usefixtures("float64")
def test_the_discriminator_learns_the_task_from_noise() -> None:
    on = toys.benchmark()
    acl = begun(on, 2)
    assert [each.out_features for each in acl.discriminator if isinstance(each, nn.Linear)] == [175, 175, 4]
    batch = batch_of(on, 2)
    shared = acl.shared(batch.x, 2)
    torch.manual_seed(5)
    loss = acl.discriminator_loss(batch)
    torch.manual_seed(5)
    noise = torch.randn(8, 64)
    of_task, of_noise = (acl.discriminator(z).log_softmax(1).exp() for z in (shared, noise))
    torch.testing.assert_close(loss, -(of_task[:, 3].log().mean() + of_noise[:, 0].log().mean()))
    loss.backward()
    assert all(p.grad is None for n, p in acl.named_parameters() if not n.startswith("discriminator"))


def test_the_discriminator_leaves_batch_statistics_alone() -> None:
    on = toys.benchmark(shape=(1, 8, 8))
    acl = begun(on, 0, "resnet18(nf=2)")
    acl.train()
    before = facts.state(acl)
    acl.discriminator_loss(batch_of(on, 0))
    facts.assert_same_state(before, facts.state(acl))
    assert all(module.training for module in acl.net.modules())


def test_each_task_meets_a_discriminator_of_its_own() -> None:
    on = toys.benchmark()
    acl: Any = toys.method("acl", on, PLAIN)
    found: list[dict[str, Tensor]] = []
    for task in on.tasks[:2]:
        torch.manual_seed(task.index)
        acl.learn(task, lambda *_: found.append(facts.state(acl.discriminator)))
        assert acl.discriminator is None
    assert [len(state["3.bias"]) for state in found] == [2, 3]
    assert not facts.same_bits(found[0]["0.weight"], found[1]["0.weight"])


def test_strength_0_is_plain_training_bit_for_bit() -> None:
    on = toys.benchmark()
    acl: Any = toys.method("acl", on, PLAIN, lam_adv=0.0, lam_diff=0.0, e_steps=1, e_lr=0.05)
    net, to_latent = copy.deepcopy(acl.net), copy.deepcopy(acl.to_latent)
    private, head = copy.deepcopy(acl.private[0]), copy.deepcopy(acl.heads[0])
    parts = (net, to_latent, private, head)
    optimiser = torch.optim.SGD([p for part in parts for p in part.parameters()], lr=0.05, **OWN)
    loop = toys.fit(epochs=2, shuffle=False, keep="last", **OWN)
    toys.learn_one(acl, on, loop, 0)
    for _ in range(2):
        for batch in loop.batches(on.tasks[0].train, 0):
            optimiser.zero_grad()
            z = torch.cat([private(batch.x), to_latent(net.features(batch.x))], 1)
            F.cross_entropy(head(z), batch.y).backward()
            optimiser.step()
    mine = (acl.net, acl.to_latent, acl.private[0], acl.heads[0])
    for part, other in zip(parts, mine, strict=True):
        facts.assert_same_state(facts.state(part), facts.state(other))


def test_only_the_shared_encoder_drifts() -> None:
    on = toys.benchmark()
    acl: Any = toys.method("acl", on)
    toys.learn_one(acl, on, toys.fit(**OWN), 0)
    logits = facts.logits(acl, on, [0])[0]
    before = facts.state(acl)
    shared = copy.deepcopy(acl.net.state_dict()), copy.deepcopy(acl.to_latent.state_dict())
    toys.learn_one(acl, on, toys.fit(**OWN), 1)
    after = facts.state(acl)
    moved = {name for name in before if not facts.same_bits(before[name], after[name])}
    assert {".".join(name.split(".")[:2]) for name in moved} == {
        "net.body",
        "to_latent.weight",
        "to_latent.bias",
        "private.1",
        "heads.1",
    }
    assert not facts.same_bits(facts.logits(acl, on, [0])[0], logits)  # with the encoder as it is now
    acl.net.load_state_dict(shared[0])
    acl.to_latent.load_state_dict(shared[1])
    assert facts.same_bits(facts.logits(acl, on, [0])[0], logits)


def test_the_difference_loss_keeps_the_encoders_apart() -> None:
    on = toys.benchmark()
    apart = []
    for lam_diff in (0.0, 1.0):
        acl: Any = toys.method("acl", on, PLAIN, lam_diff=lam_diff, lam_adv=0.0)
        toys.learn_one(acl, on, toys.fit(epochs=4, keep="last"), 0)
        x = batch_of(on, 0, 48).x
        apart.append(difference_loss(acl.shared(x, 0), acl.private[0](x)).item())
    assert apart[1] < 0.5 * apart[0]


def test_difference_of_lines() -> None:
    x, y = torch.tensor([[3.0, 0.0]]), torch.tensor([[0.0, -2.0]])
    assert float(difference_loss(x, y)) == 0
    assert float(difference_loss(x, -5 * x)) == pytest.approx(1, abs=1e-6)
    assert float(difference_loss(torch.cat([x, y]), torch.cat([x, y]))) == pytest.approx(0.5, abs=1e-6)


def test_labelled_is_cross_entropy() -> None:
    logits = torch.tensor([[0.0, 1.0, 2.0], [3.0, -1.0, 0.5]])
    torch.testing.assert_close(labelled(logits, 1), F.cross_entropy(logits, torch.tensor([1, 1])))


def test_counts_by_hand() -> None:
    on = toys.benchmark()  # 16 inputs; 2, 3 and 2 classes
    acl: Any = toys.method("acl", on, "mlp(hidden=8)", latent=4, head_units=5)
    shared = (16 * 8 + 8) + (8 * 8 + 8) + (8 * 4 + 4)
    private = 16 * 4 + 4
    heads = [(8 * 5 + 5) + (5 * n + n) for n in (2, 3, 2)]
    assert acl.count_parameters() == shared + 3 * private + sum(heads)
    assert acl.stored_bytes() == 4 * shared
    toys.learn_one(acl, on, toys.fit(epochs=1), 0)
    assert acl.count_parameters() == shared + 3 * private + sum(heads)
    assert acl.stored_bytes() == 4 * (shared + private + heads[0])


def test_learns_images_on_alexnet() -> None:
    on = toys.benchmark((2,), train=8, val=4, test=4, shape=(1, 28, 28))
    acl: Any = toys.method("acl", on, "alexnet(width=0.05)")
    toys.learn_one(acl, on, toys.fit(epochs=1), 0)
    assert facts.logits(acl, on, [0])[0].shape == (4, 2)


@pytest.mark.parametrize(
    ("field", "value", "text"),
    [
        ("lam_adv", -1.0, "lam_adv = -1.0 must be at least 0"),
        ("lam_diff", -0.5, "lam_diff = -0.5 must be at least 0"),
        ("d_steps", -1, "d_steps = -1 must be at least 0"),
        ("e_lr", 0.0, "e_lr = 0.0 must be above 0"),
        ("d_lr", -1.0, "d_lr = -1.0 must be above 0"),
        ("latent", 0, "latent = 0 must be at least 1"),
        ("e_steps", 0, "e_steps = 0 must be at least 1"),
        ("units", 0, "units = 0 must be at least 1"),
        ("head_units", 0, "head_units = 0 must be at least 1"),
    ],
)
def test_nonsense_is_refused(field: str, value: float, text: str) -> None:
    with pytest.raises(ValueError, match=text):
        registry.method("acl").Config(**{field: value})

"""HAT: the embedding's gradient, the annealing, what is blocked and what stays."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from raycl.masks import Gates, annealed, weight_factors
from raycl.tasks import Batch
from tests.helpers import facts, toys


def binary(hat: Any, task: int) -> None:
    """Push a task's gates to exactly 0 or 1, half of them each."""
    with torch.no_grad():
        for e in hat.embeddings[task].parameters():
            e.copy_(torch.where(torch.arange(len(e)) % 2 == 0, 3.0, -3.0))


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("slope", [0.0025, 1.0, 40.0, 400.0])
def test_gradient_is_that_of_the_steepest_gate(slope: float) -> None:
    e = torch.linspace(-2.0, 0.4, 49, requires_grad=True)
    weights = torch.linspace(-1.0, 1.0, 49)  # dL / da
    gates = Gates.apply(slope, 400.0, False, e)
    assert torch.equal(gates, torch.sigmoid(slope * e))
    (found,) = torch.autograd.grad((gates * weights).sum(), e)
    inside = (slope * e.detach()).abs() <= 50
    identity = 400.0 * torch.sigmoid(e) * torch.sigmoid(-e) * weights  # smax sigmoid'(e) dL/da
    torch.testing.assert_close(found[inside], identity[inside].detach(), rtol=1e-12, atol=0)
    plain = torch.exp(-(slope * e).abs()) / (1 + torch.exp(-(slope * e).abs())) ** 2 * slope * weights
    factor = 400.0 / slope * (torch.cosh((slope * e).clip(-50, 50)) + 1) / (torch.cosh(e) + 1)
    torch.testing.assert_close(
        found, (plain * factor).detach(), rtol=1e-9, atol=1e-300
    )  # eq. 4 with its clip


@pytest.mark.parametrize("slope", [0.0025, 1.0, 40.0, 400.0])
def test_released_gradient_is_that_of_hats_arithmetic_in_float32(slope: float) -> None:
    e = torch.linspace(-6.0, 6.0, 4801, requires_grad=True)
    weights = torch.linspace(-1.0, 1.0, 4801)  # dL / da
    gates = Gates.apply(slope, 400.0, True, e)
    (found,) = torch.autograd.grad((gates * weights).sum(), e)
    with torch.no_grad():
        a = torch.sigmoid(slope * e)
        factor = 400.0 / slope * (torch.cosh((slope * e).clip(-50, 50)) + 1) / (torch.cosh(e) + 1)
        wanted = weights * ((1 - a) * a) * slope * factor
    torch.testing.assert_close(found, wanted, rtol=2e-5, atol=1e-14)
    saturated = gates == 1
    assert torch.equal(found[saturated], torch.zeros(int(saturated.sum())))
    assert saturated.any() == (slope >= 40)
    (exact,) = torch.autograd.grad((Gates.apply(slope, 400.0, False, e) * weights).sum(), e)
    closed = slope * e.detach() < 8
    torch.testing.assert_close(found[closed], exact[closed], rtol=5e-4, atol=0)
    assert (exact[saturated & (slope * e.detach() < 50)] != 0).all()


@pytest.mark.parametrize("slope", [0.0025, 1.0, 40.0, 400.0])
def test_exact_gradient_in_float32_is_equation_4(slope: float) -> None:
    """Also where a gate rounds to 1: 1 - a is computed without a here, in double precision."""
    e = torch.linspace(-6.0, 6.0, 4801, requires_grad=True)
    weights = torch.linspace(-1.0, 1.0, 4801)  # dL / da
    (found,) = torch.autograd.grad((Gates.apply(slope, 400.0, False, e) * weights).sum(), e)
    at = slope * e.detach().double()
    a, other = torch.sigmoid(at), torch.sigmoid(-at)
    factor = 400.0 / slope * (torch.cosh(at.clip(-50, 50)) + 1) / (torch.cosh(e.detach().double()) + 1)
    wanted = weights.double() * a * other * slope * factor
    torch.testing.assert_close(found.double(), wanted, rtol=1e-5, atol=1e-30)


@pytest.mark.parametrize("name", ["hat", "ehat", "cat", "prm", "pmask"])
def test_every_method_with_gates_has_both_gradients(name: str) -> None:
    on = toys.benchmark()
    found = {}
    for gate in ("released", "exact"):
        method: Any = toys.method(name, on, gate=gate)
        toys.learn_one(method, on, toys.fit(epochs=2), 0)
        found[gate] = facts.state(method)
    default: Any = toys.method(name, on)
    toys.learn_one(default, on, toys.fit(epochs=2), 0)
    facts.assert_same_state(facts.state(default), found["released"])
    differ = [not torch.equal(value, found["exact"][key]) for key, value in found["released"].items()]
    assert any(differ)


@pytest.mark.parametrize("released", [False, True])
@pytest.mark.parametrize("slope", [0.01, 30.0, 400.0])
def test_gates_of_several_blocks_are_those_of_each(slope: float, released: bool) -> None:
    generator = torch.Generator().manual_seed(3)
    parts = [(3 * torch.randn(n, generator=generator)).requires_grad_() for n in (5, 1, 8)]
    joined = Gates.apply(slope, 400.0, released, *parts)
    weights = torch.randn(14, generator=generator)
    found = torch.autograd.grad((joined * weights).sum(), parts)
    for part, gradient, own, weight in zip(
        parts, found, joined.split([5, 1, 8]), weights.split([5, 1, 8]), strict=True
    ):
        alone = Gates.apply(slope, 400.0, released, part)
        assert torch.equal(alone, own)
        (wanted,) = torch.autograd.grad((alone * weight).sum(), part)
        torch.testing.assert_close(gradient, wanted)


def test_gradient_survives_where_a_gate_rounds_to_one() -> None:
    e = torch.tensor([0.1, -0.1], requires_grad=True)
    gates = Gates.apply(400.0, 400.0, False, e)
    assert gates[0] == 1.0
    (found,) = torch.autograd.grad(gates.sum(), e)
    assert found.tolist() == pytest.approx([400 * 0.2493760401] * 2, rel=1e-6)


def test_annealing() -> None:
    assert [annealed(i, 4, 10.0) for i in range(4)] == pytest.approx([0.1, 3.4, 6.7, 10.0])
    for of, smax in ((7, 400.0), (3, 123.456), (2, 25.0)):
        assert annealed(of - 1, of, smax) == smax  # exactly
        assert annealed(0, of, smax) == 1 / smax
    assert annealed(0, 1, 400.0) == 400.0


@pytest.mark.parametrize(("anneal", "wanted"), [("batch", [0.1, 5.05, 10.0]), ("samples", [0.1, 3.4, 6.7])])
def test_slope_within_an_epoch_and_outside_of_it(anneal: str, wanted: list[float]) -> None:
    on = toys.benchmark()
    hat: Any = toys.method("hat", on, smax=10.0, anneal=anneal)
    slopes, validated, edit, validate = [], [], hat.edit_gradients, hat.validation_loss
    hat.edit_gradients = lambda batch: (slopes.append(hat.slope), edit(batch))
    hat.validation_loss = lambda batch: (validated.append(hat.slope), validate(batch))[1]
    toys.learn_one(hat, on, toys.fit(epochs=2), 0)
    assert slopes == pytest.approx(wanted * 2)
    assert validated == [10.0, 10.0] and hat.slope == 10.0


def test_one_batch_per_epoch_trains_at_the_end_of_the_annealing() -> None:
    on = toys.benchmark(train=12)
    hat: Any = toys.method("hat", on, smax=50.0)
    slopes, edit = [], hat.edit_gradients
    hat.edit_gradients = lambda batch: (slopes.append(hat.slope), edit(batch))
    toys.learn_one(hat, on, toys.fit(epochs=2, batch=64), 0)
    assert slopes == [50.0, 50.0]


def test_only_the_task_s_own_embeddings_move_and_stay_in_bounds() -> None:
    on = toys.benchmark()
    hat: Any = toys.method("hat", on, clamp=0.5)
    before = facts.state(hat.embeddings)
    toys.learn_one(hat, on, toys.fit(lr=0.5, weight_decay=0.01, momentum=0.9), 1)
    after = facts.state(hat.embeddings)
    assert [n for n in before if not facts.same_bits(before[n], after[n])] == ["1.0", "1.1"]
    assert all(float(after[n].abs().max()) <= 0.5 for n in ("1.0", "1.1"))
    assert max(float(after[n].abs().max()) for n in ("0.0", "2.1")) > 0.5


def test_regulariser_by_hand() -> None:
    on = toys.benchmark()
    hat: Any = toys.method("hat", on, "mlp(hidden=2)")
    gates = torch.tensor([0.5, 1.0, 0.25, 0.0])
    assert float(hat.regulariser(gates)) == pytest.approx(1.75 / 4)  # nothing used: the mean gate
    hat.used[0].copy_(torch.tensor([1.0, 0.5]))
    hat.used[1].copy_(torch.tensor([0.0, 1.0]))
    hat.train()
    assert float(hat.regulariser(gates)) == pytest.approx((1.0 * 0.5 + 0.25) / 1.5)
    for used in hat.used:
        used.fill_(1.0)
    hat.train()
    assert float(hat.regulariser(gates)) == 0.0  # no room left


def test_validation_counts_the_regulariser() -> None:
    on = toys.benchmark()
    hat: Any = toys.method("hat", on, lamb=2.0)
    hat.train(False)
    batch = Batch(on.tasks[0].val.take(slice(None)), torch.tensor(on.tasks[0].val.y), 0)
    plain = torch.nn.functional.cross_entropy(hat(batch.x, 0), batch.y)
    torch.testing.assert_close(hat.validation_loss(batch), plain + 2 * hat.regulariser(hat.joined_gates(0)))


@pytest.mark.parametrize("network", ["mlp(hidden=6)", "alexnet(width=0.03)"])
def test_factors_weight_by_weight(network: str) -> None:
    on = toys.benchmark(shape=(1, 28, 28))
    hat: Any = toys.method("hat", on, network)
    generator = torch.Generator().manual_seed(2)
    used = [torch.rand(n, generator=generator) for n in hat.body.units]
    for at, (weight, bias) in enumerate(weight_factors(hat.body.blocks, used)):
        layer = hat.body.blocks[at].layer
        assert weight.shape == layer.weight.shape and torch.equal(bias, 1 - used[at])
        flat = weight.reshape(len(used[at]), weight.shape[1], -1)
        each = weight.shape[1] // len(used[at - 1]) if at else 1  # pixels of a flattened channel
        for i in range(flat.shape[0]):
            for j in range(flat.shape[1]):
                wanted = 1 - used[0][i] if not at else 1 - min(used[at][i], used[at - 1][j // each])
                assert bool((flat[i, j] == wanted).all())
        if network.startswith("alexnet") and at == 3:
            assert each > 1  # the case that needs the repetition


@pytest.mark.parametrize(
    ("network", "shape"), [("mlp(hidden=16)", (1, 4, 4)), ("alexnet(width=0.05)", (1, 20, 20))]
)
def test_binary_gates_freeze_what_they_use_bit_for_bit(network: str, shape: tuple[int, int, int]) -> None:
    on = toys.benchmark(shape=shape)
    hat: Any = toys.method("hat", on, network)
    loop = toys.fit(momentum=0.9, clip=1.0, epochs=2)  # fresh momentum of a zero gradient is zero
    for t in (0, 1):
        toys.learn_one(hat, on, loop, t)
        binary(hat, t)
        for used, gate in zip(hat.used, hat.gates(t), strict=True):
            used.copy_(gate.detach().round())
    assert all(bool(((used == 0) | (used == 1)).all()) for used in hat.used)
    kept = facts.logits(hat, on, [0, 1])
    weights = [block.layer.weight.detach().clone() for block in hat.body.blocks]
    toys.learn_one(hat, on, loop, 2)
    for t, logits in facts.logits(hat, on, [0, 1]).items():
        assert facts.same_bits(kept[t], logits)
    hat.used[0].fill_(0.5)  # only now, to read which were frozen from the first two tasks
    for before, block in zip(weights[1:], hat.body.blocks[1:], strict=True):
        moved = before != block.layer.weight.detach()
        assert bool(moved.any()) and not bool(moved.all())


def test_weight_decay_would_move_frozen_weights() -> None:
    on = toys.benchmark()
    hat: Any = toys.method("hat", on)
    loop = toys.fit(weight_decay=0.1, epochs=2)
    toys.learn_one(hat, on, loop, 0)
    binary(hat, 0)
    for used in hat.used:
        used.fill_(1.0)
    before = facts.state(hat.net.body)
    toys.learn_one(hat, on, loop, 1)
    assert not any(facts.same_bits(before[n], v) for n, v in facts.state(hat.net.body).items())


def test_figures_by_hand() -> None:
    on = toys.benchmark()
    hat: Any = toys.method("hat", on, "mlp(hidden=2)")  # 16 inputs, 2 and 2 units
    hat.used[0].copy_(torch.tensor([1.0, 0.9995]))
    hat.used[1].copy_(torch.tensor([1.0, 0.0]))
    diagnostics = hat.diagnostics(0)
    assert diagnostics["blocked_layers"] == {"fc1": 17 / 34, "fc2": 2 / 6}  # fc2: weight (0, 0) and bias 0
    assert diagnostics["blocked"] == 19 / 40
    assert diagnostics["nearly_blocked"] == (34 + 3) / 40  # and all of unit 1, and weight (0, 1)
    assert diagnostics["capacity_used"] == pytest.approx(2.9995 / 4)


def test_parameters_and_bytes() -> None:
    on = toys.benchmark()
    hat: Any = toys.method("hat", on, "mlp(hidden=16)")
    n, u = sum(p.numel() for p in hat.net.parameters()), 32
    assert hat.count_parameters() == n + 3 * u
    assert hat.stored_bytes() == 4 * (n + u)
    toys.learn_one(hat, on, toys.fit(epochs=1), 0)
    assert hat.stored_bytes() == 4 * (n + u + u)  # a task's gates, and the cumulative ones


def test_capacity_used_never_shrinks() -> None:
    on = toys.benchmark()
    hat: Any = toys.method("hat", on)
    reports = toys.learn(hat, on, toys.fit(epochs=2))
    used = [report.diagnostics["capacity_used"] for report in reports]
    assert used == sorted(used) and 0 < used[0] <= 1

"""PMASK: gates on parameters, what they block and keep, what is stored; with gates on units it is HAT."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from raycl.errors import UserError
from raycl.networks import Heads
from raycl.tasks import Batch
from tests.helpers import facts, toys

DECAYED: dict[str, Any] = {"momentum": 0.9, "weight_decay": 1e-2, "epochs": 2}


NORMED = f"{__name__}:Normed"


class Normed(Heads):
    """No chain of blocks, and a layer norm whose parameters have no gates."""

    def __init__(
        self,
        input_shape: tuple[int, int, int],
        classes: Sequence[int],
        config: Heads.Config,
        width: float = 1.0,
    ) -> None:
        super().__init__(input_shape, classes, config, width)
        inputs = int(np.prod(input_shape))
        self.body = nn.Sequential(nn.Flatten(), nn.Linear(inputs, 6, bias=False), nn.LayerNorm(6), nn.ReLU())
        self.make_heads(6, classes)


def whole(on: Any, task: int, split: str = "train") -> Batch:
    """All samples of a split as one batch."""
    held = getattr(on.tasks[task], split)
    return Batch(held.take(slice(None)), torch.tensor(held.y), task)


def body(pmask: Any) -> dict[str, Tensor]:
    return facts.state(pmask.net.body)


def blocked(pmask: Any) -> dict[str, Tensor]:
    """Where finished tasks' hard masks use a parameter, by its name in the body."""
    kept = zip(*(pmask.kept(task) for task in pmask.masks), strict=True)
    used = pmask.spread(torch.stack(gates).any(0) for gates in kept)
    return {name.removeprefix("body."): mask for name, mask in used.items()}


@pytest.mark.usefixtures("float64")
def test_logits_by_hand() -> None:
    on = toys.benchmark(shape=(1, 1, 2))
    pmask: Any = toys.method("pmask", on, toys.chain(2))
    pmask.begin(0, decays=False)
    pmask.slope = 2.0
    e = torch.tensor([0.5, -1.0, 0.25, 0.0, 2.0, -0.5])  # weight, row by row, then bias
    with torch.no_grad():
        pmask.embeddings[0].copy_(e)
    a = 1 / (1 + torch.exp(-2 * e))
    layer, head = pmask.net.blocks[0].layer, pmask.net.heads[0]
    x = torch.tensor([[0.3, -0.7], [1.5, 2.0]])
    h = [
        torch.stack([layer.weight[i, 0] * a[2 * i] * row[0] + layer.weight[i, 1] * a[2 * i + 1] * row[1]
                     + layer.bias[i] * a[4 + i] for i in range(2)]).clamp_min(0)
        for row in x
    ]  # fmt: skip
    wanted = torch.stack(h) @ head.weight.T + head.bias
    torch.testing.assert_close(pmask(x.view(2, 1, 1, 2), 0), wanted, rtol=1e-12, atol=0)


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("compensate", [True, False])
@pytest.mark.parametrize("slope", [0.5, 7.0])
def test_gradient_of_the_embeddings_gate_by_gate(compensate: bool, slope: float) -> None:
    on = toys.benchmark()
    pmask: Any = toys.method(
        "pmask", on, "mlp(hidden=4)", lamb=2.0, smax=50.0, compensate=compensate, gate="exact"
    )
    pmask.begin(0, decays=False)
    pmask.slope = slope
    pmask.loss(whole(on, 0)).backward()
    n = sum(pmask.sizes)
    for e, layer in zip(pmask.embeddings, pmask.layers, strict=True):
        w = torch.cat([p.detach().reshape(-1) for p in layer.parameters()])
        g = torch.cat([p.grad.reshape(-1) for p in layer.parameters()])
        a = torch.sigmoid(slope * e.detach())
        through = w * g / a + 2.0 / n  # dL/da: dL/dW is a dL/d(aW), so dL/da is W dL/dW / a; and of the mean
        rise = slope * a * (1 - a)
        if compensate:
            rise = 50 * torch.sigmoid(e.detach()) * torch.sigmoid(-e.detach())
        torch.testing.assert_close(e.grad, rise * through, rtol=1e-9, atol=1e-15)


@pytest.mark.usefixtures("float64")
def test_compensation_on_one_gate() -> None:
    """q' = q smax (cosh(s e) + 1) / (s (cosh(e) + 1)) (HAT eq. 4)."""
    on, q = toys.benchmark(), []
    for compensate in (False, True):
        pmask: Any = toys.method("pmask", on, "mlp(hidden=4)", smax=80.0, compensate=compensate)
        pmask.begin(0, decays=False)
        pmask.slope = 3.0
        with torch.no_grad():
            pmask.embeddings[1][5] = 0.7
        pmask.train(False)  # no dropout
        torch.manual_seed(0)
        (2.0 * pmask.gates()[1][5]).backward()
        q.append(float(pmask.embeddings[1].grad[5]))
    assert q[1] == pytest.approx(q[0] * 80 * (np.cosh(2.1) + 1) / (3 * (np.cosh(0.7) + 1)), rel=1e-12)


def test_a_gradient_s_factor_is_the_parameter_s_own_entry() -> None:
    on = toys.benchmark()
    pmask: Any = toys.method("pmask", on, "mlp(hidden=6)", store="soft", smax=2.0)
    toys.learn_one(pmask, on, toys.fit(epochs=1), 0)
    pmask.begin(1, decays=False)
    found = []
    for edited in (False, True):
        pmask.zero_grad()
        torch.manual_seed(3)
        pmask.loss(whole(on, 1)).backward()
        if edited:
            pmask.edit_gradients(whole(on, 1))
        found.append({name: p.grad.clone() for name, p in pmask.named_parameters() if p.grad is not None})
    plain, masked = found
    gates = [gate.tolist() for gate in pmask.soft["0"].buffers()]
    for place, layer in enumerate(("0", "1")):
        weight, bias = (f"net.body.{layer}.layer.{kind}" for kind in ("weight", "bias"))
        outputs, inputs = plain[weight].shape
        for i in range(outputs):
            for j in range(inputs):
                factor = 1 - torch.tensor(gates[place][i * inputs + j])
                assert masked[weight][i, j] == plain[weight][i, j] * factor
            assert masked[bias][i] == plain[bias][i] * (1 - torch.tensor(gates[place][outputs * inputs + i]))
    assert 0 < min(gates[0]) < max(gates[0]) < 1  # a soft mask blocks in part
    for name in plain:
        if "body" not in name:
            assert facts.same_bits(plain[name], masked[name]), name  # heads and embeddings are free


@pytest.mark.parametrize(
    ("network", "shape"), [("mlp(hidden=16)", (1, 4, 4)), ("alexnet(width=0.05)", (1, 20, 20))]
)
@pytest.mark.parametrize("granularity", ["parameter", "unit"])
@pytest.mark.parametrize("weight_decay", [0.0, 1e-2])
def test_earlier_logits_and_what_they_rest_on_are_the_same_bits(
    network: str, shape: tuple[int, int, int], granularity: str, weight_decay: float
) -> None:
    on = toys.benchmark(shape=shape)
    pmask: Any = toys.method("pmask", on, network, granularity=granularity, emb_lr_mult=100.0)
    loop = toys.fit(**(DECAYED | {"weight_decay": weight_decay}))
    kept: dict[int, Tensor] = {}
    for task in range(3):
        before, used = body(pmask), blocked(pmask) if pmask.masks else {}
        toys.learn_one(pmask, on, loop, task)
        after = body(pmask)
        if granularity == "parameter":
            still = []
            for name, mask in used.items():
                assert facts.same_bits(before[name][mask], after[name][mask])
                still.append(before[name][~mask] == after[name][~mask])
            if used:  # without weight decay, free parameters of a unit that is never active stay as well
                assert not bool(torch.cat(still).any() if weight_decay else torch.cat(still).all())
        now = facts.logits(pmask, on, range(task + 1))
        for earlier, logits in kept.items():
            assert facts.same_bits(now[earlier], logits), f"task {earlier} after task {task}"
        kept = now
    assert pmask.answers_stay


def test_logits_rest_on_nothing_else() -> None:
    on = toys.benchmark()
    pmask: Any = toys.method("pmask", on)
    toys.learn_one(pmask, on, toys.fit(epochs=2), 0)
    kept = facts.logits(pmask, on, [0])[0]
    with torch.no_grad():
        for name, mask in blocked(pmask).items():
            p = pmask.net.body.get_parameter(name)
            p[~mask] = torch.tensor([torch.inf, torch.nan, -1e30])[torch.arange(int((~mask).sum())) % 3]
    assert facts.same_bits(facts.logits(pmask, on, [0])[0], kept)
    with torch.no_grad():
        p[mask] += 0.1
    assert not facts.same_bits(facts.logits(pmask, on, [0])[0], kept)


def test_soft_masks_leak_and_say_so() -> None:
    on = toys.benchmark()
    pmask: Any = toys.method("pmask", on, store="soft", smax=3.0)
    toys.learn_one(pmask, on, toys.fit(epochs=2), 0)
    gates = [gate.clone() for gate in pmask.kept(0)]
    kept = facts.logits(pmask, on, [0])[0]
    toys.learn_one(pmask, on, toys.fit(epochs=2), 1)
    assert not pmask.answers_stay
    assert not facts.same_bits(facts.logits(pmask, on, [0])[0], kept)
    assert all(facts.same_bits(a, b) for a, b in zip(gates, pmask.kept(0), strict=True))
    pmask.begin(2, decays=False)
    for used, first, second in zip(pmask.used(), pmask.kept(0), pmask.kept(1), strict=True):
        assert torch.equal(used, torch.maximum(first, second))  # over all earlier tasks, not the last alone
        assert bool((used > second).any()) and bool((used > first).any())


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize(
    ("network", "shape"),
    [("mlp(hidden=12)", (1, 4, 4)), ("alexnet(width=0.04, drop1=0.1)", (1, 20, 20))],
)
def test_gates_on_units_are_hat(network: str, shape: tuple[int, int, int]) -> None:
    on = toys.benchmark(shape=shape)
    hat: Any = toys.method("hat", on, network, smax=30.0)
    pmask: Any = toys.method("pmask", on, network, smax=30.0, granularity="unit", store="soft")
    start = copy.deepcopy(hat.embeddings)
    for task in range(3):
        pmask.draw = lambda task=task: nn.ParameterList(e.detach().clone() for e in start[task].parameters())
        for subject in (hat, pmask):
            toys.learn_one(subject, on, toys.fit_for("hat", epochs=2), task)
    wanted = facts.logits(hat, on, range(3))
    for task, logits in facts.logits(pmask, on, range(3)).items():
        torch.testing.assert_close(logits, wanted[task], rtol=1e-9, atol=1e-12)
    for name, p in body(hat).items():
        torch.testing.assert_close(body(pmask)[name], p, rtol=1e-9, atol=1e-12)
    moved = [
        (a != b).any() for a, b in zip(start[2].parameters(), hat.embeddings[2].parameters(), strict=True)
    ]
    assert all(moved)


@pytest.mark.parametrize(
    ("network", "shape"), [("mlp(hidden=12)", (1, 4, 4)), ("alexnet(width=0.05)", (1, 20, 20))]
)
def test_hard_gates_on_units_are_hat_bit_for_bit(network: str, shape: tuple[int, int, int]) -> None:
    on = toys.benchmark(shape=shape)
    hat: Any = toys.method("hat", on, network)
    pmask: Any = toys.method("pmask", on, network, granularity="unit")
    pmask.begin(1, decays=False)
    for e, mine in zip(hat.embeddings[1].parameters(), pmask.embeddings, strict=True):
        with torch.no_grad():
            mine.copy_(e.sign() * 3)  # gates round to 0 and 1
            e.copy_(e.sign() * 3)
    wanted = facts.logits(hat, on, [1])[1]
    assert torch.equal(facts.logits(pmask, on, [1])[1], wanted)


def test_regulariser_by_hand() -> None:
    on = toys.benchmark(shape=(1, 1, 2))
    pmask: Any = toys.method("pmask", on, toys.chain(2, 1))
    pmask.begin(0, decays=False)
    assert pmask.sizes == [6, 3]
    gates = torch.tensor([0.5, 1.0, 0.0, 0.25, 0.0, 1.0, 1.0, 0.5, 0.0])
    assert float(pmask.regulariser(gates)) == pytest.approx(4.25 / 9)  # nothing used: the mean gate
    pmask.free = [torch.tensor([1.0, 0.0, 1.0, 0.5, 1.0, 0.0]), torch.tensor([0.0, 1.0, 1.0])]
    pmask.train()
    share = (0.5 + 0.125 + 0.5) / 5.5  # using again what is used costs nothing
    assert float(pmask.regulariser(gates)) == pytest.approx(share)
    summed: Any = toys.method("pmask", on, toys.chain(2, 1), reg_norm="sum_per_unit")
    summed.free = pmask.free
    assert float(summed.regulariser(gates)) == pytest.approx(share * 9 / 3)  # nine gates, three units
    pmask.free = [torch.zeros(6), torch.zeros(3)]
    pmask.train()
    assert float(pmask.regulariser(gates)) == 0.0  # no room left


def test_room_is_what_no_mask_uses() -> None:
    on = toys.benchmark()
    pmask: Any = toys.method("pmask", on)
    for task in (0, 1):
        toys.learn_one(pmask, on, toys.fit(epochs=1), task)
    pmask.begin(2, decays=False)
    for free, first, second in zip(pmask.free, pmask.kept(0), pmask.kept(1), strict=True):
        assert torch.equal(free, 1.0 * ~(first | second))


def test_validation_counts_the_regulariser_of_the_task_at_hand_alone() -> None:
    on = toys.benchmark()
    pmask: Any = toys.method("pmask", on, lamb=2.0)
    toys.learn_one(pmask, on, toys.fit(epochs=1), 0)
    pmask.begin(1, decays=False)
    pmask.train(False)
    for task in range(3):
        batch = whole(on, task, "val")
        wanted = F.cross_entropy(pmask(batch.x, task), batch.y)
        if task == 1:
            wanted = wanted + 2 * pmask.regulariser(pmask.joined_gates())
        torch.testing.assert_close(pmask.validation_loss(batch), wanted)


def test_slope_within_an_epoch_and_outside_of_it() -> None:
    on = toys.benchmark()
    pmask: Any = toys.method("pmask", on, smax=10.0)
    slopes, validated, edit, validate = [], [], pmask.edit_gradients, pmask.validation_loss
    step, after = pmask.step, []
    pmask.step = lambda batch, update: (step(batch, update), after.append(pmask.slope))[0]
    pmask.edit_gradients = lambda batch: (slopes.append(pmask.slope), edit(batch))
    pmask.validation_loss = lambda batch: (validated.append(pmask.slope), validate(batch))[1]
    toys.learn_one(pmask, on, toys.fit(epochs=2), 0)
    assert slopes == pytest.approx([0.1, 5.05, 10.0] * 2)
    assert validated == [10.0, 10.0] and after == [10.0] * 6


@pytest.mark.parametrize("multiple", [1.0, 3.0, 1e4])
def test_embeddings_step_by_their_own_rate(multiple: float) -> None:
    on = toys.benchmark()
    pmask: Any = toys.method("pmask", on, emb_lr_mult=multiple)
    start, gradients, rates, drawn, edit = [], [], [], pmask.draw, pmask.edit_gradients

    def draw() -> nn.ParameterList:
        found: nn.ParameterList = drawn()
        start.extend(e.detach().clone() for e in found)
        return found

    def note(batch: Batch) -> None:
        edit(batch)
        gradients.extend(p.grad.clone() for p in [*pmask.embeddings, *pmask.net.body.parameters()])

    pmask.draw, pmask.edit_gradients = draw, note
    step = pmask.step
    ends: list[Tensor] = []

    def stepped(batch: Batch, update: Any) -> Tensor:
        loss: Tensor = step(batch, update)
        rates.append([group["lr"] for group in update.groups])
        ends.extend(p.detach().clone() for p in [*pmask.embeddings, *pmask.net.body.parameters()])
        return loss

    pmask.step = stepped
    before = [p.detach().clone() for p in pmask.net.body.parameters()]
    toys.learn_one(pmask, on, toys.fit(lr=0.05, epochs=1, batch=48), 0)
    assert rates == [[0.05, 0.05 * multiple]]
    for e, g, end in zip(start, gradients[:2], ends[:2], strict=True):
        assert facts.same_bits(e.add(g, alpha=-0.05 * multiple).clamp(-6, 6), end)
        assert not facts.same_bits(e, end)
    for p, g, end in zip(before, gradients[2:], ends[2:], strict=True):
        assert facts.same_bits(p.add(g, alpha=-0.05), end)


def test_the_ratio_of_the_rates_outlives_a_plateau() -> None:
    on = toys.benchmark()
    pmask: Any = toys.method("pmask", on, emb_lr_mult=8.0)
    rates, step = [], pmask.step
    pmask.step = lambda batch, update: (rates.append([g["lr"] for g in update.groups]), step(batch, update))[
        1
    ]
    pmask.validation_loss = lambda batch: torch.tensor(1.0)
    toys.learn_one(pmask, on, toys.fit(epochs=5, batch=48, schedule="plateau", patience=2), 0)
    assert rates[-1][0] < rates[0][0] == 0.05
    assert all(embeddings == pytest.approx(8 * lr) for lr, embeddings in rates)


def test_embeddings_stay_in_bounds_and_are_dropped_in_the_end() -> None:
    on = toys.benchmark()
    pmask: Any = toys.method("pmask", on, clamp=0.5, emb_lr_mult=10.0)
    seen, validate = [], pmask.validation_loss
    pmask.validation_loss = lambda batch: (
        seen.append(max(float(e.abs().max()) for e in pmask.embeddings)),
        validate(batch),
    )[1]
    toys.learn_one(pmask, on, toys.fit(lr=0.5, momentum=0.9, epochs=2), 0)
    assert seen == [0.5, 0.5]
    assert len(pmask.embeddings) == 0 and not pmask.free and not pmask.factors and not pmask.held


def test_a_task_yet_to_be_learnt_is_answered_by_the_whole_network() -> None:
    on = toys.benchmark()
    pmask: Any = toys.method("pmask", on)
    toys.learn_one(pmask, on, toys.fit(epochs=1), 0)
    pmask.train(False)
    x = whole(on, 2).x
    assert facts.same_bits(pmask(x, 2), pmask.net(x, 2))
    assert not facts.same_bits(pmask(x, 0), pmask.net(x, 0))


def test_biases_without_gates_are_learnt_with_the_first_task() -> None:
    on = toys.benchmark()
    pmask: Any = toys.method("pmask", on, mask_bias=False)
    assert pmask.sizes == [16 * 32, 32 * 32]
    states, logits = [body(pmask)], []
    for task in range(3):
        toys.learn_one(pmask, on, facts.WatchedFit(toys.fit(**DECAYED).config), task)
        states.append(body(pmask))
        logits.append(facts.logits(pmask, on, [0])[0])
    biases = [[state[f"{layer}.layer.bias"] for layer in (0, 1)] for state in states]
    assert not any(facts.same_bits(a, b) for a, b in zip(biases[0], biases[1], strict=True))
    for later in biases[2:]:
        assert all(facts.same_bits(a, b) for a, b in zip(biases[1], later, strict=True))
    assert all(facts.same_bits(logits[0], later) for later in logits)


def test_any_network_with_heads_will_do() -> None:
    on = toys.benchmark()
    pmask: Any = toys.method("pmask", on, NORMED)
    assert pmask.ungated == ["body.2.weight", "body.2.bias"]
    states, logits = [], []
    for task in range(3):
        toys.learn_one(pmask, on, facts.WatchedFit(toys.fit(**DECAYED).config), task)
        states.append(body(pmask))
        logits.append(facts.logits(pmask, on, [0])[0])
    assert facts.same_bits(states[0]["2.weight"], states[2]["2.weight"])
    assert not facts.same_bits(states[0]["1.weight"], states[2]["1.weight"])
    assert all(facts.same_bits(logits[0], later) for later in logits)
    with pytest.raises(ValueError, match="needs a chain of blocks, not Normed"):
        toys.method("pmask", on, NORMED, granularity="unit")


@pytest.mark.parametrize(
    ("settings", "message"),
    [({"smax": 0.0}, "smax = 0.0"), ({"clamp": -1.0}, "clamp = -1.0"),
     ({"lamb": -1.0}, "lamb = -1.0 must be at least 0"), ({"emb_lr_mult": -2.0}, "emb_lr_mult = -2.0"),
     ({"granularity": "unit", "mask_bias": False}, "set mask_bias = True")],
)  # fmt: skip
def test_nonsense_is_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        toys.method("pmask", toys.benchmark(), **settings)


def test_open_gates() -> None:
    pmask: Any = toys.method("pmask", toys.benchmark(), embedding_init="open")
    pmask.begin(0, decays=False)
    e = torch.cat([e.detach() for e in pmask.embeddings])
    assert 0 < float(e.min()) < 0.01 and 1.99 < float(e.max()) <= 2
    assert float(e.mean()) == pytest.approx(1, abs=4 * (1 / 3 / len(e)) ** 0.5)
    assert all(bool((gate > 0.5).all()) for gate in pmask.gates())


def test_memory_is_one_bit_a_parameter() -> None:
    on = toys.benchmark()
    pmask: Any = toys.method("pmask", on, "mlp(hidden=16)")
    soft: Any = toys.method("pmask", on, "mlp(hidden=16)", store="soft")
    n, gates = sum(p.numel() for p in pmask.net.parameters()), 16 * 16 + 16 + 16 * 16 + 16
    assert pmask.count_parameters() == n + 3 * gates  # as HAT counts: embeddings of every task
    assert pmask.stored_bytes() == 4 * n
    for task in range(2):
        for subject in (pmask, soft):
            toys.learn_one(subject, on, toys.fit(epochs=1), task)
        assert pmask.stored_bytes() == 4 * n + (task + 1) * gates // 8
        assert soft.stored_bytes() == 4 * n + (task + 1) * gates * 4
    assert pmask.count_parameters() == n + 3 * gates


def test_figures_by_hand() -> None:
    on = toys.benchmark(shape=(1, 1, 2))
    pmask: Any = toys.method("pmask", on, toys.chain(2, 1))
    pmask.masks = {
        0: (np.packbits([1, 1, 0, 0, 0, 1]), np.packbits([1, 0, 0])),
        1: (np.packbits([0, 1, 1, 0, 1, 0]), np.packbits([1, 0, 1])),
    }
    pmask.notes = {0: {"flip_share": 0.25}, 1: {}}
    assert pmask.diagnostics(0) == {
        "flip_share": 0.25, "reuse": [],
        "capacity_used": 4 / 9, "capacity_used_layers": {"fc1": 3 / 6, "fc2": 1 / 3},
        "kept_share": 4 / 9, "kept_share_layers": {"fc1": 3 / 6, "fc2": 1 / 3},
    }  # fmt: skip
    assert pmask.diagnostics(1) == {
        "reuse": [2 / 5],
        "capacity_used": 7 / 9, "capacity_used_layers": {"fc1": 5 / 6, "fc2": 2 / 3},
        "kept_share": 5 / 9, "kept_share_layers": {"fc1": 3 / 6, "fc2": 2 / 3},
        "reuse_lift": (2 / 5) / (4 / 9),
        "reuse_lift_layers": {"fc1": (1 / 3) / (3 / 6), "fc2": (1 / 2) / (1 / 3)},
    }  # fmt: skip


def test_what_is_measured_while_a_task_is_learnt() -> None:
    on = toys.benchmark()
    pmask: Any = toys.method("pmask", on, smax=5.0, emb_lr_mult=200.0)
    soft: Any = toys.method("pmask", on, smax=5.0, emb_lr_mult=200.0, store="soft")
    start: list[Tensor] = []
    drawn = pmask.draw
    pmask.draw = lambda: (found := drawn(), start.extend(e.detach().clone() for e in found))[0]
    for subject in (pmask, soft):
        toys.learn_one(subject, on, toys.fit(epochs=3), 0)
    diagnostics, loop = pmask.diagnostics(0), toys.fit()
    assert diagnostics == soft.diagnostics(0)
    gates = torch.cat(soft.kept(0))
    assert diagnostics["polarised_share"] == float(((gates > 0.05) & (gates < 0.95)).double().mean()) > 0
    flips = (torch.cat(start) > 0) != (gates > 0.5)
    assert diagnostics["flip_share"] == float(flips.double().mean()) > 0
    assert diagnostics["kept_share"] == float((gates > 0.5).double().mean())
    assert diagnostics["soft_val_acc"] == loop.accuracy(soft, 0, on.tasks[0].val)
    assert diagnostics["hard_val_acc"] == loop.accuracy(pmask, 0, on.tasks[0].val)
    assert set(diagnostics["flip_share_layers"]) == {"fc1", "fc2"}


def test_nothing_to_validate_on_gives_no_accuracies() -> None:
    on = toys.benchmark(val=0)
    pmask: Any = toys.method("pmask", on)
    toys.learn_one(pmask, on, toys.fit(epochs=1), 0)
    assert not {"soft_val_acc", "hard_val_acc"} & set(pmask.diagnostics(0))


def test_capacity_used_never_shrinks_and_a_larger_c_keeps_less() -> None:
    on, kept = toys.benchmark(), []
    for lamb in (0.1, 0.75, 2.5):
        pmask: Any = toys.method("pmask", on, lamb=lamb, emb_lr_mult=30.0)
        reports = toys.learn(pmask, on, toys.fit(epochs=6))
        used = [report.diagnostics["capacity_used"] for report in reports]
        assert used == sorted(used) and 0 < used[0] < used[2] <= 1
        kept.append(reports[0].diagnostics["kept_share"])
    assert 0.5 > kept[0] > kept[1] + 0.05 > kept[2] + 0.1

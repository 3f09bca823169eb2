"""Piggyback: a network that never moves, tasks that know nothing of one another, bits that are what stays."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from raycl import calls, registry, streams
from raycl.method import World
from raycl.methods._first import BACKBONE, FirstTask
from raycl.methods.piggyback import Piggyback
from raycl.networks import Start
from raycl.networks._backbone import state_of
from raycl.runs import sequence
from raycl.runs.artefacts import Pretrained
from raycl.runs.reports import join_reports
from raycl.space import make_config
from raycl.specs import RunSpec
from raycl.tasks import Benchmark
from raycl.training.fit import Fit
from raycl.training.presets import fit_of
from tests.helpers import facts, toys
from tests.helpers.networks import TWO_NORMED

DECAYED: dict[str, Any] = {"momentum": 0.9, "weight_decay": 1e-2, "epochs": 2}
SHAPE = (1, 6, 6)
MODES = ("frozen", "stats", "affine_stats")
VARIANTS: list[dict[str, Any]] = [
    {"soft": True},
    {"values": "ternary", "granularity": "kernel"},
    {"soft": True, "start": "uniform", "granularity": "kernel", "bn_mode": "affine_stats"},
    {"mask_linear": "none", "bn_mode": "stats"},
]


WEIGHTS = {"conv1": 4 * 9, "conv2": 24 * 9, "fc1": 24 * 8}
BODY = sum(WEIGHTS.values()) + 8 + 2 * (4 + 6)  # with the bias and what batch normalisations learn
HEADS = [9 * count for count in toys.CLASSES]
STATISTICS = 2 * (4 + 6)


def made(
    name: str, on: Benchmark, inputs: dict[str, Any] | None = None, network: str = TWO_NORMED, **config: Any
) -> Any:
    """As `toys.method`, quick to train on the first task, with a backbone if that is given."""
    kind, net = registry.method(name), registry.network(network)
    settings = calls.parse(network, "network").settings(net.Config, "network")
    start = Start(net, make_config(net.Config, settings, "network"), on.input_shape, on.classes, 0)
    world = World(on.input_shape, on.classes, start, inputs or {})
    streams.reseed(0, "method")
    return kind(world, make_config(kind.Config, {"initial": ""} | config, name))


def pretrained(on: Benchmark, preset: str, epochs: int) -> Pretrained:
    """The network after the first task, as a run of its own makes it."""
    net = registry.network(TWO_NORMED)
    world = World(on.input_shape, on.classes, Start(net, net.Config(), on.input_shape, on.classes, 0))
    first = FirstTask(world, FirstTask.Config())
    loop = Fit(make_config(Fit.Config, fit_of(preset, epochs), "fit"))
    toys.learn_one(first, on, loop, 0)
    return Pretrained(state_of(first.net), 1.5, loop.epochs["main"], loop.updates)


@pytest.fixture(scope="module")
def on() -> Benchmark:
    return toys.benchmark(shape=SHAPE)


@pytest.mark.parametrize("name", ["piggyback", "ksm"])
@pytest.mark.parametrize("mode", MODES)
def test_a_task_starts_exactly_at_the_network(on: Benchmark, name: str, mode: str) -> None:
    method = made(name, on, bn_mode=mode)
    toys.learn_one(method, on, toys.fit(**DECAYED), 0)
    before = facts.logits(method, on, [1])[1]
    with torch.no_grad():
        plain = method.net.train(False)(on.tasks[1].test.take(slice(None)), 1)
    method.begin(1)
    assert all(bool((mask == 1).all()) for mask in method.masks(1))
    after = facts.logits(method, on, [1])[1]
    assert facts.same_bits(after, before) and facts.same_bits(after, plain)
    method.finish()
    assert method.diagnostics(1)["one_share"] == 1 and method.diagnostics(1)["soft_share"] == 0
    assert facts.same_bits(facts.logits(method, on, [1])[1], plain)


@pytest.mark.parametrize("name", ["piggyback", "ksm"])
@pytest.mark.parametrize("mode", MODES)
def test_the_network_does_not_move_by_a_bit(on: Benchmark, name: str, mode: str) -> None:
    method = made(name, on, bn_mode=mode)
    untrained = facts.state(method.net.body)
    toys.learn_one(method, on, toys.fit(**DECAYED), 0)
    before = facts.state(method.net.body)
    assert all(not facts.same_bits(untrained[n], before[n]) for n in before)  # its statistics among them
    for task in (1, 2):
        toys.learn_one(method, on, toys.fit(**DECAYED), task)
    facts.assert_same_state(before, facts.state(method.net.body))
    assert not any(p.requires_grad for p in method.net.body.parameters())
    own, network = method.norms.named(1), method.net.state_dict()
    moved = {n for n, v in own.items() if not facts.same_bits(v, network[n])}
    kinds = {n.rpartition(".")[2] for n in own}
    statistics = {"running_mean", "running_var", "num_batches_tracked"}
    assert moved == own.keys()
    assert (
        kinds == {"frozen": set(), "stats": statistics, "affine_stats": statistics | {"weight", "bias"}}[mode]
    )


@pytest.mark.parametrize("config", [*({"bn_mode": mode} for mode in MODES), *VARIANTS], ids=str)
def test_logits_stay_through_export_later_tasks_and_a_checkpoint(
    on: Benchmark, config: dict[str, Any]
) -> None:
    method = made("piggyback", on, **config)
    finish, before = method.finish, {}
    method.finish = lambda: before.update(facts.logits(method, on, [method.current])) or finish()
    kept: dict[int, Tensor] = {}
    for task in range(3):
        toys.learn_one(method, on, toys.fit(optimiser="adam", lr=0.02, epochs=2), task)
        now = facts.logits(method, on, range(task + 1))
        if task:
            assert facts.same_bits(now[task], before[task])
            assert 0 < method.diagnostics(task)["soft_share"] < 1
        for earlier, logits in kept.items():
            assert facts.same_bits(now[earlier], logits)
        kept = now
    del method.finish
    again = facts.logits(facts.reloaded(method), on, range(3))
    assert all(facts.same_bits(again[task], kept[task]) for task in kept)


@pytest.mark.usefixtures("float64")
def test_factors_are_kept_in_double_precision_where_weights_are() -> None:
    on = toys.benchmark(shape=SHAPE)
    method = made("piggyback", on, soft=True)
    toys.learn_one(method, on, toys.fit(epochs=1), 0)
    method.begin(1)
    with torch.no_grad():
        for real in method.real:
            real.copy_(0.02 * torch.randn(real.shape) + 0.005)
    before = facts.logits(method, on, [1])[1]
    method.finish()
    assert facts.same_bits(before, facts.logits(method, on, [1])[1])
    dropped = sum(int((mask != 1).sum()) for mask in method.masks(1))
    bits = sum(math.ceil(n / 8) for n in WEIGHTS.values())
    assert method.task_bytes(1) == bits + 8 * dropped + 8 * HEADS[1]


@pytest.mark.parametrize("name", ["piggyback", "ksm"])
def test_order_of_tasks_changes_no_bit(on: Benchmark, name: str) -> None:
    forth, back = (made(name, on, start="uniform") for _ in range(2))
    for method, order in ((forth, (0, 1, 2)), (back, (0, 2, 1))):
        for task in order:
            toys.learn_one(method, on, toys.fit(optimiser="adam", epochs=2), task)
    for task in (1, 2):
        assert all(torch.equal(a, b) for a, b in zip(forth.masks(task), back.masks(task), strict=True))
        assert forth.diagnostics(task) == back.diagnostics(task)
    left, right = (facts.logits(method, on, range(3)) for method in (forth, back))
    assert all(facts.same_bits(left[task], right[task]) for task in range(3))
    assert any(not torch.equal(a, b) for a, b in zip(forth.masks(1), forth.masks(2), strict=True))


def test_a_backbone_taken_over_is_the_network_trained_here(on: Benchmark) -> None:
    config: dict[str, Any] = {"initial": "ksm_initial", "initial_epochs": 2, "bn_mode": "affine_stats"}
    backbone = pretrained(on, "ksm_initial", 2)
    inline, taken = made("piggyback", on, **config), made("piggyback", on, {BACKBONE: backbone}, **config)
    assert taken.world.inputs == {}
    loops = [toys.fit(epochs=3) for _ in range(2)]
    for method, loop in zip((inline, taken), loops, strict=True):
        toys.learn_one(method, on, loop, 0)
    assert [loop.epochs["main"] for loop in loops] == [2, 2]
    assert [loop.updates for loop in loops] == [4, 4] and loops[1].seconds["main"] == 1.5
    facts.assert_same_state(facts.state(inline), facts.state(taken))
    for method in (inline, taken):
        toys.learn_one(method, on, toys.fit(epochs=2), 1)
    facts.assert_same_state(facts.state(inline), facts.state(taken))
    left, right = (facts.logits(method, on, range(3)) for method in (inline, taken))
    assert all(facts.same_bits(left[task], right[task]) for task in range(3))
    assert inline.stored_bytes() == taken.stored_bytes()


@pytest.mark.parametrize("name", ["piggyback", "ksm"])
def test_tasks_learnt_side_by_side_are_the_sequence(on: Benchmark, name: str) -> None:
    backbone = pretrained(on, "ksm_initial", 1)
    whole = sequence.run_sequence(made(name, on, {BACKBONE: backbone}), on, toys.fit(epochs=2))
    parts = [
        next(sequence.run_sequence(made(name, on, {BACKBONE: backbone}), on, toys.fit(epochs=2), part=part))
        for part in range(3)
    ]
    assert registry.method(name).independent
    for one, other in zip(whole, join_reports(parts), strict=True):
        assert (one.val, one.test, one.diagnostics) == (other.val, other.test, other.diagnostics)
        assert (one.stored_bytes, one.parameters) == (other.stored_bytes, other.parameters)


def test_no_masks_without_a_network(on: Benchmark) -> None:
    with pytest.raises(AssertionError, match="learn the first task or provide a backbone"):
        toys.learn_one(made("piggyback", on), on, toys.fit(), 1)


def test_first_task_is_finetuning_by_the_preset_or_as_the_other_tasks(on: Benchmark) -> None:
    plain: Any = toys.method("finetune", on, TWO_NORMED)
    toys.learn_one(plain, on, toys.fit(**DECAYED), 0)
    as_others = made("piggyback", on)
    toys.learn_one(as_others, on, toys.fit(**DECAYED), 0)
    facts.assert_same_state(facts.state(plain.net), facts.state(as_others.net))
    by_preset = made("piggyback", on, initial="ksm_initial", initial_epochs=2)
    toys.learn_one(by_preset, on, toys.fit(**DECAYED), 0)
    wanted = pretrained(on, "ksm_initial", 2).tensors
    assert all(facts.same_bits(by_preset.net.state_dict()[n], v) for n, v in wanted.items())
    assert not facts.same_bits(by_preset.net.heads[0].weight, plain.net.heads[0].weight)


def test_a_run_says_which_network_it_builds_on() -> None:
    spec = RunSpec(method="piggyback", network="mlp", benchmark="digits_split",
                   config={"initial_epochs": 7}, fit={"lr": 1e-4}, seed=3)  # fmt: skip
    ((name, run),) = Piggyback.required_runs(spec).items()
    assert (name, run.kind, run.part, run.seed) == (BACKBONE, "pretrain", 0, 3)
    assert run.fit == fit_of("ksm_initial", 7) and run.fit["epochs"] == 7
    other = replace(spec, config={"initial_epochs": 7, "soft": True, "bn_mode": "stats"})
    assert Piggyback.required_runs(other)[BACKBONE] == run  # one network for all variants
    assert Piggyback.required_runs(replace(spec, config={"initial": ""})) == {}


def test_a_task_not_learnt_is_answered_by_the_network_and_its_own_head(on: Benchmark) -> None:
    method, fresh = made("piggyback", on, bn_mode="affine_stats"), made("piggyback", on)
    for task in (0, 1):
        toys.learn_one(method, on, toys.fit(epochs=2), task)
    with torch.no_grad():
        x = on.tasks[2].test.take(slice(None))
        wanted = fresh.net.heads[2](method.net.train(False).features(x))
    assert facts.same_bits(facts.logits(method, on, [2])[2], wanted)
    assert method.diagnostics(2) == {} and method.diagnostics(0) == {}


def gradient_case(method: Any, on: Benchmark) -> tuple[list[Tensor], list[Tensor]]:
    """Gradients of R, and of masks that are given as tensors of their own."""
    x, y = on.tasks[1].train.take(slice(0, 16)), torch.tensor(on.tasks[1].train.y[:16])
    masks = [mask.detach().requires_grad_() for mask in method.masks(1)]
    whole = {n: w * m for n, w, m in zip(method.layers.values(), method.weights(), masks, strict=True)}
    whole |= method.norms.named(1)
    loss = F.cross_entropy(torch.func.functional_call(method.net, whole, (x, 1)), y)
    wanted = torch.autograd.grad(loss, masks)
    F.cross_entropy(method(x, 1), y).backward()
    return [real.grad for real in method.real], list(wanted)


@pytest.mark.parametrize(
    "config", [{}, {"granularity": "kernel"}, {"values": "ternary"}, {"soft": True}], ids=str
)
def test_gradient_goes_straight_through_and_to_nothing_else(on: Benchmark, config: dict[str, Any]) -> None:
    method = made("piggyback", on, **config)
    toys.learn_one(method, on, toys.fit(epochs=1), 0)
    for p in method.net.parameters():
        p.grad = None
    method.begin(1)
    torch.manual_seed(0)
    with torch.no_grad():
        for real in method.real:
            real.copy_(0.02 * torch.randn(real.shape) + 0.005)
    method.train(False)
    found, wanted = gradient_case(method, on)
    for gradient, straight in zip(found, wanted, strict=True):
        torch.testing.assert_close(gradient, straight, rtol=1e-5, atol=1e-7)
        assert bool(gradient.any())
    assert all(p.grad is None for p in method.net.body.parameters())  # none is computed and thrown away
    sizes = [4, 24, 24 * 8] if "granularity" in config else list(WEIGHTS.values())
    assert [real.numel() for real in method.real] == sizes


def test_starts(on: Benchmark) -> None:
    for start in ("constant", "uniform"):
        method = made("piggyback", on, network="mlp(hidden=64)", start=start)
        method.freeze()
        torch.manual_seed(1)
        method.begin(1)
        real = torch.cat([r.detach().reshape(-1) for r in method.real])
        if start == "constant":
            assert real.unique().tolist() == [torch.tensor(1e-2).item()]
        else:
            assert float(real.min()) >= 0 and float(real.max()) < 2e-2
            assert float(real.mean()) == pytest.approx(1e-2, rel=0.03)
            assert float((real <= 5e-3).float().mean()) == pytest.approx(0.25, abs=0.02)


def test_linear_layers_may_stay_as_they_are(on: Benchmark) -> None:
    method = made("piggyback", on, mask_linear="none")
    for task in (0, 1):
        toys.learn_one(method, on, toys.fit(epochs=1), task)
    assert list(method.diagnostics(1)["one_share_layers"]) == ["conv1", "conv2"]
    assert method.diagnostics(1)["mask_bits"] == WEIGHTS["conv1"] + WEIGHTS["conv2"]
    with pytest.raises(ValueError, match="mask_linear = 'none' leaves nothing to mask in MLP"):
        made("piggyback", on, network="mlp(hidden=4)", mask_linear="none")


@pytest.mark.parametrize("config", [{"bn_mode": mode} for mode in MODES] + VARIANTS, ids=str)
def test_storage_grows_by_what_a_task_adds(on: Benchmark, config: dict[str, Any]) -> None:
    method = made("piggyback", on, **config)
    mode = config.get("bn_mode", "frozen")
    sizes = dict(WEIGHTS)
    if config.get("granularity") == "kernel":
        sizes |= {"conv1": 4, "conv2": 24}
    if config.get("mask_linear") == "none":
        del sizes["fc1"]
    norm = {"frozen": 0, "stats": STATISTICS, "affine_stats": 2 * STATISTICS}[mode]
    stored = []
    for report in toys.learn(method, on, toys.fit(optimiser="adam", lr=0.02, epochs=1)):
        stored.append(report.stored_bytes)
        trained = 2 * (sum(sizes.values()) + (STATISTICS if mode == "affine_stats" else 0))
        assert report.parameters == BODY + sum(HEADS) + trained
        if not report.task:
            assert stored == [4 * (BODY + STATISTICS + HEADS[0])] and report.diagnostics == {}
            continue
        found = report.diagnostics
        masks = method.masks(report.task)
        ones = {layer: int((mask == 1).sum()) for layer, mask in zip(sizes, masks, strict=True)}
        assert found["one_share_layers"] == {layer: ones[layer] / n for layer, n in sizes.items()}
        assert found["soft_share_layers"] == {layer: 1 - ones[layer] / n for layer, n in sizes.items()}
        assert found["one_share"] == sum(ones.values()) / sum(sizes.values()) == 1 - found["soft_share"]
        planes = 2 if config.get("values") == "ternary" else 1
        factors = sum(sizes.values()) - sum(ones.values()) if config.get("soft") else 0
        assert found["mask_bits"] == planes * sum(sizes.values())
        bits = planes * sum(math.ceil(n / 8) for n in sizes.values())
        assert found["task_bytes"] == bits + 4 * (factors + norm + HEADS[report.task])
        assert stored[-1] - stored[-2] == found["task_bytes"]


def test_real_values_are_dropped(on: Benchmark) -> None:
    method = made("piggyback", on)
    toys.learn_one(method, on, toys.fit(epochs=1), 0)
    seen = set(method.state_dict())
    toys.learn_one(method, on, toys.fit(epochs=1), 1)
    assert set(method.state_dict()) == seen and method.current is None
    assert {id(p) for p in method.trainable(1)} == {id(p) for p in method.net.heads[1].parameters()}


def test_masks_are_made_once_per_pass_of_evaluation() -> None:
    on = toys.benchmark(test=600)
    method = made("piggyback", on, network="mlp(hidden=16)")
    loop = toys.fit(epochs=1)
    for task in (0, 1):
        toys.learn_one(method, on, loop, task)
    calls: list[int] = []
    masks = method.masks

    def counted(task: int) -> list[Tensor]:
        calls.append(task)
        found: list[Tensor] = masks(task)
        return found

    method.masks = counted
    first = loop.accuracy(method, 1, on.tasks[1].test)  # three batches
    assert calls == [1]
    assert loop.accuracy(method, 1, on.tasks[1].test) == first and calls == [1, 1]
    method.begin(2)
    method.train(False)
    with torch.no_grad():
        x = on.tasks[2].test.take(slice(0, 4))
        before = method(x, 2)
        method.train(True)
        for real in method.real:
            real[::2].neg_()
        assert not torch.equal(method.train(False)(x, 2), before)  # nothing old is remembered across training


@pytest.mark.parametrize("mode", MODES)
def test_the_best_epoch_comes_back_with_its_statistics(on: Benchmark, mode: str) -> None:
    worse, short = (made("piggyback", on, bn_mode=mode) for _ in range(2))
    for method in (worse, short):
        toys.learn_one(method, on, toys.fit(epochs=1), 0)
    rising = iter(range(100))
    worse.validation_loss = lambda batch: torch.tensor(float(next(rising)))
    toys.learn_one(worse, on, toys.fit(epochs=3), 1)
    toys.learn_one(short, on, toys.fit(epochs=1), 1)
    facts.assert_same_state(facts.state(worse), facts.state(short))
    assert list(worse.rewinds()) == []


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"soft": True, "values": "ternary"}, "soft = True cannot be combined with values = 'ternary'"),
        ({"soft_norm": "absmax"}, "soft_norm = 'absmax' needs soft = True"),
        ({"initial_epochs": -1}, "initial_epochs = -1 must be at least 0"),
        ({"initial": "", "initial_epochs": 3}, "initial_epochs = 3 needs a preset"),
    ],
)
def test_settings_without_a_meaning_are_refused(config: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Piggyback.Config(**config)

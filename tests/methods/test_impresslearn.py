"""ImpressLearn: nothing moves but coefficients, which start at the mean of a basis and act linearly."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch

from raycl import calls, registry, streams
from raycl.errors import UserError
from raycl.method import World
from raycl.methods.impresslearn import ImpressLearn
from raycl.networks import Start
from raycl.probes import answers
from raycl.probes.backbones import statistics_of
from raycl.space import make_config
from raycl.specs import MaskSpec, RunSpec
from raycl.supermasks.bank import BasisMask, backbone_of, packed, random_mask
from raycl.tasks import Batch, Benchmark
from raycl.training.presets import PRESETS
from tests.helpers import facts, toys

CLASSES = (3, 3, 3)
NETWORKS = {"mlp(hidden=16)": (1, 4, 4), "lenet_300_100": (1, 4, 4), "resnet18(nf=2)": (1, 8, 8)}


def start_of(on: Benchmark, network: str = "mlp(hidden=16)", seed: int = 0) -> Start:
    kind = registry.network(network)
    settings = calls.parse(network, "network").settings(kind.Config, "network")
    return Start(kind, make_config(kind.Config, settings, "network"), on.input_shape, on.classes, seed)


def random_basis(start: Start, k: int, density: float = 0.3) -> list[BasisMask]:
    sizes = backbone_of(start(), 0, "kaiming_normal").sizes
    return [random_mask(sizes, density, seed) for seed in range(k)]


def make(
    on: Benchmark, network: str = "mlp(hidden=16)", masks: Sequence[BasisMask] | None = None, **config: Any
) -> Any:
    """The method on a basis, by default of eight random masks."""
    start = start_of(on, network)
    masks = random_basis(start, 8) if masks is None else masks
    streams.reseed(0, "method")
    world = World(on.input_shape, on.classes, start, {"basis": masks})
    return ImpressLearn(world, ImpressLearn.Config(**({"basis": "random", "k": len(masks)} | config)))


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("hybrid", [False, True])
def test_backbone_and_basis_stay_bit_for_bit_and_so_do_logits(network: str, hybrid: bool) -> None:
    on = toys.benchmark(CLASSES, shape=NETWORKS[network])
    subject = make(on, network, hybrid=hybrid, lamb=0.005)
    weights, bits = facts.state(subject.net), [b.clone() for b in subject.basis.bits]
    still = [name for name in weights if ".norms." not in name]
    loop = facts.WatchedFit(toys.fit(momentum=0.9, weight_decay=0.1, lr=0.1, epochs=2).config)
    kept: dict[int, torch.Tensor] = {}
    for task in range(3):
        toys.learn_one(subject, on, loop, task)
        now = facts.logits(subject, on, range(task + 1))
        assert all(facts.same_bits(now[earlier], logits) for earlier, logits in kept.items())
        kept = now
    after = facts.state(subject.net)
    facts.assert_same_state({n: weights[n] for n in still}, {n: after[n] for n in still})
    assert all(facts.same_bits(a, b) for a, b in zip(subject.basis.bits, bits, strict=True))
    assert loop.watched


def test_nothing_is_trained_but_coefficients_which_start_at_the_mean() -> None:
    on = toys.benchmark(CLASSES)
    subject = make(on)
    subject.start(1)
    (alpha,) = subject.trainable(1)
    assert alpha.shape == (8, 3) and bool((alpha == 1 / 8).all()) and list(subject.trainable(0)) == []
    assert [p for p in subject.parameters() if p.requires_grad] == [alpha]
    effective = subject.effective(1)
    for i, (name, weight) in enumerate(subject.layers(1).items()):
        mean = torch.stack([subject.basis.mask(t)[i] for t in range(8)]).mean(0)
        torch.testing.assert_close(effective[name], weight * mean, rtol=1e-6, atol=1e-7)
    assert subject.count_parameters() == 3 * 8 * 3


@pytest.mark.parametrize("network", NETWORKS)
def test_one_mask_and_no_training_is_the_masked_network_bit_for_bit(network: str) -> None:
    on = toys.benchmark(CLASSES, shape=NETWORKS[network])
    (mask,) = random_basis(start_of(on, network), 1)
    subject = make(on, network, [mask])
    subject.start(0)
    plain: Any = toys.method("supsup", on, network, backbone_init="kaiming_normal", head="shared")
    plain.done[0] = mask
    assert facts.same_bits(facts.logits(subject, on, [0])[0], facts.logits(plain, on, [0])[0])


def test_backbone_is_that_of_the_bank() -> None:
    on = toys.benchmark(CLASSES)
    backbone = backbone_of(start_of(on)(), 0, "kaiming_normal")
    for mine, theirs in zip(make(on).basis.weights, backbone.weights, strict=True):
        assert facts.same_bits(mine, theirs)


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("lamb", [0.0, 0.005])
def test_gradient_identity(lamb: float) -> None:
    """dL/dalpha[t,i] = <M W, dL/dV> + 2 lamb (|alpha_i|_1 - 1) sign(alpha[t,i]) (section 5)."""
    on = toys.benchmark(CLASSES)
    subject = make(on, "lenet_300_100", lamb=lamb)
    subject.start(0)
    (alpha,) = subject.trainable(0)
    with torch.no_grad():
        alpha.copy_(torch.linspace(-0.5, 1, alpha.numel()).view_as(alpha))
    x, y = on.tasks[0].train.take(slice(0, 8)), torch.tensor(on.tasks[0].train.y[:8])
    subject.loss(Batch(x, y, 0)).backward()
    v = {name: w.detach().requires_grad_() for name, w in subject.effective(0).items()}
    logits = torch.func.functional_call(subject.net, v, (x, 0), tie_weights=False)
    torch.nn.functional.cross_entropy(logits, y).backward()
    for i, (weight, name) in enumerate(zip(subject.basis.weights, v, strict=True)):
        for t in range(8):
            wanted = (subject.basis.mask(t)[i] * weight * v[name].grad).sum()
            wanted += 2 * lamb * (alpha[:, i].abs().sum() - 1) * alpha[t, i].sign()
            assert float(alpha.grad[t, i]) == pytest.approx(float(wanted.detach()), rel=1e-10, abs=1e-13)


def test_penalty_is_added_once_per_batch_and_only_in_training() -> None:
    on = toys.benchmark(CLASSES)
    plain, punished = make(on), make(on, lamb=0.5)
    x, y = on.tasks[0].train.take(slice(0, 8)), torch.tensor(on.tasks[0].train.y[:8])
    with torch.no_grad():
        for subject in (plain.eval(), punished.eval()):
            subject.start(0)
            subject.alphas["0"].fill_(0.25)  # |alpha|_1 = 2 in three layers
        difference = float(punished.loss(Batch(x, y, 0)) - plain.loss(Batch(x, y, 0)))
        assert difference == pytest.approx(3 * 0.5 * (2 - 1) ** 2)
        assert float(punished.validation_loss(Batch(x, y, 0))) == float(plain.loss(Batch(x, y, 0)))


def test_learns_new_tasks_and_each_alone() -> None:
    on = toys.benchmark(CLASSES)
    loop = toys.fit(optimiser="adam", lr=0.05, epochs=15, batch=8)
    one, other = make(on), make(on)
    for report in toys.learn(one, on, loop):
        assert report.test[report.task] >= 1 / 3 + 0.25
    toys.learn_one(other, on, loop, 2)
    assert facts.same_bits(one.alpha(2), other.alpha(2)) and not bool((other.alpha(1) != 1 / 8).any())


def test_batch_statistics_of_a_new_task_are_its_own() -> None:
    on = toys.benchmark(CLASSES, shape=(1, 8, 8))
    subject = make(on, "resnet18(nf=2)")
    before = facts.state(subject.net)
    toys.learn_one(subject, on, toys.fit(epochs=1), 1)
    moved = {n for n, t in facts.state(subject.net).items() if not facts.same_bits(t, before[n])}
    assert moved and all(".norms.1." in name for name in moved)
    fresh = {float(t.max()) for n, t in before.items() if "running_mean" in n}
    assert fresh == {0.0}


@pytest.mark.parametrize("hybrid", [False, True])
def test_what_is_stored(hybrid: bool) -> None:
    on = toys.benchmark(CLASSES)
    subject = make(on, hybrid=hybrid)
    body, head = 16 * 16 + 16 * 16, 3 * 16
    basis = 2 * (body + head)  # eight masks in words of sixteen
    assert subject.stored_bytes() == 4 * (body + head) + basis
    toys.learn(subject, on, toys.fit(epochs=1))
    alphas, bits = 3 * 4 * 8 * (2 if hybrid else 3), 3 * (head // 8 if hybrid else 0)
    assert subject.stored_bytes() == 4 * (body + head) + basis + alphas + bits
    assert subject.count_parameters() == alphas // 4 + (3 * head if hybrid else 0)
    diagnostics = subject.diagnostics(0)
    assert (
        diagnostics["basis_bytes"] == basis
        and diagnostics["alpha_bytes"] == alphas // 3
        and diagnostics["k"] == 8
    )


def test_checkpoints_hold_the_basis_once() -> None:
    on = toys.benchmark(CLASSES)
    subject = make(on)
    toys.learn_one(subject, on, toys.fit(epochs=1), 0)
    back = facts.reloaded(subject)
    assert back.world.inputs == {}
    assert facts.same_bits(facts.logits(back, on, [0])[0], facts.logits(subject, on, [0])[0])
    for later in (subject, back):
        toys.learn_one(later, on, toys.fit(epochs=1), 1)
    facts.assert_same_state(facts.state(subject), facts.state(back))


def test_hybrid_trains_a_mask_of_the_last_layer_jointly() -> None:
    on = toys.benchmark(CLASSES)
    subject = make(on, hybrid=True, density=0.25)
    subject.start(0)
    alpha, scores = subject.trainable(0)
    assert alpha.shape == (8, 2) and scores.shape == (3, 16)
    drawn = scores.detach().clone()
    toys.fit(epochs=2, lr=0.5)(subject, on.tasks[0])
    subject.finish()
    (mask,) = subject.masks(0)
    assert int(mask.sum()) == 3 * 16 - int(0.75 * 3 * 16) and not bool((drawn == scores).all())
    assert torch.equal(subject.effective(0)["heads.0.weight"], mask * subject.layers(0)["heads.0.weight"])
    assert not bool((subject.alpha(0) == 1 / 8).any()) and subject.diagnostics(0)["density"] == 0.25


@pytest.mark.parametrize("values", ["signed", "soft", "weight_norm"])
def test_masks_with_values_combine_and_are_kept(values: str) -> None:
    on = toys.benchmark(CLASSES)
    teacher: Any = toys.method("supsup", on, "mlp(hidden=16)", mask_values=values, head="shared")
    toys.learn(teacher, on, toys.fit(epochs=1))
    basis = [teacher.done[t] for t in range(2)]
    subject = make(on, masks=basis, mask_values=values, basis="heterogeneous", hybrid=True)
    toys.learn_one(subject, on, toys.fit(epochs=1), 2)
    before = facts.logits(subject, on, [2])[2]
    toys.learn_one(subject, on, toys.fit(epochs=1), 0)
    assert facts.same_bits(before, facts.logits(subject, on, [2])[2])


def test_figures_say_how_coefficients_lie() -> None:
    on = toys.benchmark(CLASSES)
    subject = make(on, masks=random_basis(start_of(on), 3), basis="heterogeneous", stage="basis_gn")
    for task in range(3):
        subject.start(task)
    with torch.no_grad():
        subject.alphas["1"].copy_(torch.tensor([[-3.0, 0.25, 0.0], [1.0, 0.25, 2.0], [0.0, 0.5, 0.0]]))
    diagnostics = subject.diagnostics(1)
    assert diagnostics["alpha_l1"] == [4.0, 1.0, 2.0] and diagnostics["alpha_negative"] == pytest.approx(
        1 / 9
    )
    assert diagnostics["hit_by_layer"] == [1.0, 0.0, 1.0] and diagnostics["hit_rate"] == pytest.approx(2 / 3)
    assert diagnostics["alpha_mass_by_layer"] == [0.25, 0.25, 1.0] and diagnostics["alpha_mass"] == 0.5
    subject.alphas["1"].data.zero_()
    json.dumps(subject.diagnostics(1), allow_nan=False)
    assert "hit_rate" not in make(on).diagnostics(1)  # new tasks have no mask of their own


def test_a_basis_task_finds_its_own_mask() -> None:
    """The true mask solves its task and random ones do not: basis-GN must put its weight there."""
    on = toys.benchmark(CLASSES)
    teacher: Any = toys.method(
        "supsup", on, "mlp(hidden=64)", head="shared", backbone_init="kaiming_normal", density=0.1
    )
    loop = toys.fit(optimiser="adam", lr=0.05, epochs=20, batch=8)
    toys.learn(teacher, on, loop)
    others = random_basis(start_of(on, "mlp(hidden=64)"), 5, density=0.1)
    basis = [*(teacher.done[t] for t in range(3)), *others]
    subject = make(on, "mlp(hidden=64)", basis, basis="mixed", k_het=3, k_hom=5, stage="basis_gn")
    for report in toys.learn(subject, on, loop):
        assert report.test[report.task] > 0.9
        assert report.diagnostics["alpha_mass"] > 2 / 8  # twice the share at the start


# ---------------------------------------------------------------------- which masks make a basis

SPEC = RunSpec(
    method="impresslearn", network="lenet_300_100", benchmark="permuted_mnist(tasks=3, first=10)", seed=4,
    versions={"core": 1, "method": 9, "network": 1, "benchmark": 1}, identity={"subset": "few"},
)  # fmt: skip


def wanted(spec: RunSpec = SPEC, benchmark: str | None = None, **config: Any) -> tuple[MaskSpec, ...]:
    return ImpressLearn.required_masks(
        dataclasses.replace(spec, config=config, benchmark=benchmark or spec.benchmark)
    )


def test_a_mask_depends_on_nothing_beyond_itself() -> None:
    ten, five = wanted(), wanted(k=5)
    assert len(ten) == 10 and [m.key for m in ten[:5]] == [m.key for m in five]  # nested bases share
    assert [m.key for m in wanted(benchmark="permuted_mnist(tasks=1, first=99)")] == [m.key for m in ten]
    assert [m.key for m in wanted(lamb=0.005, hybrid=True)] == [m.key for m in ten]
    relearnt = wanted(stage="basis_gn", benchmark="permuted_mnist(tasks=5)")
    assert [m.key for m in relearnt] == [m.key for m in ten]
    both = wanted(stage="both", benchmark="permuted_mnist(tasks=12)")
    assert [m.key for m in both] == [m.key for m in ten]
    newer = dataclasses.replace(SPEC, versions={**SPEC.versions, "method": 10})
    assert [m.key for m in wanted(newer)] == [m.key for m in ten]
    changes: list[dict[str, Any]] = [
        {"density": 0.2}, {"basis_epochs": 3}, {"basis_preset": "impresslearn_basis_cifar"},
        {"mask_values": "signed"}, {"spec": dataclasses.replace(SPEC, seed=5)},
    ]  # fmt: skip
    for change in changes:
        assert not {m.key for m in wanted(**change)} & {m.key for m in ten}


def window(mask: MaskSpec) -> tuple[int, int]:
    recipe = registry.recipe(mask.benchmark)
    return recipe.first, recipe.tasks  # type: ignore[attr-defined]


def test_kinds_of_basis() -> None:
    het, hom, random = (wanted(basis=kind) for kind in ("heterogeneous", "homogeneous", "random"))
    assert [window(m) for m in het] == [(n, 1) for n in range(10)] and {window(m) for m in hom} == {(0, 1)}
    assert {m.task for m in (*het, *hom, *random)} == {0}
    assert het[0].key == hom[0].key and len({m.key for m in (*het, *hom, *random)}) == 29
    assert len({m.score_seed for m in hom}) == len({m.order_seed for m in hom}) == 10
    assert {m.backbone_seed for m in (*het, *hom, *random)} == {4}
    assert all(not m.trained and m.fit == {} for m in random) and all(m.trained for m in hom)
    mixed = wanted(basis="mixed", k_het=4, k_hom=3)
    assert [m.key for m in mixed] == [m.key for m in (*het[:4], *hom[1:4])]  # none of them twice


def test_seeds_are_streams_of_the_run() -> None:
    third = wanted()[3]
    assert third.score_seed == streams.seed_of(4, "init", task=3, fit="basis scores")
    assert third.order_seed == streams.seed_of(4, "order", task=3, fit="basis order")
    assert (third.network, third.density, third.backbone_init) == ("lenet_300_100", 0.1, "kaiming_normal")
    assert third.identity == {"subset": "few"} and third.versions == {"core": 1, "network": 1, "benchmark": 1}


def test_how_masks_are_trained() -> None:
    assert wanted()[0].fit == {
        "optimiser": "rmsprop", "lr": 1e-4, "schedule": "constant", "batch": 128, "epochs": 1,
        "stop": "never", "keep": "last",
    }  # fmt: skip
    assert wanted(basis_epochs=7)[0].fit["epochs"] == 7
    with pytest.raises(UserError, match="impresslearn: basis_preset: unknown preset 'quick'"):
        wanted(basis_preset="quick")


@pytest.mark.parametrize(
    ("benchmark", "config", "message"),
    [
        ("permuted_mnist(first=4)", {"k": 5},
         r"the tasks 0 to 4 should be for the basis masks alone, but benchmark permuted_mnist\(first=4\) "
         "learns from task 4 on; write first=5 in the benchmark's name, or lower k to 4"),
        ("permuted_mnist", {"basis": "homogeneous"}, "task 0 should be .* write first=1 in the bench"),
        ("permuted_mnist(first=4)", {"stage": "basis_gn"}, "starts at task 4 in order 0; set first=0"),
        ("mnist_split", {}, "benchmark mnist_split has no fixed task sequence"),
    ],
)  # fmt: skip
def test_bases_that_cannot_be_had(benchmark: str, config: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        wanted(benchmark=benchmark, **config)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"k": 0}, "k must be at least 1"),
        ({"basis": "mixed", "k_het": 3}, "k_het and k_hom must be at least 1"),
        ({"k_hom": 3}, "k_het and k_hom are for basis = 'mixed'"),
        ({"basis": "random", "density_rule": "er"}, "binary with uniform density"),
        ({"head": "own"}, "needs head = 'shared'"),
        ({"lamb": -1.0}, "must not be below 0"),
        ({"hybrid": True, "stage": "both"}, "stage = 'both' keeps whole masks"),
        ({"inference_orders": -1}, "inference_orders = -1 must be at least 0"),
        ({"density": 0.0}, "density = 0.0 must be above 0"),
    ],
)
def test_settings_that_mean_nothing(config: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ImpressLearn.Config(**config)


def test_a_basis_of_another_size_is_refused() -> None:
    on = toys.benchmark(CLASSES)
    with pytest.raises(ValueError, match=r"the basis should have 5 masks, but world.inputs\['basis'\] has 2"):
        make(on, masks=random_basis(start_of(on), 2), k=5)


def test_presets_are_table_3() -> None:
    lamb = {name: keys["method.lamb"] for name, keys in ImpressLearn.preset_overrides.items()}
    assert lamb == {"impresslearn_alpha_mnist": 0.0, "impresslearn_alpha_cifar": 0.005,
                    "impresslearn_alpha_imagenet": 0.005}  # fmt: skip
    assert [(PRESETS[name].fit["lr"], PRESETS[name].fit["batch"]) for name in lamb] == [
        (0.002, 128), (0.02, 64), (0.0025, 96)
    ]  # fmt: skip
    assert {keys["method.basis_preset"] for keys in ImpressLearn.preset_overrides.values()} <= set(PRESETS)


def test_masks_that_keep_nothing_silence_the_network() -> None:
    on = toys.benchmark(CLASSES)
    weights = backbone_of(start_of(on)(), 0, "kaiming_normal").weights
    subject = make(on, masks=[BasisMask(packed([torch.zeros_like(w) for w in weights]))])
    assert not bool(facts.logits(subject, on, [0])[0].any())


@pytest.mark.parametrize("how", ["one_shot", "binary", "gradient"])
def test_inference_mixes_the_real_masks_of_the_tasks_learnt(how: str) -> None:
    on = toys.benchmark(CLASSES, test=16)
    subject = make(on, inference=how)
    toys.learn(subject, on, toys.fit(**toys.EAGER))
    subject.train(False)
    found = subject.candidates()
    assert found.coefficients.shape == (3, 8, 3)
    x = on.tasks[1].test.take(slice(None))
    given = make(on)
    given.load_state_dict(subject.state_dict(), strict=False)
    given.alphas = subject.alphas
    given.train(False)
    with torch.no_grad():
        for task in range(3):
            logits = found.network(found.coefficients[task], x)
            torch.testing.assert_close(logits, given(x, task))
        guess = subject.learnt[answers.found(how, found, [x], subject.config.steps).task]
        torch.testing.assert_close(subject(x, 1), given(x, guess))
    assert not subject.answers_stay
    diagnostics = subject.examine(on.tasks, toys.fit())
    assert {"task_inference_acc", "task_inference_acc_normalised", "overlap_ratio"} <= diagnostics.keys()


@pytest.mark.parametrize(("kind", "kept"), [("heterogeneous", 2), ("homogeneous", 1), ("random", 0)])
@pytest.mark.parametrize("network", ["mlp(hidden=16)", "resnet18(nf=2)"])
def test_basis_tasks_keep_their_masks_and_are_candidates(network: str, kind: str, kept: int) -> None:
    """The paper's GN setting: a batch may belong to a task of the basis or to a new one."""
    on = toys.benchmark(CLASSES, shape=(1, 16, 16), test=16)
    masks = random_basis(start_of(on, network), 2)
    net = start_of(on, network)()
    if norms := statistics_of(net, 0):
        drawn = [np.random.default_rng(n).uniform(0.5, 2, x.shape).astype(np.float32)
                 for n, x in enumerate(norms)]  # fmt: skip
        masks = [dataclasses.replace(mask, statistics=tuple(drawn)) for mask in masks]
    subject = make(on, network, masks, basis=kind, stage="both", inference="one_shot")
    toys.learn(subject, on, toys.fit(**toys.EAGER))
    subject.train(False)
    assert subject.own == list(range(kept)) and sorted(subject.alphas) == list(map(str, range(kept, 3)))
    found = subject.candidates().coefficients
    assert subject.learnt == [0, 1, 2] and found.shape[:2] == (3, 2)
    for task in range(kept):
        assert found[task].eq(torch.tensor([float(n == task) for n in range(2)])[:, None]).all()
        weights = subject.effective(task).values()
        mask = masks[task].tensors(subject.basis.weights)
        pairs = zip(weights, subject.basis.weights, mask, strict=True)
        assert all(torch.equal(w, frozen * bits) for w, frozen, bits in pairs)
        expected = masks[task].statistics
        assert all(
            np.array_equal(a, b) for a, b in zip(statistics_of(subject.net, task), expected, strict=True)
        )
    asked = subject.examine(on.tasks, toys.fit())["task_inference_acc"]["1"]
    assert 0 <= asked <= 1


def test_basis_tasks_cost_no_coefficients() -> None:
    on = toys.benchmark(CLASSES)
    masks = random_basis(start_of(on), 2)
    both, new = (make(on, masks=masks, basis="heterogeneous", stage=stage) for stage in ("both", "new"))
    for subject in (both, new):
        toys.learn(subject, on, toys.fit(**toys.EAGER))
    assert new.stored_bytes() - both.stored_bytes() == 2 * (2 * 3 * 4)  # two tasks of 2 x 3 floats

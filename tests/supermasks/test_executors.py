"""Both executors compute what plain autograd and torch's optimisers do, whatever is trained beside a mask.

The numbered points are those of ImpressLearn's specification, section 14.3.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.func import functional_call

from raycl import calls, devices, registry, streams
from raycl.errors import UserError
from raycl.masks import count_kept, top_k
from raycl.methods.supsup import SupSup
from raycl.networks import Start
from raycl.space import make_config
from raycl.supermasks import flat, loop, selection, stacked
from raycl.supermasks.bank import Backbone, BasisMask, backbone_of
from raycl.supermasks.edge_popup import density_of, draw_scores, mask_of
from raycl.supermasks.rules import Order, Rules
from raycl.supermasks.training import train_masks
from raycl.tasks import ArraySplit, Benchmark
from raycl.training.fit import Diverged, Fit
from raycl.training.rules import optimiser_of
from tests.helpers import facts, toys

MLP, CONV = toys.chain(12, 9), "resnet18(nf=2)"
DEEP = ["mlp(hidden=6, drop1=0.0, drop2=0.0)", "lenet_300_100", "resnet50(width=0.03)"]
SHAPES = {MLP: (1, 4, 4), CONV: (3, 8, 8)}
OTHERS = dict(zip(DEEP, [(1, 4, 4), (1, 4, 4), (3, 16, 16)], strict=True))
SETTINGS: dict[str, dict[str, Any]] = {
    "sgd": {"lr": 0.05, "momentum": 0.9, "nesterov": True, "weight_decay": 1e-2},
    "rmsprop": {"optimiser": "rmsprop", "lr": 2e-3},
    "adam": {"optimiser": "adam", "lr": 5e-3, "weight_decay": 1e-2},
}
PLAIN = Rules()
ALIKE = [0.2, 0.5, 0.2, 0.3, 0.5]  # densities


def config_of(**settings: Any) -> Fit.Config:
    """Twenty steps: four epochs of five batches, the last of them short."""
    fixed = {"epochs": 4, "batch": 10, "schedule": "constant", "stop": "never", "keep": "last"}
    return Fit.Config(**{**fixed, **settings})


def data(network: str, count: int = 5) -> Benchmark:
    return toys.benchmark((3,) * count, train=42, val=0, test=0, shape=(SHAPES | OTHERS)[network])


def backbone(network: str, on: Benchmark) -> Backbone:
    kind = registry.network(network)
    config = make_config(
        kind.Config, calls.parse(network, "network").settings(kind.Config, "network"), network
    )
    return backbone_of(Start(kind, config, on.input_shape, on.classes, 0)(), 0, "kaiming_normal")


def orders_of(on: Benchmark, densities: Sequence[float] = ALIKE) -> list[Order]:
    """Heterogeneous, but for the last one, which has the task of the first."""
    tasks = [*on.tasks[: len(densities) - 1], on.tasks[0]]
    return [Order(t, d, 100 + i, 200 + i) for i, (t, d) in enumerate(zip(tasks, densities, strict=True))]


@dataclasses.dataclass
class Trained:
    """Masks by position, and the scores that they came from."""

    masks: dict[int, BasisMask]
    scores: dict[int, Tensor]

    def assert_same(self, other: Trained, at: Sequence[int] | None = None) -> None:
        """Scores to 1e-10 of their size, masks exactly; `at` says where `other`'s masks stand in this one."""
        for j in other.masks:
            i = j if at is None else at[j]
            torch.testing.assert_close(self.scores[i], other.scores[j], rtol=1e-10, atol=1e-10)
            for mine, theirs in zip(self.masks[i].bits, other.masks[j].bits, strict=True):
                assert np.array_equal(mine, theirs)
            for name in ("values", "statistics"):
                left, right = getattr(self.masks[i], name), getattr(other.masks[j], name)
                assert len(left) == len(right)
                for mine, theirs in zip(left, right, strict=True):
                    np.testing.assert_allclose(mine, theirs, rtol=1e-6, atol=1e-7)


def trained(
    net: Backbone,
    orders: Sequence[Order],
    config: Fit.Config,
    rules: Rules = PLAIN,
    impl: Any = "loop only",
    **more: Any,
) -> Trained:
    """By the loop, or stacked with `impl` for the network."""
    scores: list[Tensor] = []
    finished = flat.Masks.finished

    def watching(self: flat.Masks, *args: Any) -> list[BasisMask]:
        scores.extend(self.scores.view(-1, self.ends[-1]).clone())
        return finished(self, *args)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(flat.Masks, "finished", watching)
        made: Iterator[tuple[int, BasisMask]]
        if impl == "loop only":
            made = train_masks(net, orders, rules, config, executor="loop", **more)
        else:
            made = stacked.train_stacked(net, orders, rules, config, more.get("chunk"), None, impl)
        found = list(made)
    places = [position for position, _ in found]
    return Trained(dict(found), dict(zip(places, scores, strict=True)))


def reference(net: Backbone, orders: Sequence[Order], config: Fit.Config, rules: Rules = PLAIN) -> Trained:
    """The same in plain torch: autograd through `mask_of`, torch's optimisers, one mask at a time."""
    found = Trained({}, {})
    for position, order in enumerate(orders):
        generator = torch.Generator().manual_seed(streams.seed_of(order.score_seed, "init", fit="scores"))
        scores = [draw_scores(w, generator).requires_grad_() for w in net.weights]
        optimiser, split = optimiser_of(config, scores), order.task.train
        buffers = {
            name: torch.zeros_like(b) if "mean" in name or "num" in name else torch.ones_like(b)
            for name, b in net.net.named_buffers()
        }

        def masks(order: Order = order, scores: list[Tensor] = scores) -> list[Tensor]:
            rule = rules.density_rule
            return [
                mask_of(s, density_of(s, order.density, rule), rules.score_rank, rule, rules.mask_values)
                for s in scores
            ]

        for epoch in range(config.epochs):
            rows = streams.numpy_generator(order.order_seed, "order", epoch=epoch).permutation(len(split))
            for batch in np.split(rows, range(config.batch, len(rows), config.batch)):
                weights = [w * m for w, m in zip(net.weights, masks(), strict=True)]
                named = dict(zip(net.names, weights, strict=True)) | buffers
                logits = functional_call(net.net, named, (split.take(batch), 0), tie_weights=False)
                optimiser.zero_grad()
                F.cross_entropy(logits, torch.tensor(split.y[batch])).backward()
                if config.clip is not None:
                    torch.nn.utils.clip_grad_norm_(scores, config.clip)
                optimiser.step()
        final = [m.detach() for m in masks()]
        values = [m[m != 0].numpy() for m in final] if rules.mask_values != "binary" else []
        running = [b for name, b in buffers.items() if ".norms.0.running" in name]
        found.masks[position] = BasisMask(
            tuple(np.packbits((m != 0).numpy().reshape(-1)) for m in final), tuple(values),
            tuple(b.numpy() for b in running),
        )  # fmt: skip
        found.scores[position] = torch.cat([s.detach().view(-1) for s in scores])
    return found


# ---------------------------------------------------------------------- exactness in double precision


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("optimiser", SETTINGS)
@pytest.mark.parametrize("network", SHAPES)
def test_executors_agree_with_plain_torch(network: str, optimiser: str) -> None:
    """Point 1, with densities that differ in one chunk."""
    on = data(network)
    net, orders, config = backbone(network, on), orders_of(on), config_of(**SETTINGS[optimiser])
    wanted = reference(net, orders, config)
    assert loop.Chain.fits(net) == (network == MLP)
    trained(net, orders, config).assert_same(wanted)
    for impl in ("bmm", "loop", "vmap") if network == MLP else ("loop", "vmap"):
        found = trained(net, orders, config, impl=impl)
        found.assert_same(wanted)
        assert all(found.masks[i].about["updates"] == 20 for i in range(5))


def test_strided_shortcuts_at_64_pixels_survive_channels_last() -> None:
    """torch 2.15 ends the process in the backward pass of a strided 1x1 convolution of 8 channels here."""
    on = toys.benchmark((3,), train=8, val=0, test=0, shape=(3, 64, 64))
    net = backbone("resnet18(nf=8)", on)
    (mask,) = trained(net, [Order(on.tasks[0], 0.3, 0, 0)], config_of(epochs=1)).masks.values()
    assert mask.about["updates"] == 1 and np.isfinite(mask.about["train_loss"])


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("network", OTHERS)
def test_they_agree_on_every_network_of_the_studies(network: str) -> None:
    on = data(network)
    net, orders, config = backbone(network, on), orders_of(on)[:2], config_of(epochs=1, **SETTINGS["adam"])
    wanted = reference(net, orders, config)
    trained(net, orders, config).assert_same(wanted)
    trained(net, orders, config, impl=None).assert_same(wanted)


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize(
    ("rules", "settings"),
    [
        (Rules(mask_values="signed"), {}),
        (Rules(mask_values="soft"), {}),
        (Rules(mask_values="signed_soft"), {}),
        (Rules(mask_values="weight_norm"), {}),
        (Rules(mask_values="signed_weight_norm"), {}),
        (Rules(mask_values="soft", score_rank="raw"), {}),
        (Rules(score_rank="raw"), {}),
        (Rules("threshold"), {}),
        (Rules("er"), {}),
        (Rules(), {"clip": 1e-3}),
        (Rules(), {"optimiser": "rmsprop", "lr": 1e-3, "momentum": 0.9, "weight_decay": 1e-2}),
        (Rules(), {"schedule": "cosine"}),
    ],
    ids=str,
)
def test_rules_and_settings(rules: Rules, settings: dict[str, Any]) -> None:
    on = data(MLP)
    densities = [0.02] * 5 if rules.density_rule == "er" else ALIKE
    net, orders, config = backbone(MLP, on), orders_of(on, densities), config_of(**{"lr": 0.5, **settings})
    if config.schedule != "constant":
        alone = trained(net, orders, config)
        assert any(
            not torch.equal(alone.scores[i], s)
            for i, s in trained(net, orders, config_of(lr=0.5)).scores.items()
        )
        trained(net, orders, config, impl="bmm").assert_same(alone)
        return
    wanted = reference(net, orders, config, rules)
    trained(net, orders, config, rules).assert_same(wanted)
    trained(net, orders, config, rules, impl="bmm", chunk=3).assert_same(wanted)


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("network", SHAPES)
@pytest.mark.parametrize("optimiser", ["sgd", "rmsprop"])
def test_what_is_stacked_beside_a_mask_changes_nothing(network: str, optimiser: str) -> None:
    """Point 4: order, chunk size, one dropped; data sets of different sizes go to different chunks."""
    on = data(network)
    short = dataclasses.replace(on.tasks[1].train, rows=np.arange(30), y=on.tasks[1].train.y[:30])  # type: ignore[type-var]
    orders = orders_of(on)
    orders[1] = dataclasses.replace(orders[1], task=dataclasses.replace(on.tasks[1], train=short))
    net, config = backbone(network, on), config_of(epochs=2, **SETTINGS[optimiser])
    whole = trained(net, orders, config, impl=None)
    assert [whole.masks[i].about["updates"] for i in range(5)] == [10, 6, 10, 10, 10]
    for at, chunk in (([3, 1, 4, 0, 2], None), ([0, 1, 2, 4], None), ([0, 1, 2, 3, 4], 2), ([2], None)):
        whole.assert_same(trained(net, [orders[i] for i in at], config, impl=None, chunk=chunk), at)


@pytest.mark.parametrize("network", SHAPES)
def test_the_loop_gives_the_same_bits_whatever_is_trained_beside_a_mask(network: str) -> None:
    on = data(network)
    net, orders, config = backbone(network, on), orders_of(on), config_of(**SETTINGS["rmsprop"])
    whole = trained(net, orders, config)
    for at, chunk in (([4, 2], None), ([1], 1), ([0, 1, 2, 3, 4], 2)):
        part = trained(net, [orders[i] for i in at], config, chunk=chunk)
        for j, i in enumerate(at):
            assert facts.same_bits(part.scores[j], whole.scores[i])
            left, right = part.masks[j].statistics, whole.masks[i].statistics
            assert all(a.tobytes() == b.tobytes() for a, b in zip(left, right, strict=True))
            assert part.masks[j].about["train_loss"] == whole.masks[i].about["train_loss"]


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("network", SHAPES)
def test_one_step_and_the_isolation_of_its_gradients(network: str) -> None:
    """Points 5 and 6: another batch for one mask changes no bit of the others' gradients."""
    on = data(network)
    net, orders = backbone(network, on), orders_of(on)
    x = torch.stack([order.task.train.take(slice(0, 8)) for order in orders])
    y = torch.stack([torch.tensor(order.task.train.y[:8]) for order in orders])
    other = x.clone()
    other[2] = x[3] + 1
    gradients = {}
    impls: tuple[Any, ...] = ("bmm", "loop", "vmap") if network == MLP else ("loop", "vmap")
    for impl in impls:
        with torch.no_grad():
            masks = flat.Masks(net, orders, Rules(), (5,))
            step = stacked.Gradient(masks, stacked.model_of(net, masks, impl))
            step(x, y)
            gradients[impl] = masks.gradient.clone()
            step(other, y)
        moved = [not torch.equal(a, b) for a, b in zip(gradients[impl], masks.gradient, strict=True)]
        assert moved == [False, False, True, False, False]
    for found in gradients.values():
        torch.testing.assert_close(
            found, gradients["loop"], rtol=1e-12, atol=1e-13
        )  # rounding of another CPU's kernels


# ------------------------------------------------------------------------------------ single precision


@pytest.mark.parametrize("optimiser", SETTINGS)
def test_single_precision(optimiser: str) -> None:
    """Point 2: the first loss to 1e-5, and after fifty steps at least 99.9 % of the mask entries."""
    on = data(MLP)
    net, orders = backbone(MLP, on), orders_of(on)
    for i, mask in trained(net, orders, config_of(epochs=1, batch=42), impl="bmm").masks.items():
        (alone,) = trained(net, [orders[i]], config_of(epochs=1, batch=42)).masks.values()
        assert mask.about["train_loss"] == pytest.approx(alone.about["train_loss"], rel=1e-5)
    config = config_of(epochs=10, **SETTINGS[optimiser])
    left, right = trained(net, orders, config), trained(net, orders, config, impl="bmm")
    assert agreement(left, right) >= 0.999


def agreement(left: Trained, right: Trained) -> float:
    """Share of mask entries that are equal."""
    pairs = [(left.masks[i].bits, right.masks[i].bits) for i in left.masks]
    same = [np.unpackbits(a) == np.unpackbits(b) for bits in pairs for a, b in zip(*bits, strict=True)]
    return float(np.concatenate(same).mean())


@pytest.mark.skipif(not devices.available(), reason="stacks on a GPU, and this machine has none")
@pytest.mark.parametrize("network", SHAPES)
@pytest.mark.parametrize("optimiser", SETTINGS)
def test_a_gpu_agrees_with_the_cpu(network: str, optimiser: str) -> None:
    """Point 3, and that the step is replayed from a graph."""
    on = data(network)
    config = config_of(epochs=10, **SETTINGS[optimiser])
    wanted = trained(backbone(network, on), orders_of(on), config)
    kind = registry.network(network)
    settings = calls.parse(network, "network").settings(kind.Config, "network")
    start = Start(kind, make_config(kind.Config, settings, network), on.input_shape, on.classes, 0)
    net = backbone_of(start().to(devices.kind()), 0, "kaiming_normal")
    steps: list[stacked.Gradient] = []
    made = stacked.Gradient.__init__

    def watching(self: stacked.Gradient, *args: Any) -> None:
        made(self, *args)
        steps.append(self)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stacked.Gradient, "__init__", watching)
        found = trained(net, orders_of(on), config, impl=None)
    assert agreement(wanted, found) >= 0.99
    assert [step.eager for step in steps] == [""]


# --------------------------------------------------------------------------------------------- the parts


@pytest.mark.parametrize("n", [1, 7, 4096, 4097, 30_000])
@pytest.mark.parametrize("kind", ["random", "ties", "equal", "ascending", "spikes", "nan"])
def test_thresholds(n: int, kind: str) -> None:
    """Exact where the sample misleads as well."""
    ranks = np.random.default_rng(n).random(n, dtype=np.float32)
    if kind == "ties":
        ranks = np.round(ranks, 2)
    elif kind == "equal":
        ranks[:] = 0.25
    elif kind == "ascending":
        ranks.sort()
    elif kind == "spikes":  # where the sample looks, and nowhere else
        ranks[:: round(n ** (1 / 3)) | 1] += 2
    elif kind == "nan":
        ranks[::2] = np.nan
    for ones in {0, 1, n // 10, n // 2, n - 1, n}:
        threshold = selection.Threshold(n)
        for moved in (0.0, 1e-4, 0.5):  # found again where it was, near it, and far away
            least, surplus = threshold(here := ranks + np.float32(moved), ones)
            if kind != "nan":
                assert int((here >= least).sum()) - surplus == ones
                assert surplus < max(int((here == least).sum()), 1)


@pytest.mark.parametrize("levels", [3, 1000])
def test_selection_keeps_the_later_of_equals(levels: int) -> None:
    torch.manual_seed(0)
    ranks = (torch.rand(6, 5000) * levels).round()
    densities = [0.0, 0.1, 0.5, 0.1, 1.0, 0.37]
    chosen = selection.Selection([count_kept(5000, d) for d in densities], 5000, torch.device("cpu"))
    wanted = torch.stack([top_k(row, d) for row, d in zip(ranks, densities, strict=True)])
    for select in (chosen, chosen.all_rows):
        out = torch.empty(6, 5000)
        select(ranks, out)
        assert torch.equal(out, wanted)
    same = selection.Selection([500] * 6, 5000, torch.device("cpu"))
    same.all_rows(ranks, out)
    assert torch.equal(out, torch.stack([top_k(row, 0.1) for row in ranks]))


@pytest.mark.parametrize(
    "settings",
    [*SETTINGS.values(), {"lr": 0.1}, {"momentum": 0.5}, {"optimiser": "rmsprop", "momentum": 0.9}],
    ids=str,
)
def test_updates_have_the_bits_of_torch(settings: dict[str, Any]) -> None:
    on = data(MLP)
    config = config_of(**settings)
    masks = flat.Masks(backbone(MLP, on), orders_of(on), Rules(), (5,))
    update = loop.Elementwise(config, masks)
    parameter = masks.scores.clone().requires_grad_()
    optimiser: Any = optimiser_of(config, [parameter])
    if config.optimiser == "adam":  # one tensor after another, not fused
        decay = config.weight_decay
        optimiser = torch.optim.Adam([parameter], lr=config.lr, weight_decay=decay, foreach=False)
    with torch.no_grad():
        for _ in range(20):
            parameter.grad = torch.randn_like(parameter)
            masks.gradient.copy_(parameter.grad)
            optimiser.step()
            update(config.lr)
            assert torch.equal(masks.scores, parameter)


@pytest.mark.usefixtures("float64")
def test_the_method_itself_trained_by_fit() -> None:
    """Without shuffling, since the streams of a basis mask and of a run have different names."""
    on = data(MLP)
    supsup = toys.method("supsup", on, MLP, density=0.3, head="shared", backbone_init="kaiming_normal")
    assert isinstance(supsup, SupSup)
    net, order = backbone(MLP, on), Order(on.tasks[2], 0.3, 5, 6)
    config = config_of(shuffle=False, **SETTINGS["adam"])
    for mine, its in zip(net.weights, supsup.layers(2).values(), strict=True):
        assert torch.equal(mine, its)
    found = trained(net, [order], config)
    supsup.start(2)
    generator = torch.Generator().manual_seed(streams.seed_of(5, "init", fit="scores"))
    with torch.no_grad():
        for scores in supsup.scores:
            scores.copy_(draw_scores(scores, generator))
    Fit(config)(supsup, on.tasks[2])
    its = torch.cat([s.detach().view(-1) for s in supsup.scores])
    torch.testing.assert_close(found.scores[0], its, rtol=0, atol=1e-12)
    supsup.finish()
    assert all(np.array_equal(a, b) for a, b in zip(found.masks[0].bits, supsup.done[2].bits, strict=True))


# ---------------------------------------------------------------------------------- data, state, messages


class Shifted:
    """An augmentation: each sample is shifted by a draw of its own."""

    def __call__(self, x: Tensor, rng: np.random.Generator) -> Tensor:
        return x + torch.from_numpy(rng.normal(0, 0.3, (len(x), 1, 1, 1))).to(x.dtype)


@pytest.mark.usefixtures("float64")
def test_augmentation_is_each_masks_own() -> None:
    on = data(MLP)
    assert isinstance(on.tasks[0].train, ArraySplit)
    split = dataclasses.replace(on.tasks[0].train, augment=Shifted())
    task = dataclasses.replace(on.tasks[0], train=split)
    net, config = backbone(MLP, on), config_of(**SETTINGS["adam"])
    orders = [Order(task, 0.3, 1, 1), Order(task, 0.3, 1, 2), Order(on.tasks[0], 0.3, 1, 1)]
    alone = trained(net, orders, config)
    trained(net, orders, config, impl="bmm").assert_same(alone)
    assert not torch.equal(alone.scores[0], alone.scores[1])
    assert not torch.equal(alone.scores[0], alone.scores[2])


def test_seeds_are_separate_streams() -> None:
    on = data(MLP)
    net, task = backbone(MLP, on), on.tasks[0]
    seeds = [(1, 1), (1, 2), (2, 1), (1, 1)]
    scores = trained(net, [Order(task, 0.3, *pair) for pair in seeds], config_of()).scores
    start = trained(net, [Order(task, 0.3, *pair) for pair in seeds], config_of(epochs=1, lr=1e-30)).scores
    assert torch.equal(scores[0], scores[3])
    assert not torch.equal(scores[0], scores[1]) and not torch.equal(scores[0], scores[2])
    assert torch.equal(start[0], start[1]) and not torch.equal(start[0], start[2])


@pytest.mark.parametrize("executor", ["loop", "stacked"])
def test_the_backbone_stays_as_it_was(executor: Any) -> None:
    on = data(CONV)
    net = backbone(CONV, on)
    net.net.train(False)
    before, stream = facts.state(net.net), torch.get_rng_state()
    config = config_of(epochs=1)
    ((_, first), (_, second)) = train_masks(net, orders_of(on)[:2], Rules(), config, executor=executor)
    facts.assert_same_state(before, facts.state(net.net))
    assert not net.net.training and torch.equal(torch.get_rng_state(), stream)
    assert len(first.statistics) == 2 * 20 and all(a.dtype == np.float32 for a in first.statistics)
    assert not np.array_equal(first.statistics[0], second.statistics[0])
    assert {a.shape for a in first.statistics} == {(2,), (4,), (8,), (16,)}


def test_what_is_said_about_a_mask() -> None:
    on = data(MLP)
    net, orders = backbone(MLP, on), orders_of(on)[:2]
    pulses: list[tuple[int, int, float]] = []
    for executor in ("loop", "stacked"):
        pulses.clear()
        found = dict(
            train_masks(net, orders, Rules(), config_of(epochs=2), executor=executor,
                        pulse=lambda *seen: pulses.append(seen))  # type: ignore[arg-type]
        )  # fmt: skip
        for i, order in enumerate(orders):
            about, sizes = found[i].about, net.sizes
            assert set(about) == {"train_loss", "epochs", "updates", "seconds", "density"}
            assert (about["epochs"], about["updates"]) == (2, 10)
            assert about["density"] == sum(count_kept(n, order.density) for n in sizes) / sum(sizes)
            masks = found[i].tensors(net.weights)
            assert [int(m.sum()) for m in masks] == [count_kept(n, order.density) for n in sizes]
        places = [(0, 1), (0, 2), (1, 1), (1, 2)] if executor == "loop" else [(0, 1), (0, 2)]
        assert [(place, epoch) for place, epoch, _ in pulses] == places
        assert all(0 < loss < 10 for *_, loss in pulses)


def test_values_are_stored_in_small_types() -> None:
    on = data(MLP)
    net, order = backbone(MLP, on), orders_of(on)[0]
    for values, dtype in (("signed", np.int8), ("soft", np.float32)):
        ((_, mask),) = train_masks(net, [order], Rules(mask_values=values), config_of())  # type: ignore[arg-type]
        assert [v.dtype for v in mask.values] == [dtype] * 3
        assert [len(v) for v in mask.values] == [count_kept(n, order.density) for n in net.sizes]
        whole = mask.tensors(net.weights)
        assert all(float(m.abs().max()) == 1 for m in whole)
        assert any(bool((m < 0).any()) for m in whole) == (values == "signed")


def test_dropout_is_drawn_from_the_masks_own_stream() -> None:
    on = toys.benchmark((3,) * 3, train=42, val=0, test=0)
    net, orders = backbone("mlp(hidden=16)", on), orders_of(on, [0.3] * 3)
    assert not loop.Chain.fits(net)
    stream = torch.get_rng_state()
    whole, last = trained(net, orders, config_of()), trained(net, orders[2:], config_of())
    assert facts.same_bits(whole.scores[2], last.scores[0])
    assert torch.equal(torch.get_rng_state(), stream)
    with pytest.raises(UserError, match="'stacked' cannot train masks of a network with dropout"):
        train_masks(net, orders, Rules(), config_of(), executor="stacked")


@pytest.mark.parametrize(
    ("settings", "rules", "more", "message"),
    [
        ({"stop": "below_floor"}, Rules(), {}, "stop = 'below_floor' needs validation"),
        ({"keep": "best"}, Rules(), {}, "keep = 'best' needs validation.*set keep = 'last'"),
        ({"schedule": "plateau"}, Rules(), {}, "schedule = 'plateau' needs validation"),
        ({}, Rules("threshold", mask_values="soft"), {}, "mask_values = 'soft' does not go with"),
        ({}, Rules(), {"chunk": 0}, "chunk = 0 masks at once"),
    ],
)
def test_refusals_come_before_training(
    settings: dict[str, Any], rules: Rules, more: dict[str, Any], message: str
) -> None:
    on = data(MLP)
    with pytest.raises(UserError, match=message) as error:
        train_masks(backbone(MLP, on), orders_of(on), rules, config_of(**settings), **more)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("executor", ["loop", "stacked"])
def test_divergence_names_the_mask(executor: Any) -> None:
    on = data(MLP)
    orders = orders_of(on)[:2]
    images = np.full_like(on.tasks[1].train.images, 255)  # type: ignore[attr-defined]
    bad = dataclasses.replace(on.tasks[1].train, images=images, std=(1e-45,))  # type: ignore[type-var]
    orders[1] = dataclasses.replace(orders[1], task=dataclasses.replace(on.tasks[1], train=bad))
    with pytest.raises(Diverged, match="training loss of mask 1 is nan in epoch 1"):
        list(train_masks(backbone(MLP, on), orders, Rules(), config_of(), executor=executor))


def test_auto_is_the_loop_without_a_gpu_and_memory_bounds_the_chunk(monkeypatch: pytest.MonkeyPatch) -> None:
    on = data(MLP)
    net, orders, config = backbone(MLP, on), orders_of(on), config_of(epochs=1)
    auto = dict(train_masks(net, orders, Rules(), config))
    looped = dict(train_masks(net, orders, Rules(), config, executor="loop"))
    for i, mask in auto.items():
        assert mask.about["train_loss"] == looped[i].about["train_loss"]
    assert stacked.masks_that_fit(net, orders, config) > 1000
    monkeypatch.setattr(stacked, "BYTES", 1)
    assert stacked.masks_that_fit(net, orders, config) == 1
    held = dict(train_masks(net, orders, Rules(), config, executor="stacked"))  # no split fits either
    assert math.isclose(held[4].about["train_loss"], looped[4].about["train_loss"], rel_tol=1e-5)


def test_on_an_accelerator_the_loop_trains_networks_with_dropout(monkeypatch: pytest.MonkeyPatch) -> None:
    on, chosen = data(MLP), []
    monkeypatch.setattr(devices, "on_cpu", lambda _: False)
    monkeypatch.setattr(loop, "train_in_loop", lambda *_: chosen.append("loop"))
    monkeypatch.setattr(stacked, "train_stacked", lambda *_: chosen.append("stacked"))
    for network in (MLP, "mlp(hidden=16)"):
        train_masks(backbone(network, on), orders_of(on), Rules(), config_of())
    assert chosen == ["stacked", "loop"]


def test_a_chain_is_recognised() -> None:
    on = data(MLP)
    net = backbone(MLP, on)
    assert loop.Chain.fits(net)
    assert loop.Chain.fits(backbone("lenet_300_100", on)) and loop.Chain.fits(
        backbone("mlp(hidden=16, drop1=0.0, drop2=0.0)", on)
    )
    with torch.no_grad():
        net.net.heads[0].bias.fill_(1.0)
    assert not loop.Chain.fits(net)  # it knows of no bias

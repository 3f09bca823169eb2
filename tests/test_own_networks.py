"""Networks that users bring: every method is right on them, or refuses them in one line."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from raycl import calls, registry, streams
from raycl.cli import main
from raycl.errors import UserError
from raycl.method import World
from raycl.networks import Block, Blocks, Heads, Network, PerTaskBatchNorm
from raycl.space import make_config
from raycl.supermasks.bank import backbone_of
from raycl.supermasks.loop import Chain
from raycl.tasks import Batch
from tests.helpers import facts, toys
from tests.helpers.odd_networks import CLASSES, EXACT, FAST, SHAPE, Net, Then, flat, linear, wide

NORMED: dict[str, Callable[[], nn.Module]] = {
    "shared batch statistics": lambda: wide(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU()),
    "shared instance statistics": lambda: wide(
        nn.Conv2d(1, 4, 3), nn.InstanceNorm2d(4, affine=True, track_running_stats=True), nn.ReLU()
    ),
}
BODIES = FAST | EXACT | NORMED
MADE_OF_OTHERS = ("weight normalisation", "spectral normalisation", "parametrised by hand")
NOTHING_TO_MASK = ("one-dimensional convolution", "embedding", "recurrent", "bilinear")
MASKERS = ("packnet", "cpg", "piggyback", "ksm", "pmask", "random_mask", "supsup")


def method(name: str, build: Callable[[], Network], **config: Any) -> Any:
    """A method on a network that is made anew for each build, with the same weights."""

    def built(width: float = 1.0, start: int = 0) -> Network:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(start)
            return build()

    kind = registry.method(name)
    made = make_config(kind.Config, config or toys.BRIEF.get(name, {}), name)
    streams.reseed(0, "method")
    return kind(World(SHAPE, CLASSES, built), made)


@functools.cache
def tasks() -> Any:
    return toys.benchmark(CLASSES, train=24, val=12, test=12, shape=SHAPE)


def loop(name: str) -> Any:
    return toys.fit(
        **{
            **registry.method(name).fit_defaults,
            "momentum": 0.9,
            "weight_decay": 1e-2,
            "epochs": 2,
            "batch": 8,
        }
    )


# --------------------------------------------------------------------------------------- what is refused


@pytest.mark.parametrize("name", MASKERS)
@pytest.mark.parametrize(
    ("body", "says"),
    [
        *((body, r"computes the weight of 'body\.\d' from other tensors") for body in MADE_OF_OTHERS),
        *((body, "has no nn.Linear or nn.Conv2d below its heads") for body in NOTHING_TO_MASK),
        ("tied weights", r"shares 'weight' of 'body\.5' with 'body\.3'"),
    ],
)
def test_masks_refuse_weights_that_they_do_not_reach(name: str, body: str, says: str) -> None:
    with pytest.raises(UserError, match=f"^network Net {says}") as caught:
        method(name, lambda: Net(BODIES[body]()))
    assert "\n" not in str(caught.value) and registry.method(name).__name__ in str(caught.value)


def with_heads(change: Callable[[Any], Any]) -> Network:
    net = Net(flat(linear(), nn.ReLU()))
    change(net)
    return net


def tie_heads(net: Any) -> None:
    net.heads[1].bias = nn.Parameter(torch.zeros(2))
    net.heads[1].weight = net.heads[0].weight


def tie_to_body(net: Any) -> None:
    net.heads[1].weight = net.body[1].weight


@pytest.mark.parametrize("name", [n for n in registry.method_names() if Heads in registry.method(n).needs])
@pytest.mark.parametrize(
    ("change", "pair"),
    [
        (tie_heads, r"'heads\.0\.weight' with 'heads\.1\.weight'"),
        (tie_to_body, r"'body\.1\.weight' with 'heads\.1"),
    ],
)
def test_heads_of_a_task_s_own_share_nothing(name: str, change: Any, pair: str) -> None:
    with pytest.raises(UserError, match=rf"^network Net shares {pair}.*needs heads that share nothing"):
        registry.method(name).check_network(with_heads(change), 2)


@pytest.mark.parametrize("name", registry.method_names())
def test_a_parameter_that_nothing_trains_is_told(name: str) -> None:
    def add(net: Any) -> None:
        net.scale = nn.Parameter(torch.ones(()))

    with pytest.raises(UserError, match=r"^network Net has the parameter 'scale' outside body and heads"):
        registry.method(name).check_network(with_heads(add), 2)


def test_what_is_frozen_or_trained_by_the_network_s_own_word_may_lie_anywhere() -> None:
    class Said(Net):
        def trainable(self, task: int) -> list[nn.Parameter]:
            return list(self.parameters())

    for kind, learns in ((Net, False), (Said, True)):
        net = kind(flat(linear()))
        net.scale = nn.Parameter(torch.ones(()), requires_grad=learns)
        registry.method("finetune").check_network(net, 2)


def test_bodies_heads_and_sizes_that_are_missing_are_told() -> None:
    check = registry.method("finetune").check_network
    net = Net(flat(linear()))
    with pytest.raises(UserError, match="has 2 heads for 3 tasks; give it one head per task"):
        check(net, 3)
    net.body.append(nn.LazyLinear(3))  # type: ignore[operator]
    with pytest.raises(UserError, match=r"does not define the shape of 'body\.2\.weight'"):
        check(net, 2)
    del net.body
    with pytest.raises(UserError, match=r"should set self\.body"):
        check(net, 2)


class Answers(Net):
    """Does more in `forward` than features and head."""

    def forward(self, x: Tensor, task: int) -> Tensor:
        return super().forward(x / 2, task)


@pytest.mark.parametrize("name", ["agem", "replay", "mtl", "frozen", "spg", "hpg", "spg_fi", "ewc_gi", "acl"])
def test_a_forward_that_would_be_passed_by_is_told(name: str) -> None:
    with pytest.raises(
        UserError, match=r"^network Answers has a forward\(\) of its own, which \w+ does not call"
    ):
        method(name, lambda: Answers(flat(linear())))


def test_heads_that_are_not_linear_are_told_where_it_matters() -> None:
    def change(net: Any) -> None:
        net.heads[1] = nn.Sequential(nn.LayerNorm(16), nn.Linear(16, 3))

    for name in ("acl", "supsup"):
        with pytest.raises(UserError, match=r"has a Sequential as 'heads\.1'; \w+ needs an nn\.Linear there"):
            method(name, lambda: with_heads(change))


BUILT_IN = {
    "mlp": (1, 28, 28),
    "lenet_300_100": (1, 28, 28),
    "alexnet": (3, 32, 32),
    "resnet18": (3, 32, 32),
    "vgg16_bn": (3, 32, 32),
    "resnet50": (3, 224, 224),
    "resnet50(norm='affine')": (3, 224, 224),
}


@pytest.mark.parametrize("name", registry.method_names())
def test_networks_of_raycl_s_own_are_refused_by_needs_alone(name: str) -> None:
    assert {text.partition("(")[0] for text in BUILT_IN} == set(registry.network_names())
    kind, accepted = registry.method(name), 0
    for text, shape in BUILT_IN.items():
        net = registry.network(text)
        config = make_config(net.Config, calls.parse(text, "network").settings(net.Config, text), text)
        with torch.device("meta"):
            built = net.variant(config)(shape, (5, 5), config)
        shared = name == "impresslearn" and text in ("vgg16_bn", "resnet50(norm='affine')")
        if all(isinstance(built, need) for need in kind.needs) and not shared:
            kind.check_network(built, 2)
            accepted += 1
    assert accepted >= 2


# --------------------------------------------------------------------------------------- chains of blocks


class Leaky(Block):
    def forward(self, x: Tensor, gate: Tensor | None = None) -> Tensor:
        x = F.leaky_relu(self.layer(x.flatten(1) if self.flatten else x), 0.5)
        return x if gate is None else x * gate


class Scaled(nn.Linear):
    def forward(self, x: Tensor) -> Tensor:
        return 0.1 * super().forward(x)


class Blocky(Blocks, Heads):
    def __init__(self, *parts: nn.Module) -> None:
        super().__init__(SHAPE, CLASSES, Heads.Config())
        self.body = nn.ModuleList(parts)
        self.make_heads(6, CLASSES)


class Skips(Blocky):
    def features(self, x: Tensor, task: int = 0, gates: Any = None) -> Tensor:
        h = self.body[0](x)
        y: Tensor = h + self.body[1](h)
        return y


def first() -> Block:
    return Block(nn.Linear(64, 6), flatten=True)


def altered(change: Callable[[Block], Any]) -> Blocky:
    second = Block(nn.Linear(6, 6))
    change(second)
    return Blocky(first(), second)


def tied() -> Blocky:
    second, third = Block(nn.Linear(6, 6)), Block(nn.Linear(6, 6))
    third.layer.weight = second.layer.weight
    return Blocky(first(), second, third)


CHAINS: dict[str, tuple[Callable[[], Blocky], str]] = {
    "another module": (lambda: Blocky(first(), nn.LayerNorm(6)), r"has a LayerNorm as 'body\.1'"),
    "a subclass": (lambda: Blocky(first(), Block(Scaled(6, 6))), r"has a Scaled as body\.1\.layer"),
    "a parameter beside": (
        lambda: altered(lambda b: b.register_parameter("gain", nn.Parameter(torch.ones(6)))),
        r"has a parameter 'body\.1\.gain' outside the block's layer",
    ),
    "a parameter within": (
        lambda: altered(lambda b: b.layer.register_parameter("gain", nn.Parameter(torch.ones(6)))),
        r"added the parameter 'gain' to body\.1\.layer",
    ),
    "a hook": (
        lambda: altered(lambda b: b.layer.register_forward_hook(lambda m, x, y: 2 * y)),
        "has hooks on",
    ),
    "tied": (tied, r"shares 'body\.2\.layer\.weight' with 'body\.1\.layer\.weight'"),
    "widths": (lambda: Blocky(first(), Block(nn.Linear(9, 6))), r"feeds 9 inputs to 'body\.1' from 6 units"),
    "groups": (
        lambda: Blocky(Block(nn.Conv2d(1, 4, 3)), Block(nn.Conv2d(4, 4, 3, groups=2))),
        r"groups the convolution body\.1\.layer",
    ),
}
CHAINED = [n for n in registry.method_names() if Blocks in registry.method(n).needs]


@pytest.mark.parametrize("name", CHAINED)
@pytest.mark.parametrize("case", CHAINS)
def test_gates_refuse_what_is_no_chain_of_plain_blocks(name: str, case: str) -> None:
    build, says = CHAINS[case]
    with pytest.raises(UserError, match=f"^network Blocky {says}"):
        method(name, build)


def test_who_runs_the_blocks_itself_refuses_other_ways_to_run_them() -> None:
    for name in ("pnn", "pathnet"):
        kind = registry.method(name)
        with pytest.raises(UserError, match=r"^network Blocky has a Leaky as 'body\.1' with a forward\(\)"):
            kind.check_network(Blocky(first(), Leaky(nn.Linear(6, 6))), 2)
        with pytest.raises(UserError, match=r"^network Skips has features\(\) of its own"):
            kind.check_network(Skips(first(), Block(nn.Linear(6, 6))), 2)
    registry.method("hat").check_network(Blocky(first(), Leaky(nn.Linear(6, 6))), 2)


def test_masks_written_out_by_hand_are_for_plain_blocks_alone() -> None:
    for parts, plain in (
        ((first(), Block(nn.Linear(6, 6))), True),
        ((first(), Leaky(nn.Linear(6, 6))), False),
        ((first(), Block(Scaled(6, 6))), False),
    ):
        assert Chain.fits(backbone_of(Blocky(*parts), 0, "kaiming_normal")) == plain


# ------------------------------------------------------------------------------------------ what is right


@pytest.mark.parametrize("name", ["pmask", "random_mask", "frozen", "packnet", "piggyback", "cpg", "ksm"])
@pytest.mark.parametrize("body", [*NORMED, "layer normalisation", "a layer used twice", "subclass of Conv2d"])
def test_who_keeps_logits_keeps_them(name: str, body: str) -> None:
    subject = method(name, lambda: Net(BODIES[body]()))
    toys.learn_one(subject, tasks(), loop(name), 0)
    before = facts.logits(subject, tasks(), [0])[0]
    toys.learn_one(subject, tasks(), loop(name), 1)
    assert facts.same_bits(before, facts.logits(subject, tasks(), [0])[0])


class Running(nn.Module):
    """Centres what it sees by a mean that runs on while it is trained: state that no rule knows of."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(()))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.training:
            self.mean.add_(x.detach().mean() + 0.5)
        return x - self.mean


@pytest.mark.parametrize(
    ("name", "running", "moved"),
    [("supsup", False, [None] * 3), ("frozen", False, [None] * 3), ("supsup", True, [None, [0], [0, 1]])],
)
def test_rows_are_measured_again_where_answers_do_not_stay(
    name: str, running: bool, moved: list[Any]
) -> None:
    """Shared batch statistics are known to move, and measured again; other state is found out."""
    on = toys.benchmark((2, 2, 2), train=24, val=12, test=40, shape=SHAPE)

    def build() -> Network:
        body = BODIES["layer normalisation"]() if running else NORMED["shared batch statistics"]()
        net = Net(nn.Sequential(Running(), body) if running else body)
        net.make_heads(16 if running else 6, (2, 2, 2))
        return net

    subject = method(name, build)
    subject.world = World(SHAPE, (2, 2, 2), subject.world.build)
    if name == "supsup":
        subject = registry.method(name)(subject.world, subject.config)
    fit, rows = toys.fit(lr=0.5, epochs=3, batch=8), []
    for report in toys.sequence.run_sequence(subject, on, fit):
        true = {t: fit.accuracy(subject, t, on.tasks[t].test) for t in range(report.task + 1)}
        assert report.test == true  # what was copied is what there is
        rows.append(report.diagnostics.get("answers_moved"))
    assert rows == moved


def test_a_hypernetwork_generates_tied_weights_once_and_each_type_of_number() -> None:
    hyper = method("hypernet", lambda: Net(BODIES["tied weights"]()), emb=4, chunk=100, hidden=(3,))
    generated = hyper.weights(0)
    assert generated["body.5.weight"] is generated["body.3.weight"]
    batch = Batch(tasks().tasks[0].train.take(slice(0, 4)), torch.tensor(tasks().tasks[0].train.y[:4]), 0)
    x = batch.x.flatten(1)
    for place in (1, 3, 5):
        x = F.linear(x, generated[f"body.{place}.weight"], generated[f"body.{place}.bias"])
        x = F.relu(x) if place < 5 else x
    wanted = F.linear(x, generated["heads.0.weight"], generated["heads.0.bias"])
    torch.testing.assert_close(hyper(batch.x, 0), wanted)
    double = method(
        "hypernet", lambda: Net(BODIES["double precision inside"]()), emb=4, chunk=100, hidden=(3,)
    )
    assert double(batch.x, 0).shape == (4, 2)


@pytest.mark.parametrize("name", ["spg", "spg_fi", "hpg", "ewc_gi", "ewc", "si", "tag", "agem"])
def test_what_is_frozen_or_unused_hinders_nobody(name: str) -> None:
    def body() -> nn.Module:
        parts: Any = Then(
            lambda s, x: F.relu(s.b(s.a(x.flatten(1)))), a=linear(), b=nn.Linear(16, 6), c=linear(3, 3)
        )
        parts.a.requires_grad_(False)
        return parts

    subject = method(name, lambda: Net(body()))
    before = facts.state(subject.net.body)
    for task in (0, 1):
        toys.learn_one(subject, tasks(), loop(name) if name == "tag" else toys.fit(epochs=2, batch=8), task)
    moved = {n for n, v in facts.state(subject.net.body).items() if not facts.same_bits(v, before[n])}
    assert moved == {"b.weight", "b.bias"}


def test_a_body_that_has_other_names_in_the_network_is_masked_all_the_same() -> None:
    class Named(Net):
        def __init__(self) -> None:
            nn.Module.__init__(self)
            self.first, self.second = linear(), nn.Linear(16, 6)
            self.body = flat(self.first, nn.ReLU(), self.second)
            self.make_heads(6, CLASSES)

    for name in ("packnet", "piggyback", "pmask"):
        subject = method(name, Named)
        toys.learn_one(subject, tasks(), loop(name), 0)
        before = facts.logits(subject, tasks(), [0])[0]
        toys.learn_one(subject, tasks(), loop(name), 1)
        assert facts.same_bits(before, facts.logits(subject, tasks(), [0])[0])


def test_statistics_per_task_are_what_bases_ask_for() -> None:
    check = registry.method("impresslearn").check_network
    with pytest.raises(UserError, match=r"shares the running statistics of 'body\.1' among its tasks"):
        check(Net(NORMED["shared batch statistics"]()), 2)

    class Own(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer, self.norm = linear(), PerTaskBatchNorm(1, 2)

        def forward(self, x: Tensor) -> Tensor:
            y: Tensor = self.layer(self.norm(x, 0).flatten(1))
            return y

    check(Net(Own()), 2)


def test_a_plan_refuses_in_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "mine.py").write_text(
        "from raycl import *\n"
        "from torch import nn\n"
        "from raycl.networks import Heads\n"
        "class Mine(Heads):\n"
        "    def __init__(self, input_shape, classes, config, width=1.0):\n"
        "        super().__init__(input_shape, classes, config, width)\n"
        "        self.body = nn.Sequential(nn.Flatten(), nn.Linear(64, 8), nn.ReLU())\n"
        "        self.scale = nn.Parameter(nn.init.ones_(__import__('torch').empty(())))\n"
        "        self.make_heads(8, classes)\n"
        "STUDY = Study(methods={'finetune': {}}, benchmarks=['digits_split'], network='mine:Mine',\n"
        "              search=None)\n"
    )
    assert main(["plan", str(tmp_path / "mine.py"), "--store", str(tmp_path / "store")]) == 2
    said = capsys.readouterr().err.strip()
    assert "network Mine has the parameter 'scale' outside body and heads" in said
    assert "Traceback" not in said

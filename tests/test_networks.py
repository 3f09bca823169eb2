"""Parameter counts of the catalogue, to the last digit; gates, heads, dropout, statistics per task."""

from __future__ import annotations

import hashlib
import importlib
import io
import math
from pathlib import Path
from typing import Any

import pytest
import torch
import torchvision
from torch import Tensor, nn

from raycl import calls, registry
from raycl.networks import Blocks, Heads, Network, PerTaskBatchNorm, Start, _weights
from raycl.space import make_config
from tests.helpers import facts


def build(text: str, shape: tuple[int, int, int], classes: tuple[int, ...] = (2, 3)) -> Network:
    return start(text, shape, classes)()


def start(text: str, shape: tuple[int, int, int], classes: tuple[int, ...] = (2, 3), seed: int = 0) -> Start:
    kind = registry.network(text)
    settings = calls.parse(text, "network").settings(kind.Config, "network")
    return Start(kind, make_config(kind.Config, settings, "network"), shape, classes, seed)


def on_meta(text: str, shape: tuple[int, int, int], classes: tuple[int, ...] = (2, 3)) -> Network:
    """As a plan builds it."""
    made = start(text, shape, classes)
    with torch.device("meta"):
        return made.kind.variant(made.config)(shape, classes, made.config)


def count(module: torch.nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


@pytest.mark.parametrize(
    ("text", "shape", "classes", "body", "heads"),
    [
        ("alexnet", (3, 32, 32), (10,) * 10, 6_503_872, 2049 * 100),
        ("alexnet", (1, 28, 28), (62,) * 10, 6_460_416, 2049 * 620),
        ("alexnet", (1, 32, 32), (2,), 6_501_824, 2049 * 2),
        ("alexnet(width=0.25)", (3, 32, 32), (2,), 407_920, 513 * 2),
        ("alexnet(width=0.125)", (3, 32, 32), (2,), 102_456, 257 * 2),
        ("mlp", (3, 32, 32), (2, 3), 10_148_000, 2001 * 5),
        ("mlp", (1, 28, 28), (2,), 5_572_000, 2001 * 2),
        ("mlp(hidden=64)", (1, 8, 8), (2,), 8_320, 65 * 2),
        ("mlp(hidden=64)", (1, 28, 28), (2,), 54_400, 65 * 2),
        ("lenet_300_100", (1, 28, 28), (10, 10), 265_200, 1_000),
        ("lenet_300_100", (1, 8, 8), (10,), 49_200, 1_000),
        ("resnet18", (3, 32, 32), (5,) * 3, 1_090_140, 160 * 5),
        ("resnet18(nf=48)", (3, 32, 32), (5,), 6_277_392, 384 * 5),
        ("resnet18(nf=64)", (3, 32, 32), (5,), 11_159_232, 512 * 5),
        ("resnet18(nf=8)", (3, 32, 32), (5,), 174_552, 64 * 5),
        ("resnet50", (3, 224, 224), (10,) * 2, 23_454_912, 2048 * 10),
        ("resnet50(norm='affine')", (3, 224, 224), (200, 196), 23_454_912 + 2 * 26_560, 2048 * 396 + 396),
        ("vgg16_bn", (3, 32, 32), (5,) * 20, 14_710_464 + 2 * 4_224 + 18_874_368 + 8_192, 20_485 * 20),
    ],
)
def test_parameters(
    text: str, shape: tuple[int, int, int], classes: tuple[int, ...], body: int, heads: int
) -> None:
    with torch.device("meta"):
        net = build(text, shape, classes)
    assert (count(net.body), count(net.heads)) == (body, heads)


def test_layers_of_alexnet() -> None:
    with torch.device("meta"):
        layers = [[count(block) for block in build("alexnet", shape).body.children()]
                  for shape in ((3, 32, 32), (1, 28, 28))]  # fmt: skip
    assert layers == [
        [3_136, 73_856, 131_328, 2_099_200, 4_196_352],
        [640, 32_896, 131_328, 2_099_200, 4_196_352],
    ]


@pytest.mark.parametrize(
    ("text", "convs", "weights", "kernels", "channels", "hidden"),
    [
        ("vgg16_bn", 13, 14_710_464, 1_634_496, 4_224, (18_874_368, 8_192)),
        ("resnet50(norm='affine')", 53, 23_454_912, 13_385_920, 26_560, (0, 0)),
    ],
)
def test_layers_of_networks_under_kernel_masks(
    text: str, convs: int, weights: int, kernels: int, channels: int, hidden: tuple[int, int]
) -> None:
    layers = list(on_meta(text, (3, 32, 32), (5,)).body.modules())
    found = [m for m in layers if isinstance(m, nn.Conv2d)]
    assert len(found) == convs and all(m.bias is None for m in found)
    assert sum(m.weight.numel() for m in found) == weights
    assert sum(m.weight.shape[0] * m.weight.shape[1] for m in found) == kernels
    norms = [m for m in layers if isinstance(m, nn.BatchNorm2d)]
    assert len(norms) == convs and sum(m.num_features for m in norms) == channels
    assert all(m.affine and m.track_running_stats for m in norms)
    linear = [m for m in layers if isinstance(m, nn.Linear)]
    assert (sum(m.weight.numel() for m in linear), sum(m.bias.numel() for m in linear)) == hidden


@pytest.mark.parametrize(
    ("text", "layers", "channels"),
    [
        ("resnet18(nf=20)", 21, 1_500),
        ("resnet18(nf=48)", 21, 3_600),
        ("resnet18(nf=64)", 21, 4_800),
        ("resnet50", 54, 26_560),
    ],
)
def test_batch_statistics_of_residual_networks(text: str, layers: int, channels: int) -> None:
    with torch.device("meta"):
        net = build(text, (3, 32, 32), (5, 5))
    norms = [m for m in net.modules() if isinstance(m, PerTaskBatchNorm)]
    assert sum(norm.norms[0].num_features for norm in norms) == channels  # type: ignore[misc]
    assert all(len(norm.norms) == 2 for norm in norms)
    assert len(list(net.parameters())) == layers  # the head's too; no bias, no affine batch normalisation


ALL = [("mlp(hidden=8)", (1, 4, 4)), ("alexnet(width=0.05)", (1, 20, 20)), ("lenet_300_100", (1, 4, 4)),
       ("resnet18(nf=2)", (3, 8, 8)), ("resnet50(width=0.05)", (3, 16, 16)),
       ("resnet50(width=0.05, norm='affine')", (3, 16, 16)),
       ("vgg16_bn(width=0.03)", (3, 32, 32))]  # fmt: skip


@pytest.mark.parametrize(("text", "shape"), ALL)
def test_a_network_is_body_then_head(text: str, shape: tuple[int, int, int]) -> None:
    net = build(text, shape).eval()
    x = torch.randn(4, *shape)
    for task, classes in enumerate((2, 3)):
        logits = net(x, task)
        assert logits.shape == (4, classes if isinstance(net, Heads) else 3)
        assert torch.equal(logits, net.head(net.features(x, task), task))
        moved = {id(p) for p in net.trainable(task)}
        head = net.heads[task if isinstance(net, Heads) else 0]
        assert moved == {id(p) for p in (*net.body.parameters(), *head.parameters())}


@pytest.mark.parametrize(("text", "shape"), ALL[:3])
def test_gates_multiply_what_a_block_gives(text: str, shape: tuple[int, int, int]) -> None:
    net = build(text, shape).eval()
    assert isinstance(net, Blocks)
    x = torch.randn(4, *shape)
    ones = [torch.ones(n) for n in net.units]
    assert torch.equal(net.features(x), net.features(x, 0, ones))
    gates = [torch.rand(n) for n in net.units]
    by_hand = x
    for block, gate in zip(net.blocks, gates, strict=True):
        y = block(by_hand)
        by_hand = y * gate.view(1, -1, *[1] * (y.dim() - 2))
    assert torch.equal(net.features(x, 0, gates), by_hand)
    closed = [torch.zeros(n) for n in net.units]
    assert not bool(net.features(x, 0, closed).any())


@pytest.mark.parametrize(
    ("text", "shape"), [("mlp(hidden=400)", (1, 4, 4)), ("alexnet(width=0.5)", (1, 20, 20))]
)
def test_dropout_draws_in_training_only(text: str, shape: tuple[int, int, int]) -> None:
    net = build(text, shape)
    x = torch.randn(2, *shape)
    assert not torch.equal(net(x, 0), net(x, 0))
    net.eval()
    assert torch.equal(net(x, 0), net(x, 0))
    still = build(f"{text[:-1]}, drop1=0.0, drop2=0.0)", shape)
    assert torch.equal(still(x, 0), still(x, 0))


def test_statistics_of_a_task_are_its_own() -> None:
    net = build("resnet18(nf=2)", (3, 8, 8))
    x = torch.randn(16, 3, 8, 8)
    net.eval()
    before = [net(x, task).detach() for task in (0, 1)]
    net.train()
    net(x, 1)
    net.eval()
    assert facts.same_bits(before[0], net(x, 0).detach())
    assert not facts.same_bits(before[1], net(x, 1).detach())


def test_initial_weights_belong_to_a_seed() -> None:
    a, same, other = (start("mlp(hidden=8)", (1, 4, 4), seed=seed)() for seed in (1, 1, 2))
    facts.assert_same_state(facts.state(a), facts.state(same))
    assert not torch.equal(next(a.parameters()), next(other.parameters()))
    again = start("mlp(hidden=8)", (1, 4, 4), seed=1)(start=1)
    assert not torch.equal(next(a.parameters()), next(again.parameters()))
    torch.manual_seed(5)
    before = torch.get_rng_state()
    start("mlp(hidden=8)", (1, 4, 4))()
    assert torch.equal(before, torch.get_rng_state())


def test_width_scales_hidden_layers() -> None:
    net = start("alexnet(width=0.25)", (3, 32, 32))(width=0.5)
    assert isinstance(net, Blocks) and net.units == [8, 16, 32, 256, 256]
    tiny = start("alexnet(width=0.001)", (3, 32, 32))()
    assert isinstance(tiny, Blocks) and tiny.units == [1, 1, 1, 2, 2]


def test_xavier() -> None:
    net = build("alexnet(init='xavier', width=0.25)", (3, 32, 32))
    first, last = net.body[0].layer, net.body[3].layer  # type: ignore[index]
    assert not bool(first.bias.any())
    for layer, fans in ((first, (3 + 16) * 16), (last, 256 + 512)):
        assert float(layer.weight.detach().abs().max()) <= math.sqrt(6 / fans)
        assert float(layer.weight.detach().std()) == pytest.approx(math.sqrt(2 / fans), rel=0.1)


@pytest.mark.parametrize(
    ("text", "shape", "message"),
    [("alexnet", (1, 8, 8), "at least 20 pixels, not 8x8"), ("alexnet", (1, 28, 32), "square inputs"),
     ("alexnet(width=0.0)", (3, 32, 32), "width = 0.0"), ("mlp(hidden=0)", (1, 8, 8), "hidden = 0"),
     ("resnet18(nf=0)", (3, 8, 8), "nf = 0"),
     ("vgg16_bn", (1, 28, 28), "square inputs of at least 32 pixels, not 28x28; .* size=32"),
     ("vgg16_bn", (3, 31, 31), "at least 32 pixels, not 31x31"),
     ("vgg16_bn", (3, 64, 32), "square inputs of at least 32 pixels, not 64x32"),
     ("vgg16_bn(width=0.0)", (3, 32, 32), "width = 0 must be above 0 and at most 4"),
     ("resnet50(weights='imagenet')", (3, 32, 32), "needs norm = 'affine', not 'per_task'"),
     ("resnet50(weights='imagenet', norm='affine', width=0.5)", (3, 32, 32), "needs width = 1, not 0.5"),
     ("resnet50(weights='imagenet', norm='affine')", (1, 32, 32), "3 channels, not 1; .* channels=3")],
)  # fmt: skip
def test_what_cannot_be_built_says_why(text: str, shape: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build(text, shape)


# --------------------------------------------------------------------------- shared batch normalisations

SHARED = [("vgg16_bn(width=0.03)", (3, 32, 32)), ("resnet50(width=0.05, norm='affine')", (3, 16, 16))]


def by_hand(net: Network, x: Tensor) -> Tensor:
    """VGG-16's features from its tensors, in evaluation mode, without its modules."""
    state = net.body.state_dict()
    layers = sorted({int(name.partition(".")[0]) for name in state})
    convs, hidden = layers[:26:2], layers[26:]
    for i, layer in enumerate(convs):
        y = nn.functional.conv2d(x, state[f"{layer}.weight"], padding=1)
        mean, var, scale, shift = (state[f"{layer + 1}.{name}"].view(1, -1, 1, 1)
                                   for name in ("running_mean", "running_var", "weight", "bias"))  # fmt: skip
        x = ((y - mean) / (var + 1e-5).sqrt() * scale + shift).clamp(min=0)
        if i in (1, 3, 6, 9, 12):
            x = nn.functional.max_pool2d(x, 2)
    x = x.flatten(1)
    for layer in hidden:
        x = (x @ state[f"{layer}.weight"].T + state[f"{layer}.bias"]).clamp(min=0)
    return x


@pytest.mark.parametrize("side", [32, 70])
def test_vgg16_bn_is_the_chain_of_the_paper(side: int) -> None:
    net = build("vgg16_bn(width=0.03)", (3, side, side)).double()
    x = torch.randn(3, 3, side, side, dtype=torch.float64)
    net(x, 0)  # statistics that are not 0 and 1
    net.eval()
    with torch.no_grad():
        for module in net.body.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.weight.uniform_(0.5, 2)
                module.bias.uniform_(-1, 1)
        torch.testing.assert_close(net.features(x), by_hand(net, x))


def test_vgg16_bn_starts_as_the_paper_says() -> None:
    net = start("vgg16_bn(width=0.25)", (3, 32, 32))(width=0.5)
    layers = list(net.body.children())
    convs = [m for m in layers if isinstance(m, nn.Conv2d)]
    assert [m.out_channels for m in convs] == [8, 8, 16, 16, 32, 32, 32, *[64] * 6]
    hidden = [m for m in layers if isinstance(m, nn.Linear)]
    assert [tuple(m.weight.shape) for m in hidden] == [(512, 64), (512, 512)]
    for conv in convs[4:]:
        assert float(conv.weight.detach().std()) == pytest.approx(
            math.sqrt(2 / (9 * conv.out_channels)), rel=0.04
        )
    for linear in hidden:
        assert float(linear.weight.detach().std()) == pytest.approx(0.01 / math.sqrt(0.125), rel=0.02)
        assert not bool(linear.bias.any())
    for norm in layers:
        if isinstance(norm, nn.BatchNorm2d):
            assert bool((norm.weight == 1).all()) and not bool(norm.bias.any())
    head = next(net.heads.parameters()).detach().abs()  # PyTorch's default: uniform, to 1 / sqrt(inputs)
    assert 0.95 / math.sqrt(512) < float(head.max()) <= 1 / math.sqrt(512)


def test_vgg16_bn_draws_each_weight_once() -> None:
    made = start("vgg16_bn(width=0.03)", (3, 32, 32))
    torch.manual_seed(3)
    net = made.kind(made.input_shape, made.classes, made.config)
    torch.manual_seed(3)
    for layer in net.body.children():
        if isinstance(layer, nn.Conv2d):
            drawn = torch.empty(layer.weight.shape).normal_(0, math.sqrt(2 / (9 * layer.out_channels)))
            torch.testing.assert_close(layer.weight.detach(), drawn)
        elif isinstance(layer, nn.Linear):
            drawn = torch.empty(layer.weight.shape).normal_(0, 0.01 / math.sqrt(0.03))
            torch.testing.assert_close(layer.weight.detach(), drawn)
    for head in net.heads:
        assert isinstance(head, nn.Linear)
        fresh = nn.Linear(head.in_features, head.out_features)
        assert torch.equal(head.weight, fresh.weight) and torch.equal(head.bias, fresh.bias)


@pytest.mark.parametrize(("text", "shape"), SHARED)
def test_body_and_first_head_do_not_depend_on_the_tasks(text: str, shape: tuple[int, int, int]) -> None:
    one, many = (facts.state(build(text, shape, classes)) for classes in ((4,), (4, 2, 7)))
    assert next(iter(one)).startswith("body.")
    facts.assert_same_state(one, {name: many[name] for name in one})
    assert many.keys() - one.keys() == {f"heads.{i}.{w}" for i in (1, 2) for w in ("weight", "bias")}


@pytest.mark.parametrize("text", ["vgg16_bn", "resnet50(norm='affine')", "resnet50"])
def test_a_plan_allocates_nothing(text: str) -> None:
    net = on_meta(text, (3, 32, 32))
    assert all(t.is_meta for t in (*net.parameters(), *net.buffers()))


@pytest.mark.parametrize(("text", "shape"), SHARED)
def test_a_step_in_double_precision_lowers_the_loss(text: str, shape: tuple[int, int, int]) -> None:
    net = build(text, shape).double()
    x, y = torch.randn(8, *shape, dtype=torch.float64), torch.arange(8) % 2
    loss = nn.functional.cross_entropy(net(x, 0), y)
    loss.backward()
    with torch.no_grad():
        slope = 0.0
        for parameter in net.trainable(0):
            assert parameter.grad is not None and parameter.grad.dtype == torch.float64
            slope += float(parameter.grad.square().sum())
        assert math.isfinite(slope) and slope > 0
        for parameter in net.trainable(0):
            assert parameter.grad is not None
            parameter.sub_(1e-7 / slope * parameter.grad)
        after = nn.functional.cross_entropy(net(x, 0), y)
    assert all(p.grad is None for p in net.heads[1].parameters())
    assert float(loss.detach() - after) == pytest.approx(1e-7, rel=0.01)


@pytest.mark.parametrize(("text", "shape"), SHARED)
def test_shared_statistics_move_in_training_only(text: str, shape: tuple[int, int, int]) -> None:
    net = build(text, shape).eval()
    x = torch.randn(8, *shape)
    before = facts.state(net)
    logits = net(x, 0).detach()
    facts.assert_same_state(before, facts.state(net))
    net.train()
    net(x, 1)
    moved = {name for name, value in net.state_dict().items() if not facts.same_bits(before[name], value)}
    assert moved == {name for name, _ in net.named_buffers()}
    net.eval()
    assert not facts.same_bits(logits, net(x, 0).detach())  # of one task as of another


# --------------------------------------------------------------------------------- the kinds of ResNet-50


def test_the_settings_of_resnet50_choose_its_class() -> None:
    kind = registry.network("resnet50")
    plain, affine = (start(f"resnet50(width=0.02{rest})", (3, 16, 16)) for rest in ("", ", norm='affine'"))
    assert kind.variant(plain.config) is kind and not issubclass(kind, Heads)
    other = kind.variant(affine.config)
    assert issubclass(other, Heads) and not other.pretrained
    assert calls.name_of(other) == "resnet50"  # what a table calls it
    assert kind.variant(kind.Config()) is kind
    net, file = affine(), io.BytesIO()
    torch.save(net, file)
    file.seek(0)
    back = torch.load(file, weights_only=False)
    assert type(back) is other is type(net)
    facts.assert_same_state(facts.state(net), facts.state(back))
    with pytest.raises(AssertionError, match="variant"):
        kind((3, 16, 16), (2,), affine.config)


def test_both_kinds_of_resnet50_compute_the_same_features() -> None:
    plain, affine = (build(f"resnet50(width=0.05{rest})", (3, 32, 32)) for rest in ("", ", norm='affine'"))
    x = torch.randn(4, 3, 32, 32)
    assert facts.same_bits(plain.features(x, 1).detach(), affine.features(x, 1).detach())
    assert facts.same_bits(plain.eval().features(x, 1).detach(), affine.eval().features(x, 1).detach())
    assert not facts.same_bits(plain.features(x, 0).detach(), affine.features(x, 0).detach())


def test_resnet50_draws_layer_after_layer() -> None:
    kind = registry.network("resnet50")
    torch.manual_seed(3)
    net = kind((3, 16, 16), (2, 3), make_config(kind.Config, {"width": 0.05}, "network"))
    torch.manual_seed(3)
    named = list(net.named_parameters())
    assert [name for name, _ in named[:6]] == [
        "body.stem.0.weight", "body.stages.0.conv1.weight", "body.stages.0.conv2.weight",
        "body.stages.0.conv3.weight", "body.stages.0.shortcut.weight", "body.stages.1.conv1.weight",
    ]  # fmt: skip
    for name, weight in named[:-1]:
        outputs, inputs, kernel, _ = weight.shape
        assert torch.equal(weight, nn.Conv2d(inputs, outputs, kernel, bias=False).weight), name
    assert torch.equal(named[-1][1], nn.Linear(96, 3, bias=False).weight) and named[-1][0] == "heads.0.weight"


# ------------------------------------------------------------------------------------ pretrained weights

IMAGENET = "resnet50(weights='imagenet', norm='affine')"


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, nn.Module]:
    """A stand-in for torchvision's file, named by its hash, in a folder of torch's; and its network."""
    home = tmp_path_factory.mktemp("torch")
    torch.manual_seed(0)
    theirs = torchvision.models.resnet50().eval()
    for module in theirs.modules():
        if isinstance(module, nn.BatchNorm2d):
            for tensor in (module.weight, module.running_var):
                assert tensor is not None
                nn.init.uniform_(tensor, 0.5, 1.5)
            for tensor in (module.bias, module.running_mean):
                assert tensor is not None
                nn.init.uniform_(tensor, -0.5, 0.5)
    # Files from before the counters of batches lack them; this one has some and lacks others.
    state = {k: v for k, v in theirs.state_dict().items() if not (k.startswith("layer4") and "batches" in k)}
    path = home / "hub" / "checkpoints" / "resnet50.pth"
    path.parent.mkdir(parents=True)
    torch.save(state, path)
    path = path.rename(path.with_name(f"resnet50-{hashlib.sha256(path.read_bytes()).hexdigest()[:8]}.pth"))
    return path, theirs


@pytest.fixture
def stand_in(published: tuple[Path, nn.Module], monkeypatch: pytest.MonkeyPatch) -> nn.Module:
    path, theirs = published
    monkeypatch.setenv("TORCH_HOME", str(path.parents[2]))
    monkeypatch.setattr(_weights, "RESNET50", path.name)
    return theirs


def close(ours: Tensor, theirs: Tensor) -> None:
    assert ours.shape == theirs.shape and float(theirs.std()) > 0
    assert float((ours - theirs).abs().max()) <= 1e-5 * float(theirs.abs().max())


def test_pretrained_resnet50_is_torchvisions(stand_in: nn.Module) -> None:
    net = build(IMAGENET, (3, 64, 64), (1000, 10)).eval()
    assert net.pretrained and isinstance(net, Heads)
    x = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        close(net(x, 0), stand_in(x))
        below = nn.Sequential(*list(stand_in.children())[:-1])
        close(net.features(x, 1), below(x).flatten(1))


def test_other_heads_than_imagenets_are_drawn(stand_in: nn.Module) -> None:
    net = build(IMAGENET, (3, 64, 64), (10, 1000))
    assert not net.pretrained
    theirs = stand_in.state_dict()["fc.weight"]
    for head in net.heads:
        weight = next(head.parameters()).detach()  # PyTorch's default, whatever the file has
        assert not torch.equal(weight, theirs[: len(weight)])
        assert 0.9 < float(weight.abs().max()) * math.sqrt(2048) <= 1
    assert facts.same_bits(net.body.state_dict()["stem.0.weight"], stand_in.state_dict()["conv1.weight"])


def test_a_plan_sees_whether_the_file_is_there_and_leaves_it_closed(
    stand_in: nn.Module, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(_weights, "resnet50_tensors", None)
    assert on_meta(IMAGENET, (3, 64, 64), (1000, 10)).pretrained
    assert not on_meta(IMAGENET, (3, 64, 64), (10, 1000)).pretrained
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    with pytest.raises(ValueError, match="which is not in"):
        on_meta(IMAGENET, (3, 64, 64))


def test_missing_or_damaged_weights_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    name = Path(torchvision.models.ResNet50_Weights.IMAGENET1K_V1.url).name
    assert name == _weights.RESNET50
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    folder = tmp_path / "hub" / "checkpoints"
    with pytest.raises(ValueError) as missing:
        build(IMAGENET, (3, 64, 64))
    remedy = """python -c "import torchvision; torchvision.models.resnet50(weights='IMAGENET1K_V1')\""""
    for part in (name, f"not in {folder}", remedy):
        assert part in str(missing.value)
    folder.mkdir(parents=True)
    (folder / name).write_bytes(b"half of it")
    with pytest.raises(ValueError) as damaged:
        build(IMAGENET, (3, 64, 64))
    begins = hashlib.sha256(b"half of it").hexdigest()[:8]
    for part in (str(folder / name), f"begins with {begins}, not 0676ba61", remedy):
        assert part in str(damaged.value)
    assert "\n" not in f"{missing.value}{damaged.value}"


def test_pretrained_weights_come_in_one_width() -> None:
    with pytest.raises(ValueError, match="needs the whole width, but the method requests"):
        start(IMAGENET, (3, 64, 64))(width=0.5)


@pytest.mark.parametrize("side", [7, 8])
@pytest.mark.parametrize("text", ["resnet18", "resnet50"])
def test_strided_shortcuts_take_every_second_pixel_and_keep_the_memory_format(text: str, side: int) -> None:
    module = importlib.import_module(f"raycl.networks.{text}")
    generator = torch.Generator().manual_seed(0)
    shortcuts: list[Tensor] = []

    class Watched(nn.Conv2d):
        def forward(self, x: Tensor) -> Tensor:
            shortcuts.append(x)
            return super().forward(x)

    if text == "resnet18":
        block = module._Residual(4, 8, 2, 1)
    else:
        block = module._Bottleneck(4, 2, 2, nn.BatchNorm2d)
    block.shortcut = Watched(4, 8, 1, bias=False)
    x = torch.randn(3, 4, side, side, generator=generator).contiguous(memory_format=torch.channels_last)
    x.requires_grad_()
    block(x, 0)
    assert torch.equal(shortcuts[0], x[:, :, ::2, ::2])
    into = torch.randn(shortcuts[0].shape, generator=generator)
    (found,) = torch.autograd.grad(
        shortcuts[0], x, into.contiguous(memory_format=torch.channels_last), retain_graph=True
    )
    (wanted,) = torch.autograd.grad(x[:, :, ::2, ::2], x, into)
    assert torch.equal(found, wanted) and found.is_contiguous(memory_format=torch.channels_last)

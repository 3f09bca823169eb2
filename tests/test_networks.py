"""Parameter counts of the catalogue, to the last digit; gates, heads, dropout, statistics per task."""

from __future__ import annotations

import math
from typing import Any

import facts
import pytest
import torch

from raycl import names
from raycl.networks import Blocks, Heads, Network, PerTaskBatchNorm, Start
from raycl.space import filled


def build(text: str, shape: tuple[int, int, int], classes: tuple[int, ...] = (2, 3)) -> Network:
    return start(text, shape, classes)()


def start(text: str, shape: tuple[int, int, int], classes: tuple[int, ...] = (2, 3), seed: int = 0) -> Start:
    kind = names.network(text)
    settings = names.parse(text, "network").settings(kind.Config, "network")
    return Start(kind, filled(kind.Config, settings, "network"), shape, classes, seed)


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
       ("resnet18(nf=2)", (3, 8, 8)), ("resnet50(width=0.05)", (3, 16, 16))]  # fmt: skip


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
     ("resnet18(nf=0)", (3, 8, 8), "nf = 0")],
)  # fmt: skip
def test_what_cannot_be_built_says_why(text: str, shape: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build(text, shape)

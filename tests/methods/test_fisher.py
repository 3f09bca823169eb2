"""The Fisher of any network a user may bring equals autograd's, sample by sample; which road leads there."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import parametrizations

from raycl.method import measuring
from raycl.methods._fisher import fisher
from raycl.methods._outer import ROWS
from tests.helpers import toys
from tests.helpers.odd_networks import CLASSES, EXACT, FAST, SHAPE, Ghost, Net, Then, flat, linear

SAMPLES = 70  # more than one chunk, and a rest


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)


def task_of(samples: int = SAMPLES) -> Any:
    return toys.benchmark(CLASSES, train=samples, shape=SHAPE).tasks[1]


def by_autograd(net: Any, task: Any, dropout: bool = False, answer: Any = None) -> dict[int, Tensor]:
    """Squared gradients of each sample's loss, one sample after another, averaged; by identity."""
    answer, n = answer or net, len(task.train)
    found = {id(p): torch.zeros_like(p) for p in net.parameters()}
    trained = [p for p in dict.fromkeys(net.trainable(task.index)) if p.requires_grad]
    x, y = task.train.take(slice(None)), torch.tensor(task.train.y)
    with measuring(net, dropout):
        for i in range(n):
            loss = F.cross_entropy(answer(x[i : i + 1], task.index), y[i : i + 1])
            for p, g in zip(trained, torch.autograd.grad(loss, trained, allow_unused=True), strict=True):
                found[id(p)] += 0 if g is None else g.square() / n
    return found


class Counting:
    """The network, and how many samples each of its passes took."""

    def __init__(self, net: Any) -> None:
        self.net, self.passes = net, []

    def __call__(self, x: Tensor, task: int) -> Tensor:
        self.passes.append(len(x))
        logits: Tensor = self.net(x, task)
        return logits

    @property
    def fast(self) -> bool:
        return 1 not in self.passes and max(self.passes) > ROWS


def assert_right(net: Any, found: Any, wanted: dict[int, Tensor], tolerance: float = 1e-4) -> None:
    largest = max(float(w.max()) for w in wanted.values())
    for (name, p), f in zip(net.named_parameters(), found, strict=True):
        w = wanted[id(p)]
        error = float((f - w).abs().max())
        assert error <= tolerance * max(float(w.max()), 1e-6 * largest), (
            f"{name}: {error} of {float(w.max())}"
        )
    assert largest > 0


@pytest.mark.parametrize("name", [*FAST, *EXACT])
def test_it_equals_autograd_sample_by_sample(name: str) -> None:
    net = Net((FAST | EXACT)[name]())
    net.train(True)
    task, answer = task_of(), Counting(net)
    found = fisher(net, task, toys.fit(), forward=answer)
    assert answer.fast == (name in FAST)
    assert_right(net, found, by_autograd(net, task))


DROPPED: dict[str, tuple[bool, Callable[[], nn.Module]]] = {  # whether the fast road holds
    "dropout": (True, lambda: flat(linear(), nn.ReLU(), nn.Dropout(0.5), nn.Linear(16, 8))),
    "in-place dropout": (True, lambda: flat(linear(), nn.Dropout(0.5, inplace=True), nn.ReLU(True))),
    "dropout on channels": (True, lambda: nn.Sequential(nn.Conv2d(1, 4, 3), nn.Dropout2d(0.5), nn.Flatten())),
    "one draw for the batch": (True, lambda: flat(linear(), Then(lambda s, x: x * torch.randn(16)))),
    "noise on a weight": (
        False,
        lambda: Then(
            lambda s, x: F.linear(x.flatten(1), s.a.weight + 0.1 * torch.randn_like(s.a.weight)), a=linear()
        ),
    ),
    "with layer normalisation": (False, lambda: flat(linear(), nn.LayerNorm(16), nn.Dropout(0.5))),
    "batch mean while training": (False, lambda: flat(linear(), Ghost(only=True), nn.Dropout(0.5))),
    "batch mean without draws": (False, lambda: flat(linear(), Ghost(only=True))),
    "batch normalisation without parameters": (
        True,
        lambda: flat(linear(), nn.BatchNorm1d(16, affine=False), nn.Dropout(0.5)),
    ),
}


@pytest.mark.parametrize("name", DROPPED)
def test_with_dropout_it_equals_autograd_under_the_same_draws(name: str) -> None:
    fast, body = DROPPED[name]
    net, task = Net(body()), task_of()
    answer = Counting(net)
    torch.manual_seed(7)
    found = fisher(net, task, toys.fit(), dropout=True, forward=answer)
    drawn = torch.get_rng_state()
    assert answer.fast == fast
    torch.manual_seed(7)  # the draws of the road that is taken, and no others
    wanted = by_chunks(net, task) if fast else by_autograd(net, task, dropout=True)
    assert torch.equal(drawn, torch.get_rng_state())
    assert_right(net, found, wanted)


def by_chunks(net: Any, task: Any) -> dict[int, Tensor]:
    """Squared gradients of each sample's loss, dropout drawn for 64 samples at once."""
    trained = list(net.trainable(task.index))
    found = {id(p): torch.zeros_like(p) for p in net.parameters()}
    x, y = task.train.take(slice(None)), torch.tensor(task.train.y)
    with measuring(net, True):
        for rows in torch.arange(len(y)).split(64):
            for loss in F.cross_entropy(net(x[rows], task.index), y[rows], reduction="none"):
                for p, g in zip(trained, torch.autograd.grad(loss, trained, retain_graph=True), strict=True):
                    found[id(p)] += g.square() / len(y)
    return found


@pytest.mark.parametrize("dropout", [False, True])
@pytest.mark.parametrize("size", [1, 20])
def test_what_a_forward_pass_writes_is_as_it_was(size: int, dropout: bool) -> None:
    for layers in (
        (parametrizations.spectral_norm(linear()), nn.BatchNorm1d(16)),
        (linear(), nn.Unflatten(1, (4, 4)), nn.InstanceNorm1d(4, track_running_stats=True), nn.Flatten()),
    ):
        net = Net(flat(*layers))
        before = {name: value.clone() for name, value in net.state_dict().items()}
        modes = {name: module.training for name, module in net.named_modules()}
        generator = torch.get_rng_state()
        fisher(net, task_of(), toys.fit(), size, dropout=dropout)
        assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
        assert modes == {name: module.training for name, module in net.named_modules()}
        assert torch.equal(generator, torch.get_rng_state())
        assert all(p.grad is None for p in net.parameters())
        assert not any(module._forward_hooks for module in net.modules() if type(module) is nn.Linear)


@pytest.mark.parametrize("samples", [1, 2, 5, 8, 9, 64, 65])
def test_any_number_of_samples(samples: int) -> None:
    net, task = Net(FAST["in-place ReLU"]()), task_of(samples)
    assert_right(net, fisher(net, task, toys.fit()), by_autograd(net, task))


@pytest.mark.parametrize("body", ["in-place ReLU", "layer normalisation"])
def test_batches_of_twenty_are_autograd_s_whatever_the_network(body: str) -> None:
    net, task = Net((FAST | EXACT)[body]()), task_of()
    found = fisher(net, task, toys.fit(), 20)
    wanted = {id(p): torch.zeros_like(p) for p in net.parameters()}
    net.train(False)
    x, y = task.train.take(slice(None)), torch.tensor(task.train.y)
    for rows in torch.arange(SAMPLES).split(20):
        loss, trained = F.cross_entropy(net(x[rows], 1), y[rows]), net.trainable(1)
        for p, g in zip(trained, torch.autograd.grad(loss, trained), strict=True):
            wanted[id(p)] += 20 * g.square() / SAMPLES
    assert_right(net, found, wanted)


@pytest.mark.parametrize("scale", [1e-6, 1e-2, 30.0])
def test_how_well_the_samples_are_learnt_chooses_no_road(scale: float) -> None:
    net, task = Net(FAST["in-place ReLU"]()), task_of()
    with torch.no_grad():
        for p in net.parameters():
            p.mul_(scale)
    answer = Counting(net)
    fisher(net, task, toys.fit(), forward=answer)
    assert answer.fast


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize(
    "name", ["in-place ReLU on convolutions", "some of it frozen", "tied weights", "sequence"]
)
def test_in_double_precision_it_is_exact_to_many_digits(name: str) -> None:
    net, task = Net((FAST | EXACT)[name]()), task_of()
    assert_right(net, fisher(net, task, toys.fit()), by_autograd(net, task), 1e-11)


def test_a_head_tied_to_the_body_counts_once() -> None:
    net, task = Net(flat(linear(), nn.ReLU(), nn.Linear(16, 3))), task_of()
    net.heads = nn.ModuleList([nn.Linear(3, 16), nn.Linear(3, 16)])
    for head in net.heads:
        head.weight = nn.Parameter(net.body[1].weight[:, :3].detach().clone())  # type: ignore[union-attr, index]
    net.body[1].weight = nn.Parameter(torch.randn(16, 64) / 8)  # type: ignore[union-attr, index]
    net.heads[1].weight = net.heads[0].weight
    middle = nn.Linear(16, 3)
    middle.weight = nn.Parameter(net.heads[0].weight.detach().T.clone())
    net.body[3] = middle  # type: ignore[index, operator]
    net.heads[1] = Then(lambda s, h: h @ s.a.weight, a=middle)
    assert len(net.trainable(1)) == len(set(net.trainable(1)))  # an optimiser would step twice
    assert_right(net, fisher(net, task, toys.fit()), by_autograd(net, task))


def test_what_is_frozen_or_out_of_reach_has_none() -> None:
    net, task = Net(FAST["linear"]()), task_of()
    net.requires_grad_(False)
    assert not any(f.any() for f in fisher(net, task, toys.fit()))
    assert not any(f.any() for f in fisher(net, task, toys.fit(), 20))


def test_a_chunk_that_goes_another_way_sends_all_back_to_the_exact_road() -> None:
    calls = []

    def forks(s: Any, x: Tensor) -> Tensor:
        calls.append(len(x))
        h = s.a(x.flatten(1))
        return s.a(x.flatten(1)) + h if len(x) == 6 else 2 * h  # the same, but for the rest of the last chunk

    net, task = Net(Then(forks, a=linear())), task_of()
    found = fisher(net, task, toys.fit())
    assert 64 in calls and calls[-SAMPLES:] == [1] * SAMPLES
    assert_right(net, found, by_autograd(net, task))

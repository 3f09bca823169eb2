"""Drift: what each arm may and may not move, and figures of a stream by hand."""

from __future__ import annotations

import itertools

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from raycl.errors import UserError
from raycl.masks import count_kept
from raycl.probes.backbones import Network, mixture
from raycl.probes.drift import Coefficients, DriftReading, OwnMask, follow, summary
from raycl.tasks import Task
from tests.helpers import facts, toys
from tests.helpers.small import alike, backbone, effective, random_masks

ARMS = ("frozen", "warm", "uniform")


def network(seed: int = 0) -> Network:
    on = backbone()
    return mixture(on, effective(on.weights, random_masks(on.weights, 4, 0.5, seed)))


def stream(count: int) -> list[Task]:
    return list(toys.benchmark((3,) * count).tasks)


def start() -> Tensor:
    torch.manual_seed(3)
    return torch.rand(4, 3)


class Scripted:
    """Class 0 gets the first logit: its value says how many samples are right."""

    moves = True

    def __init__(self) -> None:
        self.log: list[str] = []
        self.count = 0

    def begin(self, step: int) -> None:
        self.log.append(f"begin {step}")
        self.count = 0

    def update(self, x: Tensor, y: Tensor) -> None:
        self.log.append(f"update {float(x.sum()):.4f} {int(y.sum())}")
        self.count += 1

    def logits(self, x: Tensor) -> Tensor:
        return F.one_hot(torch.arange(len(x)).lt(8 * self.count).long(), 2).flip(1).double()

    def movement(self) -> float | None:
        return 0.5


def test_a_stream_by_hand() -> None:
    # 24 test samples, labels all 0: after n updates 8 n of them are right
    x = torch.rand(24, 1, 2, 2)
    tasks = alike(toys.given([(x, torch.zeros(24))], (2,)), 2)
    found = list(follow({"arm": Scripted()}, tasks, 3, reference=[0.34, 0.9], readings=(0, 1, 3, 5), batch=4))
    assert [r.accuracies for r in found] == [{0: 0.0, 1: pytest.approx(1 / 3), 3: 1.0}] * 2
    assert [r.reached for r in found] == [1, 3]  # 1/3 is within a point of .34
    assert [(r.step, r.budget, r.accuracy, r.movement) for r in found] == [(0, 3, 1.0, 0.5), (1, 3, 1.0, 0.5)]
    assert [r.reached for r in follow({"arm": Scripted()}, tasks, 1)] == [None, None]


def test_all_arms_see_the_same_batches_and_more_budget_only_adds_to_them() -> None:
    logs = []
    for budget in (2, 4):
        first, second = Scripted(), Scripted()
        list(follow({"a": first, "b": second}, stream(2), budget, batch=8, seed=1))
        assert first.log == second.log
        logs.append(first.log)
    begin = logs[1].index("begin 1")
    assert logs[0][:3] == logs[1][:3] and logs[0][3:] == logs[1][begin : begin + 3]
    assert logs[0][1] != logs[0][2] and len(logs[1]) == 10


@pytest.mark.parametrize("kind", ARMS)
def test_where_coefficients_start_and_what_they_move(kind: str) -> None:
    arm = Coefficients(network(), start(), kind)  # type: ignore[arg-type]
    before = arm.alpha.detach().clone()
    found = list(follow({kind: arm}, stream(2), 0))  # no data: each arm stands where it starts
    wanted = torch.full((4, 3), 0.25) if kind == "uniform" else before
    assert torch.equal(arm.alpha.detach(), wanted)
    moved = float((wanted - before).norm())
    assert [r.movement for r in found] == [pytest.approx(moved), 0.0]
    list(follow({kind: arm}, stream(2), 3, batch=8))
    assert torch.equal(arm.alpha.detach(), wanted) is (kind == "frozen")


def test_warm_goes_on_where_uniform_starts_again() -> None:
    """One update of RMSprop from given coefficients, by the formula: 10 lr g / (|g| + 10 eps)."""
    net, tasks = network(), stream(2)
    arms = {kind: Coefficients(net, start(), kind) for kind in ("warm", "uniform")}  # type: ignore[arg-type]
    alphas: dict[str, list[Tensor]] = {"warm": [start()], "uniform": [start()]}
    movements: dict[str, list[float]] = {"warm": [], "uniform": []}
    for reading in follow(arms, tasks, 1, batch=1000):
        alphas[reading.arm].append(arms[reading.arm].alpha.detach().clone())
        assert reading.movement is not None
        movements[reading.arm].append(reading.movement)
    for step, task in enumerate(tasks):
        x, y = task.train.take(slice(None)), torch.tensor(task.train.y)
        for kind, path in alphas.items():
            at = path[step] if kind == "warm" else torch.full((4, 3), 0.25)
            at = at.clone().requires_grad_()
            (g,) = torch.autograd.grad(F.cross_entropy(net(at, x), y), at)
            wanted = at.detach() - 0.002 * g / (0.1 * g.abs() + 1e-8)
            torch.testing.assert_close(path[step + 1], wanted, rtol=1e-3, atol=1e-5)
    for kind, path in alphas.items():
        steps = [float((b - a).norm()) for a, b in itertools.pairwise(path)]
        assert movements[kind] == pytest.approx(steps)


def test_start_is_not_written() -> None:
    given = start()
    list(follow({"warm": Coefficients(network(), given, "warm")}, stream(1), 3, batch=8))
    assert torch.equal(given, start())


def test_masks_of_their_own_begin_afresh_at_each_step() -> None:
    on = backbone()
    before = facts.state(on.net)
    x, y = torch.randn(8, 1, 4, 4), torch.zeros(8, dtype=torch.long)
    arm, state = OwnMask(on, 0.3, lr=0.01), torch.get_rng_state()
    arm.begin(0)
    first = [scores.detach().clone() for scores in arm.scores]
    arm.update(x, y)
    assert not torch.equal(first[0], arm.scores[0])
    arm.begin(1)
    assert not torch.equal(first[0], arm.scores[0])  # a step has scores of its own,
    arm.begin(0)
    assert all(torch.equal(a, b) for a, b in zip(first, arm.scores, strict=True))  # the same each time
    assert torch.equal(state, torch.get_rng_state())
    facts.assert_same_state(before, facts.state(on.net))
    seen: list[int] = []
    on.net.register_forward_pre_hook(lambda *_: seen.append(int((on.net.body[0].layer.weight != 0).sum())))  # type: ignore[index,operator]
    arm.logits(x)
    assert seen == [count_kept(on.sizes[0], 0.3)] and arm.movement() is None


def test_every_arm_learns_a_stream_that_stands_still() -> None:
    on = backbone(width=0.2)
    net = mixture(on, effective(on.weights, random_masks(on.weights, 8, 0.5, 0)))
    tasks = alike(toys.benchmark((3,)), 3)
    uniform = torch.full((8, 3), 1 / 8)
    arms = {
        **{kind: Coefficients(net, uniform, kind, lr=0.01) for kind in ARMS},  # type: ignore[arg-type]
        "own mask": OwnMask(on, 0.5, lr=0.01),
    }
    found = list(follow(arms, tasks, 40, reference=[1.0] * 3, batch=16))
    frozen, warm, again, own = summary(found)
    assert frozen.accuracy is not None and frozen.movement == 0 and own.movement is None
    for line in (warm, again, own):
        assert line.accuracy is not None and line.accuracy > max(0.9, frozen.accuracy)
    by_step = {arm: [r for r in found if r.arm == arm] for arm in arms}
    assert all(list(r.accuracies) == [0] for r in by_step["frozen"])
    assert by_step["warm"][2].accuracies[0] == by_step["warm"][1].accuracy  # goes on where it stood
    assert by_step["uniform"][2].accuracies[0] == by_step["uniform"][1].accuracies[0]


def test_summary_by_hand() -> None:
    found = [
        DriftReading("a", 0, 5, {0: 0.2, 5: 0.6}, 5, 0.5),
        DriftReading("a", 1, 5, {0: 0.7, 5: 0.8}, None, 0.1),
        DriftReading("b", 0, 5, {0: 0.9}, 0, None),
    ]
    first, second = summary(found)
    assert (first.arm, first.steps, first.budget) == ("a", 2, 5)
    assert first.accuracy == pytest.approx(0.7) and first.movement == pytest.approx(0.3)
    assert (first.reached, first.batches) == (0.5, 5)
    assert (second.reached, second.batches, second.movement) == (1, 0, None)
    assert summary(found[1:2])[0].batches is None


def test_what_cannot_be() -> None:
    with pytest.raises(UserError, match="budget = -1"):
        list(follow({}, stream(1), -1))
    with pytest.raises(UserError, match="2 reference accuracies for 1 steps"):
        list(follow({}, stream(1), 1, reference=[0.5, 0.5]))

"""SI: strength 0 is finetuning, the path integral against the loss it explains, Omega by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from raycl.tasks import Batch, Update
from tests.helpers import facts, toys

Array = NDArray[np.float64]
PLAIN = "mlp(hidden=16, drop1=0.0, drop2=0.0)"


def watched(si: Any) -> list[Tensor]:
    """The list that takes, at each task's end, w of every weight in one vector."""
    consolidate, paths = si.consolidate, []

    def consolidating() -> None:
        paths.append(torch.cat([each.path.reshape(-1) for each in si.tracked]))
        consolidate()

    si.consolidate = consolidating
    return paths


class Quadratic:
    """The loss of an `SI` replaced by a sum over its weights of 1/2 a (theta - goal)^2; its way is recorded.

    Attributes:
        points: theta before the first step and after each, every weight in one vector.
        path: w of every weight at the end of the fit.
    """

    def __init__(self, si: Any, task: int, seed: int = 0) -> None:
        generator = torch.Generator().manual_seed(seed)
        self.weights = list(si.net.trainable(task))
        n = sum(p.numel() for p in self.weights)
        self.a = 0.2 + torch.rand(n, generator=generator)
        self.goal = torch.randn(n, generator=generator)
        self.points = [self.flat()]
        si.loss = lambda batch: self.losses(self.flat()).sum()
        step, self.paths = si.step, watched(si)

        def stepping(batch: Batch, update: Update) -> Tensor:
            loss: Tensor = step(batch, update)
            self.points.append(self.flat().detach())
            return loss

        si.step = stepping

    @property
    def path(self) -> Tensor:
        return self.paths[-1]

    def flat(self) -> Tensor:
        return torch.cat([p.reshape(-1) for p in self.weights])

    def losses(self, theta: Tensor) -> Tensor:
        """The loss, weight by weight."""
        return 0.5 * self.a * (theta - self.goal).square()

    def drops(self) -> Tensor:
        """By how much each weight lowered the loss."""
        return (self.losses(self.points[0]) - self.losses(self.points[-1])).detach()

    def excess(self) -> Tensor:
        """1/2 a sum of squared steps: what finite steps add to the path integral of a quadratic."""
        way = torch.stack([p.detach() for p in self.points])
        return 0.5 * self.a * way.diff(dim=0).square().sum(0)


@pytest.mark.parametrize("clip", [None, 0.05])
@pytest.mark.parametrize("network", ["mlp(hidden=32)", "resnet18(nf=2)"])
def test_strength_zero_is_finetuning_bit_for_bit(network: str, clip: float | None) -> None:
    on = toys.benchmark(shape=(1, 8, 8))
    settings = {"momentum": 0.9, "weight_decay": 1e-3, "clip": clip, "epochs": 3}
    si, plain = toys.method("si", on, network, c=0.0), toys.method("finetune", on, network)
    left = toys.learn(si, on, toys.fit(**settings))
    right = toys.learn(plain, on, toys.fit(**settings))
    facts.assert_same_state(facts.state(si.net), facts.state(plain.net))
    assert [r.test for r in left] == [r.test for r in right]


@pytest.mark.usefixtures("float64")
def test_descent_on_a_quadratic_in_closed_form() -> None:
    # theta - goal shrinks by q = 1 - lr a, so w = lr a^2 e^2 sum q^2k = drop / (1 - lr a / 2)
    on = toys.benchmark((2,))
    excess = []
    for lr, epochs in ((0.4, 5), (0.02, 100)):
        si: Any = toys.method("si", on, toys.chain(3))
        bowl = Quadratic(si, 0)
        toys.learn_one(si, on, toys.fit(lr=lr, epochs=epochs, batch=48, keep="last"), 0)
        assert len(bowl.points) == epochs + 1
        torch.testing.assert_close(bowl.path, bowl.drops() / (1 - lr * bowl.a / 2), rtol=1e-9, atol=1e-12)
        excess.append(float((bowl.path / bowl.drops() - 1).max()))
    assert 0.1 < excess[0] < 0.4 and 0 < excess[1] < 0.02  # in the limit w is the drop itself


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize(
    "settings",
    [
        {"momentum": 0.9, "lr": 0.02},
        {"momentum": 0.5, "nesterov": True, "weight_decay": 0.1},
        {"clip": 0.3},
        {"optimiser": "adam", "lr": 0.02},
        {"optimiser": "rmsprop", "lr": 0.01, "momentum": 0.5, "clip": 1.0},
    ],
    ids=["momentum", "nesterov", "clip", "adam", "rmsprop"],
)
def test_path_follows_the_real_steps_whatever_takes_them(settings: dict[str, Any]) -> None:
    # for a quadratic L, L(k) - L(k+1) = -(g(k) + g(k+1)) / 2 d(k) exactly, so w = drop + 1/2 a sum d^2
    on = toys.benchmark((2, 2))
    si: Any = toys.method("si", on, toys.chain(3), c=3.0)
    loop = toys.fit(keep="last", epochs=3, **settings)
    toys.learn_one(si, on, loop, 0)
    bowl = Quadratic(si, 1)  # the second task: the penalty moves the weights as well, g is the loss's alone
    toys.learn_one(si, on, loop, 1)
    assert len(bowl.points) == 10 and float(si.omega[0].max()) > 0
    torch.testing.assert_close(bowl.path, bowl.drops() + bowl.excess(), rtol=1e-9, atol=1e-12)
    assert float((bowl.excess() / bowl.path.abs()).max()) > 1e-3  # or the identity would hide a wrong step


@pytest.mark.usefixtures("float64")
def test_paths_add_up_to_the_drop_of_the_cross_entropy() -> None:
    on = toys.benchmark((3,))
    gaps, drops = [], []
    for lr, epochs in ((0.08, 40), (0.04, 80)):
        si: Any = toys.method("si", on, PLAIN)
        paths = watched(si)
        loop = toys.fit(lr=lr, epochs=epochs, batch=48, keep="last")
        start = loop.loss(si, 0, on.tasks[0].train)
        toys.learn_one(si, on, loop, 0)
        drops.append(start - loop.loss(si, 0, on.tasks[0].train))
        gaps.append(float(paths[0].sum()) - drops[-1])
    assert drops[0] > 0.1 and abs(gaps[0]) < 0.05 * drops[0]
    assert gaps[0] / gaps[1] == pytest.approx(2.0, rel=0.15)  # of first order in the step


def gradient_by_hand(theta: Array, x: Array, y: NDArray[np.int64]) -> Array:
    """Of the mean cross-entropy; theta = (w, b, v0, v1, c0, c1), logits v relu(w x + b) + c."""
    w, b, v, c = theta[0], theta[1], theta[2:4], theta[4:]
    total = np.zeros(6)
    for xn, yn in zip(x, y, strict=True):
        h = max(w * xn + b, 0.0)
        p = np.exp(v * h + c) / np.exp(v * h + c).sum()
        back = p - np.eye(2)[yn]
        into = (back @ v) * (w * xn + b > 0)
        total += np.array([into * xn, into, *(back * h), *back])
    return total / len(x)


@pytest.mark.usefixtures("float64")
def test_two_tasks_of_a_network_of_two_weights_by_hand() -> None:
    x, y = np.array([0.5, 2.0, -0.1]), [np.array([0, 1, 1]), np.array([1, 0, 1])]
    on = toys.given([(torch.tensor(x).reshape(3, 1, 1, 1), torch.tensor(labels)) for labels in y], (2, 2))
    lr, c, xi = 0.3, 0.7, 0.05
    si: Any = toys.method("si", on, toys.chain(1), c=c, xi=xi)
    heads = np.array([[0.3, -0.6, 0.2, 0.0], [-0.4, 0.5, 0.0, 0.1]])
    values = {"init:fc1.weight": 0.8, "init:fc1.bias": 0.1}
    for t in range(2):
        values |= {f"init:last.{t}.weight": heads[t, :2, None], f"init:last.{t}.bias": heads[t, 2:]}
    parameters = facts.named(si.net)
    facts.put(parameters, {k: torch.as_tensor(np.asarray(value)) for k, value in values.items()})
    for anchor, p in zip(si.anchor, si.net.parameters(), strict=True):
        anchor.copy_(p.detach())  # as if built so

    body, omega, signs = np.array([0.8, 0.1]), np.zeros(2), []
    for t in range(2):
        reference, theta, path = body.copy(), np.concatenate([body, heads[t]]), np.zeros(6)
        for _ in range(4):
            g = gradient_by_hand(theta, x, y[t])
            penalty = np.concatenate([2 * c * omega * (theta[:2] - reference), np.zeros(4)])
            change = -lr * (g + penalty)
            path -= g * change
            theta = theta + change
        body, heads[t] = theta[:2], theta[2:]
        omega = omega + np.maximum(0.0, path[:2] / ((body - reference) ** 2 + xi))
        signs.append(path[:2])
        toys.learn_one(si, on, toys.fit(lr=lr, epochs=4, batch=3, keep="last"), t)
        np.testing.assert_allclose(torch.cat([si.omega[0][0], si.omega[1]]).numpy(), omega, rtol=1e-9)
        np.testing.assert_allclose(parameters[f"last.{t}.weight"][:, 0].detach().numpy(), heads[t, :2])
        np.testing.assert_allclose(parameters["fc1.weight"].item(), body[0], rtol=1e-9)
    assert omega.min() > 0.01 and (np.abs(signs[1]) > 1e-4).all()


def test_importance_is_cut_off_below_zero_task_by_task() -> None:
    on = toys.benchmark()
    si: Any = toys.method("si", on, xi=0.1)
    paths = ((0.2, -1.0), (0.1, 0.3))  # of two weights, after tasks 1 and 2
    for task, values in enumerate(paths):

        def fitting(learner: Any, _: Any, values: tuple[float, float] = values) -> None:
            first = learner.tracked[0]
            with torch.no_grad():
                first.p[0, :2] += torch.tensor([0.5, -0.2])
                first.path[0, :2] = torch.tensor(values)

        si.learn(on.tasks[task], fitting)
        assert not si.tracked
    assert si.omega[0][0, :2].tolist() == pytest.approx([0.3 / (0.25 + 0.1), 0.3 / (0.04 + 0.1)], rel=1e-5)
    assert float(si.omega[0].sum()) == pytest.approx(float(si.omega[0][0, :2].sum()))


@pytest.mark.usefixtures("float64")
def test_gradient_of_the_penalty_is_autograd_s() -> None:
    on = toys.benchmark()
    si: Any = toys.method("si", on, c=2.0)
    toys.learn_one(si, on, toys.fit(epochs=1), 0)
    step, seen = si.step, []

    def stepping(batch: Batch, update: Update) -> Tensor:
        moving = [each for each in si.tracked if float(each.omega.sum())]
        penalty = 2.0 * sum((e.omega * (e.p - e.anchor) ** 2).sum() for e in moving)
        wanted = torch.autograd.grad(penalty, [each.p for each in moving])
        before = torch.get_rng_state()
        own = torch.autograd.grad(si.loss(batch), [each.p for each in moving])
        torch.set_rng_state(before)  # the same dropout once more

        def updating() -> None:
            for each, a, b in zip(moving, wanted, own, strict=True):
                torch.testing.assert_close(each.p.grad, a + b, rtol=1e-10, atol=1e-12)
            seen.append(float(penalty))
            update()

        loss: Tensor = step(batch, updating)
        return loss

    si.step = stepping
    toys.learn_one(si, on, toys.fit(epochs=2), 1)
    assert len(seen) == 6 and seen[0] == 0 and min(seen[1:]) > 0


def test_path_goes_back_with_the_best_weights() -> None:
    on = toys.benchmark(seed=3)
    settings = {"lr": 0.6, "momentum": 0.9}
    best: Any = toys.method("si", on)
    toys.learn_one(best, on, toys.fit(epochs=8, **settings), 0)
    stopped: list[Any] = []
    for epochs in range(1, 9):
        stopped.append(toys.method("si", on))
        toys.learn_one(stopped[-1], on, toys.fit(epochs=epochs, keep="last", **settings), 0)
    same = [s for s in stopped if facts.same_bits(s.net.body[0].layer.weight, best.net.body[0].layer.weight)]
    assert same and same[-1] is not stopped[-1]
    for at_best, there, at_end in zip(best.omega, same[-1].omega, stopped[-1].omega, strict=True):
        assert facts.same_bits(at_best, there)
        assert not float(at_best.abs().sum()) or not facts.same_bits(at_best, at_end)


def test_the_stronger_the_penalty_the_less_the_body_moves() -> None:
    on = toys.benchmark()
    moved = []
    for c in (0.0, 10.0, 100.0):
        si = toys.method("si", on, PLAIN, c=c)
        loop = toys.fit(epochs=10)
        toys.learn_one(si, on, loop, 0)
        before = facts.state(si.net.body)
        toys.learn_one(si, on, loop, 1)
        moved.append(sum(float((v - before[n]).square().sum()) for n, v in facts.state(si.net.body).items()))
    assert moved[0] > moved[1] > moved[2] and moved[2] < 0.8 * moved[0]


def test_two_numbers_per_weight_are_kept_however_many_tasks() -> None:
    on = toys.benchmark()
    si: Any = toys.method("si", on)
    n = sum(p.numel() for p in si.net.parameters())
    for report in toys.learn(si, on, toys.fit(epochs=1)):
        assert report.stored_bytes == 3 * 4 * n and report.parameters == n
    for anchor, p in zip(si.anchor, si.net.parameters(), strict=True):
        assert facts.same_bits(anchor, p.detach())


@pytest.mark.parametrize(("field", "value"), [("c", -1.0), ("xi", 0.0)])
def test_nonsense_is_refused(field: str, value: float) -> None:
    with pytest.raises(ValueError, match=f"{field} = {value}"):
        toys.method("si", toys.benchmark(), **{field: value})

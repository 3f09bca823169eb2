"""Task inference: slopes worked out by hand, and a cost that does not grow with the tasks."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from raycl.errors import UserError
from raycl.probes.backbones import mixture
from raycl.probes.drift import OwnMask, follow
from raycl.probes.task_inference import (
    Candidates,
    Found,
    Rate,
    binary,
    classified,
    entropy,
    gradient,
    infer_tasks,
    mask_sizes,
    normalised,
    one_hot,
    one_shot,
    trials,
    wilson,
)
from raycl.supermasks.edge_popup import mask_of
from tests.helpers import toys
from tests.helpers.small import backbone, effective, random_masks


def sure_of(*confidence: float) -> Candidates:
    """One task per mask; the logit of class 0 grows with the mixed confidence, that of class 1 is zero."""
    scale = torch.tensor(confidence).unsqueeze(1)

    def network(coefficients: Tensor, x: Tensor) -> Tensor:
        logit = (coefficients * scale).sum() * x[:, 0]
        return torch.stack([logit, torch.zeros_like(logit)], 1)

    return Candidates(network, one_hot(len(confidence), 1))


def small(tasks: int, seed: int = 0) -> tuple[Candidates, Tensor]:
    """Tasks with coefficients of their own on four random masks of a LeNet, and a batch."""
    on = backbone()
    masks = random_masks(on.weights, 4, 0.5, seed)
    torch.manual_seed(seed + 1)
    coefficients = torch.randn(tasks, 4, 3)
    return Candidates(mixture(on, effective(on.weights, masks)), coefficients), torch.randn(8, 1, 4, 4)


def test_entropy_by_hand() -> None:
    assert float(entropy(torch.zeros(3, 4))) == pytest.approx(math.log(4))
    assert float(entropy(torch.tensor([[1000.0, 0.0]]))) == 0  # certain, and not a number only if done badly
    logits = torch.tensor([[math.log(3.0), 0.0], [0.0, 0.0]])  # p = (3/4, 1/4) and (1/2, 1/2)
    wanted = (-(0.75 * math.log(0.75) + 0.25 * math.log(0.25)) + math.log(2)) / 2
    assert float(entropy(logits)) == pytest.approx(wanted)


def test_slope_by_hand() -> None:
    # two answers: dH/dlogit = -logit p (1 - p); the slope of task u is that times its confidence
    candidates, x = sure_of(1.0, 3.0), torch.ones(1, 1)
    p = 1 / (1 + math.exp(-2.0))  # equal shares: logit (1 + 3) / 2
    slope = candidates.slope(candidates.uniform(), x)
    assert slope.tolist() == pytest.approx([-2 * p * (1 - p) * c for c in (1.0, 3.0)])
    only_first = candidates.slope(candidates.uniform([0]), x)
    p = 1 / (1 + math.exp(-1.0))
    assert only_first.tolist() == pytest.approx([-1 * p * (1 - p) * c for c in (1.0, 3.0)])


@pytest.mark.usefixtures("float64")
def test_slope_is_the_gradient_through_every_task_mask() -> None:
    candidates, x = small(5)
    b = torch.rand(5, requires_grad=True)
    mixed = (b[:, None, None] * candidates.coefficients).sum(0)
    (wanted,) = torch.autograd.grad(entropy(candidates.network(mixed, x)), b)
    torch.testing.assert_close(candidates.slope(b.detach(), x), wanted, rtol=1e-10, atol=1e-12)
    with torch.no_grad():  # also where the caller has gradients switched off
        torch.testing.assert_close(candidates.slope(b.detach(), x), wanted, rtol=1e-10, atol=1e-12)


class Large(TorchDispatchMode):
    """Counts tensors that come into being with at least so many entries."""

    def __init__(self, entries: int) -> None:
        super().__init__()
        self.entries, self.born = entries, 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
        out = func(*args, **(kwargs or {}))
        found = out if isinstance(out, tuple | list) else [out]
        self.born += sum(isinstance(t, Tensor) and t.numel() >= self.entries for t in found)
        return out


@pytest.mark.parametrize("algorithm", ["one_shot", "gradient"])
def test_cost_does_not_grow_with_the_tasks(algorithm: str) -> None:
    on = backbone(shape=(1, 12, 12), width=0.2)  # 8640 weights in the first layer
    masks = random_masks(on.weights, 4, 0.5, seed=0)
    mixed, passes = mixture(on, effective(on.weights, masks)), []
    x = torch.randn(2, 1, 12, 12)

    def network(coefficients: Tensor, x: Tensor) -> Tensor:
        assert coefficients.shape == (4, 3)
        passes.append(1)
        return mixed(coefficients, x)

    costs = []
    for tasks in (2, 250):
        torch.manual_seed(0)
        candidates = Candidates(network, torch.rand(tasks, 4, 3))
        assert candidates.coefficients.numel() < on.sizes[0]
        passes.clear()
        with Large(on.sizes[0]) as large:
            if algorithm == "one_shot":
                one_shot(candidates, x)
            else:
                gradient(candidates, [x], steps=3, stop=1.0)
        costs.append((len(passes), large.born))
    assert costs[0] == costs[1]
    assert costs[0][0] == (1 if algorithm == "one_shot" else 3) and costs[0][1] > 0


@pytest.mark.parametrize(
    ("tasks", "base", "rounds"), [(250, 2.0, 8), (256, 2.0, 8), (250, 4.0, 4), (2, 2.0, 1), (1, 2.0, 0)]
)
def test_binary_search_takes_logarithmically_many_passes(tasks: int, base: float, rounds: int) -> None:
    candidates, x = small(tasks)
    passes = []

    def network(coefficients: Tensor, x: Tensor) -> Tensor:
        passes.append(1)
        return candidates.network(coefficients, x)

    found = binary(Candidates(network, candidates.coefficients), x, base)
    assert len(passes) == rounds and len(found.guesses) == max(1, rounds)


def test_the_most_confident_task_is_found_by_all() -> None:
    candidates, x = sure_of(0.1, 0.5, 2.0, 1.0, 0.3), torch.ones(4, 1)
    assert one_shot(candidates, x).task == binary(candidates, x).task == 2
    assert binary(candidates, x, base=3).task == gradient(candidates, [x]).task == 2


def test_binary_search_drops_those_above_the_median() -> None:
    """Mixed anew, the tasks left may change places: a search that took the first order would be wrong."""

    def network(coefficients: Tensor, x: Tensor) -> Tensor:
        a, b, c, d = coefficients.flatten()
        logit = a + 1.5 * b - 0.5 * c - d + 8 * torch.relu(a - 0.4)  # the fourth term: once two are left
        return torch.stack([logit, torch.zeros(())])[None]

    candidates, x = Candidates(network, one_hot(4, 1)), torch.ones(1, 1)
    assert one_shot(candidates, x).task == 1
    found = binary(candidates, x)
    assert found.guesses == (1, 0) and found.task == 0


def test_ties_keep_the_first() -> None:
    candidates, x = sure_of(1.0, 1.0, 1.0), torch.ones(1, 1)
    assert binary(candidates, x).task == one_shot(candidates, x).task == 0


def test_the_first_step_is_the_one_shot_answer() -> None:
    for seed in range(5):
        candidates, x = small(20, seed)
        assert gradient(candidates, [x]).guesses[0] == one_shot(candidates, x).task
        assert binary(candidates, x).guesses[0] == one_shot(candidates, x).task


def test_gradient_steps_by_hand() -> None:
    candidates, x = sure_of(1.0, 3.0), torch.ones(1, 1)
    b = torch.tensor([0.5, 0.5])
    guesses = []
    for _ in range(3):
        logit = float((b * torch.tensor([1.0, 3.0])).sum())
        p = 1 / (1 + math.exp(-logit))
        b = b - 0.5 * (-logit * p * (1 - p)) * torch.tensor([1.0, 3.0])
        guesses.append(int(b.argmax()))
    share = float((b / 0.5).softmax(0).max())
    settled = gradient(candidates, [x], eta=0.5, temperature=0.5, stop=share - 1e-4, steps=9)
    assert len(settled.guesses) == 3 and list(settled.guesses) == guesses
    assert len(gradient(candidates, [x], eta=0.5, temperature=0.5, stop=1.0, steps=9).guesses) == 9
    assert settled.after(1) == guesses[0] and settled.after(10) == settled.task == guesses[-1]


def test_gradient_walks_the_batches_one_after_another() -> None:
    seen: list[float] = []

    def network(coefficients: Tensor, x: Tensor) -> Tensor:
        seen.append(float(x[0, 0]))
        return coefficients.sum() * x

    batches = [torch.full((5, 2), float(i)) for i in range(3)]
    gradient(Candidates(network, one_hot(2, 1)), batches, steps=5, stop=1.0)
    assert seen == [0, 1, 2, 0, 1]


def test_start_of_the_gradient_search() -> None:
    shares: list[list[float]] = []

    def network(coefficients: Tensor, x: Tensor) -> Tensor:
        shares.append(coefficients.flatten().tolist())
        return coefficients.sum() * x

    candidates = Candidates(network, one_hot(4, 1))
    gradient(candidates, [torch.ones(1, 2)], steps=1)
    gradient(candidates, [torch.ones(1, 2)], steps=1, start=1.0)
    assert shares == [[0.25] * 4, [1.0] * 4]


def test_samples_of_the_objective() -> None:
    sizes: list[int] = []

    def network(coefficients: Tensor, x: Tensor) -> Tensor:
        sizes.append(len(x))
        return coefficients.sum() * x

    for samples in (1, 3, None):
        one_shot(Candidates(network, one_hot(2, 1), samples), torch.ones(5, 2))
    assert sizes == [1, 3, 5]


def test_one_hot_tasks_are_the_masks() -> None:
    assert one_hot(2, 3).tolist() == [[[1.0] * 3, [0.0] * 3], [[0.0] * 3, [1.0] * 3]]
    candidates = Candidates(lambda c, x: x, one_hot(3, 2))
    assert candidates.uniform([0, 2]).tolist() == [0.5, 0.0, 0.5]


def test_normalised_by_hand() -> None:
    tasks = torch.tensor([[[1.0, 0.0], [-3.0, 0.0]], [[0.5, 2.0], [0.5, 2.0]]])
    assert normalised(tasks).tolist() == [[[0.25, 0.0], [-0.75, 0.0]], [[0.5, 0.5], [0.5, 0.5]]]
    assert torch.equal(normalised(one_hot(4, 3)), one_hot(4, 3))
    masks = [torch.tensor([[1.0, 1.0, 0.0], [0.0, 1.0, 1.0]]), torch.tensor([[1.0, 0.0], [0.0, 1.0]])]
    mixed = effective([torch.ones(3), torch.ones(2)], masks)
    sizes = mask_sizes(tasks, mixed)
    # real masks (1, -2, -3) and (.5, 1, .5) in units of 2; (0, 0) and (2, 2) in units of 1
    assert sizes.tolist() == [[3.0, 0.0], [1.0, 4.0]]
    again = normalised(tasks, sizes)
    torch.testing.assert_close(mask_sizes(again, mixed), torch.tensor([[1.0, 0.0], [1.0, 1.0]]))


def test_sizes_are_the_coefficients_where_nothing_cancels() -> None:
    torch.manual_seed(0)
    masks = [torch.stack([torch.randperm(50) < 20 for _ in range(4)]).float() for _ in range(2)]
    mixed, tasks = effective([torch.ones(50)] * 2, masks), torch.rand(6, 4, 2)
    torch.testing.assert_close(mask_sizes(tasks, mixed), tasks.sum(1))
    assert bool((mask_sizes(tasks - 0.5, mixed) <= (tasks - 0.5).abs().sum(1) + 1e-6).all())


def test_accuracy_of_the_answer() -> None:
    logits = [torch.eye(3), torch.eye(3).flip(0)]  # task 0's answers are 0, 1, 2; task 1's 2, 1, 0
    y = torch.tensor([0, 1, 2])
    assert classified(Found((1, 0)), logits.__getitem__, y, task=0) == 1
    assert classified(Found((0, 1)), logits.__getitem__, y, task=0) == pytest.approx(1 / 3)
    assert classified(Found((0, 1)), logits.__getitem__, y, task=0, disjoint=True) == 0


def test_rates_by_hand() -> None:
    answers = {0: Found((0,)), 1: Found((0, 1)), 2: Found((0, 0, 2)), 3: Found((3, 1))}

    def infer(batches: Sequence[Tensor]) -> Found:
        return answers[int(batches[0])]

    asked = [(task, [torch.tensor(task)]) for task in range(4)]
    rates = infer_tasks(infer, asked, steps=(1, 2, 3, 10))
    assert [(r.steps, r.hits, r.n) for r in rates] == [(1, 2, 4), (2, 2, 4), (3, 3, 4), (10, 3, 4)]
    assert rates[2].rate == 0.75 and rates[2].interval == wilson(3, 4)
    assert isinstance(rates[0], Rate)
    with pytest.raises(UserError, match="at least one trial"):
        infer_tasks(infer, [])


def test_wilson() -> None:
    # z^2 = 3.8415: for 1 of 2 the middle is 1/2 and the half width z sqrt(1/8 + z^2/16) / (1 + z^2/2)
    z = 1.959964
    half = z / (1 + z * z / 2) * math.sqrt(1 / 8 + z * z / 16)
    assert wilson(1, 2) == pytest.approx((0.5 - half, 0.5 + half))
    assert wilson(0, 10) == pytest.approx((0.0, 0.2775), abs=1e-4)
    assert wilson(10, 10) == pytest.approx((0.7225, 1.0), abs=1e-4)
    assert wilson(0, 0) == (0, 1)
    for hits in range(11):  # the ends are where the score test is exactly at z
        for end in wilson(hits, 10):
            assert (hits / 10 - end) ** 2 == pytest.approx(z * z * end * (1 - end) / 10)


def test_trials_are_named_by_seed_task_and_repeat() -> None:
    splits = [task.test for task in toys.benchmark().tasks]
    first, again, other = (list(trials(splits, size=4, batches=3, repeats=2, seed=s)) for s in (0, 0, 1))
    assert [task for task, _ in first] == [0, 0, 1, 1, 2, 2]
    assert all(len(batches) == 3 and batches[0].shape == (4, 1, 4, 4) for _, batches in first)
    for (_, a), (_, b), (_, c) in zip(first, again, other, strict=True):
        assert torch.equal(torch.cat(a), torch.cat(b)) and not torch.equal(torch.cat(a), torch.cat(c))
    assert not torch.equal(first[0][1][0], first[1][1][0])


def test_trained_masks_are_found_far_above_chance() -> None:
    on, tasks = backbone(width=0.4), toys.benchmark((3,) * 6, train=96, test=64).tasks
    learnt = []
    for task in tasks:
        arm = OwnMask(on, 0.3, lr=0.01)
        list(follow({"own": arm}, [task], 60, batch=16, readings=()))
        learnt.append([mask_of(scores.detach(), 0.3) for scores in arm.scores])
    masks = [torch.stack(layer) for layer in zip(*learnt, strict=True)]
    candidates = Candidates(mixture(on, effective(on.weights, masks)), one_hot(6, 3))
    asked = list(trials([task.test for task in tasks], size=16, repeats=5))
    searches: dict[str, Callable[[Sequence[Tensor]], Found]] = {
        "one shot": lambda batches: one_shot(candidates, batches[0]),
        "binary": lambda batches: binary(candidates, batches[0]),
        "gradient": lambda batches: gradient(candidates, batches),
    }
    for name, infer in searches.items():
        assert infer_tasks(infer, asked)[-1].interval[0] > 2 / 6, name


def test_what_cannot_be() -> None:
    candidates, x = sure_of(1.0, 2.0), torch.ones(1, 1)
    with pytest.raises(UserError, match=r"base = 1.5"):
        binary(candidates, x, base=1.5)
    with pytest.raises(UserError, match="0 batches and 10 steps"):
        gradient(candidates, [])
    with pytest.raises(UserError, match=r"shape \(3, 2\) should have the shape \[tasks"):
        Candidates(candidates.network, torch.zeros(3, 2))

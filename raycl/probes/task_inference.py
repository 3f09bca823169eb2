"""Which task is this batch of? Found among U learnt tasks by the entropy of the mixed network's answers.

SupSup (Wortsman et al., NeurIPS 2020, arXiv 2006.14769) section 3.3 mixes one binary mask per task;
ImpressLearn mixes the tasks' linear combinations of K basis masks. Everything is linear in the masks, so only
the [K, d] matrix c[t, i] = sum_u b_u A[u, t, i] goes through the network, and U costs one small product.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from raycl import streams
from raycl.errors import UserError
from raycl.probes.backbones import Effective, Network, rows_drawn
from raycl.tasks import Split

STEPS = (1, 2, 3, 5, 10)  # at which the curve of the paper's "epochs" is read


@dataclass(frozen=True)
class Found:
    """An answer.

    Attributes:
        task: the last guess.
        guesses: the guess after each step; a search that is sure stops early.
    """

    guesses: tuple[int, ...]

    @property
    def task(self) -> int:
        return self.guesses[-1]

    def after(self, steps: int) -> int:
        """The guess after so many steps, or the last one where the search had stopped."""
        return self.guesses[min(steps, len(self.guesses)) - 1]


@dataclass(frozen=True)
class Candidates:
    """The tasks that come into question.

    Attributes:
        network: mixes the K masks; it decides about batch statistics, see `backbones.mixture`.
        coefficients: A [U, K, d], of each learnt task; see `one_hot` for binary masks of their own.
        samples: of each batch, only so many enter the objective (SupSup's code: 1 for PermutedMNIST, 128
            for RotatedMNIST); None for all.

    Raises:
        UserError: `coefficients` are not [U, K, d], or there is no task among them.
    """

    network: Network
    coefficients: Tensor
    samples: int | None = None

    def __post_init__(self) -> None:
        if self.coefficients.dim() != 3 or not len(self.coefficients):
            shape = tuple(self.coefficients.shape)
            raise UserError(f"coefficients of shape {shape} name no tasks: give [tasks, masks, layers]")

    def __len__(self) -> int:
        return len(self.coefficients)

    def uniform(self, among: Sequence[int] | None = None) -> Tensor:
        """b [U], equal shares of the tasks `among`, or of all."""
        b = self.coefficients.new_zeros(len(self))
        rows = range(len(self)) if among is None else among
        b[list(rows)] = 1 / len(rows)
        return b

    def slope(self, b: Tensor, x: Tensor) -> Tensor:
        """dH/db [U] at b: one forward and one backward pass of the network, however many tasks."""
        flat = self.coefficients.detach().flatten(1)
        mixed = (b @ flat).view(self.coefficients.shape[1:]).requires_grad_()
        with torch.enable_grad():
            objective = entropy(self.network(mixed, x[: self.samples]))
        (gradient,) = torch.autograd.grad(objective, mixed)
        return flat @ gradient.flatten()


def entropy(logits: Tensor) -> Tensor:
    """H = mean over the batch of -sum_c p_c log p_c, in nats."""
    log_p = logits.log_softmax(1)
    return -(log_p.exp() * log_p).sum(1).mean()


def one_hot(masks: int, layers: int) -> Tensor:
    """A [K, K, d] of K tasks each of which has a mask of the bank to itself: SupSup."""
    return torch.eye(masks).unsqueeze(2).repeat(1, 1, layers)


def normalised(coefficients: Tensor, sizes: Tensor | None = None) -> Tensor:
    """A [U, K, d] with every task's real mask R_i^u = sum_t A[u, t, i] M_i^t at L1 norm one in each layer.

    Args:
        sizes: [U, d], the norms in units of one binary mask: `mask_sizes`. Without it sum_t |A[u, t, i]| is
            taken, which is the same where no coefficient is negative and all masks have as many ones.
    """
    sizes = coefficients.abs().sum(1) if sizes is None else sizes
    return coefficients / torch.where(sizes > 0, sizes, 1).unsqueeze(1)


def mask_sizes(coefficients: Tensor, mixed: Effective) -> Tensor:
    """||R_i^u||_1 [U, d] over the mean norm of the layer's own K masks.

    Args:
        mixed: mixes the masks themselves: a basis whose weights are all one. Called U + K times.
    """

    def norms(tasks: Tensor) -> Tensor:
        with torch.no_grad():
            return torch.stack([torch.stack([r.abs().sum() for r in mixed(task)]) for task in tasks])

    masks, layers = coefficients.shape[1:]
    return norms(coefficients) / norms(one_hot(masks, layers).to(coefficients)).mean(0)


def one_shot(candidates: Candidates, x: Tensor) -> Found:
    """The task whose share would lower the entropy most: argmin of the slope at equal shares."""
    return Found((int(candidates.slope(candidates.uniform(), x).argmin()),))


def binary(candidates: Candidates, x: Tensor, base: float = 2.0) -> Found:
    """Keep the 1/`base` of the tasks with the lowest slopes, rounded up, until one is left.

    With base 2 those above the (lower) median are dropped; log2 of U rounds at most, all on the same batch.

    Raises:
        UserError: `base` is below 2, with which two tasks would never become one.
    """
    if base < 2:
        raise UserError(f"base = {base} of the binary search must be at least 2")
    left = torch.arange(len(candidates))
    guesses = []
    while len(left) > 1:
        slopes = candidates.slope(candidates.uniform(left.tolist()), x).cpu()[left]
        order = slopes.argsort(stable=True)
        guesses.append(int(left[order[0]]))
        left = left[order[: math.ceil(len(left) / base)]].sort().values
    return Found(tuple(guesses) or (int(left),))


def gradient(
    candidates: Candidates,
    batches: Sequence[Tensor],
    *,
    eta: float = 200.0,
    temperature: float = 1.0,
    stop: float = 0.99,
    steps: int = max(STEPS),
    start: float | None = None,
) -> Found:
    """b <- b - eta dH/db on one batch after another, until max softmax(b / temperature) > `stop`.

    The first guess is that of `one_shot`, if all start alike.

    Args:
        batches: unlabelled inputs of one task; walked again where there are fewer than steps.
        steps: at most so many.
        start: of every b_u; 1/U by default. SupSup's text starts from ones.

    Raises:
        UserError: there is no batch, or no step to take.
    """
    if not batches or steps < 1:
        raise UserError(f"{len(batches)} batches and {steps} steps infer no task: give at least one of each")
    b = candidates.uniform() if start is None else torch.full_like(candidates.uniform(), start)
    guesses: list[int] = []
    for step in range(steps):
        b = b - eta * candidates.slope(b, batches[step % len(batches)])
        guesses.append(int(b.argmax()))
        if float((b / temperature).softmax(0).max()) > stop:
            break
    return Found(tuple(guesses))


def classified(
    found: Found, answer: Callable[[int], Tensor], y: Tensor, task: int, *, disjoint: bool = False
) -> float:
    """Accuracy on a batch of `task` when it is answered as the task that was found (fraction).

    Args:
        answer: ``answer(task)`` gives the batch's logits [n, classes] under that task's own mask.
        disjoint: label spaces differ from task to task, so a wrong task is wrong for every sample, as
            SupSup's code counts it.
    """
    if disjoint and found.task != task:
        return 0.0
    with torch.no_grad():
        return float((answer(found.task).argmax(1) == y).double().mean())


@dataclass(frozen=True)
class Rate:
    """Share of trials whose task was found after `steps` steps, with its 95 % Wilson interval."""

    steps: int
    hits: int
    n: int

    @property
    def rate(self) -> float:
        return self.hits / self.n

    @property
    def interval(self) -> tuple[float, float]:
        return wilson(self.hits, self.n)


def trials(
    splits: Sequence[Split],
    *,
    size: int = 128,
    batches: int = max(STEPS),
    repeats: int = 1,
    seed: int = 0,
    device: torch.device | str = "cpu",
) -> Iterator[tuple[int, list[Tensor]]]:
    """(task, batches of its inputs), `repeats` times for each split, every time in an order of its own."""
    for task, split in enumerate(splits):
        for repeat in range(repeats):
            rng = streams.numpy_generator(seed, "order", task, fit="task inference", epoch=repeat)
            yield task, [split.take(rows, device) for rows in rows_drawn(len(split), size, batches, rng)]


def infer_tasks(
    infer: Callable[[Sequence[Tensor]], Found],
    asked: Iterable[tuple[int, Sequence[Tensor]]],
    steps: Sequence[int] = STEPS,
) -> list[Rate]:
    """How often the right task is found, by the number of steps.

    Args:
        infer: from batches of one task; ``lambda batches: one_shot(candidates, batches[0])``.
        asked: (task, batches), see `trials`.

    Raises:
        UserError: nothing was asked.
    """
    answers = [(task, infer(batches)) for task, batches in asked]
    if not answers:
        raise UserError("a rate of task inference over no batches is undefined: give at least one trial")
    return [Rate(k, sum(found.after(k) == task for task, found in answers), len(answers)) for k in steps]


def wilson(hits: int, n: int) -> tuple[float, float]:
    """Wilson's 95 % score interval of a share; (0, 1) where n = 0."""
    if n == 0:
        return 0.0, 1.0
    from scipy import stats  # here, because it takes a second to load

    found = stats.binomtest(hits, n).proportion_ci(0.95, method="wilson")
    return float(found.low), float(found.high)

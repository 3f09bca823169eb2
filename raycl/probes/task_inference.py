"""Task inference: finding the task of a batch among U learnt tasks, by the entropy under mixtures of masks.

SupSup (Wortsman et al., NeurIPS 2020, arXiv 2006.14769, section 3.3) mixes one binary mask per task;
ImpressLearn mixes the tasks' linear combinations of K basis masks. Since everything is linear in the masks,
the network only needs the [K, d] matrix c[t, i] = sum_u b_u A[u, t, i], and the number of tasks U only
affects the cost of one small product.
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

STEPS = (1, 2, 3, 5, 10)  # numbers of steps after which success is measured; the paper calls them epochs


@dataclass(frozen=True)
class Found:
    """Result of task inference.

    Attributes:
        guesses: The inferred task after each step; a search that is certain stops early.
        task: The last guess.
    """

    guesses: tuple[int, ...]

    @property
    def task(self) -> int:
        return self.guesses[-1]

    def after(self, steps: int) -> int:
        """Return the guess after a number of steps, or the last one if the search had stopped before."""
        return self.guesses[min(steps, len(self.guesses)) - 1]


@dataclass(frozen=True)
class Candidates:
    """Tasks among which the task of a batch is searched.

    Attributes:
        network: Function that mixes the K masks and decides about batch statistics; see `backbones.mixture`.
        coefficients: Coefficients A [U, K, d] of the learnt tasks; see `one_hot` for one mask per task.
        samples: Number of samples of each batch that enter the objective (in SupSup's code 1 for
            PermutedMNIST and 128 for RotatedMNIST); None for all.

    Raises:
        UserError: `coefficients` do not have the shape [U, K, d], or there are no tasks.
    """

    network: Network
    coefficients: Tensor
    samples: int | None = None

    def __post_init__(self) -> None:
        if self.coefficients.dim() != 3 or not len(self.coefficients):
            shape = tuple(self.coefficients.shape)
            raise UserError(f"coefficients of shape {shape} should have the shape [tasks, masks, layers]")

    def __len__(self) -> int:
        return len(self.coefficients)

    def uniform(self, among: Sequence[int] | None = None) -> Tensor:
        """Return b [U] with equal shares of the tasks `among`, or of all tasks."""
        b = self.coefficients.new_zeros(len(self))
        rows = range(len(self)) if among is None else among
        return b.index_fill_(0, torch.tensor(list(rows), device=b.device), 1 / len(rows))

    def slope(self, b: Tensor, x: Tensor) -> Tensor:
        """Return dH/db [U] at b, by one forward and one backward pass, whatever the number of tasks."""
        flat = self.coefficients.detach().flatten(1)
        mixed = (b @ flat).view(self.coefficients.shape[1:]).requires_grad_()
        with torch.enable_grad():
            objective = entropy(self.network(mixed, x[: self.samples]))
        (gradient,) = torch.autograd.grad(objective, mixed)
        return flat @ gradient.flatten()


def entropy(logits: Tensor) -> Tensor:
    """Return the entropy H, the mean over the batch of -sum_c p_c log p_c, in nats."""
    log_p = logits.log_softmax(1)
    return -(log_p.exp() * log_p).sum(1).mean()


def one_hot(masks: int, layers: int) -> Tensor:
    """Return the coefficients A [K, K, d] of K tasks each of which has its own mask, as in SupSup."""
    return torch.eye(masks).unsqueeze(2).repeat(1, 1, layers)


def normalised(coefficients: Tensor, sizes: Tensor | None = None) -> Tensor:
    """Scale A [U, K, d] so that each task's combined mask R_i^u = sum_t A[u, t, i] M_i^t has L1 norm 1.

    Args:
        coefficients: Coefficients A [U, K, d].
        sizes: Norms [U, d] in units of the norm of one binary mask, from `mask_sizes`. By default they are
            sum_t |A[u, t, i]|, which is the same if no coefficient is negative and all masks have equally
            many ones.
    """
    sizes = coefficients.abs().sum(1) if sizes is None else sizes
    return coefficients / torch.where(sizes > 0, sizes, 1).unsqueeze(1)


def mask_sizes(coefficients: Tensor, mixed: Effective) -> Tensor:
    """Return the norms ||R_i^u||_1 [U, d] of combined masks, relative to the mean norm of the K masks.

    Args:
        coefficients: Coefficients A [U, K, d].
        mixed: Function that mixes the masks themselves, such as that of a basis whose weights are all 1. It
            is called U + K times.
    """

    def norms(tasks: Tensor) -> Tensor:
        with torch.no_grad():
            return torch.stack([torch.stack([r.abs().sum() for r in mixed(task)]) for task in tasks])

    masks, layers = coefficients.shape[1:]
    return norms(coefficients) / norms(one_hot(masks, layers).to(coefficients)).mean(0)


def one_shot(candidates: Candidates, x: Tensor) -> Found:
    """Infer the task whose share lowers the entropy most: the argmin of the slope at equal shares."""
    return Found((int(candidates.slope(candidates.uniform(), x).argmin()),))


def binary(candidates: Candidates, x: Tensor, base: float = 2.0) -> Found:
    """Infer the task by keeping the 1/`base` of the tasks with the lowest slopes, until one is left.

    The number of tasks that are kept is rounded up. With base 2, the tasks above the (lower) median are
    dropped. All rounds use the same batch, and there are about log2(U) of them.

    Raises:
        UserError: `base` is below 2, with which the search might never end.
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
    """Infer the task by gradient descent, b <- b - eta dH/db, on one batch after another.

    The search stops when max softmax(b / temperature) > `stop`. With the default `start`, the first guess is
    that of `one_shot`, since all b_u start from the same value.

    Args:
        candidates: The tasks to choose from.
        batches: Unlabelled inputs of one task; they are used again if there are fewer than `steps`.
        eta: Step size.
        temperature: Temperature of the softmax that decides when to stop.
        stop: Probability above which the search stops.
        steps: Largest number of steps.
        start: Initial value of every b_u; 1/U by default. The SupSup paper starts from 1.

    Raises:
        UserError: There are no batches, or `steps` is below 1.
    """
    if not batches or steps < 1:
        raise UserError(f"{len(batches)} batches and {steps} steps are too few: give at least one of each")
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
    """Return the accuracy, as a fraction, on a batch of `task` that is classified as the task that was found.

    Args:
        found: Result of task inference.
        answer: Function from a task to the batch's logits [n, classes] under that task's own mask.
        y: Labels [n].
        task: True task of the batch.
        disjoint: Whether the tasks have different label spaces, so that with a wrong task every sample is
            wrong, as SupSup's code counts it.
    """
    if disjoint and found.task != task:
        return 0.0
    with torch.no_grad():
        return float((answer(found.task).argmax(1) == y).double().mean())


@dataclass(frozen=True)
class Rate:
    """Rate of success of task inference after `steps` steps.

    Attributes:
        steps: Number of steps.
        hits: Number of trials whose task was found.
        n: Number of trials.
        rate: Share of trials whose task was found.
        interval: 95 % Wilson interval of that share.
    """

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
    """Yield (task, batches of its inputs), `repeats` times for each split, each time in a different order."""
    for task, split in enumerate(splits):
        for repeat in range(repeats):
            rng = streams.numpy_generator(seed, "order", task, fit="task inference", epoch=repeat)
            yield task, [split.take(rows, device) for rows in rows_drawn(len(split), size, batches, rng)]


def infer_tasks(
    infer: Callable[[Sequence[Tensor]], Found],
    asked: Iterable[tuple[int, Sequence[Tensor]]],
    steps: Sequence[int] = STEPS,
) -> list[Rate]:
    """Measure how often the right task is found, by the number of steps.

    Args:
        infer: Function from batches of one task to the result of task inference, such as
            ``lambda batches: one_shot(candidates, batches[0])``.
        asked: Pairs (task, batches), as `trials` yields them.
        steps: Numbers of steps after which to measure.

    Raises:
        UserError: There are no trials.
    """
    answers = [(task, infer(batches)) for task, batches in asked]
    if not answers:
        raise UserError("the rate of task inference is undefined without trials: give at least one trial")
    return [Rate(k, sum(found.after(k) == task for task, found in answers), len(answers)) for k in steps]


def wilson(hits: int, n: int) -> tuple[float, float]:
    """Return Wilson's 95 % score interval of the share hits / n; (0, 1) if n = 0."""
    if n == 0:
        return 0.0, 1.0
    from scipy import stats  # imported here, because it takes a second to load

    found = stats.binomtest(hits, n).proportion_ci(0.95, method="wilson")
    return float(found.low), float(found.high)

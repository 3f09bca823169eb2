"""Metrics of the accuracy matrix A[learnt, tested], and `METRICS`, the table of those that reports show.

An entry that was not measured is NaN, and a metric that needs such an entry is None: absent, and never zero.
Accuracies and transfers are fractions. Names are those of the catalogue. When a difference is more than noise
is decided in `raycl.noise`.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from raycl.errors import UserError, nearest, quoted

Matrix: TypeAlias = NDArray[np.float64]


FEWEST = 5  # the smallest number of trials for which `ps` has an interval


LEVEL = 0.9  # the confidence level of that interval


RESAMPLES = 1000  # the number of bootstrap samples


def matrix(rows: Sequence[Mapping[int, float]], tasks: int | None = None) -> Matrix:
    """Return the matrix A [T, T] from one mapping (tested task -> accuracy) per learnt task.

    Entries that are missing in the mappings are NaN.
    """
    tasks = tasks or len(rows)
    a = np.full((tasks, tasks), np.nan)
    for learnt, row in enumerate(rows):
        for tested, value in row.items():
            a[learnt, tested] = value
    return a


def acc(a: ArrayLike) -> float | None:
    """Return the mean accuracy after the last task, mean_i A[T, i]."""
    return _mean(_square(a)[-1])


def acc_just(a: ArrayLike) -> float | None:
    """Return the mean accuracy on each task right after it was learnt, mean_i A[i, i]."""
    return _mean(np.diagonal(_square(a)))


def fwt_vs_one(a: ArrayLike, one: ArrayLike) -> float | None:
    """Return the forward transfer, mean_i (A[i, i] - beta[i]).

    beta[i] is the accuracy of a separate network that learns task i alone.
    """
    return _mean(fwt_vs_one_task(a, one))


def fwt_vs_one_task(a: ArrayLike, one: ArrayLike) -> Matrix:
    """Return the forward transfer of each task as [T], A[t, t] - beta[t].

    Raises:
        ValueError: The numbers of tasks differ.
    """
    diagonal, beta = np.diagonal(_square(a)), np.asarray(one, float)
    if diagonal.shape != beta.shape:
        raise ValueError(
            f"reference accuracies of shape {beta.shape} should be one for each of {len(diagonal)} tasks"
        )
    difference: Matrix = diagonal - beta
    return difference


def bwt(a: ArrayLike) -> float | None:
    """Return the backward transfer with divisor T - 1 (SPG), sum_{i<T} (A[T, i] - A[i, i]) / (T - 1).

    It is None for T = 1.
    """
    a = _square(a)
    return _mean((a[-1] - np.diagonal(a))[:-1])


def bwt_T(a: ArrayLike) -> float | None:
    """Return the backward transfer with divisor T (PRM)."""
    a = _square(a)
    return _mean(a[-1] - np.diagonal(a))


def forgetting(a: ArrayLike, rows: str = "learnt") -> float | None:
    """Return the forgetting, mean_{i<T} (max_{i<=j<T} A[j, i] - A[T, i]).

    With ``rows="all"`` the maximum is over all j < T, as in FACIL.
    """
    return _mean(forgetting_matrix(a, rows)[-1, :-1])


def forgetting_matrix(a: ArrayLike, rows: str = "learnt") -> Matrix:
    """Return [T, T]: the best earlier accuracy on task u minus that after task t for u < t, and 0 elsewhere.

    Raises:
        ValueError: `rows` is neither "learnt" nor "all".
    """
    if rows not in ("learnt", "all"):
        raise ValueError(f"rows = {rows!r} should be 'learnt' or 'all'")
    a = _square(a)
    out = np.zeros_like(a)
    for t in range(len(a)):
        for u in range(t):
            out[t, u] = np.max(a[(u if rows == "learnt" else 0) : t, u]) - a[t, u]
    return out


def forgetting_ratio(a: ArrayLike, random: ArrayLike, joint: ArrayLike) -> float | None:
    """Return HAT's rho after the last task, the mean over tasks of (A - A_random) / (A_joint - A_random) - 1.

    It is None if A_joint equals A_random for any task.
    """
    last = _square(a)[-1]
    random, joint = np.asarray(random, float), np.asarray(joint, float)
    if np.any(joint == random):
        return None
    return _mean((last - random) / (joint - random) - 1)


def gain_over_ncl(a: ArrayLike, ncl: ArrayLike) -> float | None:
    """Return the gain of a method over sequential finetuning (NCL), mean_i (A[T, i] - A_ncl[T, i])."""
    return _mean(_square(a)[-1] - _square(ncl)[-1])


def ps(accuracies: Sequence[float]) -> float | None:
    """Return the parameter sensitivity (PRM), the standard deviation (ddof 0) of test `acc` over trials.

    Only trials that were completed count. It is None for fewer than two.
    """
    return float(np.std(accuracies)) if len(accuracies) > 1 else None


def ps_interval(*searches: Sequence[float]) -> tuple[float, float] | None:
    """Return a percentile bootstrap interval (B. Efron, Annals of Statistics 7, 1979) of the mean `ps`.

    Each argument holds the accuracies of the trials of one search, and each bootstrap sample resamples the
    trials within each search. The random seed is fixed, and the order of the trials does not matter. The
    result is None if there are no searches, or any has fewer than `FEWEST` trials. For few trials the
    interval is biased downwards, because a resample of n trials has (n - 1) / n of their variance on average.
    """
    if not searches or any(len(trials) < FEWEST for trials in searches):
        return None
    return _ps_interval(tuple(tuple(sorted(trials)) for trials in searches))


@functools.lru_cache(maxsize=4096)  # a report writes each interval in several places
def _ps_interval(searches: tuple[tuple[float, ...], ...]) -> tuple[float, float]:
    """Return the interval of `ps_interval` for the sorted accuracies of each search."""
    rng, spreads = np.random.default_rng(0), []
    for trials in searches:  # These are the steps of `scipy.stats.bootstrap`, whose import takes two seconds.
        ordered = np.array(trials, float)
        rows = rng.integers(0, len(ordered), (RESAMPLES, len(ordered)))
        spreads.append(np.std(ordered[rows], axis=-1))
    tail = (1 - LEVEL) / 2
    low, high = np.quantile(np.mean(spreads, axis=0), [tail, 1 - tail])
    return float(low), float(high)


def std(values: Sequence[float]) -> float | None:
    """Return the standard deviation over seeds (ddof 1); None for fewer than two values."""
    return float(np.std(values, ddof=1)) if len(values) > 1 else None


def mean(values: Sequence[float | None]) -> float | None:
    """Return the mean of the values; None if there are none, or any of them is None."""
    if not values or any(value is None for value in values):
        return None
    return float(np.mean([value for value in values if value is not None]))


def _mean(values: ArrayLike) -> float | None:
    values = np.asarray(values, float)
    return None if values.size == 0 or np.isnan(values).any() else float(np.mean(values))


def _square(a: ArrayLike) -> Matrix:
    out = np.asarray(a, float)
    if out.ndim != 2 or out.shape[0] != out.shape[1] or not len(out):
        raise ValueError(f"an accuracy matrix of shape {out.shape} should have the shape [tasks, tasks]")
    return out


INPUTS = ("test", "val", "reference")
"""Names in `Metric.inputs` of the arrays that a metric's function may receive."""


LONGEST_NAME = 40  # characters


@dataclass(frozen=True)
class Metric:
    """Metric of a final run, computed from its accuracy matrices.

    `METRICS` contains the metrics of raycl, and a study adds its own by ``Study(metrics=[Metric(...)])``. A
    metric is computed from stored results and is not part of the key of a run, so it can be added to a study
    that has already been run.

    Example:
        ``Metric("worst", lambda a: a[-1].min(), "lowest final accuracy of a task, min_i A[T, i]")``

    Attributes:
        name: Name of at most 40 letters, digits and underscores.
        function: Function that receives one array for each of `inputs`, as positional arguments, and returns
            a number, or None or NaN if the metric is undefined. The arrays are copies in float64, and
            accuracies are fractions.
        definition: Definition in one line, which is printed under "What the numbers mean".
        inputs: Names of the arrays. "test" and "val" stand for the matrix A [T, T] of accuracies on test and
            validation data; its rows are the learnt tasks, its columns are the tested tasks, and entries that
            were not measured are NaN. "reference" stands for the accuracies [T] of separate networks that
            each learn one task (method `one`), with the same seed. If the study does not have such a run, or
            its number of tasks differs, the function is not called, and the metric is absent.
        signed: Whether the metric is a difference, which is written with its sign.
        unit: Unit in which the metric is written, one of `raycl.units.UNITS`; the value itself is a fraction
            or a count.
        main: Whether the metric has a column in the main table of a report, instead of in "More numbers".
        blank_for_reference: Whether tables leave the metric blank for the reference method, which learns
            each task with a separate network and so forgets nothing.
        tracked: What MLflow records: the value at the "end" of a run; its "curve" as well, which has a value
            after each task, computed from the tasks so far; or "" for nothing.
    """

    name: str
    function: Callable[..., Any]
    definition: str
    _: KW_ONLY
    inputs: Sequence[str] = ("test",)
    signed: bool = False
    unit: str = "fraction"
    main: bool = False
    blank_for_reference: bool = False
    tracked: Literal["curve", "end", ""] = "end"

    def __post_init__(self) -> None:
        name = self.name
        if not isinstance(name, str) or not re.fullmatch(r"[A-Za-z][A-Za-z0-9_]*", name):
            raise UserError(
                f"Metric: name = {quoted(name)} should be letters, digits and underscores, such as 'worst'"
            )
        place = f"Metric({name[:LONGEST_NAME]!r})"
        if len(name) > LONGEST_NAME or name.endswith("_std"):
            raise UserError(
                f"{place}: choose a name of at most {LONGEST_NAME} characters that does not end in _std, as "
                "columns of standard deviations do"
            )
        if not callable(self.function):
            raise UserError(
                f"{place}: function = {quoted(self.function)} should be a function, such as lambda a: ..."
            )
        if not isinstance(self.definition, str) or not self.definition.strip():
            raise UserError(
                f"{place}: definition = {quoted(self.definition)} should define the metric in one line"
            )
        self._check_options(place)

    def _check_options(self, place: str) -> None:
        if not isinstance(self.inputs, list | tuple) or not self.inputs:
            raise UserError(f'{place}: inputs = {quoted(self.inputs)} should be a list such as ["test"]')
        object.__setattr__(self, "inputs", tuple(self.inputs))
        asked = [("inputs", each, INPUTS) for each in self.inputs]
        for field, value, known in [*asked, ("tracked", self.tracked, ("curve", "end", ""))]:
            if not isinstance(value, str) or value not in known:
                raise UserError(
                    f"{place}: {field}: {quoted(value)} should be one of {', '.join(map(repr, known))}"
                    f"{nearest(value, known)}"
                )
        for field in ("signed", "main", "blank_for_reference"):
            if type(getattr(self, field)) is not bool:
                raise UserError(f"{place}: {field} = {quoted(getattr(self, field))} must be True or False")


METRICS: tuple[Metric, ...] = (
    Metric(
        "acc",
        acc,
        "mean test accuracy over all tasks after the last one, mean_i A[T, i]",
        main=True,
        tracked="curve",
    ),
    Metric(
        "fwt_vs_one",
        fwt_vs_one,
        "forward transfer, mean_i (A[i, i] - b[i]); b[i] is that of a separate network for task i, same seed",
        inputs=("test", "reference"),
        signed=True,
        main=True,
    ),
    Metric(
        "bwt",
        bwt,
        "backward transfer, sum over i < T of (A[T, i] - A[i, i]), divided by T - 1",
        signed=True,
        main=True,
        blank_for_reference=True,
        tracked="curve",
    ),
    Metric("bwt_T", bwt_T, "the same sum divided by T", signed=True, blank_for_reference=True),
    Metric(
        "forgetting",
        forgetting,
        "mean over i < T of the best earlier accuracy on task i minus the last one",
        blank_for_reference=True,
        tracked="",
    ),
    Metric("acc_just", acc_just, "mean accuracy on each task just learnt, mean_i A[i, i]", tracked=""),
    Metric(
        "val_acc",
        acc,
        "acc on validation, which a search maximises unless the study says otherwise",
        inputs=("val",),
        tracked="curve",
    ),
)
"""The metrics of raycl, in the order of the columns of a csv report."""


def all_metrics(own: Sequence[Metric] = ()) -> tuple[Metric, ...]:
    """Return the metrics of raycl, followed by those of a study."""
    return (*METRICS, *own)


def metric_named(name: str, own: Sequence[Metric] = ()) -> Metric | None:
    """Return the metric of that name, or None if there is none."""
    return next((metric for metric in all_metrics(own) if metric.name == name), None)


RESERVED = frozenset(
    {
        *(f"{metric.name}_std" for metric in METRICS),
        "acc_task",
        "benchmark",
        "blocked",
        "bytes_task",
        "bytes_total",
        "compression",
        "config",
        "ct",
        *("ct_cpu", "ct_cpu_std", "ct_gpu", "ct_gpu_std", "ct_wall", "ct_wall_std"),
        "cpu_share",
        "ct_fits",
        "ct_fits_std",
        "ct_std",
        "ct_task",
        "ct_train",
        "ct_train_std",
        "difference",
        "epochs",
        "epochs_mean",
        "fixed",
        "gn_acc",
        "inherited",
        "kept_share",
        "key",
        "kind",
        "label",
        "layer",
        "matrix",
        "method",
        "n",
        "order",
        "overlap_ratio",
        "paper",
        "params",
        "peak_bytes",
        "phi_kb",
        "ps",
        "ps interval",
        "ps_high",
        "ps_low",
        "search",
        "search_seconds",
        "seed",
        "status",
        "steps",
        "stored",
        "subset",
        "t",
        "task",
        "task_inference_acc",
        "trials",
        "trials_diverged",
        "trials_invalid",
        "view",
        "x_acc",
    }
)
"""Names that reports, MLflow and the papers' claims use for other numbers; metrics cannot have such names."""

SMALLER_IS_BETTER = frozenset(
    {
        "bytes_task",
        "bytes_total",
        *("ct", "ct_cpu", "ct_fits", "ct_gpu", "ct_task", "ct_train", "ct_wall"),
        "forgetting",
        "params",
        "peak_bytes",
        "phi_kb",
        "ps",
    }
)
"""Names of the metrics and other numbers of a run of which a small value is good."""


def smaller_is_better(name: str) -> bool | None:
    """Return whether a small value of a number is good; None where nothing is known of it.

    Large values are good of all metrics of `METRICS` that are not in `SMALLER_IS_BETTER`, and of every number
    with the word "acc" in its name, such as ``task_inference_acc``.
    """
    if name in SMALLER_IS_BETTER:
        return True
    return False if metric_named(name) is not None or "acc" in name.split("_") else None

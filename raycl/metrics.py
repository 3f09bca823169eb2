"""Pure functions of the accuracy matrix A[learnt, tested], and `METRICS`, the table of what reports show.

An entry that was not measured is NaN, and a metric that needs it is None: absent, never zero. Accuracies
and transfers are fractions. Names are those of the catalogue.

The functions on noise are the one rule by which the package calls a difference more than noise: it exceeds
the half-width of its 95 % confidence interval by Student's t at the number of values (seeds, orders) that
there are. Where nothing can be said, as of a single value, the half-width is None.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from raycl.errors import UserError, nearest, quoted

Matrix: TypeAlias = NDArray[np.float64]


FEWEST = 5  # trials under which their spread has no interval


LEVEL = 0.9  # of that interval


RESAMPLES = 1000


def matrix(rows: Sequence[Mapping[int, float]], tasks: int | None = None) -> Matrix:
    """[T, T] from one mapping (tested task -> accuracy) per learnt task; NaN where nothing stands."""
    tasks = tasks or len(rows)
    a = np.full((tasks, tasks), np.nan)
    for learnt, row in enumerate(rows):
        for tested, value in row.items():
            a[learnt, tested] = value
    return a


def acc(a: ArrayLike) -> float | None:
    """Mean accuracy after the last task: mean_i A[T, i]."""
    return _mean(_square(a)[-1])


def acc_just(a: ArrayLike) -> float | None:
    """Mean accuracy on each task just learnt: mean_i A[i, i]."""
    return _mean(np.diagonal(_square(a)))


def fwt_vs_one(a: ArrayLike, one: ArrayLike) -> float | None:
    """Forward transfer: mean_i (A[i, i] - beta[i]), beta the accuracy of a network of the task's own."""
    return _mean(fwt_vs_one_task(a, one))


def fwt_vs_one_task(a: ArrayLike, one: ArrayLike) -> Matrix:
    """[T], A[t, t] - beta[t]."""
    diagonal, beta = np.diagonal(_square(a)), np.asarray(one, float)
    if diagonal.shape != beta.shape:
        raise ValueError(f"{len(diagonal)} tasks against {beta.shape} reference accuracies")
    difference: Matrix = diagonal - beta
    return difference


def bwt(a: ArrayLike) -> float | None:
    """Backward transfer, divisor T - 1 (SPG): sum_{i<T} (A[T, i] - A[i, i]) / (T - 1); None for T = 1."""
    a = _square(a)
    return _mean((a[-1] - np.diagonal(a))[:-1])


def bwt_T(a: ArrayLike) -> float | None:
    """Backward transfer, divisor T (PRM)."""
    a = _square(a)
    return _mean(a[-1] - np.diagonal(a))


def forgetting(a: ArrayLike, rows: str = "learnt") -> float | None:
    """mean_{i<T} (max_{i<=j<T} A[j, i] - A[T, i]); `rows="all"`: the maximum is over all j < T (FACIL)."""
    return _mean(forgetting_matrix(a, rows)[-1, :-1])


def forgetting_matrix(a: ArrayLike, rows: str = "learnt") -> Matrix:
    """[T, T]: best earlier accuracy on task u minus that after task t, for u < t; 0 elsewhere."""
    if rows not in ("learnt", "all"):
        raise ValueError(f"rows = {rows!r} is neither 'learnt' nor 'all'")
    a = _square(a)
    out = np.zeros_like(a)
    for t in range(len(a)):
        for u in range(t):
            out[t, u] = np.max(a[(u if rows == "learnt" else 0) : t, u]) - a[t, u]
    return out


def forgetting_ratio(a: ArrayLike, random: ArrayLike, joint: ArrayLike) -> float | None:
    """HAT's rho after the last task: mean over tasks of (A - A_random) / (A_joint - A_random) - 1."""
    last = _square(a)[-1]
    random, joint = np.asarray(random, float), np.asarray(joint, float)
    if np.any(joint == random):
        return None
    return _mean((last - random) / (joint - random) - 1)


def gain_over_ncl(a: ArrayLike, ncl: ArrayLike) -> float | None:
    """mean_i (A[T, i] - A_ncl[T, i]): what a method gains over sequential finetuning."""
    return _mean(_square(a)[-1] - _square(ncl)[-1])


def ps(accuracies: Sequence[float]) -> float | None:
    """Parameter sensitivity: standard deviation (ddof 0) of test `acc` over the completed trials (PRM)."""
    return float(np.std(accuracies)) if len(accuracies) > 1 else None


def ps_interval(*searches: Sequence[float]) -> tuple[float, float] | None:
    """Percentile bootstrap interval (B. Efron, Annals of Statistics 7, 1979) of the mean `ps` of searches.

    A resample draws each search's trials anew, from that search; every draw comes from one seed, and the
    order of the trials does not matter. None if there is no search, or one of fewer than `FEWEST` trials. Of
    few trials it lies low: a resample of n has (n - 1) / n of their variance.
    """
    if not searches or any(len(trials) < FEWEST for trials in searches):
        return None
    from scipy import stats  # here, because it takes a second to load

    def mean_ps(*trials: Matrix, axis: int) -> Matrix:
        spreads: Matrix = np.mean([np.std(each, axis=axis) for each in trials], axis=0)
        return spreads

    found = stats.bootstrap(
        [np.sort(trials) for trials in searches],
        mean_ps,
        n_resamples=RESAMPLES,
        confidence_level=LEVEL,
        method="percentile",
        vectorized=True,
        rng=np.random.default_rng(0),
    ).confidence_interval
    return float(found.low), float(found.high)


def std(values: Sequence[float]) -> float | None:
    """Standard deviation over seeds, ddof 1; None for fewer than two."""
    return float(np.std(values, ddof=1)) if len(values) > 1 else None


def mean(values: Sequence[float | None]) -> float | None:
    """Mean of values that are all there; None where there is none, or one is absent."""
    if not values or any(value is None for value in values):
        return None
    return float(np.mean([value for value in values if value is not None]))


def _mean(values: ArrayLike) -> float | None:
    values = np.asarray(values, float)
    return None if values.size == 0 or np.isnan(values).any() else float(np.mean(values))


def _square(a: ArrayLike) -> Matrix:
    out = np.asarray(a, float)
    if out.ndim != 2 or out.shape[0] != out.shape[1] or not len(out):
        raise ValueError(f"an accuracy matrix is [tasks, tasks], not {out.shape}")
    return out


INPUTS = ("test", "val", "reference")
"""What a metric's function may receive, in `Metric.inputs`."""


LONGEST_NAME = 40  # characters


@dataclass(frozen=True)
class Metric:
    """A number of one final run, computed from its accuracy matrices.

    `METRICS` holds those of raycl; a study adds its own with ``Study(metrics=[Metric(...)])``. A metric is
    computed from stored results and is in no run's key, so it can be added to a study that has been run.

    Example:
        ``Metric("worst", lambda a: a[-1].min(), "lowest final accuracy of a task, min_i A[T, i]")``

    Attributes:
        name: letters, digits and underscores, at most 40.
        function: receives an array for each of `inputs`, as positional arguments, and gives a number, or None
            or NaN where there is none. The arrays are copies in float64, and accuracies are fractions.
        definition: one line, printed under "What the numbers mean".
        inputs: "test", "val" for the matrix A [T, T] of accuracies on test or validation, rows = tasks
            learnt, columns = tasks tested, NaN where nothing was measured; "reference" for the accuracies [T]
            on each task of a network of the task's own (method `one`), of the same seed. Where the study has
            no such run, or one of another number of tasks, the metric is absent, and its function is not
            called.
        signed: whether it is a difference, written with its sign.
        unit: how it is written, one of `raycl.units.UNITS`; its value is in fractions or counts.
        main: whether the main table of a report has a column for it; otherwise "More numbers" has one.
        blank_for_reference: whether it says nothing of the reference method, which learns each task with a
            network of its own and so forgets nothing; tables then leave it blank.
        tracked: what MLflow has of it: the "end" of a run, or its "curve" too, with a value after each task
            computed from the tasks so far, or "" for nothing.
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
                f"{place}: take a name of at most {LONGEST_NAME} characters that does not end in _std, as "
                "columns of standard deviations do"
            )
        if not callable(self.function):
            raise UserError(
                f"{place}: function = {quoted(self.function)} is no function, such as lambda a: ..."
            )
        if not isinstance(self.definition, str) or not self.definition.strip():
            raise UserError(
                f"{place}: definition = {quoted(self.definition)} should say in a line what it is"
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
                    f"{place}: {field}: {quoted(value)} is none of {', '.join(map(repr, known))}"
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
        "forward transfer, mean_i (A[i, i] - b[i]); b[i] is a network of the task's own, same seed",
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
"""In the order of the columns of a report in csv."""


def all_metrics(own: Sequence[Metric] = ()) -> tuple[Metric, ...]:
    """Those of raycl, then a study's own."""
    return (*METRICS, *own)


def metric_named(name: str, own: Sequence[Metric] = ()) -> Metric | None:
    """The metric of that name, None where there is none."""
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
        "ct_std",
        "ct_task",
        "ct_train",
        "ct_train_std",
        "difference",
        "epochs",
        "epochs_mean",
        "fixed",
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
        "view",
        "x_acc",
    }
)
"""Names that reports, MLflow and the papers' claims give to other numbers: no metric of a study has them."""

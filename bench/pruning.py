"""What pruning of trials saves, and how accurate the configurations are that a pruned search finds."""

from __future__ import annotations

import math
import statistics
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from bench.line import Line
from raycl.noise import mean_half_width
from raycl.runs.execution import execute
from raycl.runs.store import Store
from raycl.space import Float
from raycl.specs import RunSpec
from raycl.study.agenda import Agenda
from raycl.study.expand import cells_of
from raycl.study.local import run_locally
from raycl.study.progress import CellState
from raycl.study.pruners import Halving, Median, Prune
from raycl.study.values import Search, Study
from raycl.tune.proposals import propose

SEEDS = (1, 2, 3, 4, 5)  # of the searches
TRIALS = 18
FINALS = (1, 2, 3)  # seeds with which the best configuration is trained again
RATE = Float(0.003, 0.5, log=True)


def _study(method: str, benchmark: str, **keys: object) -> Study:
    return Study(
        methods={method: {"fit.lr": RATE, **keys}},
        benchmarks=[benchmark],
        network="mlp(hidden=32, drop1=0.0, drop2=0.0)",
        fit={"epochs": 10, "batch": 32, "schedule": "constant", "stop": "never"},
        final="best trial",
    )


STUDIES = {
    "dissimilar tasks (hat on digits_split)": _study("hat", "digits_split"),
    "similar tasks (ewc on digits_writers)": _study("ewc", "digits_writers(tasks=5)"),
    "masks (supsup on digits_split)": _study(
        "supsup", "digits_split", **{"fit.lr": Float(0.5, 200, log=True)}
    ),
}
HALVING = Halving(rungs=(1, 3), keep=1 / 3)
RULES: Mapping[int, Mapping[str, Prune]] = {  # by the number of trials that are proposed together
    4: {"Halving(rungs=(1, 3), keep=1/3)": HALVING, "Median(after=2, warmup=5)": Median(after=2, warmup=5)},
    9: {"Halving(rungs=(1, 3), keep=1/3)": HALVING},
}


@dataclass(frozen=True)
class _Searched:
    """The cost of a search, and the configuration that it found.

    Attributes:
        cpu: CPU seconds of this process, the sampler included.
        epochs: Epochs of all its runs.
        best: The run of the best trial.
    """

    cpu: float
    epochs: int
    best: RunSpec


def pruning(seeds: Sequence[int] = SEEDS, trials: int = TRIALS) -> list[Line]:
    """Compare searches that prune to the same searches without pruning, on three desk studies.

    Args:
        seeds: Seeds of the searches.
        trials: Number of trials of each search.
    """
    lines = []
    finals: dict[str, float] = {}  # mean test accuracy by the key of a configuration
    for name, study in STUDIES.items():
        _searched(study, 0, 1, 1, None)  # what is imported and prepared once belongs to no search
        for together, rules in RULES.items():
            whole = [_searched(study, seed, trials, together, None) for seed in seeds]
            accuracies = [_final(found.best, finals) for found in whole]
            spent = statistics.mean(found.cpu for found in whole)
            lines += [
                Line(f"{name}, {together} trials at a time: CPU of a search", spent, "s"),
                Line("  final accuracy, mean over searches", statistics.mean(accuracies), ""),
                Line("  and its standard deviation over searches", _deviation(accuracies), ""),
            ]
            for rule, prune in rules.items():
                pruned = [_searched(study, seed, trials, together, prune) for seed in seeds]
                gains = [_final(p.best, finals) - a for p, a in zip(pruned, accuracies, strict=True)]
                lines += _compared(rule, whole, pruned, gains)
    return lines


def _compared(
    rule: str, whole: Sequence[_Searched], pruned: Sequence[_Searched], gains: Sequence[float]
) -> list[Line]:
    """Return what a rule saves, and how the final accuracies differ."""
    pairs = list(zip(whole, pruned, strict=True))
    epochs = statistics.mean(1 - few.epochs / all_.epochs for all_, few in pairs)
    cpu = statistics.mean(1 - few.cpu / all_.cpu for all_, few in pairs)
    half = mean_half_width(gains)
    return [
        Line(f"  {rule}: epochs saved", 100 * epochs, "%", "50"),
        Line("    CPU time saved", 100 * cpu, "%", "50"),
        Line("    final accuracy minus that of the whole search", statistics.mean(gains), "", "noise"),
        Line(
            "    half-width of its 95 % interval (paired, t)",
            half if half is not None else math.nan,
            "",
        ),
    ]


def _searched(study: Study, seed: int, trials: int, together: int, prune: Prune | None) -> _Searched:
    """Search a study in a store of its own."""
    search = Search(trials=trials, concurrency=together, startup_trials=8, seed=seed, prune=prune)
    with tempfile.TemporaryDirectory(prefix="raycl-bench-") as folder:
        agenda = Agenda(cells_of(replace(study, search=search)), Store(Path(folder)).open(), propose)
        started = time.process_time()
        run_locally(agenda)
        cpu = time.process_time() - started
    (state,) = agenda.states
    assert state.best is not None, "no trial was completed"
    return _Searched(cpu, _epochs(state), state.best.spec)


def _epochs(state: CellState) -> int:
    """Return the epochs of all runs of a search; equal trials are one run."""
    learnt: dict[str, int] = {}
    for trial in state.trials:
        if trial.result is not None:
            spent = sum(sum(report.epochs.values()) for report in trial.result.reports)
            learnt[trial.spec.key] = max(spent, learnt.get(trial.spec.key, 0))
    return sum(learnt.values())


def _final(best: RunSpec, known: dict[str, float]) -> float:
    """Return the mean test accuracy of a configuration over the final seeds."""
    if best.key not in known:
        results = [execute(replace(best, seed=seed)) for seed in FINALS]
        known[best.key] = statistics.mean(result.acc() or math.nan for result in results)
    return known[best.key]


def _deviation(values: Sequence[float]) -> float:
    return statistics.stdev(values) if len(values) > 1 else math.nan

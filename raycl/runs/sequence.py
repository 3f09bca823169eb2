"""The loop over the tasks of a benchmark, which makes a report after each."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import torch

from raycl import devices
from raycl.method import Method
from raycl.process import peak
from raycl.runs.reports import TaskReport, default_evaluate
from raycl.specs import Evaluate
from raycl.tasks import Benchmark, Task
from raycl.training import answers
from raycl.training.fit import Diverged, Fit

PROBE = 16  # Number of test samples whose logits show whether the answers on a task have changed.


def run_sequence(
    method: Method,
    benchmark: Benchmark,
    fit: Fit,
    *,
    done: Sequence[TaskReport] = (),
    evaluate: Evaluate | None = None,
    part: int | None = None,
    keep: Callable[[Method, list[TaskReport]], None] | None = None,
) -> Iterator[TaskReport]:
    """Learn the tasks of a benchmark in order, and yield a report after each.

    Args:
        method: The method, in its state after the tasks in `done`.
        benchmark: The tasks.
        fit: The training loop.
        done: Reports of the tasks that an earlier attempt at the same run has finished.
        evaluate: "learnt" measures every task learnt so far, "ends" only the diagonal and the last row of the
            accuracy matrix, "full" all tasks. None means "learnt" up to 25 tasks and "ends" beyond.
        part: Learn and measure only the task with this index; the method's tasks must be independent.
        keep: Called after each task except the last, to save a checkpoint.

    Raises:
        Diverged: If a loss becomes NaN or infinite, or a logit NaN.
        WrongAnswer: If one of the method's functions returns a value of a wrong type or shape.
    """
    evaluate = evaluate or default_evaluate(len(benchmark.tasks))
    reports = list(done)
    known_answers = _Answers(method, benchmark, fit)
    known_answers.note(report.task for report in done)
    for task in benchmark.tasks[len(done) :] if part is None else [benchmark.tasks[part]]:
        spent = _learn(method, task, fit)
        wanted = _to_measure(method, len(benchmark.tasks), task.index, evaluate) if part is None else [part]
        report = _reported(known_answers, task.index, spent, wanted, reports)
        reports.append(report)
        if keep is not None and part is None and task.index + 1 < len(benchmark.tasks):
            keep(method, reports)
        yield report


@dataclass(frozen=True)
class _Spent:
    """Cost of learning a task; the fields are those of `TaskReport`."""

    epochs: dict[str, int]
    updates: int
    seconds: dict[str, float]
    cpu_seconds: dict[str, float]


def _learn(method: Method, task: Task, fit: Fit) -> _Spent:
    fit.begin(task.index)
    started = fit.clocks()
    method.learn(task, fit)
    ended, seconds, cpu = fit.clocks(), dict(fit.seconds), dict(fit.cpu_seconds)
    seconds["method"] = max(0.0, ended.wall - started.wall + fit.recalled - sum(seconds.values()))
    cpu["method"] = max(0.0, ended.cpu - started.cpu + fit.recalled_cpu - sum(cpu.values()))
    return _Spent(dict(fit.epochs), fit.updates, seconds, cpu)


def _reported(
    known_answers: _Answers, task: int, spent: _Spent, wanted: Sequence[int], past: Sequence[TaskReport]
) -> TaskReport:
    """Measure the method, which has just learnt `task`, and return its report.

    Args:
        known_answers: Logits that should not change, and the method itself.
        task: Index of the task just learnt.
        spent: Cost of learning the task.
        wanted: Indices of the tasks to measure.
        past: Reports of the earlier tasks.
    """
    method, benchmark, fit = known_answers.method, known_answers.benchmark, known_answers.fit
    started = fit.clock()
    moved = known_answers.moved(index for index in wanted if index != task)
    rows = _rows(method, benchmark, fit, wanted, past, moved)
    known_answers.note([task, *moved])
    diagnostics = answers.diagnostics(method, "diagnostics", method.diagnostics(task))
    diagnostics |= {"answers_moved": moved} if moved else {}
    if task + 1 == len(benchmark.tasks):
        diagnostics |= answers.diagnostics(method, "examine", method.examine(benchmark.tasks, fit))
    return TaskReport(
        task=task,
        val=rows["val"],
        test=rows["test"],
        epochs=spent.epochs,
        updates=spent.updates,
        seconds=spent.seconds,
        cpu_seconds=spent.cpu_seconds,
        curves={account: curves.columns() for account, curves in fit.curves.items() if curves.points},
        evaluation_seconds=fit.clock() - started,
        peak_bytes=_peak_bytes(fit.device),
        parameters=answers.number(method, "count_parameters", method.count_parameters()),
        stored_bytes=answers.number(method, "stored_bytes", method.stored_bytes()),
        diagnostics=diagnostics,
        ended=time.time(),
    )


def _to_measure(method: Method, tasks: int, t: int, evaluate: Evaluate) -> list[int]:
    """Return the indices of the tasks whose accuracies are measured after task `t`."""
    last = t + 1 == tasks
    if method.joint and not last:
        return []
    if evaluate == "full":
        return list(range(tasks))
    return list(range(t + 1)) if evaluate == "learnt" or last else [t]


class _Answers:
    """Logits on a few test samples of each learnt task, to check that they stay where a method says so.

    A network may have state that the method does not know of, such as statistics of a user's own layer.
    Therefore entries of earlier rows of the accuracy matrix are copied only while these logits are unchanged.
    """

    def __init__(self, method: Method, benchmark: Benchmark, fit: Fit) -> None:
        self.method, self.benchmark, self.fit = method, benchmark, fit
        self.known: dict[int, torch.Tensor] = {}

    def note(self, tasks: Iterable[int]) -> None:
        """Remember the current logits of these tasks as those that should not change."""
        if self.method.answers_stay:
            self.known |= {task: self._logits(task) for task in tasks}

    def moved(self, tasks: Iterable[int]) -> list[int]:
        """Return those of these tasks whose logits differ from the remembered ones."""
        if not self.method.answers_stay:
            return []
        known = [task for task in tasks if task in self.known]
        return [task for task in known if not _same_numbers(self.known[task], self._logits(task))]

    def _logits(self, task: int) -> torch.Tensor:
        was_training = self.method.training
        self.method.train(False)
        with torch.no_grad():
            data = self.benchmark.tasks[task]
            split = data.test if len(data.test) else data.train
            logits: torch.Tensor = self.method(split.take(slice(0, PROBE), self.fit.device), task)
        self.method.train(was_training)
        return logits


def _same_numbers(one: torch.Tensor, other: torch.Tensor) -> bool:
    return one.shape == other.shape and torch.allclose(one, other, rtol=0.0, atol=0.0, equal_nan=True)


def _rows(
    method: Method,
    benchmark: Benchmark,
    fit: Fit,
    wanted: Sequence[int],
    past: Sequence[TaskReport],
    moved: Sequence[int],
) -> dict[str, dict[int, float]]:
    """Return the accuracies on the tasks in `wanted`, by split; those in `moved` are measured again."""
    known: dict[str, dict[int, float]] = {"val": {}, "test": {}}
    if method.answers_stay:  # Accuracies that cannot change are copied instead of measured again.
        for report in past:
            known["val"] |= {i: a for i, a in report.val.items() if i <= report.task}
            known["test"] |= {i: a for i, a in report.test.items() if i <= report.task}
        known = {name: {i: a for i, a in row.items() if i not in moved} for name, row in known.items()}
    return {name: _accuracies(method, benchmark, fit, wanted, name, known[name]) for name in known}


def _accuracies(
    method: Method, benchmark: Benchmark, fit: Fit, wanted: Sequence[int], name: str, known: dict[int, float]
) -> dict[int, float]:
    found: dict[int, float] = {}
    for index in wanted:
        task: Task = benchmark.tasks[index]
        value = known.get(index)
        if value is None:
            split = getattr(task, name)
            value = fit.accuracy(method, index, split, task.classes)
            if math.isnan(value) and len(split):
                raise Diverged(f"logits of task {index + 1} are NaN when it is measured ({name})")
        if not math.isnan(value):
            found[index] = value
    return found


def _peak_bytes(device: torch.device) -> int:
    counted = devices.peak_bytes(device)
    return peak.peak_bytes() if counted is None else counted

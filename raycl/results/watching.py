"""Calling of a study's callbacks when its runs finish."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from raycl import userfiles
from raycl.errors import screen_line
from raycl.metrics import Metric, all_metrics
from raycl.results.measures import measure
from raycl.runs.result import Result
from raycl.study.callbacks import CALLS, EpochInfo, RunInfo, TaskInfo
from raycl.study.jobs import Event, Finished, Job
from raycl.study.progress import Trial


class Watching:
    """Listener of an agenda that calls callbacks, in their order, for each run that finishes.

    Args:
        callbacks: The callbacks.
        runs_of: Returns the trials and final runs that stand for the run with a key.
        own: Metrics that the study adds to raycl's.
        say: Receives the report of a callback's fault, as one line.
    """

    def __init__(
        self,
        callbacks: Sequence[Any],
        runs_of: Callable[[str], Sequence[Trial]],
        own: Sequence[Metric],
        say: Callable[[str], None],
    ) -> None:
        self._callbacks, self._runs_of = list(callbacks), runs_of
        self._known, self._say = all_metrics(own), say

    def __call__(self, event: Event) -> None:
        if not isinstance(event, Finished) or not isinstance(event.job, Job) or event.job.is_part:
            return
        result = event.outcome
        if not self._callbacks or not isinstance(result, Result) or result.status == "failed":
            return
        run = self._run(event.job, result)
        before: dict[str, int] = {}
        for n, report in enumerate(result.reports):
            for account, columns in report.curves.items():
                self._epochs(run, report.task, account, columns, before.get(account, 0))
                before[account] = before.get(account, 0) + int((columns.get("epoch") or [0])[-1] or 0)
            values = self._values(result, n + 1)
            seen = TaskInfo(report.task, report.test, values, report.diagnostics)
            self._call("on_task", run, seen)
        whole = self._values(result, len(result.reports)) if result.status == "done" else {}
        if whole:
            last = result.reports[-1]
            whole |= {"params": float(last.parameters), "bytes_total": float(last.stored_bytes)}
        self._call("on_run", run, whole)

    def _run(self, job: Job, result: Result) -> RunInfo:
        cell, spec = job.cell, result.spec
        same = self._runs_of(job.key)
        params = same[0].params if same else {}
        settings = {name: setting.value for name, setting in cell.settings.items()} | dict(params)
        return RunInfo(
            job.name, spec.key, cell.label, cell.benchmark, cell.order, job.role.trial, spec.seed,
            result.status, settings,
        )  # fmt: skip

    def _epochs(
        self, run: RunInfo, task: int, account: str, columns: Mapping[str, Sequence[Any]], before: int
    ) -> None:
        for place, number in enumerate(columns.get("epoch", ())):
            values = {
                name: float(column[place])
                for name, column in columns.items()
                if name != "epoch" and column[place] is not None
            }
            epoch = int(number)
            self._call("on_epoch", run, EpochInfo(task, account, epoch, before + epoch, values))

    def _values(self, result: Result, tasks: int) -> dict[str, float]:
        """Return the metrics after so many tasks, and the seconds up to then."""
        test, val = (result.matrix(split)[:tasks, :tasks] for split in ("test", "val"))
        whole = tasks == len(result.reports)
        known = [m for m in self._known if whole or m.tracked == "curve"]
        found = {n: v for n, v in measure(known, test, val).values.items() if v is not None}
        seconds = sum(sum(spent.values()) for spent in result.seconds_by_task()[:tasks])
        return found | {"ct": seconds}

    def _call(self, name: str, *values: Any) -> None:
        """Call a function of each callback that has it; one that raises is reported and not called again."""
        assert name in CALLS
        for callback in list(self._callbacks):
            act = getattr(callback, name, None)
            if act is None:
                continue
            try:
                act(*copy.deepcopy(values))  # what one callback writes into, the next one does not see
            except (Exception, SystemExit) as error:
                self._callbacks.remove(callback)
                told = userfiles.fault(error) or f"{type(error).__name__}: {error}"
                self._say(
                    f"callback {type(callback).__qualname__} failed in {name} ({screen_line(told)}); it is "
                    "not called any more, and the study goes on"
                )

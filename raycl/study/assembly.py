"""Results of runs that no worker has executed as a whole."""

from __future__ import annotations

import time
from collections.abc import Sequence

from raycl.runs.reports import join_reports
from raycl.runs.result import Result, Status
from raycl.specs import RunSpec


def assemble(spec: RunSpec, parts: Sequence[Result]) -> Result:
    """Assemble the result of a run whose tasks were learnt in parallel.

    Args:
        spec: The run as a whole.
        parts: The result of each task's own run, in the order of the tasks.

    Returns:
        The result of the whole run; if a part did not finish, its status and message.
    """
    about = dict(parts[-1].provenance)
    about["seconds"] = sum(float(part.provenance["seconds"]) for part in parts)
    about["started"] = min(float(part.provenance["started"]) for part in parts)
    for t, part in enumerate(parts):
        if part.status != "done":
            return Result(spec, part.status, (), f"task {t + 1}: {part.message}", about)
    reports = join_reports([part.reports[0] for part in parts], spec.evaluate)
    return Result(spec, "done", tuple(reports), "", about)


def without_value(spec: RunSpec, status: Status, message: str = "") -> Result:
    """Return the result of a trial that cannot begin, as a consequence of its hyperparameters."""
    return Result(spec, status, (), message, {"started": time.time(), "seconds": 0.0})

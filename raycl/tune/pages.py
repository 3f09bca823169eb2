"""MLflow's pages: where they are, and the view of the runs' table that they open by name."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any
from urllib.parse import quote

from raycl import metrics

UI = "http://127.0.0.1:5000"  # where `raycl ui` shows them


def view_of(own: Sequence[metrics.Metric] = ()) -> dict[str, Any]:
    """A view of the runs' table that MLflow's pages open by name: a row per cell, its numbers beside it.

    Args:
        own: metrics that the study adds to raycl's.
    """
    main = [metric.name for metric in metrics.all_metrics(own) if metric.main]
    main.insert(main.index("acc") + 1, "acc_std")
    columns = [*main, "ps", "ct", "paper", "difference", "params", "bytes_total"]
    return {
        "searchFilter": "tags.`raycl.kind` = 'cell'",
        "orderByKey": "params.`benchmark`",
        "orderByAsc": True,
        "startTime": "ALL",
        "lifecycleFilter": "Active",
        "datasetsFilter": [],
        "modelVersionFilter": "All Runs",
        "selectedColumns": [
            "params.`method`",
            "params.`benchmark`",
            *(f"metrics.`{name}`" for name in columns),
        ],
        "runsExpanded": {},
        "runsPinned": [],
        "runsHidden": [],
    }


VIEW = view_of()


def runs_link(uri: str, experiment: str) -> str:
    """The experiment's table: a row per cell."""
    return f"{pages_of(uri)}/#/experiments/{experiment}/runs?viewStateShareKey=raycl"


def compare_link(uri: str, experiment: str, runs: Sequence[str]) -> str:
    """The page on which MLflow shows these runs side by side."""
    ids, experiments = (quote(json.dumps(named, separators=(",", ":"))) for named in (runs, [experiment]))
    return f"{pages_of(uri)}/#/compare-runs?runs={ids}&experiments={experiments}"


def pages_of(uri: str) -> str:
    """Where MLflow shows its pages; a password stays out of it."""
    return re.sub(r"://[^/@]*@", "://", uri.rstrip("/")) if uri.startswith("http") else UI

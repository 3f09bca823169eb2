"""Links to MLflow's pages, and the view of the table of runs that they open by name."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any
from urllib.parse import quote

from raycl import metrics

WORKFLOW = "workflowType=machine_learning"
UI = "http://127.0.0.1:5000"  # where `raycl ui` shows MLflow's pages


def view_of(own: Sequence[metrics.Metric] = (), narrow: bool = False) -> dict[str, Any]:
    """Return a view of the table of runs that MLflow's pages open by name: a row per cell, with its metrics.

    Args:
        own: Metrics that the study adds to raycl's.
        narrow: Whether to show accuracy, sensitivity and compute time alone; MLflow puts the columns into an
            order of its own, so that others may push these off the screen.
    """
    first = ["acc", "acc_std", "ps", "ct"]  # what fits on a screen of 1280 columns of pixels
    main = [metric.name for metric in metrics.all_metrics(own) if metric.main and metric.name not in first]
    columns = [*first, *([] if narrow else [*main, "paper", "difference", "params", "bytes_total"])]
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
VIEWS = {"raycl": True, "raycl-all": False}  # names of the views, and whether they are narrow
COMPARED = 100  # cells that MLflow's page of comparison can show


def runs_link(uri: str, experiment: str, view: str = "raycl") -> str:
    """Return the link to the experiment's table, which has a row per cell.

    Without the type of workflow, MLflow opens its pages for language models. `view` is one of `VIEWS`.
    """
    return f"{pages_of(uri)}/#/experiments/{experiment}/runs?{WORKFLOW}&viewStateShareKey={view}"


def compare_link(uri: str, experiment: str, runs: Sequence[str]) -> str:
    """Return the link to the page on which MLflow compares these runs."""
    ids, experiments = (quote(json.dumps(named, separators=(",", ":"))) for named in (runs, [experiment]))
    return f"{pages_of(uri)}/#/compare-runs?runs={ids}&experiments={experiments}"


def pages_of(uri: str) -> str:
    """Return the address of MLflow's pages, without a password."""
    return re.sub(r"://[^/@]*@", "://", uri.rstrip("/")) if uri.startswith("http") else UI

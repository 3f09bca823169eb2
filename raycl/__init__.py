"""Continual learning with masks: methods on the same network and protocol, searched on a cluster.

Names are imported when they are first used, so that ``import raycl`` is fast.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

_HOMES = {
    "Study": "raycl.study.values",
    "Search": "raycl.study.values",
    "Grid": "raycl.study.values",
    "Halving": "raycl.study.pruners",
    "Median": "raycl.study.pruners",
    "Seeds": "raycl.study.values",
    "Resources": "raycl.study.values",
    "Sheet": "raycl.study.values",
    "Form": "raycl.study.forms",
    "BoxFigure": "raycl.reporting.boxes",
    "BoxKind": "raycl.reporting.boxes",
    "Boxes": "raycl.reporting.boxes",
    "Curves": "raycl.reporting.curves",
    "GridMap": "raycl.reporting.gridmap",
    "Layers": "raycl.reporting.layers",
    "PaperTable": "raycl.papers.tables",
    "Metric": "raycl.metrics",
    "Callback": "raycl.study.callbacks",
    "View": "raycl.reporting.view",
    "Float": "raycl.space",
    "Int": "raycl.space",
    "Choice": "raycl.space",
    "run_study": "raycl.api",
    "report": "raycl.api",
    "load": "raycl.api",
    "export": "raycl.api",
    "frame": "raycl.api",
    "load_exported": "raycl.runs.export",
}

__all__ = [
    "BoxFigure",
    "BoxKind",
    "Boxes",
    "Callback",
    "Choice",
    "Curves",
    "Float",
    "Form",
    "Grid",
    "GridMap",
    "Halving",
    "Int",
    "Layers",
    "Median",
    "Metric",
    "PaperTable",
    "Resources",
    "Search",
    "Seeds",
    "Sheet",
    "Study",
    "View",
    "__version__",
    "export",
    "frame",
    "load",
    "load_exported",
    "report",
    "run_study",
]

if TYPE_CHECKING:
    from raycl.api import export, frame, load, report, run_study
    from raycl.metrics import Metric
    from raycl.papers.tables import PaperTable
    from raycl.reporting.boxes import Boxes, BoxFigure, BoxKind
    from raycl.reporting.curves import Curves
    from raycl.reporting.gridmap import GridMap
    from raycl.reporting.layers import Layers
    from raycl.reporting.view import View
    from raycl.runs.export import load_exported
    from raycl.space import Choice, Float, Int
    from raycl.study.callbacks import Callback
    from raycl.study.forms import Form
    from raycl.study.pruners import Halving, Median
    from raycl.study.values import Grid, Resources, Search, Seeds, Sheet, Study


def __getattr__(name: str) -> Any:
    if name == "R":  # the name of Resources in version 0.1
        from raycl import oldnames

        oldnames.note("R", "Resources")
        name = "Resources"
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'raycl' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})

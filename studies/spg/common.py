"""Definitions that the studies of the SPG paper share: rows, columns, the protocol, and their small forms.

A label here is the id of a method; the tables show the paper's name for it. All files share their runs: the
rows that Tables 12 and 14 repeat are those of Table 2.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from raycl import Float, Form, PaperTable, Search, Seeds, Study

COLUMNS = Form(
    full={
        "C-10": "cifar100_10",
        "C-20": "cifar100_20",
        "T-10": "tiny_10",
        "T-20": "tiny_20",
        "I-100": "imagenet32_100",
        "FC-10": "fceleba_10",
        "FC-20": "fceleba_20",
        "FE-10": "femnist_10",
        "FE-20": "femnist_20",
    },
    small={"split": "digits_split(size=32)", "writers": "digits_writers(size=32)"},
)
FEW = [benchmark for benchmark in COLUMNS.full.values() if benchmark != "imagenet32_100"]

ROWS = {
    "MTL": "mtl",
    "ONE": "one",
    "NCL": "finetune",
    "A-GEM": "agem",
    "PGN": "pnn",
    "PathNet": "pathnet",
    "UCL": "ucl",
    "HAT": "hat",
    "CAT": "cat",
    "SupSup": "supsup",
    "SI": "si",
    "TAG": "tag",
    "EWC": "ewc",
    "EWC-GI": "ewc_gi",
    "SPG-FI": "spg_fi",
    "SPG": "spg",
}
REFERENCES = {label: ROWS[label] for label in ("MTL", "ONE", "NCL")}

DIVISOR = "divisor T - 1, as in SPG's released code; in the available text the formula is cut off after 1/T"

LR = {"fit.lr": Float(1e-2, 0.5, log=True)}
_METHODS: dict[str, dict[str, Any]] = {
    **{method: {} for method in ROWS.values()},
    **dict.fromkeys(("pnn", "pathnet", "ucl", "hat", "cat"), LR),  # made for rates of at most .05, not .25
}
DESK_MTL = {"fit.batch": 64}  # with a batch of 640 an epoch would have only two steps
METHODS = Form(
    full=_METHODS,
    small={
        **_METHODS,
        "mtl": DESK_MTL,
        "supsup": {
            "fit.lr": Float(1.0, 100.0, log=True)
        },  # in few epochs, plain SGD needs large steps to change the scores
    },
)
"""The methods of the sixteen rows. The class of each method declares what else is searched."""

PAPER = Form(
    full=Study(
        methods=METHODS.full,
        benchmarks=list(COLUMNS.full.values()),
        network="alexnet",
        preset="spg",
        search=Search(trials=30, concurrency=4),
        final=Seeds(1, 2, 3, 4, 5),
        paper="spg",
    ),
    small=Study(
        methods=METHODS.small,
        benchmarks=list(COLUMNS.small.values()),
        network="alexnet(width=.125)",
        preset="spg+desk",
        fit={"epochs": 30, "patience": 3},  # a task of a hundred images has two steps per epoch
        search=Search(trials=4, concurrency=2, startup_trials=4),
        final=Seeds(1, 2, 3),
        paper="spg",
    ),
)


def chosen(
    rows: Mapping[str, Any], of: Mapping[str, Mapping[str, Any]] = METHODS.full
) -> dict[str, dict[str, Any]]:
    """Return the settings of the methods in `rows`, including the ranges that are searched."""
    return {method: dict(of[method]) for method in rows.values() if method in of}


def table(
    number: str, what: str, metric: str, rows: Mapping[str, Any], columns: Mapping[str, str], **more: Any
) -> PaperTable:
    """Return a table of the paper, with means over columns.

    The available text of the paper contains Table 2 only in part: the rows that other tables repeat. Its
    printed numbers are therefore also looked up in those tables.
    """
    printed = "2, 12, 14, 6" if number == "2" else number
    settings: dict[str, Any] = {"mean": True, "table": printed, "metric": metric} | more
    return PaperTable(f"Table {number}: {what}", rows=rows, columns=columns, **settings)


def moments(metric: str, rows: Mapping[str, str], times: Sequence[str], layer: str = "") -> dict[str, Any]:
    """Return rows that show a metric after certain tasks, such as ``HAT, t = T/2``."""
    where = f"layer={layer};" if layer else ""
    return {
        f"{label}, t = {t}": (method, f"{metric}[{where}t={t}]")
        for label, method in rows.items()
        for t in times
    }

"""What the studies of the SPG paper share: its rows and columns, its protocol, and their forms for a desk.

A label here is a method's id; what the paper calls it stands in the tables. All files share their runs: the
rows that Tables 12 and 14 repeat are those of Table 2.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from raycl import Float, PaperTable, Search, Seeds, Study

DISSIMILAR = {"C-10": "cifar100_10", "C-20": "cifar100_20", "T-10": "tiny_10", "T-20": "tiny_20",
              "I-100": "imagenet32_100"}  # fmt: skip
SIMILAR = {"FC-10": "fceleba_10", "FC-20": "fceleba_20", "FE-10": "femnist_10", "FE-20": "femnist_20"}
COLUMNS = DISSIMILAR | SIMILAR
DESK_COLUMNS = {"split": "digits_split(size=32)", "writers": "digits_writers(size=32)"}

ROWS = {
    "MTL": "mtl", "ONE": "one", "NCL": "finetune", "A-GEM": "agem", "PGN": "pnn", "PathNet": "pathnet",
    "UCL": "ucl", "HAT": "hat", "CAT": "cat", "SupSup": "supsup", "SI": "si", "TAG": "tag", "EWC": "ewc",
    "EWC-GI": "ewc_gi", "SPG-FI": "spg_fi", "SPG": "spg",
}  # fmt: skip
REFERENCES = {label: ROWS[label] for label in ("MTL", "ONE", "NCL")}
Keys = dict[str, dict[str, Any]]

LR = {"fit.lr": Float(1e-2, 0.5, log=True)}
METHODS: Keys = {
    **{method: {} for method in ROWS.values()},
    **dict.fromkeys(("pnn", "pathnet", "ucl", "hat", "cat"), LR),  # designed at .05 or lower, not at .25
}
"""The sixteen rows; what else they search stands with each method."""
DESK_METHODS: Keys = {
    **METHODS,
    "mtl": {"fit.batch": 64},  # of 640 there would be two steps an epoch
    "supsup": {"fit.lr": Float(1.0, 100.0, log=True)},  # in few epochs scores want large steps of plain SGD
}

FULL: dict[str, Any] = {
    "paper": "spg",
    "network": "alexnet",
    "preset": "spg",
    "search": Search(trials=30, width=4),
    "final": Seeds(1, 2, 3, 4, 5),
}
DESK: dict[str, Any] = {
    "paper": "spg",
    "network": "alexnet(width=.125)",
    "preset": "spg+desk",
    "fit": {"epochs": 30, "patience": 3},  # tasks of a hundred images take two steps an epoch
    "search": Search(trials=4, width=2, startup=4),
    "final": Seeds(1, 2, 3),
}


def chosen(rows: Mapping[str, Any], of: Mapping[str, Mapping[str, Any]] = METHODS) -> Keys:
    """The methods of some rows, with what they search."""
    return {method: dict(of[method]) for method in rows.values() if method in of}


def full(methods: Mapping[str, Mapping[str, Any]], benchmarks: Sequence[str], **keys: Any) -> Study:
    """The paper's own form: 30 trials a cell on validation, five seeds."""
    return Study(methods=methods, benchmarks=benchmarks, **(FULL | keys))


def desk(
    methods: Mapping[str, Mapping[str, Any]], benchmarks: Sequence[str] = tuple(DESK_COLUMNS.values()),
    **keys: Any,
) -> Study:  # fmt: skip
    """Two cores' form: a narrow network on digits, four trials a cell, three seeds."""
    return Study(methods=methods, benchmarks=benchmarks, **(DESK | keys))


def table(number: str, what: str, metric: str, rows: Mapping[str, Any], columns: Mapping[str, str],
          **keys: Any) -> PaperTable:  # fmt: skip
    """A table of the paper, with means over columns. Of Table 2 only rows that others repeat survive."""
    printed = "2, 12, 14, 6" if number == "2" else number
    settings: dict[str, Any] = {"mean": True, "table": printed, "metric": metric} | keys
    return PaperTable(f"Table {number}: {what}", rows=rows, columns=columns, **settings)


def moments(metric: str, rows: Mapping[str, str], times: Sequence[str], layer: str = "") -> dict[str, Any]:
    """Rows of a metric after some tasks: ``HAT, t = T/2``."""
    where = f"layer={layer};" if layer else ""
    return {f"{label}, t = {t}": (method, f"{metric}[{where}t={t}]") for label, method in rows.items()
            for t in times}  # fmt: skip

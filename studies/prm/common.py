"""What the studies of the PRM paper share: its rows, its sequences, its protocol, and their forms for a desk.

The paper searches 20 trials one after another for each method, sequence and order, reports the best trial
itself, and means over three orders. Its EHAT row is compared with `ehat`; plain `ewc` stands below as a row
of our own.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from raycl import Form, PaperTable, Search, Study

ROWS = {
    "STL": "one",
    "NCL": "finetune",
    "ACL": "acl",
    "PNT": "pathnet",
    "SS": "supsup",
    "HYP": "hypernet",
    "HAT": "hat",
    "EHAT": "ehat",
    "CAT": "cat",
    "PRM": "prm",
    "(EWC)": "ewc",
}
METRICS = {"Acc": "acc", "PS": "ps", "CT": "ct", "FWT": "fwt_vs_one", "BWT": "bwt_T"}
UNITS = {"ps": "percent", "fwt_vs_one": "percent", "bwt_T": "percent", "ct": "seconds"}

FULL = Study(
    methods={method: {} for method in ROWS.values()},
    network="mlp",
    preset="prm",
    search=Search(trials=20, concurrency=1),
    final="best trial",
    orders=3,
    paper="prm",
)
PAPER = Form(
    full=FULL,
    small=FULL.with_(  # a narrow network, five trials, few epochs at four times the learning rate
        network="mlp(hidden=128)",
        preset="prm+prm_desk",
        search=Search(trials=5, concurrency=1, startup_trials=4),
    ),
)


def tables(number: str, columns: Mapping[str, str], rows: Mapping[str, Any] = ROWS) -> list[PaperTable]:
    """A table of the paper, a block for each sequence: Acc, PS, CT, FWT and BWT side by side."""
    return [
        PaperTable(
            f"Table {number}, {label}",
            table=number,
            rows=rows,
            columns={name: (text, metric) for name, metric in METRICS.items()},
            unit=UNITS,
            paper_seeds=3,
            notes=["PS over the trials, CT of the best trial; all of them means over orders"],
        )
        for label, text in columns.items()
    ]

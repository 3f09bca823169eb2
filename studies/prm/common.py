"""Definitions that the studies of the PRM paper share: rows, metrics, the protocol, and their small forms.

For each method, sequence and order, the paper runs 20 trials one after another and reports the best trial
itself; it then takes means over three orders. Its EHAT row is compared with `ehat`. Plain `ewc` is a row that
raycl adds.
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
DIGITS = {  # what stands in for the mixed sequences where their data are not at hand
    "#5": "digits_mixed",
    "#6": "digits_mixed(label='parity', permuted=True)",
}
METRICS = {"Acc": "acc", "PS": "ps", "CT": "ct", "FWT": "fwt_vs_one", "BWT": "bwt_T"}
UNITS = {"ps": "percent", "fwt_vs_one": "percent", "bwt_T": "percent", "ct": "seconds"}

NOTES = [
    "Acc is a fraction; PS, FWT and BWT are in percentage points, and CT is in seconds",
    "PS is over the trials, CT is that of the best trial; all values are means over orders",
    "CT: training goes on through three plateaus, as in HAT's code; by the text it stops at the first "
    "(fit.stop='first_plateau')",
    "CT: CAT computes earlier tasks' logits in every epoch of its similarity test, and here only once",
]

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
    small=FULL.with_(  # a narrow network, three trials, and few epochs at four times the learning rate
        methods=FULL.methods | {"acl": {"fit.epochs": 12}},  # makes five steps with each batch
        network="mlp(hidden=128)",
        preset="prm+prm_desk",
        search=Search(trials=3, concurrency=1, startup_trials=3),
    ),
)


def tables(number: str, columns: Mapping[str, str], rows: Mapping[str, Any] = ROWS) -> list[PaperTable]:
    """Return one table for each sequence, with Acc, PS, CT, FWT and BWT side by side."""
    return [
        PaperTable(
            f"Table {number}, {label}",
            table=number,
            rows=rows,
            columns={name: (text, metric) for name, metric in METRICS.items()},
            unit=UNITS,
            paper_seeds=3,
            notes=NOTES,
        )
        for label, text in columns.items()
    ]

"""SPG with the dropout rates that its authors released for each benchmark, without a search."""

from .common import COLUMNS, PAPER, table

ROWS = {"ONE": "one", "NCL": "finetune", "SPG": "spg"}

STUDY = PAPER.full.with_(
    methods={method: {} for method in ROWS.values()},
    preset="spg+spg_dropout",
    search=None,
    tables=[table("2", "accuracy, released dropout", "acc", ROWS, COLUMNS.full)],
)

"""SPG with the dropout rates that its authors released for each benchmark: nothing is searched."""

from spg_common import COLUMNS, full, table

ROWS = {"ONE": "one", "NCL": "finetune", "SPG": "spg"}

STUDY = full(
    {method: {} for method in ROWS.values()},
    list(COLUMNS.values()),
    preset="spg+spg_dropout",
    search=None,
    tables=[table("2", "accuracy, released dropout", "acc", ROWS, COLUMNS)],
)

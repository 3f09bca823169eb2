"""SPG, Table 13: many tasks, where fine-tuned copies (B2) fall behind. Its printed numbers are lost."""

from spg_common import REFERENCES, desk, full, table

ROWS = {**REFERENCES, "B2": "copies", "SPG": "spg"}
COLUMNS = {"T-50": "tiny_50", "T-100": "tiny_100", "I-50": "imagenet32_50", "I-200": "imagenet32_200"}
DESK_COLUMNS = {"permuted": "digits_permuted(tasks=20)"}
METHODS = {method: {} for method in ROWS.values()}

STUDY = full(METHODS, list(COLUMNS.values()), tables=[table("13", "accuracy", "acc", ROWS, COLUMNS)])
DESK = desk(
    METHODS | {"mtl": {"fit.batch": 64}},
    list(DESK_COLUMNS.values()),
    network="mlp(hidden=64)",
    search=None,
    tables=[table("13", "accuracy", "acc", ROWS, DESK_COLUMNS)],
)

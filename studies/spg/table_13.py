"""SPG, Table 13: many tasks, on which fine-tuned copies (B2) fall behind in the paper.

The available text of the paper does not contain the numbers of this table.
"""

from raycl import Form

from .common import DESK_MTL, PAPER, REFERENCES, table

ROWS = {**REFERENCES, "B2": "copies", "SPG": "spg"}
COLUMNS = Form(
    full={"T-50": "tiny_50", "T-100": "tiny_100", "I-50": "imagenet32_50", "I-200": "imagenet32_200"},
    small={"permuted": "digits_permuted(tasks=20)"},
)
METHODS = {method: {} for method in ROWS.values()}

STUDY = PAPER.full.with_(
    methods=METHODS,
    benchmarks=list(COLUMNS.full.values()),
    tables=[table("13", "accuracy", "acc", ROWS, COLUMNS.full)],
)
SMALL = PAPER.small.with_(
    methods=METHODS | {"mtl": DESK_MTL},
    benchmarks=list(COLUMNS.small.values()),
    network="mlp(hidden=64)",
    search=None,
    tables=[table("13", "accuracy", "acc", ROWS, COLUMNS.small)],
)

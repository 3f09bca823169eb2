"""SPG, Table 12: comparison with training on stored data, B1(r), and with a copied network per task, B2.

The paper does not run B1 on 100 tasks. The other rows are those of Table 2.
"""

from .common import COLUMNS, DESK_MTL, FEW, PAPER, REFERENCES, table

FRACTIONS = (1.0, 0.5, 0.1)
ROWS = {
    **REFERENCES,
    **{f"B1({fraction:g})": f"replay[fraction={fraction}]" for fraction in FRACTIONS},
    "B2": "copies",
    "SPG": "spg",
}
STORED = {f"replay-{fraction:g}": {"method": "replay", "method.fraction": fraction} for fraction in FRACTIONS}
BOTH = {"mtl": {}, "one": {}, "finetune": {}, **STORED, "copies": {}, "spg": {}}

STUDY = PAPER.full.with_(
    methods=BOTH | {label: keys | {"benchmarks": FEW} for label, keys in STORED.items()},
    tables=[table("12", "accuracy", "acc", ROWS, COLUMNS.full)],
)
SMALL = PAPER.small.with_(
    methods=BOTH | {"mtl": DESK_MTL}, tables=[table("12", "accuracy", "acc", ROWS, COLUMNS.small)]
)

"""SPG, Table 12: against training with stored data, B1(r), and a network copied for each task, B2.

The paper stores no data on 100 tasks; the other rows are those of Table 2.
"""

from spg_common import COLUMNS, DESK_COLUMNS, REFERENCES, desk, full, table

FRACTIONS = (1.0, 0.5, 0.1)
ROWS = {
    **REFERENCES,
    **{f"B1({fraction:g})": f"replay[fraction={fraction}]" for fraction in FRACTIONS},
    "B2": "copies",
    "SPG": "spg",
}
STORED = {f"replay-{fraction:g}": {"method": "replay", "method.fraction": fraction} for fraction in FRACTIONS}
FEW = [benchmark for benchmark in COLUMNS.values() if benchmark != "imagenet32_100"]
BOTH = {"mtl": {}, "one": {}, "finetune": {}, **STORED, "copies": {}, "spg": {}}

STUDY = full(
    BOTH | {label: keys | {"benchmarks": FEW} for label, keys in STORED.items()},
    list(COLUMNS.values()),
    tables=[table("12", "accuracy", "acc", ROWS, COLUMNS)],
)
DESK = desk(BOTH | {"mtl": {"fit.batch": 64}}, tables=[table("12", "accuracy", "acc", ROWS, DESK_COLUMNS)])

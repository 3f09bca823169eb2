"""SPG, Table 14: soft masks compared with hard ones (HPG), whose threshold is chosen on validation."""

from .common import COLUMNS, METHODS, PAPER, REFERENCES, chosen, table

ROWS = {**REFERENCES, "HAT": "hat", "SupSup": "supsup", "HPG": "hpg", "SPG": "spg"}
NOTE = [
    "HPG: the paper reports the accuracy of the best threshold and does not say on which images it is the "
    "best; here it is chosen on validation"
]

STUDY = PAPER.full.with_(
    methods=chosen(ROWS) | {"hpg": {}},
    tables=[table("14", "accuracy", "acc", ROWS, COLUMNS.full, notes=NOTE)],
)
SMALL = PAPER.small.with_(
    methods=chosen(ROWS, METHODS.small) | {"hpg": {}},
    tables=[table("14", "accuracy", "acc", ROWS, COLUMNS.small, notes=NOTE)],
)

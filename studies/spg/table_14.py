"""SPG, Table 14: soft masks against hard ones (HPG), whose threshold validation chooses."""

from .common import COLUMNS, METHODS, PAPER, REFERENCES, chosen, table

ROWS = {**REFERENCES, "HAT": "hat", "SupSup": "supsup", "HPG": "hpg", "SPG": "spg"}
NOTE = ["HPG: the paper takes the threshold that is best on test; here validation chooses"]

STUDY = PAPER.full.with_(
    methods=chosen(ROWS) | {"hpg": {}},
    tables=[table("14", "accuracy", "acc", ROWS, COLUMNS.full, notes=NOTE)],
)
SMALL = PAPER.small.with_(
    methods=chosen(ROWS, METHODS.small) | {"hpg": {}},
    tables=[table("14", "accuracy", "acc", ROWS, COLUMNS.small, notes=NOTE)],
)

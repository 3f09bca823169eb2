"""SPG, Table 14: soft masks against hard ones (HPG), whose threshold validation chooses."""

from spg_common import COLUMNS, DESK_COLUMNS, DESK_METHODS, REFERENCES, chosen, desk, full, table

ROWS = {**REFERENCES, "HAT": "hat", "SupSup": "supsup", "HPG": "hpg", "SPG": "spg"}
NOTE = ["HPG: the paper takes the threshold that is best on test; here validation chooses"]

STUDY = full(
    chosen(ROWS) | {"hpg": {}},
    list(COLUMNS.values()),
    tables=[table("14", "accuracy", "acc", ROWS, COLUMNS, notes=NOTE)],
)
DESK = desk(
    chosen(ROWS, DESK_METHODS) | {"hpg": {}},
    tables=[table("14", "accuracy", "acc", ROWS, DESK_COLUMNS, notes=NOTE)],
)

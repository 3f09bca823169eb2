"""PRM, Table 3: ten methods on sequence #3 (F-EMNIST-10T) and #4 (F-CelebA-10T), three orders."""

from prm_common import desk, full, tables

STUDY = full(["prm_3", "prm_4"], tables=tables("3", {"#3": "prm_3", "#4": "prm_4"}))
DESK_COLUMNS = {"#3, subset": "femnist_10_prm", "parity": "digits_writers(label='parity')"}
DESK = desk(list(DESK_COLUMNS.values()), tables=tables("3", DESK_COLUMNS))

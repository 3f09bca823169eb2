"""PRM, Table 2: ten methods on sequence #1 (EMNIST-10T) and #2 (CIFAR100-10T), three orders."""

from prm_common import desk, full, tables

STUDY = full(["prm_1", "prm_2"], tables=tables("2", {"#1": "prm_1", "#2": "prm_2"}))
DESK_COLUMNS = {"omniglot": "omniglot_10", "#2, subset": "cifar100_10(class_order='id')"}
DESK = desk(list(DESK_COLUMNS.values()), tables=tables("2", DESK_COLUMNS))

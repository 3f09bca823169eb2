"""SPG's protocol on what a desk may hold of CIFAR-100 and F-EMNIST; no number of the paper stands beside."""

from spg_common import DESK, DESK_METHODS, ROWS, chosen, table

from raycl import Search, Study

CHOSEN = ("ONE", "NCL", "HAT", "SI", "EWC", "SupSup", "SPG")
COLUMNS = {"C-10": "cifar100_10", "FE-10": "femnist_10"}
CHOSEN_ROWS = {label: ROWS[label] for label in CHOSEN}

STUDY = Study(
    methods=chosen(CHOSEN_ROWS, DESK_METHODS),
    benchmarks=list(COLUMNS.values()),
    tables=[
        table("2", "accuracy", "acc", CHOSEN_ROWS, COLUMNS),
        table("3", "forward transfer", "fwt_vs_one", CHOSEN_ROWS, COLUMNS),
        table("4", "backward transfer", "bwt", CHOSEN_ROWS, COLUMNS),
    ],
    **(DESK | {"search": Search(trials=3, width=2, startup=3)}),
)

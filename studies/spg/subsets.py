"""SPG, Tables 2 to 4: seven methods on CIFAR-100 and F-EMNIST, or on those subsets that this machine has.

They have the network and the protocol of the other small forms, so that they show what real images change.
"""

from raycl import Search, Seeds

from .common import DIVISOR, METHODS, PAPER, ROWS, chosen, table

CHOSEN = {label: ROWS[label] for label in ("ONE", "NCL", "HAT", "SI", "EWC", "SupSup", "SPG")}
COLUMNS = {"C-10": "cifar100_10", "FE-10": "femnist_10"}

STUDY = PAPER.small.with_(
    methods=chosen(CHOSEN, METHODS.small),
    benchmarks=list(COLUMNS.values()),
    search=Search(trials=3, concurrency=2, startup_trials=3),
    tables=[
        table("2", "accuracy", "acc", CHOSEN, COLUMNS),
        table("3", "forward transfer", "fwt_vs_one", CHOSEN, COLUMNS),
        table("4", "backward transfer", "bwt", CHOSEN, COLUMNS, notes=[DIVISOR]),
    ],
)
SMALL = STUDY.with_(
    fit={"epochs": 15, "patience": 3},
    search=Search(trials=2, concurrency=2, startup_trials=2),
    final=Seeds(1, 2, 3),
)

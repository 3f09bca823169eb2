"""The text of a study that has every kind of job: a search, seeds, a backbone with parts, basis masks."""

STUDY = """
from raycl import *
STUDY = Study(
    methods={
        "searched": {"method": "finetune", "fit.lr": Float(0.01, 1, log=True)},
        "on-backbone": {"method": "piggyback", "search": None, "method.initial_epochs": 1},
        "on-masks": {"method": "impresslearn", "search": None, "method.basis": "homogeneous", "method.k": 3,
                     "method.basis_epochs": 1},
    },
    benchmarks=["digits_permuted(tasks=3, first=1)"],
    network="mlp(hidden=8, drop1=0.0, drop2=0.0)",
    fit={"epochs": 1, "lr": 0.1, "stop": "never"},
    search=Search(trials=4, concurrency=2, startup_trials=2),
    final=Seeds(1, 2),
)
"""

PLAIN, HALVED = "startup_trials=2)", "startup_trials=2, prune=Halving(rungs=(1,), keep=0.5))"
PRUNED = STUDY.replace(PLAIN, HALVED)  # its trials pause after the first task, where half of them are pruned

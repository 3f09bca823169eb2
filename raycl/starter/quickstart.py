"""The quickstart: five methods and two references on scikit-learn's digits, in minutes on a laptop.

The hyperparameters of the five methods are searched with TPE. The tasks of `digits_split` are dissimilar
(0/1, 2/3, ...), so a method easily forgets the first ones. The tasks of `digits_writers` are similar (the
same ten digits, each task in another simulated handwriting), so the first ones help to learn the later ones.
"""

from raycl import Float, Search, Seeds, Study

STUDY = Study(
    methods={
        "one": {"search": None},  # one network per task: the reference for forward transfer
        "mtl": {"search": None, "fit.batch": 64},  # the other reference: all tasks at once
        "finetune": {},
        "ewc": {},
        "hat": {},
        "spg": {},
        "supsup": {"fit.lr": Float(1.0, 100.0, log=True)},  # its scores need large steps
    },
    benchmarks=["digits_split", "digits_writers(tasks=5)"],
    network="mlp(hidden=64)",
    preset="spg",
    fit={"epochs": 60},
    search=Search(trials=8, concurrency=4, startup_trials=4),
    final=Seeds(1, 2, 3),
)

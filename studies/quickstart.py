"""Five methods searched by TPE on scikit-learn's digits, two references beside them; minutes on a laptop.

`digits_split` has dissimilar tasks (0/1, 2/3, ...): what is learnt first is easily forgotten.
`digits_writers` has similar tasks (the same ten digits in five hands): what is learnt first helps.
"""

from raycl import Float, Search, Seeds, Study

STUDY = Study(
    methods={
        "one": {"search": None},  # a network per task: what forward transfer is measured from
        "mtl": {"search": None, "fit.batch": 64},  # all tasks at once
        "finetune": {},
        "ewc": {},
        "hat": {},
        "spg": {},
        "supsup": {"fit.lr": Float(1.0, 100.0, log=True)},  # scores are small, and want large steps
    },
    benchmarks=["digits_split", "digits_writers(tasks=5)"],
    network="mlp(hidden=64)",
    preset="spg",
    fit={"epochs": 60},
    search=Search(trials=8, concurrency=4, startup_trials=4),
    final=Seeds(1, 2, 3),
)

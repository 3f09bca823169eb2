"""A small study of the catalogue's own methods, for hosts that are whole."""

from raycl import Search, Seeds, Study

STUDY = Study(
    name="hosts",
    methods={"one": {"search": None}, "hat": {}, "finetune": {"search": None}},
    benchmarks=["digits_split"],
    network="mlp(hidden=16, drop1=0.0, drop2=0.0)",
    fit={"epochs": 2, "lr": 0.1},
    search=Search(trials=3, concurrency=2, startup_trials=2),
    final=Seeds(1, 2),
)

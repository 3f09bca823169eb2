"""Seventy-five tasks of a moment each: what the faults strike."""

from raycl import Float, Resources, Search, Seeds, Study

STUDY = Study(
    name="faults",
    methods={
        "finetune": {"method": "misfits:Finetune", "fit.lr": Float(0.01, 0.3, log=True)},
        "ewc": {"method": "misfits:Ewc"},
        "hat": {"method": "misfits:Hat"},
    },
    benchmarks=["digits_split"],
    network="mlp(hidden=16, drop1=0.0, drop2=0.0)",
    fit={"epochs": 2, "lr": 0.1},
    search=Search(trials=4, concurrency=2, startup_trials=2),
    final=Seeds(1, 2),
    resources={"*": Resources(cpus=1, memory=1.5, stall_minutes=0.5)},
)

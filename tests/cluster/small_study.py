"""Seventy-five tasks of a moment each: what the faults strike."""

from raycl import Float, R, Search, Seeds, Study

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
    search=Search(trials=4, width=2, startup=2),
    final=Seeds(1, 2),
    resources={"*": R(cpus=1, memory=1.5, silence=0.5)},
)

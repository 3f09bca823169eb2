"""What the studies of the PMASK paper share. None of its printed numbers survives.

`pmask-lr` searches the embeddings' learning rate, which `pmask-literal` takes as the weights'; with that one
gates hardly move, which is why random masks stand beside as a control.
"""

from __future__ import annotations

from typing import Any

from raycl import Curves, Float, Form, PaperTable, Search, Seeds, Study

ROWS = {
    "PMASK": "pmask-literal",
    "PMASK, own rate": "pmask-lr",
    "random mask": "random_mask",
    "HAT": "hat",
    "SGD": "finetune",
    "SGD-F": "frozen",
    "EWC": "ewc",
    "PathNet": "pathnet",
    "PNN": "pnn",
    "joint": "mtl",
}
METHODS: dict[str, dict[str, Any]] = {
    **{label: {} for label in ROWS.values()},
    "pmask-literal": {"method": "pmask", "method.emb_lr_mult": 1.0},
    "pmask-lr": {"method": "pmask"},
    "finetune": {"fit.lr": Float(0.005, 0.1, log=True)},
    "one": {},  # what forward transfer is measured from
}
MASKED = ("pmask-literal", "pmask-lr", "random_mask")
FULL = Study(
    methods=METHODS,
    network="alexnet",
    preset="pmask",
    search=Search(trials=20, concurrency=4),
    final=Seeds(0, 1, 2),
    paper="pmask",
)
PAPER = Form(
    full=FULL,
    small=FULL.with_(
        network="alexnet(width=.25)",
        preset="pmask+desk",
        fit={"epochs": 20, "patience": 3},  # eight batches an epoch: ten are too few to learn a task
        search=Search(trials=3, concurrency=2, startup_trials=3),
    ),
)
DIGITS = PAPER.small.with_(
    benchmarks=["digits_split(size=32)"],
    network="alexnet(width=.125)",
    fit={"epochs": 30, "patience": 3},
)


CAPACITY = Curves("Capacity used", value="capacity_used[t]", rows="pmask*,random_mask,hat")


def tables(number: str, benchmark: str, tasks: int = 5) -> list[PaperTable]:
    """Accuracy of each task after the last one, and when it was just learnt."""
    columns: dict[str, Any] = {f"task {t}": f"{benchmark}#{t}" for t in range(1, tasks + 1)}
    means = {"acc": "acc", "just learnt": "acc_just", "bwt": "bwt"}
    masks: dict[str, Any] = {
        f"{row}: {metric}": (label, f"{metric}[t=T]")
        for metric in ("capacity_used", "reuse_lift", "kept_share", "polarised_share", "flip_share")
        for row, label in ROWS.items()
        if label in MASKED
    }
    return [
        PaperTable(f"Table {number}: accuracy by task", rows=ROWS, columns=columns, paper_seeds=1),
        PaperTable(
            f"Table {number}: means",
            rows=ROWS,
            columns={name: (benchmark, metric) for name, metric in means.items()},
        ),
        PaperTable(
            "Masks after the last task",
            rows=masks,
            columns={"value": benchmark},
            notes=[
                "capacity_used: share of parameters that some mask has; reuse_lift: 1 for random masks; "
                "polarised_share: gates between .05 and .95; flip_share: gates that left their side"
            ],
        ),
    ]

"""Definitions that the studies of the PMASK paper share.

The available text of the paper contains none of its printed numbers. `pmask-literal` trains the embeddings
with the learning rate of the weights, at which the gates hardly move; random masks are therefore a control.
`pmask-lr` searches the learning rate of the embeddings.
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
    "one": {},  # the reference for forward transfer
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
        fit={"epochs": 20, "patience": 3},  # an epoch has eight batches, and ten epochs learn too little
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
    """Return tables of the accuracy by task, of its means, and of the masks after the last task."""
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
                "capacity_used: share of parameters in any mask; reuse_lift: 1 for random masks; "
                "polarised_share: gates between .05 and .95; flip_share: gates that changed sides"
            ],
        ),
    ]

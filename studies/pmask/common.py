"""Definitions that the studies of the PMASK paper share.

The available text of the paper contains none of its printed numbers. `pmask-literal` is the paper's
method: it trains the embeddings with the learning rate of the weights, at which the gates hardly move. Random
masks are therefore a control. `pmask-lr`, which searches a learning rate of the embeddings, is raycl's own.

As in the paper, all methods train with the rate 0.05. Searches vary only the settings of a method itself.
The paper speaks of eight data sets, names three of them and reports two, which are those of the studies.
"""

from __future__ import annotations

from typing import Any

from raycl import Curves, Form, Grid, PaperTable, Search, Seeds, Study

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
    # The widths at which these two have as many parameters as the network; HAT's widths give up to 17 % more.
    # Without a bound on its gradients, PathNet diverges at the paper's rate.
    "pathnet": {"method.expansion": 0.25, "fit.clip": 100.0},
    "pnn": {"method.expansion": 1.04},
    "one": {},  # the reference for forward transfer
}
# The small form trains each method with its default settings, and searches the own rate of PMASK alone.
SMALL_METHODS = METHODS | {
    "pmask-lr": {"method": "pmask", "search": Grid({"method.emb_lr_mult": [10.0, 100.0, 1000.0]})}
}
MASKED = ("pmask-literal", "pmask-lr", "random_mask")
FULL = Study(
    methods=METHODS,
    network="alexnet",
    preset="pmask",
    fit={"lr": 0.05},
    search=Search(trials=20, concurrency=4),
    final=Seeds(0, 1, 2),
    paper="pmask",
)
PAPER = Form(
    full=FULL,
    small=FULL.with_(
        methods=SMALL_METHODS,
        network="alexnet(width=.125)",
        preset="pmask+desk",
        fit={"lr": 0.05, "epochs": 20, "patience": 3},  # an epoch has eight batches; ten learn too little
        search=None,
    ),
)
DIGITS = PAPER.small.with_(
    benchmarks=["digits_split(size=32)"],
    fit={"lr": 0.05, "epochs": 30, "patience": 3},
)


CAPACITY = Curves("Capacity used", value="capacity_used[t]", rows="pmask*,random_mask,hat")


SIZES = (
    "the paper gives all methods 7.1 M parameters; the network that it describes has 6.5 M for CIFAR-10 and "
    "6.7 M for CIFAR-100, and PathNet and PNN have as many"
)
CLIPPED = (
    "gradients of PathNet are cut at a norm of 100, as those of EWC; without that it diverges at this rate"
)
SEARCHED = Form(
    full="all methods train with the paper's rate 0.05; PMASK, HAT, EWC and PathNet search their own "
    "settings in 20 trials, where the paper has a grid, and the others have none",
    small="all methods train with the paper's rate 0.05 and their default settings; the own rate of PMASK is "
    "the best of 10, 100 and 1000 times that",
)


def tables(number: str, benchmark: str, searched: str) -> list[PaperTable]:
    """Return tables of the accuracy by task, of its means, and of the masks after the last task.

    Args:
        number: The number of the paper's table.
        benchmark: The benchmark.
        searched: The sentence on what is searched.
    """
    notes = [SIZES, searched, CLIPPED]
    columns: dict[str, Any] = {f"task {t}": f"{benchmark}#{t}" for t in range(1, 6)}
    means = {"acc": "acc", "just learnt": "acc_just", "bwt": "bwt"}
    masks: dict[str, Any] = {
        f"{row}: {metric}": (label, f"{metric}[t=T]")
        for metric in ("capacity_used", "reuse_lift", "kept_share", "polarised_share", "flip_share")
        for row, label in ROWS.items()
        if label in MASKED
    }
    return [
        PaperTable(
            f"Table {number}: accuracy by task",
            table=number,
            rows=ROWS,
            columns=columns,
            paper_seeds=1,
            notes=notes,
        ),
        PaperTable(
            f"Table {number}: means",
            table=number,
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

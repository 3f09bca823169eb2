"""What the studies of the KSM paper share: its rows, its backbone, how each method trains, and small forms.

All methods start from one and the same network, trained on the first task. The paper searches nothing and
prints no learning rate but one; masks are trained at each of four here, and validation images decide. CPG
decides by them when it stops compacting, so the benchmark holds a tenth of the training images back.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from raycl import Grid, PaperTable, Seeds

Keys = dict[str, dict[str, Any]]
ROWS = {"PackNet": "packnet", "Piggyback": "piggyback", "CPG": "cpg", "Ours": "ksm"}
TWENTY = "cifar100_super(val=0.1)"
FIVE = "cifar100_super(tasks=5, val=0.2)"  # of a subset's 500 images 400 are left, and 100 to decide by

MASKS: dict[str, Any] = {
    "preset": "ksm_mask_paper",
    "search": Grid({"fit.lr": [1e-4, 2e-4, 5e-4, 1e-3]}),
}
METHODS: Keys = {
    "packnet": {"preset": "ksm_packnet"},
    "piggyback": MASKS,
    "cpg": {"preset": "ksm_cpg"},
    "ksm": MASKS,
}
FULL: dict[str, Any] = {
    "paper": "ksm",
    "network": "vgg16_bn",
    "search": None,
    "final": Seeds(1, 2, 3),
}

_INITIAL = {"method.initial": "ksm_initial+ksm_desk"}
DESK_MASKS: dict[str, Any] = {
    "preset": "ksm_mask_paper",
    "search": Grid({"fit.lr": [1e-3, 3e-3]}),  # few steps: larger rates than the paper's
    "fit.epochs": 12,
    "fit.milestones": (8,),
    **_INITIAL,
}
DESK_METHODS: Keys = {
    "packnet": {
        "preset": "ksm_packnet+ksm_desk",
        "method.retrain_epochs": 10,
        "method.retrain_milestone": 8,
        **_INITIAL,
    },
    "piggyback": DESK_MASKS,
    "cpg": {
        "preset": "ksm_cpg+ksm_desk",
        "method.pick_milestone": 15,
        "method.pick_stop": 21,
        "method.stage_epochs": 3,
        "method.ramp_epochs": 1,
        "method.repick_epochs": 6,
        "method.repick_patience": 2,
        "method.goal_epochs": 12,
        **_INITIAL,
    },
    "ksm": DESK_MASKS,
}
DESK: dict[str, Any] = FULL | {"network": "vgg16_bn(width=.25)"}


def by_task(
    number: str, benchmark: str, tasks: Mapping[str, int], rows: Mapping[str, str] = ROWS
) -> list[PaperTable]:
    """Accuracy and seconds of training by task, as Table 1 has them; a printed name means a task's number."""
    whole = len(tasks) == 20
    return [
        PaperTable(
            f"Table {number}: accuracy",
            table=number,
            rows=rows,
            columns={name: f"{benchmark}#{t}" for name, t in tasks.items()} | {"avg": benchmark},
            unit="percent",
            transpose=True,
            paper_seeds=1,
            notes=[
                "task 1 is the backbone itself, which PackNet and CPG cut; one image of a task's 500 is .2",
                *(["Piggyback's printed average is 77.1, its printed tasks' mean 77.9"] if whole else []),
            ],
        ),
        PaperTable(
            f"Table {number}: seconds of training",
            table=number,
            rows=rows,
            columns={name: f"{benchmark}#{t}" for name, t in tasks.items()},
            metric="ct_train",
            mean=True,
            unit="seconds",
            transpose=True,
            paper_seeds=1,
            notes=["the first task's are the backbone's, which is trained once for all"],
        ),
    ]  # fmt: skip

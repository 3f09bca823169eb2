"""Definitions that the studies of the KSM paper share: rows, backbone, training settings, and small forms.

All methods start from the same network, which was trained on the first task. The paper describes no search
and prints a single learning rate; here masks are trained at each of four rates, and the best is chosen on
validation images. CPG also needs validation images, to decide when it stops compacting. The benchmark
therefore holds a tenth of the training images out for validation.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from raycl import Form, Grid, PaperTable, Seeds, Study

ROWS = {
    "PackNet": "packnet",
    "Piggyback": "piggyback",
    "Piggyback, BN trained": "piggyback-trained",
    "CPG": "cpg",
    "Ours": "ksm",
}
TASKS = Form(
    full="cifar100_super(val=0.1)",
    small="cifar100_super(tasks=5, val=0.2)",  # of a subset's 500 images, 400 train and 100 validate
)

# In the small form as well, CPG trains for more epochs than PackNet, and PackNet for more than a mask.
SMALL_EPOCHS = {"fit.epochs": 6, "fit.milestones": (4,)}
DESK_INITIAL = {"method.initial": "ksm_initial+ksm_desk"}
MASKS: Form[dict[str, Any]] = Form(
    full={
        "preset": "ksm_mask_paper",
        "search": Grid({"fit.lr": [1e-4, 2e-4, 5e-4, 1e-3]}),
    },
    # A larger rate than the paper's, for few steps.
    small={"preset": "ksm_mask_paper", "fit.lr": 3e-3, **SMALL_EPOCHS, **DESK_INITIAL},
)
TRAINED = {"method": "piggyback", "method.bn_mode": "affine_stats"}
METHODS: Form[dict[str, dict[str, Any]]] = Form(
    full={
        "packnet": {"preset": "ksm_packnet"},
        "piggyback": MASKS.full,
        "piggyback-trained": MASKS.full | TRAINED,
        "cpg": {"preset": "ksm_cpg"},
        "ksm": MASKS.full,
    },
    small={
        "packnet": {
            "preset": "ksm_packnet",
            "fit.epochs": 16,
            "fit.milestones": (8, 13),
            "method.retrain_epochs": 6,
            "method.retrain_milestone": 5,
            **DESK_INITIAL,
        },
        "piggyback": MASKS.small,
        "piggyback-trained": MASKS.small | TRAINED,
        "cpg": {
            "preset": "ksm_cpg",
            "fit.epochs": 16,
            "fit.milestones": (8, 13),
            "method.pick_milestone": 8,
            "method.pick_stop": 11,
            "method.stage_epochs": 2,
            "method.ramp_epochs": 1,
            "method.repick_epochs": 6,
            "method.repick_patience": 2,
            "method.goal_epochs": 12,
            **DESK_INITIAL,
        },
        "ksm": MASKS.small,
    },
)
FULL = Study(
    methods=METHODS.full,
    benchmarks=[TASKS.full],
    network="vgg16_bn",
    search=None,
    final=Seeds(1, 2, 3),
    paper="ksm",
)
PAPER = Form(
    full=FULL,
    small=FULL.with_(methods=METHODS.small, benchmarks=[TASKS.small], network="vgg16_bn(width=.125)"),
)


# Notes under the tables that compare masks with other methods.
FOOTING = (
    "Piggyback's batch normalisation (BN) stays as the first task left it, as in its authors' code; all "
    "other rows train one for each task"
)
RATES = Form(
    full="the paper trains masks with Adam at 1e-4, and on CIFAR-100 as CPG does; here the rate is the best "
    "of 1e-4, 2e-4, 5e-4 and 1e-3 on validation images",
    small="masks are trained for 6 epochs at the rate 3e-3; the paper's Adam has 30 epochs and 1e-4",
)


def by_task(
    number: str,
    benchmark: str,
    tasks: Mapping[str, int],
    rows: Mapping[str, str] = ROWS,
    notes: Sequence[str] = (),
) -> list[PaperTable]:
    """Return tables of accuracy and of seconds of training by task, in the layout of Table 1.

    Args:
        number: The number of the paper's table.
        benchmark: The benchmark whose tasks are shown.
        tasks: The number of the task that each printed name means.
        rows: The label of the study that each printed row means.
        notes: Further notes under the accuracies.
    """
    places = {name: f"{benchmark}#{t}" for name, t in tasks.items()}
    own = [
        *notes,
        "task 1 is the backbone itself, which PackNet and CPG prune; one of a task's 500 images is .2 %",
    ]
    if len(tasks) == 20:
        own.append("Piggyback's printed average is 77.1, its printed tasks' mean 77.9")
    return [
        PaperTable(
            f"Table {number}: accuracy",
            table=number,
            rows=rows,
            columns=places | {"avg": benchmark},
            unit="percent",
            transpose=True,
            paper_seeds=1,
            notes=own,
        ),
        PaperTable(
            f"Table {number}: seconds of training",
            table=number,
            rows=rows,
            columns=places,
            metric="ct_train",
            mean=True,
            unit="seconds",
            transpose=True,
            paper_seeds=1,
            notes=["task 1 shows the seconds of the backbone, which is trained once for all methods"],
        ),
    ]

"""PMASK, Table 2 and Figure 4: CIFAR-100 in five tasks of twenty classes, and CIFAR-10 beside it.

The paper says that CIFAR-100 is the harder of the two. The labels that end in `-cifar10` are runs of Table 1,
with which CIFAR-100 is compared.
"""

from typing import Any

from raycl import Form, PaperTable

from .common import METHODS, PAPER, SEARCHED, SMALL_METHODS, tables

COMPARED = ("pmask-literal", "finetune", "ewc", "pathnet")


def with_ten(methods: dict[str, Any], tens: dict[str, Any], more: dict[str, Any]) -> dict[str, Any]:
    """Return methods for CIFAR-100 together with the runs of Table 1 with which they are compared.

    Args:
        methods: The methods by label.
        tens: The methods of Table 1 by label.
        more: The settings of Table 1 that differ from those of this study.
    """
    beside = {
        f"{label}-cifar10": {"method": label, **tens[label], **more, "benchmarks": ["cifar10_5"]}
        for label in COMPARED
    }
    return methods | beside


BESIDE = PaperTable(
    "Figures 3 and 4: CIFAR-10 beside CIFAR-100",
    rows={"PMASK": "pmask[emb_lr_mult=1]", "SGD": "finetune", "EWC": "ewc", "PathNet": "pathnet"},
    columns={"CIFAR-10": "cifar10_5", "CIFAR-100": "cifar100_5"},
)
SHOWN = Form(
    full={"benchmarks": ["cifar100_5"], "tables": [*tables("2", "cifar100_5", SEARCHED.full), BESIDE]},
    small={"benchmarks": ["cifar100_5"], "tables": [*tables("2", "cifar100_5", SEARCHED.small), BESIDE]},
)
# With twenty classes per task, heads are a larger share of a narrow network, and these two need more width.
NARROW = {
    "pathnet": METHODS["pathnet"] | {"method.expansion": 0.27},
    "pnn": METHODS["pnn"] | {"method.expansion": 1.117},
}

STUDY = PAPER.full.with_(methods=with_ten(METHODS, METHODS, {}), **SHOWN.full)
SMALL = PAPER.small.with_(
    fit=PAPER.small.fit | {"epochs": 8},  # an epoch has 27 batches here and eight on CIFAR-10
    methods=with_ten(SMALL_METHODS | NARROW, SMALL_METHODS, {"fit.epochs": PAPER.small.fit["epochs"]}),
    **SHOWN.small,
)

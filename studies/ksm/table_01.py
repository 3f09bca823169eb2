"""KSM, Table 1 and Figure 5: twenty superclasses of CIFAR-100, one after another; and Figure 6."""

from raycl import Curves, Layers

from .common import PAPER, TASKS, by_task

VIEWS = [
    Curves("Figure 5: seconds of training by task", value="ct_train[t]"),
    Layers("Figure 6: share of dropped entries", value="soft_share", rows="ksm,piggyback"),
]


def tables(benchmark, tasks):
    """Return Table 1 for this number of tasks."""
    return by_task("1", benchmark, {f"task {t}": t for t in range(1, tasks + 1)})


STUDY = PAPER.full.with_(tables=tables(TASKS.full, 20), views=VIEWS)
SMALL = PAPER.small.with_(tables=tables(TASKS.small, 5), views=VIEWS)

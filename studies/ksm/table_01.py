"""KSM, Table 1 and Figure 5: twenty superclasses of CIFAR-100, one after another; and Figure 6."""

from raycl import Curves, Layers

from .common import FOOTING, PAPER, RATES, TASKS, by_task

VIEWS = [
    Curves("Figure 5: seconds of training by task", value="ct_train[t]"),
    Layers("Figure 6: share of dropped entries", value="soft_share", rows="ksm,piggyback"),
]


def tables(benchmark, tasks, rate):
    """Return Table 1 for this number of tasks."""
    names = {f"task {t}": t for t in range(1, tasks + 1)}
    return by_task("1", benchmark, names, notes=[FOOTING, rate])


STUDY = PAPER.full.with_(tables=tables(TASKS.full, 20, RATES.full), views=VIEWS)
SMALL = PAPER.small.with_(tables=tables(TASKS.small, 5, RATES.small), views=VIEWS)

"""KSM, Table 1 and Figure 5: twenty superclasses of CIFAR-100, one after another; Figure 6 beside it."""

from ksm_common import DESK as SMALL
from ksm_common import DESK_METHODS, FIVE, FULL, METHODS, TWENTY, by_task

from raycl import Curves, Layers, Study

VIEWS = [
    Curves("Figure 5: seconds of training by task", value="ct_train[t]"),
    Layers("Figure 6: share of dropped entries", value="soft_share", rows="ksm,piggyback"),
]
TASKS = {f"task {t}": t for t in range(1, 21)}

STUDY = Study(methods=METHODS, benchmarks=[TWENTY], tables=by_task("1", TWENTY, TASKS), views=VIEWS, **FULL)
DESK = Study(
    methods=DESK_METHODS,
    benchmarks=[FIVE],
    tables=by_task("1", FIVE, {f"task {t}": t for t in range(1, 6)}),
    views=VIEWS,
    **SMALL,
)

"""PMASK's Table 1 on scikit-learn's digits, two a task: no downloads, minutes."""

from pmask_common import DIGITS, METHODS, tables

from raycl import Curves, Study

STUDY = Study(
    methods=METHODS,
    benchmarks=["digits_split(size=32)"],
    tables=tables("1", "digits_split(size=32)"),
    views=[Curves("Capacity used", value="capacity_used[t]", rows="pmask*,random_mask,hat")],
    **(DIGITS | {"network": "alexnet(width=.125)"}),
)
DESK = STUDY

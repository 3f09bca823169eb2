"""PRM, Table 2: ten methods on sequence #1 (EMNIST-10T) and #2 (CIFAR100-10T), three orders."""

from raycl import Form

from .common import PAPER, tables

COLUMNS = Form(
    full={"#1": "prm_1", "#2": "prm_2"},
    small={"omniglot": "omniglot_10", "#2, subset": "cifar100_10(class_order='id')"},
)

STUDY = PAPER.full.with_(benchmarks=list(COLUMNS.full.values()), tables=tables("2", COLUMNS.full))
SMALL = PAPER.small.with_(benchmarks=list(COLUMNS.small.values()), tables=tables("2", COLUMNS.small))

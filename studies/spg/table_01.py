"""SPG, Table 1: tasks, classes and images of the nine benchmarks, counted without training.

The available text of the paper does not contain the numbers of this table. The expected ones are those of the
code that its authors released.
"""

from functools import partial

from raycl import Study
from raycl.papers.accounts.counts import counts

NAMES = (
    "cifar100_10",
    "cifar100_20",
    "tiny_10",
    "tiny_20",
    "imagenet32_100",
    "fceleba_10",
    "fceleba_20",
    "femnist_10",
    "femnist_20",
)

NOTE = (
    "code: the counts of the code that SPG's authors released; the available text of the paper lacks those "
    "of its Table 1"
)

STUDY = Study(paper="spg", sheets=[partial(counts, "Table 1 of SPG", NAMES, "code", [NOTE])])
SMALL = STUDY

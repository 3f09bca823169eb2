"""SPG, Table 1: tasks, classes and images of the nine benchmarks, counted without training."""

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

STUDY = Study(paper="spg", sheets=[partial(counts, "Table 1 of SPG", NAMES)])
SMALL = STUDY

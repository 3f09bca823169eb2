"""PRM, Table 1: tasks, classes and images of the four benchmarks, counted without training."""

from functools import partial

from raycl import Study
from raycl.papers.accounts.counts import counts

NAMES = ("cifar100_10(class_order='id')", "emnist_10", "fceleba_10", "femnist_10_prm")

STUDY = Study(paper="prm", sheets=[partial(counts, "Table 1 of PRM", NAMES)])
SMALL = STUDY

"""PMASK, Table 2 and Figure 4: CIFAR-100 in five tasks of twenty classes."""

from pmask_common import FULL, DESK as SMALL, METHODS, tables  # isort: skip

from raycl import Study

STUDY = Study(methods=METHODS, benchmarks=["cifar100_5"], tables=tables("2", "cifar100_5"), **FULL)
DESK = Study(methods=METHODS, benchmarks=["cifar100_5"], tables=tables("2", "cifar100_5"), **SMALL)

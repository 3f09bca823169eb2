"""PMASK, Table 2 and Figure 4: CIFAR-100 in five tasks of twenty classes."""

from .common import PAPER, tables

SHOWN = {"benchmarks": ["cifar100_5"], "tables": tables("2", "cifar100_5")}

STUDY = PAPER.full.with_(**SHOWN)
SMALL = PAPER.small.with_(**SHOWN)

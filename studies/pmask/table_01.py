"""PMASK, Table 1 and Figure 3: CIFAR-10 in five tasks, and the capacity that is used."""

from .common import CAPACITY, PAPER, SEARCHED, tables

SHOWN = {"benchmarks": ["cifar10_5"], "views": [CAPACITY]}

STUDY = PAPER.full.with_(tables=tables("1", "cifar10_5", SEARCHED.full), **SHOWN)
SMALL = PAPER.small.with_(tables=tables("1", "cifar10_5", SEARCHED.small), **SHOWN)

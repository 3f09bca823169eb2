"""PMASK's Table 1 on scikit-learn's digits, two classes per task: needs no download and takes minutes."""

from .common import CAPACITY, DIGITS, SEARCHED, tables

STUDY = DIGITS.with_(tables=tables("1", "digits_split(size=32)", SEARCHED.small), views=[CAPACITY])
SMALL = STUDY

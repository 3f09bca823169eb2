"""The study of the faults with a search whose trials pause after their first and third task."""

from dataclasses import replace

from raycl import Halving

from .small_study import STUDY as SMALL

STUDY = SMALL.with_(search=replace(SMALL.search, prune=Halving(rungs=(1, 3), keep=0.5)))

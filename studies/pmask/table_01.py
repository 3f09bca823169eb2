"""PMASK, Table 1 and Figure 3: CIFAR-10 in five tasks; what becomes of capacity."""

from pmask_common import FULL, DESK as SMALL, METHODS, tables  # isort: skip

from raycl import Curves, Study

VIEWS = [Curves("Capacity used", value="capacity_used[t]", rows="pmask*,random_mask,hat")]

STUDY = Study(methods=METHODS, benchmarks=["cifar10_5"], tables=tables("1", "cifar10_5"), views=VIEWS, **FULL)
DESK = Study(methods=METHODS, benchmarks=["cifar10_5"], tables=tables("1", "cifar10_5"), views=VIEWS, **SMALL)

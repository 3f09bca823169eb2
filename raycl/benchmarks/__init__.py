"""This package reads data sources and makes benchmarks, which are sequences of tasks, from them.

To add a benchmark, write a class in your own file and name it ``"my_file:Mine"`` in a study::

    @dataclass(frozen=True, kw_only=True)
    class Mine(Recipe):
        tasks: int = 5

        def build(self, seed: int) -> Benchmark:
            x_train, y_train, x_test, y_test = ...  # uint8 images and integer labels
            return split_by_class("mine", x_train, y_train, x_test, y_test, tasks=self.tasks)
"""

import importlib
from typing import Any

from raycl import oldnames
from raycl.benchmarks.arrays import as_images, split_by_class, whole
from raycl.benchmarks.base import Recipe, reordered
from raycl.benchmarks.materialised import save_npz
from raycl.benchmarks.own import check_names, names_alone
from raycl.benchmarks.prepared import data_root
from raycl.benchmarks.settings import within

__all__ = [
    "Recipe",
    "as_images",
    "check_names",
    "data_root",
    "names_alone",
    "reordered",
    "save_npz",
    "split_by_class",
    "whole",
    "within",
]


def __getattr__(name: str) -> Any:
    if name == "load":  # as version 0.1 named it
        oldnames.note("raycl.benchmarks.load", "raycl.registry.load")
        return importlib.import_module("raycl.registry").load
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

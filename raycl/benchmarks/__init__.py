"""This package reads data sources and makes benchmarks, which are sequences of tasks, from them.

To add a benchmark, write a class in your own file and name it ``"my_file:Mine"`` in a study::

    @dataclass(frozen=True, kw_only=True)
    class Mine(Recipe):
        tasks: int = 5

        def build(self, seed: int) -> Benchmark:
            x_train, y_train, x_test, y_test = ...  # uint8 images and integer labels
            return split_by_class("mine", x_train, y_train, x_test, y_test, tasks=self.tasks)
"""

from raycl.benchmarks.arrays import as_images, split_by_class, whole
from raycl.benchmarks.base import Recipe, reordered
from raycl.benchmarks.own import check_names
from raycl.benchmarks.prepared import data_root
from raycl.benchmarks.settings import within

__all__ = [
    "Recipe",
    "as_images",
    "check_names",
    "data_root",
    "reordered",
    "split_by_class",
    "whole",
    "within",
]

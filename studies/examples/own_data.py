"""A benchmark of your own: a class of a few lines that makes arrays; an npz file needs no class at all."""

from dataclasses import dataclass

import numpy as np

from raycl import Seeds, Study
from raycl.benchmarks import Recipe, split_by_class
from raycl.tasks import Benchmark


@dataclass(frozen=True, kw_only=True)
class Stripes(Recipe):
    """Six classes of striped images, split into three tasks of two classes.

    The classes differ in the direction and the width of their stripes.
    """

    tasks: int = 3

    def build(self, seed: int) -> Benchmark:
        rng = np.random.default_rng(0)  # a fixed seed, so that every run has the same images
        y = np.arange(600) % 6
        i, j = np.mgrid[:8, :8]
        waves = [np.sin(w * (i if d else j)) for w in (0.8, 1.6, 2.4) for d in (0, 1)]
        x = np.stack([waves[label] for label in y]) + rng.normal(0, 0.7, (600, 8, 8))
        x = np.clip(127 + 60 * x, 0, 255).astype(np.uint8)
        return split_by_class("stripes", x[:420], y[:420], x[420:], y[420:], tasks=self.tasks)


STUDY = Study(
    methods={"one": {}, "finetune": {}, "spg": {}},
    benchmarks=["own_data:Stripes"],  # or "npz(path='my.npz', tasks=3)"
    network="mlp(hidden=32)",
    preset="spg+desk",
    search=None,
    final=Seeds(1, 2),
)

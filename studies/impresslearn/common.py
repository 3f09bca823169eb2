"""Definitions that the studies of the ImpressLearn paper share: bases, grids, protocols, and small forms.

A label has the form kind-K-density: `het-10-0.15` is a heterogeneous basis of 10 masks of density .15. All
runs of a seed share one backbone, and all bases of a seed and density share their masks.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from raycl import Boxes, Form, Seeds, Study
from raycl.probes.basis_gn import CAUTION

Methods = dict[str, dict[str, Any]]
NOTHING: Mapping[str, Any] = MappingProxyType({})

DENSITIES = Form(full=(0.05, 0.08, 0.10, 0.15, 0.20, 0.25, 0.30), small=(0.05, 0.15, 0.30))
KINDS = {"het": "heterogeneous", "hom": "homogeneous", "random": "random"}
OWN = {
    "method": "supsup",
    "method.bank": True,
    "method.head": "shared",
    "method.backbone_init": "kaiming_normal",
}
PROBES = {"method.probes": True}  # X: each task is also tested under the masks of other tasks


@dataclass(frozen=True)
class Data:
    """A data set of the paper, complete or reduced.

    Attributes:
        name: The name of the benchmark, without a window of tasks.
        first: The number of the first new task. The basis tasks are 0, 1, and so on.
        new: How many new tasks there are.
        settings: Further settings of the benchmark, as they are written in its call.
    """

    name: str
    first: int
    new: int
    settings: str = ""

    def window(self, first: int, tasks: int) -> str:
        rest = f", {self.settings}" if self.settings else ""
        return f"{self.name}(tasks={tasks}, first={first}{rest})"

    @property
    def new_tasks(self) -> str:
        return self.window(self.first, self.new)


FEW = "val=0.0, limit_train=10000"
ROTATED = Form(full=Data("rotated_mnist", 250, 10, "val=0.0"), small=Data("rotated_mnist", 250, 3, FEW))
PERMUTED = Form(full=Data("permuted_mnist", 250, 10, "val=0.0"), small=Data("permuted_mnist", 250, 3, FEW))
CIFAR = Data("cifar100_20_fixed", 15, 5)
CIFAR_MASKS = {"method.basis_preset": "impresslearn_basis_cifar"}

FULL = Study(
    network="lenet_300_100",
    preset="impresslearn_alpha_mnist",
    search=None,
    final=Seeds(1, 2, 3),  # each seed has its own backbone
    paper="impresslearn",
)
PAPER = Form(full=FULL, small=FULL)  # a figure on MNIST is made small by its data and its grid
RESNET = Form(
    full=FULL.with_(network="resnet18(nf=48)", preset="impresslearn_alpha_cifar"),
    small=FULL.with_(network="resnet18(nf=8)", preset="impresslearn_alpha_cifar", fit={"epochs": 2}),
)


def boxes(title: str) -> list[Boxes]:
    """Return box plots over (seed, density), with a band for tasks that have masks of their own."""
    return [Boxes(title, reference="own-*,gg-*", also={"X": "x_acc"}, notes=[CAUTION])]


def bases(
    grid: Mapping[str, Sequence[int]], densities: Sequence[float], keys: Mapping[str, Any] = NOTHING
) -> Methods:
    """Return ImpressLearn methods for every kind, size and density of basis.

    Args:
        grid: The sizes of each kind of basis.
        densities: The densities of the masks.
        keys: Settings that every method gets.
    """
    return {
        f"{kind}-{k}-{density:g}": {
            "method": "impresslearn",
            "method.basis": KINDS[kind],
            "method.k": k,
            "method.density": density,
            **keys,
        }
        for kind, sizes in grid.items()
        for k in sizes
        for density in densities
    }


def recovered(
    data: Data,
    grid: Mapping[str, Sequence[int]],
    densities: Sequence[float],
    keys: Mapping[str, Any] = NOTHING,
    masks: Mapping[str, Any] = NOTHING,
) -> Methods:
    """Return methods that learn the basis tasks again: basis-GN, and SupSup with their own masks (GG).

    Basis-GN runs the alpha stage on the first min(K, 25) basis tasks themselves, or on the first `data.new`
    if the data set has fewer than ten new tasks.

    Args:
        data: The data set. grid: The sizes of each kind of basis. densities: The densities of the masks.
        keys: Settings that every basis-GN method gets. masks: Settings that every method with own masks gets.
    """
    found: Methods = {}
    for kind, sizes in grid.items():
        for k in sizes:
            labels = bases({kind: [k]}, densities, {"method.stage": "basis_gn", **keys})
            tasks = min(k, data.new if data.new < 10 else 25)
            window = data.window(0, tasks)
            found |= {f"gn-{label}": entry | {"benchmarks": [window]} for label, entry in labels.items()}
            found |= own(densities, window, f"gg-{tasks}", masks)
    return found


def own(
    densities: Sequence[float],
    benchmark: str = "",
    name: str = "own",
    keys: Mapping[str, Any] = NOTHING,
) -> Methods:
    """Return SupSup methods, in which every task has its own mask and its identity is given.

    Args:
        densities: The densities of the masks.
        benchmark: A benchmark to run on instead of the study's.
        name: The beginning of the labels.
        keys: Settings that every method gets.
    """
    where: dict[str, Any] = {"benchmarks": [benchmark]} if benchmark else {}
    return {f"{name}-{d:g}": {**OWN, **keys, **where, "method.density": d} for d in densities}


def new_and_basis_tasks(data: Form[Data], title: str) -> tuple[Study, Study]:
    """Return the study of Figure 2 or 3 and its small form: three kinds of basis, basis-GN, own masks, X."""
    grid = {"het": (5, 10, 20, 40, 100), "hom": (5, 10, 25, 50, 100, 250)}
    small = {"het": (5, 10, 25), "hom": (5, 10, 25), "random": (5, 10, 25, 100)}
    full = (
        bases(grid, DENSITIES.full)
        | recovered(data.full, grid, DENSITIES.full)
        | own(DENSITIES.full)
        | own(DENSITIES.full, data.full.window(0, 25), "x", PROBES)
    )
    small = (
        bases(small, DENSITIES.small)
        | recovered(data.small, {"het": small["het"]}, DENSITIES.small)
        | own(DENSITIES.small)
        | own(DENSITIES.small, data.small.window(0, 10), "x", PROBES)
    )
    return (
        PAPER.full.with_(methods=full, benchmarks=[data.full.new_tasks], views=boxes(title)),
        PAPER.small.with_(methods=small, benchmarks=[data.small.new_tasks], views=boxes(title)),
    )


def random_and_homogeneous(data: Form[Data], title: str) -> tuple[Study, Study]:
    """Return the study of Figure 7 or 8 and its small form."""
    sizes, small = (5, 10, 25, 50, 100, 250), (5, 10, 25)
    full = bases({"random": sizes, "hom": sizes}, DENSITIES.full) | own(DENSITIES.full)
    small = bases({"random": (*small, 100), "hom": small}, DENSITIES.small) | own(DENSITIES.small)
    return (
        PAPER.full.with_(methods=full, benchmarks=[data.full.new_tasks], views=boxes(title)),
        PAPER.small.with_(methods=small, benchmarks=[data.small.new_tasks], views=boxes(title)),
    )

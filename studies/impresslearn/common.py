"""What the studies of the ImpressLearn paper share: kinds of basis, grids, protocols, and their small forms.

Labels read kind-K-density: `het-10-0.15` is a heterogeneous basis of 10 masks of density .15. All runs of a
seed share one backbone, and all bases of a seed and density share their masks.
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
PROBES = {"method.probes": True}  # X: each task under the masks of others


@dataclass(frozen=True)
class Data:
    """A data set of the paper, whole or cut down.

    Attributes:
        name: of the benchmark, without the window.
        first, new: the new tasks are first .. first + new - 1; basis tasks are 0, 1, ..
        settings: of the benchmark.
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
    final=Seeds(1, 2, 3),  # each with a backbone of its own
    paper="impresslearn",
)
PAPER = Form(full=FULL, small=FULL)  # what makes a figure on MNIST small are its data and its grid
RESNET = Form(
    full=FULL.with_(network="resnet18(nf=48)", preset="impresslearn_alpha_cifar"),
    small=FULL.with_(network="resnet18(nf=8)", preset="impresslearn_alpha_cifar", fit={"epochs": 2}),
)


def boxes(title: str) -> list[Boxes]:
    """Boxes over (seed, density), own masks as a band."""
    return [Boxes(title, reference="own-*,gg-*", also={"X": "x_acc"}, notes=[CAUTION])]


def bases(
    grid: Mapping[str, Sequence[int]], densities: Sequence[float], keys: Mapping[str, Any] = NOTHING
) -> Methods:
    """ImpressLearn on every kind, size and density of basis.

    Args:
        grid: sizes by kind.
        keys: of every label.
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
    """basis-GN, the alpha stage on the first min(K, 25) basis tasks themselves; and their own masks (GG).

    Args:
        keys: of every label of basis-GN.
        masks: of every label of own masks.
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
    """SupSup: every task has a mask of its own, and is told which.

    Args:
        benchmark: in place of the study's.
        name: what labels begin with.
        keys: of every label.
    """
    where: dict[str, Any] = {"benchmarks": [benchmark]} if benchmark else {}
    return {f"{name}-{d:g}": {**OWN, **keys, **where, "method.density": d} for d in densities}


def new_and_basis_tasks(data: Form[Data], title: str) -> tuple[Study, Study]:
    """Figures 2 and 3 and their small forms: bases of three kinds on new tasks, basis-GN, own masks, X."""
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
    """Figures 7 and 8 and their small forms."""
    sizes, small = (5, 10, 25, 50, 100, 250), (5, 10, 25)
    full = bases({"random": sizes, "hom": sizes}, DENSITIES.full) | own(DENSITIES.full)
    small = bases({"random": (*small, 100), "hom": small}, DENSITIES.small) | own(DENSITIES.small)
    return (
        PAPER.full.with_(methods=full, benchmarks=[data.full.new_tasks], views=boxes(title)),
        PAPER.small.with_(methods=small, benchmarks=[data.small.new_tasks], views=boxes(title)),
    )

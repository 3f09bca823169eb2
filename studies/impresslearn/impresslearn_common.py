"""What the studies of the ImpressLearn paper share: kinds of basis, grids, protocols, and their small forms.

Labels read kind-K-density: `het-10-0.15` is a heterogeneous basis of 10 masks of density .15. All runs of a
seed share one backbone, and all bases of a seed and density share their masks.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from raycl import Boxes, Seeds, Study
from raycl.probes.basis_gn import CAUTION

DENSITIES = (0.05, 0.08, 0.10, 0.15, 0.20, 0.25, 0.30)
DESK_DENSITIES = (0.05, 0.15, 0.30)
KINDS = {"het": "heterogeneous", "hom": "homogeneous", "random": "random"}
SEEDS = Seeds(1, 2, 3)  # each with a backbone of its own
OWN = {"method": "supsup", "method.bank": True, "method.head": "shared",
       "method.backbone_init": "kaiming_normal"}  # fmt: skip
Keys = dict[str, dict[str, Any]]


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


RESNET = {"network": "resnet18(nf=48)", "preset": "impresslearn_alpha_cifar"}
THIN = {"network": "resnet18(nf=8)", "preset": "impresslearn_alpha_cifar", "fit": {"epochs": 2}}
CIFAR_MASKS = {"method__basis_preset": "impresslearn_basis_cifar"}
FEW = "val=0.0, limit_train=10000"
ROTATED, ROTATED_DESK = Data("rotated_mnist", 250, 10, "val=0.0"), Data("rotated_mnist", 250, 3, FEW)
PERMUTED, PERMUTED_DESK = Data("permuted_mnist", 250, 10, "val=0.0"), Data("permuted_mnist", 250, 3, FEW)
CIFAR = Data("cifar100_20_fixed", 15, 5)
IMAGENET, TINY = Data("imagenet_100", 95, 5), Data("tiny64_20", 15, 5)


def bases(grid: Mapping[str, Sequence[int]], densities: Sequence[float], **keys: Any) -> Keys:
    """ImpressLearn on every kind, size and density of basis.

    Args:
        grid: sizes by kind.
        keys: of every label, dots written as double underscores.
    """
    common = {name.replace("__", "."): value for name, value in keys.items()}
    return {
        f"{kind}-{k}-{density:g}": {
            "method": "impresslearn",
            "method.basis": KINDS[kind],
            "method.k": k,
            "method.density": density,
            **common,
        }
        for kind, sizes in grid.items()
        for k in sizes
        for density in densities
    }


def recovered(
    data: Data,
    grid: Mapping[str, Sequence[int]],
    densities: Sequence[float],
    masks: Mapping[str, Any] | None = None,
    **keys: Any,
) -> Keys:
    """basis-GN, the alpha stage on the first min(K, 25) basis tasks themselves; and their own masks (GG).

    Args:
        masks: how own masks are trained, where not as on MNIST.
    """
    found: Keys = {}
    for kind, sizes in grid.items():
        for k in sizes:
            labels = bases({kind: [k]}, densities, method__stage="basis_gn", **keys)
            tasks = min(k, data.new if data.new < 10 else 25)
            window = data.window(0, tasks)
            found |= {f"gn-{label}": entry | {"benchmarks": [window]} for label, entry in labels.items()}
            found |= own(densities, window, f"gg-{tasks}", **(masks or {}))
    return found


def own(densities: Sequence[float], benchmark: str = "", name: str = "own", **keys: Any) -> Keys:
    """SupSup: every task has a mask of its own, and is told which."""
    common = {key.replace("__", "."): value for key, value in keys.items()}
    where: dict[str, Any] = {"benchmarks": [benchmark]} if benchmark else {}
    return {f"{name}-{d:g}": OWN | common | where | {"method.density": d} for d in densities}


def figure(data: Data, methods: Keys, title: str, **study: Any) -> Study:
    """A study of the paper: no search, three seeds, boxes over (seed, density), own masks as a band."""
    defaults: dict[str, Any] = {
        "paper": "impresslearn",
        "network": "lenet_300_100",
        "preset": "impresslearn_alpha_mnist",
        "benchmarks": [data.new_tasks],
        "search": None,
        "final": SEEDS,
        "views": [Boxes(title, reference="own-*,gg-*", also={"X": "x_acc"}, notes=[CAUTION])],
    }
    return Study(methods=methods, **(defaults | study))


def new_and_basis_tasks(data: Data, desk: Data, title: str) -> tuple[Study, Study]:
    """Figures 2 and 3 and their small forms: bases of three kinds on new tasks, basis-GN, own masks, X."""
    grid = {"het": (5, 10, 20, 40, 100), "hom": (5, 10, 25, 50, 100, 250)}
    small = {"het": (5, 10, 25), "hom": (5, 10, 25), "random": (5, 10, 25, 100)}
    full = (
        bases(grid, DENSITIES)
        | recovered(data, grid, DENSITIES)
        | own(DENSITIES)
        | own(DENSITIES, data.window(0, 25), "x", method__probes=True)
    )
    less = (
        bases(small, DESK_DENSITIES)
        | recovered(desk, {"het": small["het"]}, DESK_DENSITIES)
        | own(DESK_DENSITIES)
        | own(DESK_DENSITIES, desk.window(0, 10), "x", method__probes=True)
    )
    return figure(data, full, title), figure(desk, less, title)


def random_and_homogeneous(data: Data, desk: Data, title: str) -> tuple[Study, Study]:
    """Figures 7 and 8 and their small forms."""
    sizes, small = (5, 10, 25, 50, 100, 250), (5, 10, 25)
    full = bases({"random": sizes, "hom": sizes}, DENSITIES) | own(DENSITIES)
    less = bases({"random": (*small, 100), "hom": small}, DESK_DENSITIES) | own(DESK_DENSITIES)
    return figure(data, full, title), figure(desk, less, title)

"""Definitions that the studies of the ImpressLearn paper share: bases, grids, protocols, and small forms.

A label has the form kind-K-density: `het-10-0.15` is a heterogeneous basis of 10 masks of density .15. All
runs of a seed share one backbone, and all bases of a seed and density share their masks.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any

from raycl import Boxes, BoxFigure, BoxKind, Form, Seeds, Study
from raycl.probes.basis_gn import CAUTION, MOST_TASKS

Methods = dict[str, dict[str, Any]]
Grid = Mapping[str, Sequence[int]]
NOTHING: Mapping[str, Any] = MappingProxyType({})

# The small forms have one density, so that all of them together take about an hour on one core.
DENSITIES = Form(full=(0.05, 0.08, 0.10, 0.15, 0.20, 0.25, 0.30), small=(0.15,))
KINDS = {"het": "heterogeneous", "hom": "homogeneous", "random": "random"}
OWN = {
    "method": "supsup",
    "method.bank": True,
    "method.head": "shared",
    "method.backbone_init": "kaiming_normal",
}
PROBES = {"method.probes": True}  # X: each task is also tested under the masks of other tasks
GN_BATCH = {"method.inference_batch": 128}  # the paper does not say how many images infer a task
INFERRED = {  # SupSup GN; the paper averages over 10 orders (caption of Figure 6)
    **GN_BATCH,
    "method.inference": "one_shot",
    "method.inference_orders": 10,
}


@dataclass(frozen=True)
class Data:
    """A data set of the paper, complete or reduced.

    Attributes:
        name: The name of the benchmark, without a window of tasks.
        first: The number of the first new task. The basis tasks are 0, 1, and so on.
        new: How many new tasks there are.
        settings: Further settings of the benchmark, as they are written in its call.
        most: The largest number of basis tasks that basis-GN learns again.
        crossed: The largest number of basis tasks whose masks are tested on each other (X).
    """

    name: str
    first: int
    new: int
    settings: str = ""
    most: int = MOST_TASKS
    crossed: int = MOST_TASKS

    def window(self, first: int, tasks: int) -> str:
        rest = f", {self.settings}" if self.settings else ""
        return f"{self.name}(tasks={tasks}, first={first}{rest})"

    @property
    def new_tasks(self) -> str:
        return self.window(self.first, self.new)

    def asked(self, k: int) -> int:
        """Return how many basis tasks basis-GN learns again with k masks: the paper's min(k, 25)."""
        return min(k, self.most, self.first)


FEW = "val=0.0, limit_train=10000, limit_test=2000"
ROTATED = Form(
    full=Data("rotated_mnist", 250, 10, "val=0.0"),
    small=Data("rotated_mnist", 250, 3, FEW, most=5, crossed=10),
)
PERMUTED = Form(
    full=Data("permuted_mnist", 250, 10, "val=0.0"),
    small=Data("permuted_mnist", 250, 3, FEW, most=5, crossed=10),
)
CIFAR = Form(
    full=Data("cifar100_20_fixed", 15, 5),
    small=Data("cifar100_20_fixed", 15, 2, most=3, crossed=10),
)
CIFAR_MASKS = {"method.basis_preset": "impresslearn_basis_cifar"}
CIFAR_SHORT = {"method.basis_epochs": 10}  # the epochs of a mask in the small forms
CIFAR_GRID = Form[Grid](
    full={"het": (3, 5, 7, 10, 12, 15), "hom": (3, 5, 10, 15, 25, 50, 75)},
    small={"het": (3, 5, 10), "hom": (3, 5, 10)},
)

FULL = Study(
    network="lenet_300_100",
    preset="impresslearn_alpha_mnist",
    search=None,
    final=Seeds(1, 2, 3),  # each seed has its own backbone
    evaluate="ends",  # nothing is forgotten, and to infer the task of every batch takes long
    paper="impresslearn",
)
PAPER = Form(full=FULL, small=FULL)  # a figure on MNIST is made small by its data and its grid
RESNET = Form(
    full=FULL.with_(network="resnet18(nf=48)", preset="impresslearn_alpha_cifar"),
    small=FULL.with_(network="resnet18(nf=8)", preset="impresslearn_alpha_cifar", fit={"epochs": 8}),
)


GIVEN = "SupSup GG (own masks)"
NEW = (
    BoxKind(GIVEN, "own-*", band=True),
    BoxKind("X (wrong mask)", "x-*", value="x_acc", place="X"),
)
INFER = BoxKind("SupSup GN (inferred)", "gn-one-shot-*", value="gn_acc")
TRAINED = (BoxKind("heterogeneous", "het-*"), BoxKind("homogeneous", "hom-*"))


def new_tasks(*kinds: BoxKind) -> Boxes:
    """Return the panel of new tasks: X, these kinds by the size of the basis, and a band for own masks."""
    return Boxes("New tasks", kinds=[*NEW, *kinds])


def new_and_basis(
    title: str,
    data: Data,
    kinds: Sequence[BoxKind] = TRAINED,
    others: Sequence[BoxKind] = (),
    notes: Sequence[str] = (),
) -> list[BoxFigure]:
    """Return a figure such as Figure 2: new tasks on the left, and basis tasks in basis-GN on the right.

    Args:
        title: The title of the figure.
        data: The data set.
        kinds: The kinds of basis.
        others: Further kinds on the right.
        notes: Notes under the figure, besides the one on what basis-GN sees.
    """
    again = [replace(kind, rows=f"gn-{kind.rows}") for kind in kinds]
    right = Boxes("Basis tasks (basis-GN)", kinds=[BoxKind(GIVEN, "gg-*"), *again, *others])
    asked = f"right: the first min(K, {min(data.most, data.first)}) basis tasks"
    return [BoxFigure(title, [new_tasks(*kinds), right], notes=[asked, CAUTION, *notes])]


_SIZES = (5, 10, 25, 50, 100, 250)
UNTRAINED = Form[Grid](
    full={"random": _SIZES, "hom": _SIZES}, small={"random": (5, 25, 100), "hom": (5, 10, 25)}
)
"""The sizes of random and homogeneous bases in Figures 7 and 8."""


def untrained(title: str) -> list[BoxFigure]:
    """Return a figure such as Figure 7, with random and homogeneous bases on new tasks."""
    return [BoxFigure(title, [new_tasks(BoxKind("random", "random-*"), TRAINED[1])])]


def bases(grid: Grid, densities: Sequence[float], keys: Mapping[str, Any] = NOTHING) -> Methods:
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


def relearnt(
    data: Data,
    grid: Grid,
    densities: Sequence[float],
    keys: Mapping[str, Any] = NOTHING,
    *,
    whole: bool = False,
) -> Methods:
    """Return basis-GN: methods that learn the coefficients of the basis tasks themselves.

    Args:
        data: The data set.
        grid: The sizes of each kind of basis.
        densities: The densities of the masks.
        keys: Settings that every method gets.
        whole: Whether to learn all k basis tasks again, and not only the first `data.asked(k)`.
    """
    found: Methods = {}
    for kind, sizes in grid.items():
        for k in sizes:
            window = data.window(0, k if whole else data.asked(k))
            again = bases({kind: [k]}, densities, {"method.stage": "basis_gn", **keys})
            found |= {f"gn-{label}": entry | {"benchmarks": [window]} for label, entry in again.items()}
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


def given(
    data: Data, counts: Sequence[int], densities: Sequence[float], keys: Mapping[str, Any] = NOTHING
) -> Methods:
    """Return SupSup GG: the basis tasks with the masks that were trained on them.

    Args:
        data: The data set.
        counts: The numbers of basis tasks.
        densities: The densities of the masks.
        keys: Settings that every method gets.
    """
    found: Methods = {}
    for count in counts:
        found |= own(densities, data.window(0, count), f"gg-{count}", keys)
    return found


def inferred(
    data: Data, counts: Sequence[int], densities: Sequence[float], keys: Mapping[str, Any] = NOTHING
) -> Methods:
    """Return SupSup GN: as `given`, but the mask is inferred by entropy for each batch of 128 images."""
    found: Methods = {}
    for count in counts:
        found |= own(densities, data.window(0, count), f"gn-one-shot-{count}", {**INFERRED, **keys})
    return found


def wrong(data: Data, densities: Sequence[float], keys: Mapping[str, Any] = NOTHING) -> Methods:
    """Return X: the masks of the first basis tasks, each of which is also tested on the other tasks."""
    count = min(data.crossed, data.first)
    return own(densities, data.window(0, count), "x", {**PROBES, **keys})


def counts_asked(data: Data, grid: Grid) -> list[int]:
    """Return the different numbers of tasks that basis-GN learns again for the bases of a grid."""
    return sorted({data.asked(k) for sizes in grid.values() for k in sizes})


def new_and_basis_tasks(
    data: Data,
    grid: Grid,
    densities: Sequence[float],
    keys: Mapping[str, Any] = NOTHING,
    masks: Mapping[str, Any] = NOTHING,
) -> Methods:
    """Return the methods of Figures 2 to 5: bases, own masks and X; basis-GN and SupSup GG on basis tasks.

    Args:
        data: The data set.
        grid: The sizes of each kind of basis.
        densities: The densities of the masks.
        keys: Settings that every method with a basis gets.
        masks: Settings that every method with own masks gets.
    """
    return (
        new_tasks_alone(data, grid, densities, keys, masks)
        | relearnt(data, grid, densities, keys)
        | given(data, counts_asked(data, grid), densities, masks)
    )


def new_tasks_alone(
    data: Data,
    grid: Grid,
    densities: Sequence[float],
    keys: Mapping[str, Any] = NOTHING,
    masks: Mapping[str, Any] = NOTHING,
) -> Methods:
    """Return the methods that Figures 7 to 9 ask about new tasks: bases, own masks and X.

    The arguments are those of `new_and_basis_tasks`.
    """
    return bases(grid, densities, keys) | own(densities, keys=masks) | wrong(data, densities, masks)


def joined(figures: Mapping[str, Sequence[Study]]) -> Study:
    """Return one study of the methods of several figures, which has no runs of its own.

    Args:
        figures: The studies of each data set, by the beginning of the labels of their methods.
    """
    methods: Methods = {}
    for name, studies in figures.items():
        for study in studies:
            same: dict[str, Any] = {
                "network": study.network,
                "preset": study.preset,
                "benchmarks": list(study.benchmarks),
                **{f"fit.{key}": value for key, value in study.fit.items()},
            }
            methods |= {f"{name}-{label}": same | dict(keys) for label, keys in study.methods.items()}
    benchmarks = dict.fromkeys(
        b for studies in figures.values() for study in studies for b in study.benchmarks
    )
    return FULL.with_(methods=methods, benchmarks=list(benchmarks))


def on_mnist(
    data: Form[Data],
    grid: Form[Grid],
    methods: Callable[[Data, Grid, Sequence[float]], Methods],
    views: Callable[[Data], Sequence[BoxFigure]],
) -> tuple[Study, Study]:
    """Return the full and the small form of a figure on rotated or permuted MNIST.

    Args:
        data: The data set in both forms.
        grid: The sizes of each kind of basis in both forms.
        methods: `new_and_basis_tasks` or `new_tasks_alone`.
        views: A function that returns the figure of a form from its data set.
    """

    def form(paper: Study, data: Data, grid: Grid, densities: Sequence[float]) -> Study:
        found = methods(data, grid, densities)
        return paper.with_(methods=found, benchmarks=[data.new_tasks], views=views(data))

    return (
        form(PAPER.full, data.full, grid.full, DENSITIES.full),
        form(PAPER.small, data.small, grid.small, DENSITIES.small),
    )

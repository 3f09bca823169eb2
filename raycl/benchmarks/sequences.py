"""This module defines PRM's six sequences (its Table 1): four of one family and two that mix two families."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Annotated, ClassVar, TypeAlias

from raycl.benchmarks.base import Recipe
from raycl.benchmarks.cifar import Cifar100Ten
from raycl.benchmarks.emnist import EmnistTen
from raycl.benchmarks.federated import FcelebaTen, FemnistTenPrm
from raycl.benchmarks.loading import made_of
from raycl.benchmarks.pools import shuffled
from raycl.benchmarks.settings import DataSeed, Range
from raycl.tasks import Benchmark

Parts: TypeAlias = tuple[Callable[..., Recipe], ...]  # each makes a recipe from a data seed


@dataclass(frozen=True, kw_only=True)
class _Sequence(Recipe):
    """The tasks of several benchmarks in one order, where `Task.kind` names the benchmark of a task.

    Attributes:
        order: 0, 1 and 2 are the paper's three orders, whose mean it reports. The order number of a study is
            added, so that a study of three orders runs all three. The paper's own orders are unpublished;
            these are drawn from (data_seed, number of the sequence, order).
        data_seed: The seed of the orders and of all parts.
    """

    counted_by: ClassVar[str] = "PRM's Table 1"
    number: ClassVar[int]  # of the sequence in the paper's Table 1
    made_of: ClassVar[Parts]

    order: Annotated[int, Range(0, 1_000_000)] = 0
    data_seed: DataSeed = 0

    def parts(self) -> tuple[Recipe, ...]:
        """Return the recipes whose tasks form the sequence."""
        return tuple(part(data_seed=self.data_seed) for part in self.made_of)

    def needs(self) -> tuple[str, ...]:
        return tuple(name for part in self.parts() for name in part.needs())

    def counts(self) -> tuple[int, int, int] | None:
        # If the parts have different counts, each part is checked when it is loaded.
        found = {part.counts() for part in self.parts()}
        return found.pop() if len(found) == 1 else None

    def deviations(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(text for part in self.parts() for text in part.deviations()))

    def build(self, seed: int) -> Benchmark:
        made = [made_of(part, seed) for part in self.parts()]
        tasks = [replace(task, name=f"{task.kind}: {task.name}") for part in made for task in part.tasks]
        similar = made[0].similar if len(made) == 1 else None
        return Benchmark(str(self), tuple(tasks), made[0].input_shape, similar=similar)

    def make(self, seed: int, order: int) -> Benchmark:
        made = self.build(seed)
        places = shuffled(len(made.tasks), self.data_seed, self.number, self.order + order)
        tasks = tuple(replace(made.tasks[place], index=index) for index, place in enumerate(places))
        return replace(made, tasks=tasks)


_CIFAR = partial(Cifar100Ten, class_order="id", norm="cifar")
_CELEBA = partial(FcelebaTen, norm="cifar")


@dataclass(frozen=True, kw_only=True)
class PrmOne(_Sequence):
    """Sequence 1 of PRM, which is EMNIST-10T."""

    id: ClassVar[str] = "prm_1"
    number: ClassVar[int] = 1
    similar: ClassVar[bool | None] = False
    summary: ClassVar[str] = "EMNIST-10T in the orders of PRM"
    made_of: ClassVar[Parts] = (EmnistTen,)


@dataclass(frozen=True, kw_only=True)
class PrmTwo(_Sequence):
    """Sequence 2 of PRM, which is CIFAR100-10T with the classes sorted by label."""

    id: ClassVar[str] = "prm_2"
    number: ClassVar[int] = 2
    similar: ClassVar[bool | None] = False
    summary: ClassVar[str] = "CIFAR100-10T in the orders of PRM"
    made_of: ClassVar[Parts] = (_CIFAR,)


@dataclass(frozen=True, kw_only=True)
class PrmThree(_Sequence):
    """Sequence 3 of PRM, which is F-EMNIST-10T."""

    id: ClassVar[str] = "prm_3"
    number: ClassVar[int] = 3
    similar: ClassVar[bool | None] = True
    summary: ClassVar[str] = "F-EMNIST-10T in the orders of PRM"
    made_of: ClassVar[Parts] = (FemnistTenPrm,)


@dataclass(frozen=True, kw_only=True)
class PrmFour(_Sequence):
    """Sequence 4 of PRM, which is F-CelebA-10T."""

    id: ClassVar[str] = "prm_4"
    number: ClassVar[int] = 4
    similar: ClassVar[bool | None] = True
    summary: ClassVar[str] = "F-CelebA-10T in the orders of PRM"
    made_of: ClassVar[Parts] = (_CELEBA,)


@dataclass(frozen=True, kw_only=True)
class PrmFive(_Sequence):
    """Sequence 5 of PRM, which shuffles EMNIST-10T and F-EMNIST-10T together."""

    id: ClassVar[str] = "prm_5"
    number: ClassVar[int] = 5
    similar: ClassVar[bool | None] = None
    summary: ClassVar[str] = "EMNIST-10T and F-EMNIST-10T shuffled (20 tasks)"
    made_of: ClassVar[Parts] = (EmnistTen, FemnistTenPrm)


@dataclass(frozen=True, kw_only=True)
class PrmSix(_Sequence):
    """Sequence 6 of PRM, which shuffles CIFAR100-10T and F-CelebA-10T together."""

    id: ClassVar[str] = "prm_6"
    number: ClassVar[int] = 6
    similar: ClassVar[bool | None] = None
    summary: ClassVar[str] = "CIFAR100-10T and F-CelebA-10T shuffled (20 tasks)"
    made_of: ClassVar[Parts] = (_CIFAR, _CELEBA)

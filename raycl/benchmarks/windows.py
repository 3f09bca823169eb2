"""Recipes of a sequence of known length, of which a study may take a part."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from raycl.benchmarks.base import Recipe
from raycl.benchmarks.settings import within
from raycl.errors import UserError


@dataclass(frozen=True, kw_only=True)
class FirstTasks(Recipe):
    """A sequence of `count` tasks.

    Fields:
        tasks: how many of them, from the first on; all of them by default.
    """

    count: ClassVar[int]  # tasks in the whole sequence, the default of `tasks`

    tasks: int

    def __post_init__(self) -> None:
        super().__post_init__()
        within("tasks", self.tasks, 1, self.count)


@dataclass(frozen=True, kw_only=True)
class Window(FirstTasks):
    """A sequence of `count` tasks in one fixed order.

    Fields:
        tasks: how many of them.
        first: number of the first one, counted from 0.
    """

    windows: ClassVar[bool] = True

    first: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        within("first", self.first, 0, self.count - 1)
        within("tasks", self.tasks, 1, self.count - self.first)


def sequence_length(recipe: Recipe, classes: int, each: int, wanted: int) -> int:
    """How many tasks of `each` classes the prepared data make.

    Raises:
        UserError: fewer than `wanted`; names as many as there are.
    """
    there = classes // each
    if wanted > there:
        remedy = f"take {recipe.id}(tasks={there})" if there else f"{each} are a task"
        raise UserError(
            f"benchmark {recipe}: {classes} classes of {', '.join(recipe.needs())} are prepared; {remedy}"
        )
    return there


def fixed_blocks(recipe: Window, classes: int) -> list[list[int]]:
    """Ten classes for each task of the window, in the order that SupSup's authors gave to those of ImageNet.

    Raises:
        UserError: the prepared data have too few classes.
    """
    count = sequence_length(recipe, classes, 10, recipe.first + recipe.tasks)
    order = np.random.RandomState(1).permutation(classes)[: count * 10].reshape(count, 10)
    window: list[list[int]] = order[recipe.first : recipe.first + recipe.tasks].tolist()
    return window

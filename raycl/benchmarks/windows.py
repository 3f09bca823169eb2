"""This module defines base classes of recipes whose sequence has a fixed length and may be used in part."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from raycl.benchmarks.base import Recipe
from raycl.benchmarks.settings import within
from raycl.errors import UserError


@dataclass(frozen=True, kw_only=True)
class FirstTasks(Recipe):
    """A sequence of `count` tasks, of which a study may use the first ones.

    Attributes:
        tasks: The number of tasks, counted from the first one; all of them by default.
    """

    count: ClassVar[int]  # length of the whole sequence, the default of `tasks`

    tasks: int

    def __post_init__(self) -> None:
        super().__post_init__()
        within("tasks", self.tasks, 1, self.count)


@dataclass(frozen=True, kw_only=True)
class Window(FirstTasks):
    """A sequence of `count` tasks in one fixed order, of which a study may use any consecutive part.

    Attributes:
        tasks: The number of tasks.
        first: The number of the first task, counted from 0.
    """

    windows: ClassVar[bool] = True

    first: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        within("first", self.first, 0, self.count - 1)
        within("tasks", self.tasks, 1, self.count - self.first)


def sequence_length(recipe: Recipe, classes: int, each: int, wanted: int) -> int:
    """Return how many tasks of `each` classes can be made from `classes` prepared classes.

    Raises:
        UserError: There are fewer than `wanted` tasks; the message says how many there are.
    """
    there = classes // each
    if wanted > there:
        remedy = f"use {recipe.id}(tasks={there})" if there else f"one task needs {each}"
        raise UserError(
            f"benchmark {recipe}: {classes} classes of {', '.join(recipe.needs())} are prepared; {remedy}"
        )
    return there


def fixed_blocks(recipe: Window, classes: int) -> list[list[int]]:
    """Return ten classes for each task of the window, in the order that SupSup's authors use for ImageNet.

    Raises:
        UserError: The prepared data have too few classes.
    """
    count = sequence_length(recipe, classes, 10, recipe.first + recipe.tasks)
    order = np.random.RandomState(1).permutation(classes)[: count * 10].reshape(count, 10)
    window: list[list[int]] = order[recipe.first : recipe.first + recipe.tasks].tolist()
    return window

"""This module divides a user's own data into tasks: by blocks of classes, chosen classes, or a column."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from raycl.benchmarks.families import blocks_of, class_tasks
from raycl.benchmarks.pools import Part, Pool
from raycl.errors import UserError, nearest
from raycl.tasks import Task

DEFAULT_TASKS = 5
ClassOrder: TypeAlias = Literal["id", "seeded"]
ValFrom: TypeAlias = Literal["drawn", "last"]
Classes: TypeAlias = tuple[tuple[int | str, ...], ...]


@dataclass(frozen=True)
class Wanted:
    """How a user wants the data to be divided; the fields are those of `raycl.benchmarks.own.OwnData`."""

    tasks: int
    classes: Classes
    class_order: ClassOrder
    titles: tuple[str, ...]


def tasks_of(pool: Pool, wanted: Wanted, seed: int, data_seed: int, kind: str) -> list[Task]:
    """Return tasks of chosen classes, or of blocks of classes in the order of their labels or of the seed.

    Args:
        pool: The data, in train, val and test.
        wanted: What the user's settings say.
        seed: The training seed of the run.
        data_seed: The seed of the draws that make the tasks.
        kind: The id of the benchmark.

    Raises:
        UserError: The settings do not fit the data or one another.
    """
    if wanted.classes:
        blocks = _chosen(pool, wanted)
    else:
        most = len(pool.classes) // 2
        if not 1 <= wanted.tasks <= most:
            raise UserError(
                f"tasks = {wanted.tasks} must be 1 to {most}: there are {len(pool.classes)} classes, and a "
                "task needs at least 2"
            )
        if wanted.class_order == "seeded":
            blocks = blocks_of(pool.classes, wanted.tasks, seed, data_seed)
        else:
            blocks = [block.tolist() for block in np.array_split(pool.classes, wanted.tasks)]
    return class_tasks(pool, blocks, kind, _titles(wanted, len(blocks)))


def tasks_of_columns(
    pool: Pool, columns: Sequence[NDArray[np.int64]], wanted: Wanted, kind: str
) -> list[Task]:
    """Return a task for each number in a column of the data, in ascending order of these numbers.

    Args:
        pool: The data, in train, val and test.
        columns: The task of each image of the arrays behind train, val and test.
        wanted: What the user's settings say.
        kind: The id of the benchmark.

    Raises:
        UserError: A setting contradicts the column, or a task lacks images.
    """
    numbers = [int(number) for number in np.unique(columns[0])]
    _check_column(wanted, numbers)
    titles = _titles(wanted, len(numbers)) or [f"task {number}" for number in numbers]
    found = []
    for index, number in enumerate(numbers):
        parts = [
            part._replace(rows=part.rows[column[part.rows] == number])
            for part, column in zip((pool.train, pool.val, pool.test), columns, strict=True)
        ]
        _check_parts(parts, number)
        inside = replace(pool, train=parts[0], val=parts[1], test=parts[2])
        task = class_tasks(inside, [inside.classes], kind, [titles[index]])[0]
        found.append(replace(task, index=index))
    return found


def _check_column(wanted: Wanted, numbers: Sequence[int]) -> None:
    if wanted.classes or wanted.class_order != "id":
        name = "classes" if wanted.classes else "class_order"
        raise UserError(f"{name} is set, but the column t_train already says which task an image is in")
    if wanted.tasks not in (DEFAULT_TASKS, len(numbers)):
        raise UserError(f"tasks = {wanted.tasks}, but t_train has {len(numbers)} tasks: leave tasks out")


def _check_parts(parts: Sequence[Part], number: int) -> None:
    """Check that a task has two classes or more, and the same ones in training and test."""
    train, _, test = (np.unique(part.labels[part.rows]) for part in parts)
    if len(train) < 2:
        raise UserError(f"task {number} of t_train has {len(train)} class, and a task needs at least 2")
    missing = np.setxor1d(train, test)
    if len(missing):
        raise UserError(
            f"task {number} of the columns t_train and t_test has label {missing[0]} in only one of them"
        )


def _chosen(pool: Pool, wanted: Wanted) -> list[list[int]]:
    """Return the labels of the classes that the user chose for each task."""
    if wanted.class_order != "id":
        raise UserError("class_order = 'seeded' draws the classes of each task: leave out classes")
    if wanted.tasks not in (DEFAULT_TASKS, len(wanted.classes)):
        raise UserError(
            f"tasks = {wanted.tasks}, but classes has {len(wanted.classes)} tasks: leave tasks out"
        )
    names: dict[int | str, int] = {name: label for label, name in enumerate(pool.names)}
    names = names or {label: label for label in pool.classes}
    blocks = []
    for place, block in enumerate(wanted.classes, start=1):
        if len(block) < 2 or len(set(block)) < len(block):
            raise UserError(f"classes: task {place} = {list(block)} needs at least two different classes")
        found = []
        for given in block:
            label = names.get(str(given) if pool.names else given)
            if label is None:
                known = [str(name) for name in names]
                there = ", ".join(known[:10]) + (" and others" if len(known) > 10 else "")
                raise UserError(
                    f"classes: task {place}: there is no class {given!r}{nearest(str(given), known)} "
                    f"(the data have: {there})"
                )
            found.append(label)
        blocks.append(found)
    return blocks


def _titles(wanted: Wanted, count: int) -> tuple[str, ...]:
    if wanted.titles and len(wanted.titles) != count:
        raise UserError(f"titles has {len(wanted.titles)} names for {count} tasks: give one for each task")
    return wanted.titles

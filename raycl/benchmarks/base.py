"""This module defines `Recipe`, the base class of all benchmarks, and operations on finished benchmarks."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar
from zlib import crc32

from raycl import calls
from raycl.benchmarks import sources
from raycl.benchmarks.checks import a_benchmark
from raycl.benchmarks.pools import shuffled
from raycl.benchmarks.settings import check_ranges
from raycl.errors import UserError
from raycl.tasks import ArraySplit, Benchmark


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """A way to make a task sequence, whose fields are the settings that a study may write.

    A recipe has the following life cycle. The string in a study becomes a recipe, which checks its settings
    in `__post_init__` and raises ValueError for values that make no sense. `needs` and `identity` are called
    while the study is planned; `make` is called where the run is executed. A subclass defines `build`. Every
    field has a plain type and a default, and its type may be annotated with a `Range`.

    The order of the fields is the order of the settings in the recipe's string, which is part of the keys of
    its runs. A dataclass lists the fields of its bases first; a recipe that needs another order states it in
    `settings_order`.
    """

    id: ClassVar[str] = ""  # the name that a study writes; "" for a class that is found as "module:Class"
    version: ClassVar[int] = 1  # increased when the tasks that the recipe makes change
    source: ClassVar[str] = ""  # the data source that the recipe needs, or ""
    similar: ClassVar[bool | None] = None  # whether the tasks resemble one another; None if mixed or unknown
    summary: ClassVar[str] = ""  # the line that `raycl benchmarks` prints
    counted_by: ClassVar[str] = ""  # where the numbers of `counts` are stated, such as "PRM's Table 1"
    windows: ClassVar[bool] = False  # `first` and `tasks` cut a window from one fixed sequence
    settings_order: ClassVar[tuple[str, ...]] = ()  # fields that come first in the recipe's string

    def __post_init__(self) -> None:
        check_ranges(self)

    def build(self, seed: int) -> Benchmark:
        """Return the tasks in the benchmark's own order.

        Args:
            seed: The seed of the run, for recipes whose tasks depend on it.
        """
        raise NotImplementedError(f"{type(self).__qualname__} does not define build(self, seed)")

    def make(self, seed: int, order: int) -> Benchmark:
        """Return the tasks in task order number `order`.

        Order 0 is the benchmark's own order; every other number is a fixed shuffle of it.
        """
        return reordered(a_benchmark(self.build(seed), str(self)), calls.name_of(type(self)), order)

    def needs(self) -> tuple[str, ...]:
        """Return the names of the data sources that must be prepared."""
        return (self.source,) if self.source else ()

    def prepared(self) -> tuple[str, ...]:
        """Return the folders below the data folder that hold the tasks' data, to be sent to other nodes."""
        return self.needs()

    def located(self, identity: Mapping[str, Any]) -> Recipe:
        """Return the recipe with the data that it had under this identity; it reads only prepared data."""
        return self

    def ready(self) -> Recipe:
        """Return a recipe that makes the same tasks from prepared data alone.

        Data that only this machine can read are prepared by this call.
        """
        return self

    def identity(self) -> dict[str, str]:
        """Return what determines the tasks apart from the settings, such as the checksum of a file.

        The identity is part of a run's key. Data that are not the complete published set are named in it, so
        that their runs have other keys.
        """
        notes = [
            f"{name}: {note} [{sources.fingerprint(name)}]"
            for name in self.needs()
            if (note := sources.subset(name))
        ]
        return {"subset": "; ".join(notes)} if notes else {}

    def subset(self) -> str:
        """Return the reason why the results must not be compared with published ones, or ""."""
        return ", ".join(note for name in self.needs() if (note := sources.subset(name)))

    def counts(self) -> tuple[int, int, int] | None:
        """Return how many train, val and test images each task must have; None if no numbers are known.

        `counted_by` says where they are stated; if it is "", they follow from the published data.
        """
        return None

    def deviations(self) -> tuple[str, ...]:
        """Return in what the tasks knowingly differ from the papers', one string each, for reports."""
        return ()

    def window(self, first: int, tasks: int) -> Recipe:
        """Return tasks first .. first + tasks - 1 of the same fixed sequence; other settings do not change.

        Raises:
            UserError: The benchmark has no fixed sequence, or the sequence is too short.
        """
        if not self.windows:
            raise UserError(
                f"benchmark {self} has no fixed task sequence from which a basis could be taken; use one "
                "that has, such as permuted_mnist or cifar100_20_fixed"
            )
        try:
            return replace(self, first=first, tasks=tasks)  # type: ignore[call-arg]
        except ValueError as error:
            raise UserError(f"benchmark {self}: {error}") from None

    def __str__(self) -> str:
        """Return the canonical string, which is what a study would write, without settings at defaults."""
        return calls.format_call(calls.name_of(type(self)), self)


def reordered(benchmark: Benchmark, key: str, order: int) -> Benchmark:
    """Return the same tasks in another order, with new indices; order 0 leaves the benchmark unchanged.

    Args:
        key: The id of the benchmark, so that two benchmarks of equal length are shuffled differently.
    """
    if order == 0:
        return benchmark
    places = shuffled(len(benchmark.tasks), 0, crc32(key.encode()), order)
    tasks = tuple(replace(benchmark.tasks[place], index=index) for index, place in enumerate(places))
    return replace(benchmark, tasks=tasks)


def splits_hash(benchmark: Benchmark) -> str:
    """Return 16 hexadecimal digits that identify which image is in which split, task and class."""
    seen = hashlib.sha256()
    for task in benchmark.tasks:
        for split in (task.train, task.val, task.test):
            assert isinstance(split, ArraySplit), f"{benchmark.name} is not made of image arrays"
            seen.update(split.rows.astype("<i8").tobytes())
            seen.update(split.y.astype("<i8").tobytes())
    return seen.hexdigest()[:16]

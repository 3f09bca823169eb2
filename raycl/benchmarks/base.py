"""What a benchmark's recipe is, and `load`, which turns what a study writes into tasks."""

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
    """A way to make a task sequence; its fields are the settings a study may write.

    Life cycle: a study's text becomes a recipe, which checks its settings in `__post_init__` (ValueError for
    nonsense); `needs` and `identity` are asked while planning, `make` where the run is played. A subclass
    writes `build`; every field has a plain type and a default, and may have a `Range` beside its type.

    The order of the fields is that of the settings in the recipe's text, which is part of the keys of its
    runs. A dataclass has the fields of its bases first; a recipe that writes them otherwise states so in
    `settings_order`.
    """

    id: ClassVar[str] = ""  # what a study writes; "" for one found as "module:Class"
    version: ClassVar[int] = 1  # raised when the tasks it makes change
    source: ClassVar[str] = ""  # the data source it needs, "" if none
    similar: ClassVar[bool | None] = None  # whether its tasks resemble one another; None if mixed or unknown
    summary: ClassVar[str] = ""  # one line for `raycl benchmarks`
    windows: ClassVar[bool] = False  # `first` and `tasks` cut a window from one fixed sequence
    settings_order: ClassVar[tuple[str, ...]] = ()  # fields that come before the others in its text

    def __post_init__(self) -> None:
        check_ranges(self)

    def build(self, seed: int) -> Benchmark:
        """The tasks in the benchmark's own order; `seed` is the run's, for recipes that depend on it."""
        raise NotImplementedError(f"{type(self).__qualname__} does not define build(self, seed)")

    def make(self, seed: int, order: int) -> Benchmark:
        """The tasks in order number `order`: 0 is the benchmark's own, others are fixed shuffles of it."""
        return reordered(a_benchmark(self.build(seed), str(self)), calls.name_of(type(self)), order)

    def needs(self) -> tuple[str, ...]:
        """Names of the data sources that must be prepared."""
        return (self.source,) if self.source else ()

    def prepared(self) -> tuple[str, ...]:
        """Folders below the data folder from which its tasks are read: what other nodes are given."""
        return self.needs()

    def located(self, identity: Mapping[str, Any]) -> Recipe:
        """The recipe as it was when it had this identity; it reads nothing but what is prepared."""
        return self

    def ready(self) -> Recipe:
        """The same tasks from prepared data alone; what only this machine can read is prepared now."""
        return self

    def identity(self) -> dict[str, str]:
        """What decides the tasks beside the settings, such as a file's checksum; part of a run's key.

        Data that are not the published set are owned up to, and make another key.
        """
        notes = [
            f"{name}: {note} [{sources.fingerprint(name)}]"
            for name in self.needs()
            if (note := sources.subset(name))
        ]
        return {"subset": "; ".join(notes)} if notes else {}

    def subset(self) -> str:
        """Why its numbers must not stand beside published ones, or ""."""
        return ", ".join(note for name in self.needs() if (note := sources.subset(name)))

    def counts(self) -> tuple[int, int, int] | None:
        """Images of train, val and test in every task as the paper has them; None for other settings."""
        return None

    def window(self, first: int, tasks: int) -> Recipe:
        """Tasks first .. first + tasks - 1 of the same fixed sequence, which no other setting changes.

        Raises:
            UserError: the benchmark has no fixed sequence to cut from, or not so many tasks.
        """
        if not self.windows:
            raise UserError(
                f"benchmark {self} has no fixed task sequence that a basis could be taken from; take one "
                "that has, such as permuted_mnist or cifar100_20_fixed"
            )
        try:
            return replace(self, first=first, tasks=tasks)  # type: ignore[call-arg]
        except ValueError as error:
            raise UserError(f"benchmark {self}: {error}") from None

    def __str__(self) -> str:
        """The canonical text: what a study would write, defaults left out."""
        return calls.format_call(calls.name_of(type(self)), self)


def reordered(benchmark: Benchmark, key: str, order: int) -> Benchmark:
    """The same tasks in another order, re-indexed; order 0 leaves them as they are.

    Args:
        key: the benchmark's id, so that two benchmarks of equal length are shuffled differently.
    """
    if order == 0:
        return benchmark
    places = shuffled(len(benchmark.tasks), 0, crc32(key.encode()), order)
    tasks = tuple(replace(benchmark.tasks[place], index=index) for index, place in enumerate(places))
    return replace(benchmark, tasks=tasks)


def splits_hash(benchmark: Benchmark) -> str:
    """16 hexadecimal digits of which image is in which split of which task under which label."""
    seen = hashlib.sha256()
    for task in benchmark.tasks:
        for split in (task.train, task.val, task.test):
            assert isinstance(split, ArraySplit), f"{benchmark.name} is not made of image arrays"
            seen.update(split.rows.astype("<i8").tobytes())
            seen.update(split.y.astype("<i8").tobytes())
    return seen.hexdigest()[:16]

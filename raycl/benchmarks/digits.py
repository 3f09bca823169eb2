"""This module defines benchmarks made from scikit-learn's digits, which are small and always available.

Their images can be enlarged to the shapes of the papers' data. All of these benchmarks use one division of
the 1,797 images, stratified 60/20/20, so that no training image of one benchmark, or of one part of a mixed
benchmark, is a test image of another.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Annotated, ClassVar, Literal, TypeAlias
from zlib import crc32

from raycl.benchmarks import sources
from raycl.benchmarks.base import Recipe
from raycl.benchmarks.families import EACH, PARITY, permuted_tasks, split_tasks, turned_tasks, writer_tasks
from raycl.benchmarks.pools import GREY_MEAN, GREY_STD, Part, Pool, shuffled, stratified
from raycl.benchmarks.settings import DataSeed, Range
from raycl.benchmarks.transforms import Channels, Permute
from raycl.tasks import Benchmark, Task

Size: TypeAlias = Literal[8, 28, 32]
Colours: TypeAlias = Literal[1, 3]
Label: TypeAlias = Literal["digit", "parity"]

LABELS = {"digit": EACH, "parity": PARITY}
"""The groups of digits that are the classes of a pseudo-writer's task."""


def check_label(label: str) -> None:
    """Raise ValueError if there are no such classes."""
    if label not in LABELS:
        raise ValueError(f"label = {label!r} is not {' or '.join(map(repr, LABELS))}")


@dataclass(frozen=True, kw_only=True)
class _Digits(Recipe):
    """The settings and images that all digits benchmarks share.

    Attributes:
        size: Height and width in pixels.
        channels: 1, or 3 for three equal channels.
    """

    source: ClassVar[str] = "digits"

    size: Size = 8
    channels: Colours = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.size not in (8, 28, 32):
            raise ValueError(f"size = {self.size} is not one of 8, 28, 32")
        if self.channels not in (1, 3):
            raise ValueError(f"channels = {self.channels} is not 1 or 3")

    def pool(self) -> Pool:
        """Return the images at this size, in the division that all digits benchmarks use."""
        arrays = sources.arrays("digits", self.id)
        images, labels = arrays[f"images_{self.size}"], arrays["labels"]
        train, val, test = (Part(images, labels, rows) for rows in stratified(labels, 0.2, 0.2, 0))
        n = self.channels
        return Pool(
            train,
            val,
            test,
            (GREY_MEAN,) * n,
            (GREY_STD,) * n,
            (Channels(n),) if n > 1 else (),
            names=tuple(map(str, range(10))),
        )

    def sequence(self, tasks: Sequence[Task]) -> Benchmark:
        """Return the tasks as a benchmark."""
        shape = (self.channels, self.size, self.size)
        return Benchmark(str(self), tuple(tasks), shape, similar=self.similar)


@dataclass(frozen=True, kw_only=True)
class DigitsSplit(_Digits):
    """Five tasks of two digits each: 0 and 1, 2 and 3, and so on."""

    id: ClassVar[str] = "digits_split"
    similar: ClassVar[bool | None] = False
    summary: ClassVar[str] = "digits, two per task (5 tasks)"

    def build(self, seed: int) -> Benchmark:
        return self.sequence(split_tasks(self.pool(), 5, self.id))


@dataclass(frozen=True, kw_only=True)
class DigitsPermuted(_Digits):
    """Tasks of all ten digits, each with a fixed permutation of the pixels, including the first task."""

    id: ClassVar[str] = "digits_permuted"
    windows: ClassVar[bool] = True
    similar: ClassVar[bool | None] = False
    summary: ClassVar[str] = "digits, pixels permuted differently in each task"
    settings_order: ClassVar[tuple[str, ...]] = ("tasks", "size", "channels", "data_seed", "first")

    tasks: Annotated[int, Range(1, 1000)] = 5
    data_seed: DataSeed = 0
    first: Annotated[int, Range(0, 1_000_000)] = 0

    def build(self, seed: int) -> Benchmark:
        return self.sequence(permuted_tasks(self.pool(), self.tasks, self.data_seed, self.id, self.first))


@dataclass(frozen=True, kw_only=True)
class DigitsRotated(_Digits):
    """Tasks of all ten digits, where task i is rotated anticlockwise by (first + i) * step degrees."""

    id: ClassVar[str] = "digits_rotated"
    windows: ClassVar[bool] = True
    similar: ClassVar[bool | None] = True
    summary: ClassVar[str] = "digits, each task rotated one step further"
    settings_order: ClassVar[tuple[str, ...]] = ("tasks", "step", "size", "channels", "first")

    tasks: Annotated[int, Range(1, 360)] = 5
    step: float = 10.0
    first: Annotated[int, Range(0, 360)] = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        if len(set(self.angles())) < self.tasks:
            raise ValueError(f"step = {self.step:g}: {self.tasks} such steps return to an earlier angle")

    def angles(self) -> list[float]:
        """Return the angle of each task in degrees."""
        return [index * self.step % 360 for index in range(self.first, self.first + self.tasks)]

    def build(self, seed: int) -> Benchmark:
        return self.sequence(turned_tasks(self.pool(), self.angles(), self.id))


@dataclass(frozen=True, kw_only=True)
class DigitsWriters(_Digits):
    """Tasks that each show a disjoint shard of the images in the style of one pseudo-writer.

    The classes are the ten digits or, with ``label='parity'``, even and odd.
    """

    id: ClassVar[str] = "digits_writers"
    similar: ClassVar[bool | None] = True
    summary: ClassVar[str] = "digits, one pseudo-writer per task: digit or parity"
    settings_order: ClassVar[tuple[str, ...]] = ("tasks", "label", "size", "channels", "data_seed")

    tasks: Annotated[int, Range(1, 30)] = 10  # with more tasks some writer would lack a digit
    label: Label = "digit"
    data_seed: DataSeed = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        check_label(self.label)

    def build(self, seed: int) -> Benchmark:
        labels = LABELS[self.label]
        return self.sequence(writer_tasks(self.pool(), self.tasks, labels, self.data_seed, self.id))


@dataclass(frozen=True, kw_only=True)
class DigitsMixed(_Digits):
    """The five tasks of `digits_split` shuffled among five pseudo-writers.

    `Task.kind` says which of the two families a task belongs to. As it is, the benchmark stands in for PRM's
    sequence 5, which mixes two families of characters: the writers have every class of the split tasks, in
    images of the same kind. With ``label='parity', permuted=True`` it stands in for sequence 6, which mixes
    objects with smiling faces: the writers have two classes, and the families show different kinds of images.

    Attributes:
        label: The classes of the writers, which are the ten digits, or even and odd.
        permuted: Whether the pixels of the split tasks are permuted, all in the same way.
    """

    id: ClassVar[str] = "digits_mixed"
    summary: ClassVar[str] = "5 split tasks and 5 writers of digits, shuffled"

    data_seed: DataSeed = 0
    label: Label = "digit"
    permuted: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        check_label(self.label)

    def build(self, seed: int) -> Benchmark:
        pool = self.pool()
        tasks = split_tasks(self._seen(pool), 5, "split")
        tasks += writer_tasks(pool, 5, LABELS[self.label], self.data_seed, "writers")
        places = shuffled(len(tasks), 0, crc32(self.id.encode()), 0)  # order 0 is shuffled too
        return self.sequence([replace(tasks[place], index=index) for index, place in enumerate(places)])

    def _seen(self, pool: Pool) -> Pool:
        """Return the images as the split tasks show them."""
        if not self.permuted:
            return pool
        order = shuffled(self.size * self.size, self.data_seed, crc32(b"permuted"))
        return replace(pool, transforms=(Permute(order), *pool.transforms))

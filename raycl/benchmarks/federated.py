"""This module defines similar tasks: samples of the writers of FEMNIST or the people of CelebA (SPG, PRM).

Both papers assign one person to a task, but no person has so many images, and the papers' files are random
samples of the pooled people (LEAF's *iid* sampling). Therefore ``iid`` deals disjoint shards from the pool,
and ``identity`` fills disjoint groups of people to the same counts. No image, compared by its pixels, occurs
twice in a benchmark.

The users of CAT's files are already such samples. There, a task is one user in file order, or as many users
as its counts need and the files allow; a tenth of a user's training images is held out (PRM: a fifth).
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal, NamedTuple, TypeAlias
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from raycl.benchmarks import sources
from raycl.benchmarks.base import Recipe
from raycl.benchmarks.families import task
from raycl.benchmarks.pools import (
    COLOURS,
    GREY_MEAN,
    GREY_STD,
    Part,
    Pool,
    Rows,
    by_class,
    shuffled,
    stratified,
)
from raycl.benchmarks.settings import DataSeed
from raycl.benchmarks.windows import FirstTasks
from raycl.errors import UserError
from raycl.tasks import Benchmark, Task

Mode: TypeAlias = Literal["iid", "identity"]
Norm: TypeAlias = Literal["imagenet", "cifar", "supsup"]
Sizes: TypeAlias = tuple[int, int, int]
SHRINK = 0.9  # factor by which the counts are reduced until there are enough people to fill all groups


class People(NamedTuple):
    """The samples of a source without duplicates; arrays are indexed by row of the source.

    Attributes:
        labels: The label of each sample.
        users: The index in `names` of the person of each sample.
        part: 0 for training, 1 for test.
        kinds: The category to which the counts apply: 0 for all samples if only their sum counts, or the
            label.
        rows: The rows of the source that are used.
        names: The names of the users.
    """

    labels: NDArray[np.int64]
    users: NDArray[np.int64]
    part: NDArray[np.int64]
    kinds: NDArray[np.int64]
    rows: Rows
    names: Sequence[str]

    def of(self, part: int, users: Sequence[int] | None = None) -> Rows:
        """Return the rows of one part, of all users or of some."""
        mine = self.part[self.rows] == part
        rows: Rows = self.rows[mine if users is None else mine & np.isin(self.users[self.rows], users)]
        return rows

    def table(self, kinds: int) -> NDArray[np.int64]:
        """Return the number of images, [users, parts, kinds]."""
        counts: NDArray[np.int64] = np.zeros((len(self.names), 2, kinds), np.int64)
        rows = self.rows
        np.add.at(counts, (self.users[rows], self.part[rows], self.kinds[rows]), 1)
        return counts


class Shard(NamedTuple):
    """The images of a task: shuffled rows of the training and the test part, of which the first are used."""

    name: str
    train: Rows
    test: Rows


@dataclass(frozen=True, kw_only=True)
class _Federated(FirstTasks):
    """Tasks of the same classes that share no image; people may occur in several tasks.

    Attributes:
        federated_mode: "iid" deals the images of all people to the tasks, "identity" groups the people.
        data_seed: The seed of both.
    """

    similar: ClassVar[bool | None] = True
    sizes: ClassVar[Sizes]  # train, val and test images of each task
    classes: ClassVar[int]
    balanced: ClassVar[bool] = False  # whether the counts apply to each class and not only to their sum
    held_out: ClassVar[int] = 10  # percentage of the training images that is held out if they are too few

    federated_mode: Mode = "iid"
    data_seed: DataSeed = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.federated_mode not in ("iid", "identity"):
            raise ValueError(f"federated_mode = {self.federated_mode!r} is not 'iid' or 'identity'")

    def counts(self) -> Sizes | None:
        return self.sizes

    def deviations(self) -> tuple[str, ...]:
        shown = {"iid": "a random sample of all people's images", "identity": "a group of people"}
        return (
            f"each task shows {shown[self.federated_mode]} (federated_mode={self.federated_mode}); both "
            "papers write one person per task, but no person has that many images",
        )

    def statistics(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """Return the mean and standard deviation of each channel."""
        return (GREY_MEAN,), (GREY_STD,)

    def build(self, seed: int) -> Benchmark:
        arrays = sources.arrays(self.source, self.id)
        facts: dict[str, Any] = sources.facts(self.source)
        kind, images = facts["kind"], arrays["images"]
        people = self._people(arrays, kind, facts["user_names"])
        if kind.startswith("cat"):
            shards, sizes = self._whole_users(people), self.sizes
        elif self.federated_mode == "iid":
            shards, sizes = self._dealt(people)
        else:
            shards, sizes = self._groups(people)
        names = tuple(facts["class_names"])
        tasks = [self._task(i, s, sizes, images, people, names) for i, s in enumerate(shards[: self.tasks])]
        channels, height, width = images.shape[1:]
        return Benchmark(str(self), tuple(tasks), (channels, height, width), similar=self.similar)

    @property
    def kinds(self) -> int:
        """The number of categories among which the counts are divided."""
        return self.classes if self.balanced else 1

    def _people(self, arrays: sources.Arrays, kind: str, names: list[str]) -> People:
        labels, users, part = arrays["labels"], arrays["users"], np.asarray(arrays["part"])
        if kind == "celeba people" and self.federated_mode == "identity":
            # The official partition puts each person into one part only, so it is replaced.
            _, _, test = stratified(users, 0.0, self.sizes[2] / sum(self.sizes), *self._words(b"part", 0))
            part = np.isin(np.arange(len(users)), test).astype(np.int64)
        # If both parts contain the same pixels, the test image is used and the training image is not.
        images = arrays["images"]
        rows = np.concatenate(distinct(*((images, np.flatnonzero(part == number)) for number in (1, 0))))
        kinds = labels if self.balanced else np.zeros_like(labels)
        return People(labels, users, part, kinds, rows, names)

    def _with(self, tasks: int) -> Recipe:
        changed: Any = {"tasks": tasks}
        return replace(self, **changed)

    def _words(self, what: bytes, number: int) -> tuple[int, int, int]:
        return self.data_seed, crc32(what), number

    def _whole_users(self, people: People) -> list[Shard]:
        """Return pseudo-users in file order, as many per task as the counts need and the files allow."""
        if self.federated_mode == "identity":
            raise UserError(
                f"benchmark {self}: the users of the prepared files are random samples and not people: "
                f"prepare {self.source} again from files by person, or omit federated_mode"
            )
        have = people.table(self.classes).sum(2)  # [users, parts]
        usable = np.flatnonzero((have > 0).all(1)).tolist()
        train, val, test = self.sizes
        enough = (have[usable].cumsum(0) >= (train + val, test)).all(1)
        wanted = int(enough.argmax()) + 1 if enough.any() else len(usable)
        each = max(1, min(wanted, len(usable) // self.count))
        if self.tasks > len(usable) // each:
            raise UserError(
                f"benchmark {self}: the prepared files have {len(usable)} users with training and test "
                f"images, and a task needs {each}: use {self._with(max(1, len(usable) // each))}"
            )
        groups = [usable[start : start + each] for start in range(0, each * self.tasks, each)]
        titles = ["user " + " ".join(people.names[user] for user in group) for group in groups]
        return [self._shard(people, *both) for both in zip(groups, titles, strict=True)]

    def _dealt(self, people: People) -> tuple[list[Shard], Sizes]:
        """Return disjoint shards of the pool."""
        hands = []
        for part in (0, 1):
            rows = people.of(part)
            order = rows[by_class(people.kinds[rows], *self._words(b"iid", part))]
            hands.append([order[index :: self.count] for index in range(self.count)])  # as cards are dealt
        shards = [Shard(f"shard {i}", *hand) for i, hand in enumerate(zip(*hands, strict=True))]
        return shards, self._scaled(self._share(people))

    def _groups(self, people: People) -> tuple[list[Shard], Sizes]:
        """Return disjoint groups of people in random order, each filled until it has the counts."""
        table, share, slack = people.table(self.kinds), self._share(people), 1.0
        train, val, test = self.sizes
        quota = np.array([[(train + val) / self.kinds], [test / self.kinds]]) * share
        quota = np.minimum(quota, table.sum(0) / self.count)  # [parts, kinds]
        order = shuffled(len(people.names), *self._words(b"people", 0)).tolist()
        groups: list[list[int]] | None = None
        while groups is None:
            need = (quota * slack).astype(np.int64)
            if not need.any(1).all():
                raise UserError(
                    f"benchmark {self}: the prepared files have too few people for {self.count} groups"
                )
            groups = _filled(table, need, order, self.count)
            slack *= 1.0 if groups else SHRINK
        titles = [f"group {index} of {len(group)} people" for index, group in enumerate(groups)]
        shards = [self._shard(people, *both) for both in zip(groups, titles, strict=True)]
        return shards, self._scaled(share * slack)

    def _share(self, people: People) -> float:
        """Return the share of the counts that the pool can fill; balanced counts are cut class by class."""
        train, val, test = (size * self.count for size in self.sizes)
        fits = min(1.0, len(people.of(0)) / (train + val), len(people.of(1)) / test)
        return 1.0 if self.balanced else fits

    def _scaled(self, share: float) -> Sizes:
        train, val, test = (int(size * share) for size in self.sizes)
        return self.sizes if self.balanced else (train, val, test)

    def _shard(self, people: People, users: Sequence[int], title: str) -> Shard:
        """Return all images of some users, shuffled."""
        words = self._words(b"users", users[0])
        train, test = (
            rows[shuffled(len(rows), *words)] for rows in (people.of(0, users), people.of(1, users))
        )
        return Shard(title, train, test)

    def _task(
        self,
        index: int,
        shard: Shard,
        sizes: Sizes,
        images: NDArray[np.uint8],
        people: People,
        names: tuple[str, ...],
    ) -> Task:
        mean, std = self.statistics()
        train, val, test = (
            Part(images, people.labels, np.sort(rows)) for rows in self._divided(shard, sizes, people.kinds)
        )
        if not (len(train.rows) and len(test.rows)):
            raise UserError(f"benchmark {self}: the prepared files have too few images for task {index + 1}")
        pool, labels = Pool(train, val, test, mean, std, names=names), [(i,) for i in range(self.classes)]
        cut, named = pool.cut(labels), pool.named(labels)
        return task(index, shard.name, cut, self.classes, self.id, class_names=named)

    def _divided(self, shard: Shard, sizes: Sizes, kinds: NDArray[np.int64]) -> tuple[Rows, Rows, Rows]:
        """Return rows of train, val and test; a kind with too few images for its counts gives all of them."""
        train, val, test = (size // self.kinds for size in sizes)
        parts: list[list[Rows]] = [[], [], []]
        short = 0  # images of kinds with too few, on whose running total shares are rounded
        for kind in range(self.kinds):
            mine = shard.train[kinds[shard.train] == kind][: train + val]
            n_val = val
            if len(mine) < train + val:
                n_val = (short + len(mine)) * self.held_out // 100 - short * self.held_out // 100
                short += len(mine)
            tested = shard.test[kinds[shard.test] == kind][:test]
            for part, rows in zip(parts, (mine[n_val:], mine[:n_val], tested), strict=True):
                part.append(rows)
        return np.concatenate(parts[0]), np.concatenate(parts[1]), np.concatenate(parts[2])


def _filled(
    table: NDArray[np.int64], need: NDArray[np.int64], order: Sequence[int], count: int
) -> list[list[int]] | None:
    """Return the users of each group, or None if there are too few; each group fills before the next.

    Args:
        table: The number of images, [user, part, kind].
        need: The number of images that a group needs, [part, kind].
        order: The order in which users are assigned.
        count: The number of groups.
    """
    groups: list[list[int]] = []
    group, have = list[int](), np.zeros_like(need)
    for user in order:
        group.append(user)
        have = have + table[user]
        if (have >= need).all():
            groups.append(group)
            group, have = [], np.zeros_like(need)
        if len(groups) == count:
            return groups
    return None


def distinct(*parts: tuple[NDArray[np.uint8], Rows]) -> list[Rows]:
    """Return the rows of each (images, rows) pair whose pixels did not occur before, in any of the pairs."""
    seen: set[bytes] = set()
    found = []
    for images, rows in parts:
        new = []
        for row in rows.tolist():
            pixels = hashlib.blake2b(images[row].tobytes(), digest_size=16).digest()
            if pixels not in seen:
                seen.add(pixels)
                new.append(row)
        found.append(np.array(new, np.int64))
    return found


@dataclass(frozen=True, kw_only=True)
class _Femnist(_Federated):
    """FEMNIST tasks, each with the characters of all 62 classes."""

    source: ClassVar[str] = "femnist"
    sizes: ClassVar[Sizes] = (3100, 310, 620)
    classes: ClassVar[int] = 62


@dataclass(frozen=True, kw_only=True)
class FemnistTen(_Femnist):
    """FEMNIST in 10 tasks of all 62 classes, with 3,410 training images per task drawn as they come (SPG)."""

    id: ClassVar[str] = "femnist_10"
    summary: ClassVar[str] = "FEMNIST, 10 tasks of 62 classes, images dealt at random"
    counted_by: ClassVar[str] = "SPG's code"
    count: ClassVar[int] = 10

    tasks: int = 10


@dataclass(frozen=True, kw_only=True)
class FemnistTwenty(_Femnist):
    """FEMNIST in 20 tasks of all 62 classes (SPG); CAT's files are enough for ``femnist_20(tasks=15)``."""

    id: ClassVar[str] = "femnist_20"
    summary: ClassVar[str] = "FEMNIST, 20 tasks of 62 classes, images dealt at random"
    counted_by: ClassVar[str] = "SPG's code"
    count: ClassVar[int] = 20

    tasks: int = 20


@dataclass(frozen=True, kw_only=True)
class FemnistTenPrm(_Femnist):
    """FEMNIST in 10 tasks of all 62 classes, with 20 + 5 + 5 images of each class (PRM)."""

    id: ClassVar[str] = "femnist_10_prm"
    summary: ClassVar[str] = "FEMNIST, 10 tasks of 62 balanced classes, dealt at random"
    counted_by: ClassVar[str] = "PRM's Table 1"
    count: ClassVar[int] = 10
    sizes: ClassVar[Sizes] = (1240, 310, 310)
    balanced: ClassVar[bool] = True
    held_out: ClassVar[int] = 20

    tasks: int = 10


@dataclass(frozen=True, kw_only=True)
class _Celeba(_Federated):
    """CelebA tasks, which ask whether a face smiles.

    Attributes:
        norm: The name of the mean and standard deviation in `pools.COLOURS`.
    """

    source: ClassVar[str] = "celeba"
    sizes: ClassVar[Sizes] = (400, 40, 80)
    classes: ClassVar[int] = 2
    balanced: ClassVar[bool] = True
    settings_order: ClassVar[tuple[str, ...]] = ("tasks", "federated_mode", "norm", "data_seed")

    norm: Norm = "imagenet"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.norm not in COLOURS:
            raise ValueError(f"norm = {self.norm!r} is none of {', '.join(COLOURS)}")

    def statistics(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        return COLOURS[self.norm]


@dataclass(frozen=True, kw_only=True)
class FcelebaTen(_Celeba):
    """CelebA in 10 tasks that share no image, smiling or not (SPG; PRM with ``norm='cifar'``)."""

    id: ClassVar[str] = "fceleba_10"
    summary: ClassVar[str] = "CelebA, 10 tasks of images dealt at random: smiling or not"
    counted_by: ClassVar[str] = "PRM's Table 1"
    count: ClassVar[int] = 10

    tasks: int = 10


@dataclass(frozen=True, kw_only=True)
class FcelebaTwenty(_Celeba):
    """CelebA in 20 tasks that share no image, smiling or not (SPG)."""

    id: ClassVar[str] = "fceleba_20"
    summary: ClassVar[str] = "CelebA, 20 tasks of images dealt at random: smiling or not"
    counted_by: ClassVar[str] = "SPG's code"
    count: ClassVar[int] = 20

    tasks: int = 20

"""What a benchmark's recipe is, and `load`, which turns what a study writes into tasks."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar
from zlib import crc32

from raycl import names
from raycl.benchmarks import sources
from raycl.benchmarks.checks import a_benchmark, checked
from raycl.benchmarks.pools import shuffled
from raycl.benchmarks.prepared import data_root
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
        return reordered(a_benchmark(self.build(seed), str(self)), names.name_of(type(self)), order)

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

    def unnamed(self) -> str:
        """Its text without what decides nothing: two recipes that make the same tasks share it."""
        return str(self)

    def identity(self) -> dict[str, str]:
        """What decides the tasks beside the settings, such as a file's checksum; part of a run's key.

        Data that are not the published set are owned up to, and make another key.
        """
        notes = [f"{name}: {note} [{sources.fingerprint(name)}]" for name in self.needs()
                 if (note := sources.subset(name))]  # fmt: skip
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
        return names.written(names.name_of(type(self)), self)


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


def load(
    name: str | Recipe, seed: int = 0, order: int = 0, identity: Mapping[str, Any] | None = None
) -> Benchmark:
    """The benchmark that a study calls `name`, e.g. ``digits_permuted(tasks=20)``; it pickles as that text.

    Args:
        seed: the run's training seed, for recipes that depend on it.
        order: 0 for the benchmark's own task order, k > 0 for its k-th shuffle; contents never depend on it.
        identity: of a run, as `Recipe.identity` gave it when the run was planned: a user's own data are found
            by it. None where nothing is known.

    Raises:
        UserError: unknown name, bad setting, data that are not here, or others than a run was planned with.
    """
    if seed < 0 or order < 0:
        raise UserError(f"benchmark {name}: seed = {seed} and order = {order} must not be negative")
    recipe = names.recipe(name) if isinstance(name, str) else name
    if identity:
        recipe = recipe.located(identity)
    recipe = recipe.ready()
    facts = recipe.identity()
    if identity is not None and facts != dict(identity):
        raise UserError(_other_data(recipe, facts, identity))
    return _loaded(recipe, seed, order, str(data_root()), tuple(sorted(facts.items())))


def _other_data(recipe: Recipe, here: Mapping[str, Any], planned: Mapping[str, Any]) -> str:
    told = [", ".join(f"{name}: {text}" for name, text in facts.items()) or "the published data"
            for facts in (here, planned)]  # fmt: skip
    return (
        f"benchmark {recipe}: the data here ({told[0]}) are not those of this run ({told[1]}): prepare "
        "those, or plan again"
    )


@functools.lru_cache(maxsize=8)
def _loaded(
    recipe: Recipe, seed: int, order: int, root: str, facts: tuple[tuple[str, str], ...]
) -> Benchmark:
    # `root` and `facts` are here for the cache alone: other data are another benchmark.
    made = recipe.make(seed, order)
    if not type(recipe).__module__.startswith("raycl."):
        made = checked(made, str(recipe))
    notes = ", ".join(note for note in (recipe.subset(), made.subset) if note)
    if not notes:
        _check_counts(recipe, made)
    again = (str(recipe), seed, order, dict(facts)) if facts else (str(recipe), seed, order)
    return replace(made, name=str(recipe), subset=notes, recipe=(load, again))


def forget() -> None:
    """Make benchmarks anew when they are loaded next: whoever had their tasks may have changed them."""
    _loaded.cache_clear()


def _check_counts(recipe: Recipe, made: Benchmark) -> None:
    """The whole published data must make tasks of the paper's size: an error, and not a footnote."""
    wanted = recipe.counts()
    for task in made.tasks if wanted else ():
        have = (len(task.train), len(task.val), len(task.test))
        if have != wanted:
            raise UserError(
                f"benchmark {recipe}: task {task.index + 1} has {have} images in train, val and test, where "
                f"the paper's table says {wanted}; prepare {', '.join(recipe.needs())} again"
            )


@functools.lru_cache(maxsize=1024)
def unnamed(text: str) -> str:
    """A benchmark's text as a key holds it: a user's own data are known by their checksum, not by a name.

    A text that names a file of the user's is left alone, as that file is not run for the sake of a key.
    """
    if ":" in text.partition("(")[0]:
        return text
    try:
        return names.recipe(text).unnamed()
    except UserError:  # of another version of raycl
        return text


def splits_hash(benchmark: Benchmark) -> str:
    """16 hexadecimal digits of which image is in which split of which task under which label."""
    seen = hashlib.sha256()
    for task in benchmark.tasks:
        for split in (task.train, task.val, task.test):
            assert isinstance(split, ArraySplit), f"{benchmark.name} is not made of image arrays"
            seen.update(split.rows.astype("<i8").tobytes())
            seen.update(split.y.astype("<i8").tobytes())
    return seen.hexdigest()[:16]

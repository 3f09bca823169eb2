"""This module defines the base class of `npz` and `folder`, whose data a user provides.

The data are identified by their checksum and shown under a name. Their path is not part of any key, table or
stored file. When a study is planned, the data are read from the path into the data folder; a process that
executes or loads a run has the recipe's string and the checksum, and finds the data there.
"""

from __future__ import annotations

import os
import unicodedata
from collections import Counter
from collections.abc import Container, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, ClassVar

from raycl.benchmarks.base import Recipe
from raycl.benchmarks.owntasks import DEFAULT_TASKS, Classes, ClassOrder, ValFrom, Wanted
from raycl.benchmarks.prepared import Contents, Folder, data_root, printable, shown
from raycl.benchmarks.settings import DataSeed, HeldOut, Range
from raycl.configs import ordered_fields
from raycl.errors import UserError
from raycl.tasks import Benchmark

MOST_LETTERS = 80  # in a name, because it is shown in tables


@dataclass(frozen=True, kw_only=True)
class OwnData(Recipe):
    """A recipe for a user's own data, split into tasks by class.

    Attributes:
        path: Where the data are; it is not part of any key.
        tasks: The number of tasks, if `classes` does not say it.
        val: The share of each class's training images that is held out.
        name: The name of the data in tables; by default the name of their file or folder.
        classes: The classes of each task, such as ``((0, 3), (1, 2))``; a class may be in no task, or in
            several. By default the classes are cut into `tasks` blocks.
        class_order: "id" cuts the classes into blocks in the order of their labels, "seeded" in an order
            that is drawn from the run's seed.
        titles: The names of the tasks in tables; they are not part of any key.
        val_from: "drawn" holds out random images of each class, "last" the last ones.
    """

    similar: ClassVar[bool | None] = False
    example: ClassVar[str]  # an example of the string that a user writes, for messages
    layout: ClassVar[tuple[tuple[str, str], ...]]  # what the data must contain, in rows of name and text

    path: str = ""
    tasks: Annotated[int, Range(1, 100_000)] = DEFAULT_TASKS
    val: HeldOut = 0.1
    data_seed: DataSeed = 0
    name: str = ""
    classes: Classes = ()
    class_order: ClassOrder = "id"
    titles: tuple[str, ...] = ()
    val_from: ValFrom = "drawn"

    def __post_init__(self) -> None:
        if not self.path and not self.name:
            raise ValueError(f"path is missing: name your data, as in {self.example}")
        if self.path:
            # The path is made absolute because workers have another current folder.
            object.__setattr__(self, "path", str(_absolute(self.path)))
        if not self.name:
            object.__setattr__(self, "name", os.path.basename(os.path.abspath(self.path)))
            if reason := _unfit(self.name):
                raise ValueError(f"{printable(self.name)!r} cannot be used in tables ({reason}): set name=")
        elif reason := _unfit(self.name):
            raise ValueError(f"name = {self.name[: 2 * MOST_LETTERS]!r} cannot be used in tables ({reason})")
        for name, allowed in (("class_order", ("id", "seeded")), ("val_from", ("drawn", "last"))):
            if getattr(self, name) not in allowed:
                raise ValueError(f"{name} = {getattr(self, name)!r} is not {allowed[0]!r} or {allowed[1]!r}")
        super().__post_init__()

    def __str__(self) -> str:
        return f"{self.id}({', '.join([f'name={self.name!r}', *self.changed()])})"

    def changed(self) -> list[str]:
        """Return the settings that differ from their defaults, as a study writes them, without the name."""
        values = [(field, getattr(self, field.name)) for field in ordered_fields(self)]
        return [
            f"{field.name}={value!r}"
            for field, value in values
            if field.name not in ("path", "name") and value != field.default
        ]

    def identity(self) -> dict[str, str]:
        """Return the checksum of the data.

        Raises:
            UserError: The data cannot be read, or their path is not known.
        """
        sha256 = self.__dict__.get("_sha256")
        if sha256 is None:
            if not self.path:
                raise UserError(f"benchmark {self}: path is missing: name your data, as in {self.example}")
            try:
                sha256 = self.checksum()
            except UserError as error:
                raise UserError(f"benchmark {self.id}: {error}") from None
            except OSError as error:
                reason = error.strerror or error
                where = shown(Path(os.fsdecode(error.filename or self.path)))
                raise UserError(f"benchmark {self.id}: cannot read {where}: {reason}") from None
            object.__setattr__(self, "_sha256", sha256)
        return {"sha256": sha256}

    def located(self, identity: Mapping[str, Any]) -> OwnData:
        without_path = replace(self, path="")
        sha256 = str(identity.get("sha256") or self.identity()["sha256"])
        object.__setattr__(without_path, "_sha256", sha256)
        return without_path

    def ready(self) -> OwnData:
        located = self.located(self.identity())
        if self.path and not located.folder.begun:
            try:
                located.folder.fill(self.read, size=0)
            except UserError as error:
                raise UserError(f"benchmark {self.id}: {error}") from None
            if replace(self).identity() != self.identity():
                (located.folder.path / "manifest.json").unlink(missing_ok=True)
                raise UserError(
                    f"benchmark {self.id}: {shown(Path(self.path))} changed while it was read: try again"
                )
        return located

    def prepared(self) -> tuple[str, ...]:
        return (self.folder.path.relative_to(data_root()).as_posix(),)

    def build(self, seed: int) -> Benchmark:
        ready = self.ready()
        if not ready.folder.begun:
            raise UserError(
                f"benchmark {self}: its data (sha256 {ready.identity()['sha256'][:16]}...) are not in data "
                f"folder {shown(data_root())}; run raycl plan here with the study that names their path"
            )
        try:
            made = ready.made(seed)
        except UserError as error:
            raise UserError(f"benchmark {self.id}: {self.name}: {error}") from None
        notes = (*ready.folder.facts.get("notes", ()), *made.notes)
        return replace(made, notes=notes)

    @property
    def folder(self) -> Folder:
        """The folder that holds the arrays, prepared or not."""
        place = data_root() / self.id / self.kept()
        remedy = f"delete {shown(place)} and plan the study that contains its path, to write it again"
        return Folder(place, self.name, remedy)

    def kept(self) -> str:
        """Return the name of the folder of arrays: their checksum and whatever else determines them."""
        return self.identity()["sha256"]

    def checksum(self) -> str:
        """Return 64 hexadecimal digits that identify the data at `path`, whatever the path and the time are.

        Raises:
            UserError: The data are not usable.
            OSError: The data cannot be read.
        """
        raise NotImplementedError

    def read(self) -> Contents:
        """Return the data at `path` as arrays.

        The lines of a fact "notes" are shown when a study is planned.

        Raises:
            UserError: The data are not in the expected form.
        """
        raise NotImplementedError

    def made(self, seed: int) -> Benchmark:
        """Return the tasks, made from the prepared arrays.

        Args:
            seed: The training seed of the run.
        """
        raise NotImplementedError

    @property
    def wanted(self) -> Wanted:
        """How the data are to be divided into tasks."""
        return Wanted(self.tasks, self.classes, self.class_order, self.titles)


def check_names(recipes: Iterable[Recipe], place: str) -> None:
    """Check that no two data sets of a user's own are shown under one name.

    Raises:
        UserError: Two of them are; the message says how to tell them apart.
    """
    seen: dict[tuple[type, str], tuple[dict[str, str], str]] = {}
    for recipe in recipes:
        if isinstance(recipe, OwnData):
            current = recipe.identity(), recipe.path
            before = seen.setdefault((type(recipe), recipe.name), current)
            if before[0] != current[0]:
                paths = " and ".join(shown(Path(path)) for path in (before[1], current[1]))
                raise UserError(
                    f"{place}: benchmarks: {paths} are different data with the same name {recipe.name!r}: "
                    f"give one of them another name, as in {recipe.id}(path=..., name='other')"
                )


def names_alone(recipes: Iterable[Recipe], published: Container[str]) -> dict[str, str]:
    """Return, by the text of a recipe, the name of a user's own data that no other benchmark has.

    Such a name says which benchmark is meant, so that tables need not print how the data are divided.

    Args:
        recipes: All recipes of a study.
        published: The names of raycl's own benchmarks.
    """
    own = {str(recipe): recipe.name for recipe in recipes if isinstance(recipe, OwnData)}
    looks = Counter(unicodedata.normalize("NFC", name) for name in own.values())
    return {
        text: name
        for text, name in own.items()
        if looks[unicodedata.normalize("NFC", name)] == 1 and name.partition("(")[0].strip() not in published
    }


def _absolute(path: str) -> Path:
    if "\0" in path:
        raise ValueError(f"path = {path!r} contains a zero byte")
    try:
        return Path(path).expanduser().absolute()
    except (RuntimeError, OSError) as error:  # the user does not exist, or the current folder was deleted
        raise ValueError(f"path = {path!r}: {error}") from None


def _unfit(name: str) -> str:
    """Return why a name cannot be used in a table, or ""."""
    if not name.strip() or name != name.strip():
        return "it is empty, or begins or ends with a space"
    if len(name) > MOST_LETTERS:
        return f"it has {len(name)} letters, and at most {MOST_LETTERS} are allowed"
    if not name.isprintable():
        return "it contains a line break, a control character or a byte that is not UTF-8"
    if odd := sorted(set(name) & set("'\"`\\/")):
        return f"it contains {' '.join(odd)}"
    return ""

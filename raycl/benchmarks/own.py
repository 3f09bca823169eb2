"""What `npz` and `folder` share: a user's own data are known by their checksum and shown by a name.

A path stands in no key, no table and no stored file. Where a study is planned, the data are read from it into
the data folder; whoever plays a run, or loads one, has its text and its checksum, and finds them there.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, ClassVar

from raycl.benchmarks.base import Recipe
from raycl.benchmarks.prepared import Contents, Folder, data_root, printable, shown
from raycl.benchmarks.settings import DataSeed, HeldOut, Range
from raycl.calls import NAMES_OF_DATA
from raycl.configs import ordered_fields
from raycl.errors import UserError
from raycl.tasks import Benchmark

MOST_LETTERS = 80  # of a name: it stands in the tables


@dataclass(frozen=True, kw_only=True)
class OwnData(Recipe):
    """A recipe whose data are a user's own, split into tasks by class.

    Fields:
        path: where the data are; in no key.
        val: share of each class's training images that is held out.
        name: what they are called in tables, their file's or folder's name if left out.
    """

    similar: ClassVar[bool | None] = False
    example: ClassVar[str]  # what a user writes

    path: str = ""
    tasks: Annotated[int, Range(1, 100_000)] = 5
    val: HeldOut = 0.1
    data_seed: DataSeed = 0
    name: str = ""

    def __post_init__(self) -> None:
        if not self.path and not self.name:
            raise ValueError(f"path is missing: name your data, as in {self.example}")
        if self.path:
            # Workers have another current folder.
            object.__setattr__(self, "path", str(_absolute(self.path)))
        if not self.name:
            object.__setattr__(self, "name", os.path.basename(os.path.abspath(self.path)))
            if reason := _unfit(self.name):
                raise ValueError(f"{printable(self.name)!r} cannot stand in tables ({reason}): give a name=")
        elif reason := _unfit(self.name):
            raise ValueError(f"name = {self.name[: 2 * MOST_LETTERS]!r} cannot stand in tables ({reason})")
        super().__post_init__()

    def __str__(self) -> str:
        return f"{self.id}({', '.join([f'name={self.name!r}', *self._changed()])})"

    def _changed(self) -> list[str]:
        known = [(field, getattr(self, field.name)) for field in ordered_fields(self)]
        return [
            f"{field.name}={value!r}"
            for field, value in known
            if field.name not in NAMES_OF_DATA and value != field.default
        ]

    def identity(self) -> dict[str, str]:
        """The checksum of the data.

        Raises:
            UserError: they cannot be read, or nobody says where they are.
        """
        known = self.__dict__.get("_sha256")
        if known is None:
            if not self.path:
                raise UserError(f"benchmark {self}: path is missing: name your data, as in {self.example}")
            try:
                known = self.checksum()
            except UserError as error:
                raise UserError(f"benchmark {self.id}: {error}") from None
            except OSError as error:
                reason = error.strerror or error
                where = shown(Path(os.fsdecode(error.filename or self.path)))
                raise UserError(f"benchmark {self.id}: cannot read {where}: {reason}") from None
            object.__setattr__(self, "_sha256", known)
        return {"sha256": known}

    def located(self, identity: Mapping[str, Any]) -> OwnData:
        there = replace(self, path="")
        object.__setattr__(there, "_sha256", str(identity.get("sha256") or self.identity()["sha256"]))
        return there

    def ready(self) -> OwnData:
        there = self.located(self.identity())
        if self.path and not there.folder.begun:
            try:
                there.folder.fill(self.read, size=0)
            except UserError as error:
                raise UserError(f"benchmark {self.id}: {error}") from None
            if replace(self).identity() != self.identity():
                (there.folder.path / "manifest.json").unlink(missing_ok=True)
                raise UserError(
                    f"benchmark {self.id}: {shown(Path(self.path))} changed while it was read: try again"
                )
        return there

    def prepared(self) -> tuple[str, ...]:
        return (self.folder.path.relative_to(data_root()).as_posix(),)

    def build(self, seed: int) -> Benchmark:
        there = self.ready()
        if not there.folder.begun:
            raise UserError(
                f"benchmark {self}: its data (sha256 {there.identity()['sha256'][:16]}...) are not in data "
                f"folder {shown(data_root())}; plan the study that names their path on this machine"
            )
        made = there.made()
        notes = (*there.folder.facts.get("notes", ()), *made.notes)
        return replace(made, notes=notes)

    @property
    def folder(self) -> Folder:
        """Where the arrays are kept, prepared or not."""
        place = data_root() / self.id / self.kept()
        again = f"delete {shown(place)} and plan the study that names its path: it will be written again"
        return Folder(place, self.name, again)

    def kept(self) -> str:
        """Name of the folder of arrays, by their checksum and what else decides them."""
        return self.identity()["sha256"]

    def checksum(self) -> str:
        """64 hexadecimal digits of the data at `path`, which depend on no path and no time.

        Raises:
            UserError, OSError: they cannot be read.
        """
        raise NotImplementedError

    def read(self) -> Contents:
        """The data at `path` as arrays; a fact "notes" is told to whoever plans.

        Raises:
            UserError: they are not what is wanted.
        """
        raise NotImplementedError

    def made(self) -> Benchmark:
        """The tasks, of the prepared arrays."""
        raise NotImplementedError


def check_names(recipes: Iterable[Recipe], place: str) -> None:
    """See that no two data of a user's own are shown by one name.

    Raises:
        UserError: two are; says how they are told apart.
    """
    seen: dict[tuple[type, str], tuple[dict[str, str], str]] = {}
    for recipe in recipes:
        if isinstance(recipe, OwnData):
            now = recipe.identity(), recipe.path
            before = seen.setdefault((type(recipe), recipe.name), now)
            if before[0] != now[0]:
                paths = " and ".join(shown(Path(path)) for path in (before[1], now[1]))
                raise UserError(
                    f"{place}: benchmarks: {paths} are different data of one name, {recipe.name!r}: give one "
                    f"of them another, as in {recipe.id}(path=..., name='other')"
                )


def _absolute(path: str) -> Path:
    if "\0" in path:
        raise ValueError(f"path = {path!r} holds a zero byte")
    try:
        return Path(path).expanduser().absolute()
    except (RuntimeError, OSError) as error:  # no such user, or a current folder that was deleted
        raise ValueError(f"path = {path!r}: {error}") from None


def _unfit(name: str) -> str:
    """Why a name cannot stand in a table, or ""."""
    if not name.strip() or name != name.strip():
        return "it is empty, or begins or ends with a space"
    if len(name) > MOST_LETTERS:
        return f"it has {len(name)} letters, and {MOST_LETTERS} at most are allowed"
    if not name.isprintable():
        return "it holds a line break, a control character or a byte that is no UTF-8"
    if odd := sorted(set(name) & set("'\"`\\/")):
        return f"it holds {' '.join(odd)}"
    return ""

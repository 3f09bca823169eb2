"""Data sources: what there is, whether it is here, and how it gets here. One file of this folder each."""

from __future__ import annotations

import functools
import importlib
import pkgutil
from pathlib import Path

from raycl.benchmarks.prepared import (
    Arrays,
    Contents,
    Folder,
    Progress,
    Status,
    data_root,
    no_progress,
    shown,
)
from raycl.benchmarks.sources.base import Source
from raycl.errors import NotPrepared, Obstacle, UserError, nearest

__all__ = [
    "Arrays",
    "Contents",
    "Folder",
    "Source",
    "arrays",
    "facts",
    "fingerprint",
    "missing",
    "prepare",
    "source",
    "sources",
    "status",
    "subset",
    "verify",
]


@functools.cache
def sources() -> dict[str, Source]:
    """All data sources by name."""
    found: dict[str, Source] = {}
    for module in pkgutil.iter_modules(__path__):
        if module.name != "base" and not module.name.startswith("_"):
            made = importlib.import_module(f"{__name__}.{module.name}").SOURCES
            found |= {source.name: source for source in made}
    return dict(sorted(found.items()))


def source(name: str) -> Source:
    """The data source called `name`.

    Raises:
        UserError: there is none; names the nearest one.
    """
    if name not in sources():
        known = ", ".join(sources())
        raise UserError(f"unknown data set {name!r}{nearest(name, sources())} (known: {known})")
    return sources()[name]


def status(name: str) -> Status:
    """Whether it is here; an embedded one is "absent" until it is first used, and that is no problem."""
    return source(name).folder.status()


def missing(name: str) -> Obstacle | None:
    """What is missing of a source, and the remedy; None if the source can be used."""
    wanted = source(name)
    if not wanted.folder.begun:
        if wanted.embedded:
            return None
        from_dir = "" if wanted.fetched else " --from DIR"
        return Obstacle(f"{wanted.title}, which is not here", (f"raycl data prepare {name}{from_dir}",))
    problems = wanted.folder.problems()
    return Obstacle(f"{problems[0]}; {wanted.folder.remedy}") if problems else None


def prepare(name: str, given: Path | None = None, progress: Progress = no_progress) -> Path:
    """Prepare the source `name`, see `Source.prepare`; returns its folder."""
    return source(name).prepare(given, progress)


def arrays(name: str, benchmark: str = "") -> Arrays:
    """The arrays of the source, mapped copy-on-write.

    Args:
        benchmark: who wants them, for the message.

    Raises:
        NotPrepared: it is not in the data folder; says what to do.
        UserError: its files are damaged; says what to do.
    """
    wanted = source(name)
    if not wanted.folder.begun:
        if not wanted.embedded:
            who = f"benchmark {benchmark} needs {wanted.title}, which" if benchmark else wanted.title
            raise NotPrepared(f"{who} is not in data folder {shown(data_root())}\n{wanted.how()}")
        wanted.prepare()
    return wanted.folder.open()


def subset(name: str) -> str:
    """Why the prepared data are not the published set, or ""."""
    return source(name).folder.subset


def facts(name: str) -> dict[str, object]:
    """What was noted when the source was prepared: names of classes, how images were resized."""
    return source(name).folder.facts


def fingerprint(name: str) -> str:
    """12 hexadecimal digits of the prepared arrays."""
    return source(name).folder.fingerprint


def verify(name: str, progress: Progress = no_progress) -> list[str]:
    """Read every file again and compare checksums; what is wrong, a line each."""
    return source(name).folder.problems(deep=True, progress=progress)

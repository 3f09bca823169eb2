"""This package defines the data sources, one per module, and says which are prepared and how to do so."""

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
    """Return all data sources by name."""
    found: dict[str, Source] = {}
    for module in pkgutil.iter_modules(__path__):
        if module.name != "base" and not module.name.startswith("_"):
            made = importlib.import_module(f"{__name__}.{module.name}").SOURCES
            found |= {source.name: source for source in made}
    return dict(sorted(found.items()))


def source(name: str) -> Source:
    """Return the data source called `name`.

    Raises:
        UserError: There is no such source; the message names the most similar one.
    """
    if name not in sources():
        known = ", ".join(sources())
        raise UserError(f"unknown data set {name!r}{nearest(name, sources())} (known: {known})")
    return sources()[name]


def status(name: str) -> Status:
    """Return whether a source is prepared.

    An embedded source is "absent" until it is first used, which is not a problem.
    """
    return source(name).folder.status()


def missing(name: str) -> Obstacle | None:
    """Return what is missing of a source and the remedy, or None if the source can be used."""
    found = source(name)
    if not found.folder.begun:
        if found.embedded:
            return None
        from_dir = "" if found.fetched else " --from DIR"
        return Obstacle(f"{found.title}, which is not prepared", (f"raycl data prepare {name}{from_dir}",))
    problems = found.folder.problems()
    return Obstacle(f"{problems[0]}; {found.folder.remedy}") if problems else None


def prepare(name: str, given: Path | None = None, progress: Progress = no_progress) -> Path:
    """Prepare the source `name` as `Source.prepare` does, and return its folder."""
    return source(name).prepare(given, progress)


def arrays(name: str, benchmark: str = "") -> Arrays:
    """Return the arrays of the source, memory-mapped copy-on-write.

    Args:
        name: The name of the source.
        benchmark: The benchmark that needs the arrays, for the message.

    Raises:
        NotPrepared: The source is not in the data folder; the message says how to prepare it.
        UserError: The files of the source are damaged; the message says what to do.
    """
    found = source(name)
    if not found.folder.begun:
        if not found.embedded:
            subject = f"benchmark {benchmark} needs {found.title}, which" if benchmark else found.title
            raise NotPrepared(f"{subject} is not in data folder {shown(data_root())}\n{found.how()}")
        found.prepare()
    return found.folder.open()


def subset(name: str) -> str:
    """Return the reason why the prepared data are not the published set, or ""."""
    return source(name).folder.subset


def facts(name: str) -> dict[str, object]:
    """Return the facts stored with the source, such as names of classes and how images were resized."""
    return source(name).folder.facts


def fingerprint(name: str) -> str:
    """Return 12 hexadecimal digits that identify the prepared arrays."""
    return source(name).folder.fingerprint


def verify(name: str, progress: Progress = no_progress) -> list[str]:
    """Read every file again, compare checksums and return the problems, one line each."""
    return source(name).folder.problems(deep=True, progress=progress)

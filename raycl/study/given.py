"""Names in place of the classes that a study was given, so that everything else works with names alone."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Callable, Mapping
from typing import Any

from raycl import calls, userfiles
from raycl.errors import UserError, nearest
from raycl.study.values import Study

MAIN = "__main__:"  # What a name begins with if its class is in the script that runs, or in a notebook.
PARTS = ("method", "network")


def with_names(study: Study) -> Study:
    """Return the study with names such as ``"l2:L2"`` in place of classes, benchmarks included.

    Other values are left as they are; `raycl.study.checks` refuses those that are wrong.

    Raises:
        UserError: If the source of a class cannot be had; the message says where it was given.
    """
    given: dict[type, str] = {}
    beside: list[str] = []
    any_given = False

    def note(value: Any, place: str) -> Any:
        nonlocal any_given
        kind = _kind_of(value, place)
        if kind is not None:
            any_given = True
            if userfiles.is_own(kind):
                given.setdefault(kind, place)
        elif isinstance(value, str) and ":" in (head := value.partition("(")[0]):
            beside.append(head.rpartition(":")[0].strip())
        return value

    _replaced(study, note)
    if not any_given:
        return study
    from raycl.userfiles.given import named  # It reads source code, which few studies need.

    try:
        found = named(list(given), study.folder, beside)
    except UserError as error:
        place = next(iter(given.values())) if len(given) == 1 else study.file
        raise UserError(f"{place}: {error}") from None

    def name(value: Any, place: str) -> Any:
        kind = _kind_of(value, place)
        if kind is None:
            return value
        known = found.names.get(kind) or calls.name_of(kind)
        if isinstance(value, str):
            return known + value[len(value.partition("(")[0]) :]
        return known if value is kind else calls.format_call(known, value)

    return dataclasses.replace(_replaced(study, name), folder=found.folder)


def _kind_of(value: Any, place: str) -> type | None:
    """Return the class that a value is, that a benchmark is made of, or that ``"__main__:Mine"`` names.

    Raises:
        UserError: If there is no class of that name.
    """
    if isinstance(value, type):
        return value
    if dataclasses.is_dataclass(value) and hasattr(value, "build"):
        return type(value)
    if not (isinstance(value, str) and value.startswith(MAIN)):
        return None
    name = value.partition("(")[0].removeprefix(MAIN).strip()
    scope = vars(sys.modules["__main__"])
    kind = scope.get(name)
    if not isinstance(kind, type):
        known = [known for known, other in scope.items() if isinstance(other, type)]
        raise UserError(
            f"{place}: {value!r}: neither the script that runs nor this notebook defines a class "
            f"{name!r}{nearest(name, known)}; name its file instead, as in 'my_file:{name}'"
        )
    return kind


def _replaced(study: Study, change: Callable[[Any, str], Any]) -> Study:
    """Return a study in which each method, network and benchmark is replaced."""
    methods = study.methods
    if isinstance(methods, Mapping):
        methods = {
            label: _changed(keys, f"{study.file}: methods[{label!r}]", change)
            for label, keys in methods.items()
        }
    return dataclasses.replace(
        study,
        methods=methods,
        network=change(study.network, f"{study.file}: network"),
        benchmarks=_each(study.benchmarks, f"{study.file}: benchmarks", change),
    )


def _changed(keys: Any, place: str, change: Callable[[Any, str], Any]) -> Any:
    if not isinstance(keys, Mapping):
        return keys
    found = dict(keys)
    for part in PARTS:
        if part in found:
            found[part] = change(found[part], f"{place}: {part}")
    if "benchmarks" in found:
        found["benchmarks"] = _each(found["benchmarks"], f"{place}: benchmarks", change)
    return found


def _each(benchmarks: Any, place: str, change: Callable[[Any, str], Any]) -> Any:
    if not isinstance(benchmarks, list | tuple):
        return benchmarks
    return [change(entry, place) for entry in benchmarks]

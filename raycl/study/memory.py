"""The cells of a study as an earlier process made and checked them, so that a plan need not load torch.

Cells are kept if they depend on nothing but the study's plain values, raycl's files, the versions of its
libraries (`raycl.remembering`), prepared data and this machine's memory. If a study names any code of a user,
or reads a user's own data, its cells are made and checked anew in every process.
"""

from __future__ import annotations

import dataclasses
import io
import json
import pickle
from collections.abc import Mapping, Sequence
from pathlib import PurePath
from typing import Any

from raycl import datafolder, registry, remembering
from raycl.specs import key_of
from raycl.study.cells import Cell
from raycl.study.limits import machine_bytes
from raycl.study.values import Study

CELLS = "cells"


class _NotPlainError(Exception):
    """A study holds a value that is not plain, such as a function of the user's."""


def recalled(study: Study, only: str | None, check: bool) -> list[Cell] | None:
    """Return the cells that `remember` was given for the same study, if nothing has changed since."""
    if (key := _key(study, only, check)) is None:
        return None
    content = remembering.recall(CELLS, key)
    if content is None:
        return None
    try:
        head, _, body = content.partition(b"\n")
        if any(datafolder.state_of(name) != state for name, state in json.loads(head).items()):
            return None
        found: list[Cell] = _Unpickler(io.BytesIO(body)).load()
    except Exception:  # A damaged file may raise anything; the cells are then made anew.
        return None
    return found


def remember(study: Study, only: str | None, check: bool, cells: Sequence[Cell]) -> None:
    """Keep the cells of a study for later processes, unless they depend on a user's own code or data."""
    key = _key(study, only, check)
    if key is None or any(
        cell.code or cell.sampler_code or cell.identity.keys() - {"subset"} for cell in cells
    ):
        return
    sources = {name for text in {cell.benchmark for cell in cells} for name in registry.recipe(text).needs()}
    states = {name: datafolder.state_of(name) for name in sorted(sources)}
    plain = [dataclasses.replace(cell, kinds=dataclasses.replace(cell.kinds, loaded=None)) for cell in cells]
    remembering.keep(CELLS, key, json.dumps(states).encode() + b"\n" + pickle.dumps(plain))


def _key(study: Study, only: str | None, check: bool) -> str | None:
    """Return the digest of what the cells depend on besides raycl and the data; None if it is unknown."""
    plain = described(study)
    if plain is None:
        return None
    return key_of([plain, only, check, machine_bytes(), str(datafolder.data_root())])


def described(study: Study) -> Any:
    """Return JSON values that differ for any two different studies; None if a study is not plain values."""
    try:
        return _described(study)
    except (_NotPlainError, RecursionError):
        return None


def _described(value: Any) -> Any:
    """Return a plain value as JSON values that differ for any two different ones.

    Raises:
        _NotPlainError: If the value is, or contains, anything but plain values and raycl's own objects.
    """
    kind = type(value)
    if (
        kind is int and value.bit_length() > 64
    ):  # no study can have it, and JSON has no digits for the longest
        raise _NotPlainError
    if value is None or kind in (bool, int, str):
        return [kind.__name__, value]
    if kind is float or isinstance(value, PurePath):
        return [kind.__name__, repr(value)]
    if kind in (list, tuple):
        return [kind.__name__, *map(_described, value)]
    if isinstance(value, Mapping):
        return [kind.__name__, *([_described(key), _described(inner)] for key, inner in value.items())]
    if not kind.__module__.startswith("raycl."):
        raise _NotPlainError
    called = f"{kind.__module__}.{kind.__qualname__}"
    if isinstance(value, tuple):
        return [called, *map(_described, value)]
    if dataclasses.is_dataclass(value):
        names = [field.name for field in dataclasses.fields(value)]
    else:
        names = sorted(vars(value))
    return [called, *([name, _described(getattr(value, name))] for name in names)]


_KNOWN = {
    "builtins": {"Ellipsis", "bool", "float", "frozenset", "int", "str", "tuple", "type", "set"},
    "_functools": {"reduce"},
    "functools": {"reduce"},
    "_operator": {"getitem", "or_"},
    "pathlib": {"Path", "PosixPath", "PurePosixPath", "PureWindowsPath", "WindowsPath"},
    "types": {"GenericAlias", "NoneType", "UnionType"},
    "typing": {"Literal", "Optional", "Union"},
    "raycl.domains": {"Choice", "Float", "Int"},
    "raycl.errors": {"Obstacle"},
    "raycl.space": {"Field"},
    "raycl.study.cells": {"Cell", "Data", "Kinds", "Setting"},
    "raycl.study.values": {"Grid", "Resources", "Search", "Seeds"},
}


class _Unpickler(pickle.Unpickler):
    """Unpickler that makes the objects that a cell consists of, and no others."""

    def find_class(self, module: str, name: str) -> Any:
        if name not in _KNOWN.get(module, ()):
            raise pickle.UnpicklingError(f"{module}.{name} is no part of a cell")
        return super().find_class(module, name)

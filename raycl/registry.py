"""From the name that a study writes to the class that it means.

A method's and a network's name is its file's name; a benchmark's is its `id`. There is no list to edit.
"""

from __future__ import annotations

import functools
import importlib
import inspect
import pkgutil
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any, TypeVar

from raycl import userfiles
from raycl.benchmarks.base import Recipe
from raycl.benchmarks.loading import made_of
from raycl.benchmarks.prepared import data_root
from raycl.calls import name_of, parse
from raycl.errors import UserError, nearest
from raycl.method import Method
from raycl.networks import Network
from raycl.space import fields_of, make_config
from raycl.tasks import Benchmark
from raycl.userfiles import digest


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
    found = recipe(name) if isinstance(name, str) else name
    if identity:
        found = found.located(identity)
    found = found.ready()
    facts = found.identity()
    if identity is not None and facts != dict(identity):
        raise UserError(_other_data(found, facts, identity))
    return _loaded(found, seed, order, str(data_root()), tuple(sorted(facts.items())))


def _other_data(recipe: Recipe, here: Mapping[str, Any], planned: Mapping[str, Any]) -> str:
    told = [
        ", ".join(f"{name}: {text}" for name, text in facts.items()) or "the published data"
        for facts in (here, planned)
    ]
    return (
        f"benchmark {recipe}: the data here ({told[0]}) are not those of this run ({told[1]}): prepare "
        "those, or plan again"
    )


@functools.lru_cache(maxsize=8)
def _loaded(
    recipe: Recipe, seed: int, order: int, root: str, facts: tuple[tuple[str, str], ...]
) -> Benchmark:
    # `root` and `facts` are here for the cache alone: other data are another benchmark.
    again = (str(recipe), seed, order, dict(facts)) if facts else (str(recipe), seed, order)
    return replace(made_of(recipe, seed, order), recipe=(load, again))


def forget() -> None:
    """Make benchmarks anew when they are loaded next: whoever had their tasks may have changed them."""
    _loaded.cache_clear()


T = TypeVar("T")


@functools.cache
def method_names() -> tuple[str, ...]:
    """Ids of all methods in the package."""
    return _files("raycl.methods")


@functools.cache
def network_names() -> tuple[str, ...]:
    """Ids of all networks in the package."""
    return tuple(name for name in _files("raycl.networks") if name != "base")


@functools.cache
def recipes() -> dict[str, type[Recipe]]:
    """All benchmarks in the package, by id."""
    found: dict[str, type[Recipe]] = {}
    for name in _files("raycl.benchmarks"):
        module = importlib.import_module(f"raycl.benchmarks.{name}")
        found |= {kind.id: kind for kind in _classes(module, Recipe) if kind.id}
    return dict(sorted(found.items()))


def method(name: str, place: str = "method") -> type[Method]:
    """The Method class called `name`.

    Raises:
        UserError: there is none, or it is a user's own whose file or Config is not right.
    """
    found: type[Method] = _find(name, Method, "raycl.methods", method_names(), "methods", place)
    return _with_fields(found, found.Config)


def network(name: str, place: str = "network") -> type[Network]:
    """The Network class called `name`, which may carry settings in brackets.

    Raises:
        UserError: there is none, or it is a user's own whose file or Config is not right.
    """
    name = parse(name, place).name
    found: type[Network] = _find(name, Network, "raycl.networks", network_names(), "networks", place)
    return _with_fields(found, found.Config)


def recipe(text: str, place: str = "benchmark") -> Recipe:
    """The benchmark that `text` names, settings filled in."""
    call = parse(text, place)
    if ":" in call.name:
        kind: type[Recipe] = _find(call.name, Recipe, "", (), "benchmarks", place)
    else:
        known = recipes()
        if call.name not in known:
            raise _unknown(call.name, tuple(known), "benchmarks", place)
        kind = known[call.name]
    with userfiles.blamed(kind):
        settings = call.settings(_with_fields(kind, kind), f"{place} {call.name}")
        made: Recipe = make_config(kind, settings, f"{place} {call.name}")
    return made


def check_code(known: Mapping[str, str], home: Path | None, texts: Mapping[str, str]) -> None:
    """See that the classes which names mean in a folder are those whose code has these digests.

    Args:
        known: digests by part, as of `RunSpec.code`.
        home: the folder beside whose files they are found.
        texts: what a study writes, by part: "method", "network", "benchmark".

    Raises:
        UserError: a file of the user's has changed since the digests were made.
    """
    finders: dict[str, Callable[[str], type]] = {
        "method": method,
        "network": network,
        "benchmark": lambda text: type(recipe(text)),
    }
    with userfiles.importing_from(home):
        kinds = {part: finders[part](text) for part, text in texts.items()}
    for part, kind in kinds.items():
        if userfiles.is_own(kind) and known.get(part) != digest.digest_of(kind):
            raise UserError(
                f"the code of {name_of(kind)} is not the one that this run was planned with: its file has "
                "changed since, or is another one; run its study again, and it is planned anew"
            )


def _with_fields(kind: type[T], config: type) -> type[T]:
    """A class, when the fields of its Config can be read: a user's own may be wrong in any way."""
    if userfiles.is_own(kind):
        with userfiles.blamed(kind):
            fields_of(config)
    return kind


def _find(name: str, base: type, package: str, known: tuple[str, ...], plural: str, place: str) -> Any:
    if ":" in name:
        module_name, _, class_name = name.rpartition(":")
        try:
            module = userfiles.find(module_name)
        except ModuleNotFoundError:
            raise UserError(
                f"{place}: {name!r}: no file {module_name}.py beside the study or on Python's path"
            ) from None
        except UserError as error:
            raise UserError(f"{place}: {name!r}: {error}") from None
        kind = getattr(module, class_name, None)
        if not (inspect.isclass(kind) and issubclass(kind, base)):
            here = ", ".join(found.__name__ for found in _classes(module, base)) or "none"
            raise UserError(
                f"{place}: {module_name}.py defines no {base.__name__} called {class_name!r} (it has: {here})"
            )
        userfiles.remember(kind, module, class_name)
        return kind
    if name not in known:
        raise _unknown(name, known, plural, place)
    module = importlib.import_module(f"{package}.{name}")
    found = _classes(module, base)
    assert len(found) == 1, f"{module.__name__} must define exactly one {base.__name__}, not {found}"
    return found[0]


def _unknown(name: str, known: tuple[str, ...], plural: str, place: str) -> UserError:
    command = "raycl benchmarks" if plural == "benchmarks" else "raycl methods"
    return UserError(f"{place}: unknown {plural[:-1]} {name!r}{nearest(name, known)} ({command} lists them)")


def _files(package: str) -> tuple[str, ...]:
    home = importlib.import_module(package)
    return tuple(sorted(m.name for m in pkgutil.iter_modules(home.__path__) if not m.name.startswith("_")))


def _classes(module: ModuleType, base: type) -> list[Any]:
    return [
        kind
        for _, kind in inspect.getmembers(module, inspect.isclass)
        if issubclass(kind, base) and kind is not base and kind.__module__ == module.__name__
    ]

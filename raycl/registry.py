"""Look-up of the class that a name in a study refers to.

The name of a method or network is the name of its file; the name of a benchmark is its `id`. There is no list
to edit.
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
from typing import TYPE_CHECKING, Any, TypeVar

from raycl import userfiles
from raycl.calls import name_of, parse
from raycl.errors import UserError, nearest
from raycl.space import fields_of, make_config
from raycl.userfiles import digest

if TYPE_CHECKING:
    from raycl.benchmarks.base import Recipe
    from raycl.method import Method
    from raycl.networks import Network
    from raycl.tasks import Benchmark

# The bases of these classes are imported inside functions, since they load torch, which takes seconds: a plan
# and a report often need no class at all (`raycl.study.memory`).


def load(
    name: str | Recipe, seed: int = 0, order: int = 0, identity: Mapping[str, Any] | None = None
) -> Benchmark:
    """Return the benchmark that a study calls `name`, e.g. ``digits_permuted(tasks=20)``.

    The benchmark is pickled as that string, without its data.

    Args:
        name: Name with settings, or a recipe.
        seed: Training seed of the run, for recipes that depend on it.
        order: 0 for the benchmark's own task order, k > 0 for its k-th shuffle. The contents of the tasks do
            not depend on it.
        identity: Identity of the data, as `Recipe.identity` returned it when the run was planned; a user's
            own data are found by it. None if it is not known.

    Raises:
        UserError: If the name is unknown, a setting is wrong, the data are missing, or they differ from those
            that the run was planned with.
    """
    from raycl.benchmarks.prepared import data_root

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
    described = [
        ", ".join(f"{name}: {text}" for name, text in facts.items()) or "the published data"
        for facts in (here, planned)
    ]
    return (
        f"benchmark {recipe}: the data here ({described[0]}) differ from those of this run ({described[1]}): "
        "prepare the data of the run, or plan again"
    )


@functools.lru_cache(maxsize=8)
def _loaded(
    recipe: Recipe, seed: int, order: int, root: str, facts: tuple[tuple[str, str], ...]
) -> Benchmark:
    from raycl.benchmarks.loading import made_of

    # `root` and `facts` only extend the key of the cache: with other data it is another benchmark.
    again = (str(recipe), seed, order, dict(facts)) if facts else (str(recipe), seed, order)
    return replace(made_of(recipe, seed, order), recipe=(load, again))


def forget() -> None:
    """Clear the cache of benchmarks, because a caller may have changed the tasks of a cached one."""
    _loaded.cache_clear()


T = TypeVar("T")


@functools.cache
def method_names() -> tuple[str, ...]:
    """Return the ids of all methods in the package."""
    return _files("raycl.methods")


@functools.cache
def network_names() -> tuple[str, ...]:
    """Return the ids of all networks in the package."""
    return tuple(name for name in _files("raycl.networks") if name != "base")


@functools.cache
def recipes() -> dict[str, type[Recipe]]:
    """Return the recipes of all benchmarks in the package, by id."""
    from raycl.benchmarks.base import Recipe

    found: dict[str, type[Recipe]] = {}
    for name in _files("raycl.benchmarks"):
        module = importlib.import_module(f"raycl.benchmarks.{name}")
        found |= {kind.id: kind for kind in _classes(module, Recipe) if kind.id}
    return dict(sorted(found.items()))


def method(name: str, place: str = "method") -> type[Method]:
    """Return the Method class called `name`.

    Args:
        name: File name, or ``file:Class`` for a user's own class.
        place: Setting that holds the name, for error messages.

    Raises:
        UserError: If there is no such class, or the file or Config of a user's own class is wrong.
    """
    from raycl.method import Method

    found: type[Method] = _find(name, Method, "raycl.methods", method_names(), "methods", place)
    return _with_fields(found, found.Config)


def network(name: str, place: str = "network") -> type[Network]:
    """Return the Network class called `name`, which may have settings in brackets.

    Args:
        name: File name, or ``file:Class`` for a user's own class.
        place: Setting that holds the name, for error messages.

    Raises:
        UserError: If there is no such class, or the file or Config of a user's own class is wrong.
    """
    from raycl.networks import Network

    name = parse(name, place).name
    found: type[Network] = _find(name, Network, "raycl.networks", network_names(), "networks", place)
    return _with_fields(found, found.Config)


def sampler(name: str, place: str = "sampler") -> Any:
    """Return the function ``file:function``, or the class, that makes a user's own sampler for a search.

    Args:
        name: ``file:function``.
        place: Setting that holds the name, for error messages.

    Raises:
        UserError: If there is no such function, or its file cannot be imported.
    """
    module, _, called = name.rpartition(":")
    home = _module(name, module, place)
    found = getattr(home, called, None)
    if not (inspect.isfunction(found) or inspect.isclass(found)):
        raise UserError(f"{place}: {module}.py defines no function called {called!r}")
    userfiles.remember(found, home, called)
    return found


def recipe(text: str, place: str = "benchmark") -> Recipe:
    """Return the recipe of the benchmark that `text` names, with its settings filled in."""
    from raycl.benchmarks.base import Recipe

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
    """Check that the code of the user's own classes is the code that a run was planned with.

    Args:
        known: Digests of the code by part, as in `RunSpec.code`.
        home: Folder in which the user's files are found.
        texts: Names as a study writes them, by part: "method", "network", "benchmark".

    Raises:
        UserError: If a file of the user has changed since the digests were made.
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
                f"the code of {name_of(kind)} differs from the code that this run was planned with: its file "
                "has changed or is another one; run the study again to plan it anew"
            )


def _with_fields(kind: type[T], config: type) -> type[T]:
    """Return the class after checking that the fields of its Config can be read, if it is a user's own."""
    if userfiles.is_own(kind):
        with userfiles.blamed(kind):
            fields_of(config)
    return kind


def _find(name: str, base: type, package: str, known: tuple[str, ...], plural: str, place: str) -> Any:
    if ":" in name:
        module_name, _, class_name = name.rpartition(":")
        module = _module(name, module_name, place)
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


def _module(name: str, module: str, place: str) -> ModuleType:
    """Return the module of a user's file.

    Args:
        name: What the user wrote, ``file:name``.
        module: The file.
        place: Where it was written, for error messages.

    Raises:
        UserError: If there is no such file, or it cannot be imported.
    """
    try:
        return userfiles.find(module)
    except ModuleNotFoundError:
        raise UserError(
            f"{place}: {name!r}: no file {module}.py beside the study or on Python's path"
        ) from None
    except UserError as error:
        raise UserError(f"{place}: {name!r}: {error}") from None


def _unknown(name: str, known: tuple[str, ...], plural: str, place: str) -> UserError:
    near = nearest(name, known)
    kind = plural[:-1]
    where = "" if place == kind else f"{place}: "  # no place but the argument itself
    return UserError(f"{where}unknown {kind} {name!r}{near} (raycl {plural} lists them)")


def _files(package: str) -> tuple[str, ...]:
    home = importlib.import_module(package)
    return tuple(sorted(m.name for m in pkgutil.iter_modules(home.__path__) if not m.name.startswith("_")))


def _classes(module: ModuleType, base: type) -> list[Any]:
    return [
        kind
        for _, kind in inspect.getmembers(module, inspect.isclass)
        if issubclass(kind, base) and kind is not base and kind.__module__ == module.__name__
    ]

"""From what a study writes, ``"mlp(hidden=64)"`` or ``"my_file:MyMethod"``, to the class that is meant.

A method's and a network's name is its file's name; a benchmark's is its `id`. There is no list to edit.
"""

from __future__ import annotations

import ast
import functools
import importlib
import inspect
import pkgutil
import warnings
from collections.abc import Callable, Mapping
from dataclasses import MISSING, dataclass
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, TypeVar

from raycl import digest, userfiles
from raycl.configs import ordered_fields
from raycl.errors import UserError, nearest, quoted
from raycl.space import fields_of, filled

if TYPE_CHECKING:
    from raycl.benchmarks import Recipe
    from raycl.method import Method
    from raycl.networks import Network

LONGEST = 10_000  # characters of a name with its settings


T = TypeVar("T")


@dataclass(frozen=True)
class Call:
    """``name(value, field=value)`` taken apart; values are Python literals."""

    name: str
    args: tuple[Any, ...]
    kwargs: dict[str, Any]

    def settings(self, config: type, place: str) -> dict[str, Any]:
        """Fields of `config` by name: positional values in the order of its fields."""
        order = [field.name for field in ordered_fields(config)]
        if len(self.args) > len(order):
            raise UserError(f"{place}: {self.name}() takes at most {len(order)} values")
        positional = dict(zip(order, self.args, strict=False))
        twice = positional.keys() & self.kwargs.keys()
        if twice:
            raise UserError(f"{place}: {self.name}() is given {min(twice)!r} twice")
        return positional | self.kwargs


def parse(text: str, place: str) -> Call:
    """Take ``name(value, field=value)`` apart; the name may be ``module:Class``.

    A colon, a comma or a bracket inside a value is the value's own.

    Args:
        place: where it was written, for the message.

    Raises:
        UserError: it does not read as a name, or a name with literal values in brackets.
    """
    if len(text) > LONGEST:
        raise UserError(
            f"{place}: {quoted(text)} has {len(text):,} characters, at most {LONGEST:,} can be read"
        )
    head, bracket, values = text.partition("(")
    module, colon, name = (part.strip() for part in head.rpartition(":"))
    if colon and not all(part.isidentifier() for part in module.split(".")):
        raise UserError(
            f"{place}: {quoted(text)} should name a module and a class, such as 'my_file:MyMethod'"
        )
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of Python's parser, about texts such as '\d'
            node = ast.parse(f"{name}{bracket}{values}".strip(), mode="eval").body
        if isinstance(node, ast.Name):
            return Call(module + colon + node.id, (), {})
        if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Name)):
            raise ValueError
        args = tuple(_plain(value) for value in node.args)
        kwargs = {keyword.arg: _plain(keyword.value) for keyword in node.keywords if keyword.arg}
        if len(kwargs) < len(node.keywords):  # one of them twice, or **{...}
            raise ValueError
    except (SyntaxError, ValueError, TypeError, MemoryError, RecursionError):
        raise UserError(
            f"{place}: {quoted(text)} does not read as a name such as 'mlp' or 'mlp(hidden=64)'; in brackets "
            "stand numbers, texts in quotes, True, False, None, and tuples of them"
        ) from None
    return Call(module + colon + node.func.id, args, kwargs)


def _plain(node: ast.expr) -> Any:
    """The value that a literal stands for.

    Raises:
        ValueError: it is none, or one that no setting takes: bytes, a set, a dictionary, a complex number.
    """

    def check(value: Any) -> None:
        if isinstance(value, tuple | list):
            for inner in value:
                check(inner)
        elif not (value is None or isinstance(value, bool | int | float | str)):
            raise ValueError

    value = ast.literal_eval(node)
    check(value)
    return value


def written(name: str, config: Any) -> str:
    """The shortest text that names it: fields equal to their default are left out."""
    changed = [
        f"{field.name}={getattr(config, field.name)!r}"
        for field in ordered_fields(config)
        if field.default is MISSING or getattr(config, field.name) != field.default
    ]
    return f"{name}({', '.join(changed)})" if changed else name


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
    from raycl.benchmarks import Recipe

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
    from raycl.method import Method

    found: type[Method] = _find(name, Method, "raycl.methods", method_names(), "methods", place)
    return _with_fields(found, found.Config)


def network(name: str, place: str = "network") -> type[Network]:
    """The Network class called `name`, which may carry settings in brackets.

    Raises:
        UserError: there is none, or it is a user's own whose file or Config is not right.
    """
    from raycl.networks import Network

    name = parse(name, place).name
    found: type[Network] = _find(name, Network, "raycl.networks", network_names(), "networks", place)
    return _with_fields(found, found.Config)


def recipe(text: str, place: str = "benchmark") -> Recipe:
    """The benchmark that `text` names, settings filled in."""
    from raycl.benchmarks import Recipe

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
        made: Recipe = filled(kind, settings, f"{place} {call.name}")
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
    with userfiles.beside(home):
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


def name_of(kind: type) -> str:
    """The text that finds the class again."""
    for package in ("raycl.methods.", "raycl.networks."):
        if kind.__module__.startswith(package):
            return kind.__module__.removeprefix(package)
    if kind.__module__.startswith("raycl.benchmarks"):
        return str(getattr(kind, "id", kind.__name__))
    module, name = userfiles.origin(kind)
    return f"{userfiles.short(module)}:{name}"


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

"""What a study writes, such as ``mlp(hidden=64)`` or ``my_file:MyMethod``, taken apart and put together."""

from __future__ import annotations

import ast
import warnings
from dataclasses import MISSING, dataclass
from typing import Any

from raycl import userfiles
from raycl.configs import ordered_fields
from raycl.errors import UserError, quoted

LONGEST = 10_000  # characters of a name with its settings


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


def format_call(name: str, config: Any) -> str:
    """The shortest text that names it: fields equal to their default are left out."""
    changed = [
        f"{field.name}={getattr(config, field.name)!r}"
        for field in ordered_fields(config)
        if field.default is MISSING or getattr(config, field.name) != field.default
    ]
    return f"{name}({', '.join(changed)})" if changed else name


def name_of(kind: type) -> str:
    """The text that finds the class again."""
    for package in ("raycl.methods.", "raycl.networks."):
        if kind.__module__.startswith(package):
            return kind.__module__.removeprefix(package)
    if kind.__module__.startswith("raycl.benchmarks"):
        return str(getattr(kind, "id", kind.__name__))
    module, name = userfiles.origin(kind)
    return f"{userfiles.short(module)}:{name}"


NAMES_OF_DATA = ("path", "name")  # settings of a user's own data that decide nothing


def nameless(text: str) -> str:
    """A benchmark's canonical text as a key holds it: a user's own data are known by their checksum alone.

    Left out are where the data lie and what they are called. A text that names a class of the user's is left
    alone, as only its file could say what its settings mean.
    """
    if ":" in text.partition("(")[0]:
        return text
    try:
        call = parse(text, "benchmark")
    except UserError:  # of another version of raycl
        return text
    if not call.kwargs.keys() & {*NAMES_OF_DATA}:
        return text
    kept = [f"{name}={value!r}" for name, value in call.kwargs.items() if name not in NAMES_OF_DATA]
    return f"{call.name}({', '.join(kept)})"

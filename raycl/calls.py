"""Parsing and formatting of names with settings, such as ``mlp(hidden=64)`` or ``my_file:MyMethod``."""

from __future__ import annotations

import ast
import warnings
from collections.abc import Mapping
from dataclasses import MISSING, dataclass
from typing import Any

from raycl import userfiles
from raycl.configs import ordered_fields
from raycl.errors import SCREEN, UserError, quoted

VALUES = "a number, text in quotes, True, False, None"
LONGEST = 10_000  # Largest number of characters of a name with its settings.


@dataclass(frozen=True)
class Call:
    """The parts of ``name(value, field=value)``; values are Python literals."""

    name: str
    args: tuple[Any, ...]
    kwargs: dict[str, Any]

    def settings(self, config: type, place: str) -> dict[str, Any]:
        """Return the values by field name; positional values follow the order of the fields of `config`.

        Raises:
            UserError: If there are too many values, or a field is given twice.
        """
        order = [field.name for field in ordered_fields(config)]
        if len(self.args) > len(order):
            raise UserError(f"{place}: {self.name}() takes at most {len(order)} values")
        positional = dict(zip(order, self.args, strict=False))
        twice = positional.keys() & self.kwargs.keys()
        if twice:
            raise UserError(f"{place}: {self.name}() is given {min(twice)!r} twice")
        return positional | self.kwargs


def parse(text: str, place: str) -> Call:
    """Parse ``name(value, field=value)``, where the name may be ``module:Class``.

    Colons, commas and brackets inside a value belong to the value.

    Args:
        text: The string to parse.
        place: Where it was written, for the message.

    Raises:
        UserError: If the string is not a name, or a name with literal values in brackets.
    """
    if len(text) > LONGEST:
        raise UserError(
            f"{place}: {quoted(text)} has {len(text):,} characters; at most {LONGEST:,} are allowed"
        )
    head, bracket, values = text.partition("(")
    module, colon, name = (part.strip() for part in head.rpartition(":"))
    if colon and not all(part.isidentifier() for part in module.split(".")):
        raise UserError(
            f"{place}: {quoted(text)} should name a module and a class, such as 'my_file:MyMethod'"
        )
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Python's parser warns about strings such as '\d'.
            node = ast.parse(f"{name}{bracket}{values}".strip(), mode="eval").body
        if isinstance(node, ast.Name):
            return Call(module + colon + node.id, (), {})
        if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Name)):
            raise ValueError
        args = tuple(_plain(value) for value in node.args)
        kwargs = {}
        for keyword in node.keywords:
            if keyword.arg is None or keyword.arg in kwargs:  # `**{...}`, or a keyword twice
                raise ValueError
            try:
                kwargs[keyword.arg] = _plain(keyword.value)
            except (ValueError, TypeError):
                raise UserError(f"{place}: {quoted(text)}: {_no_value(keyword)}") from None
    except UserError:
        raise
    except (SyntaxError, ValueError, TypeError, MemoryError, RecursionError):
        raise UserError(
            f"{place}: {quoted(text)} should be a name such as 'mlp' or 'mlp(hidden=64)'; a value in "
            f"brackets is {VALUES}, or a tuple of these"
        ) from None
    return Call(module + colon + node.func.id, args, kwargs)


def _no_value(keyword: ast.keyword) -> str:
    """Return what is wrong with a setting that is not a literal."""
    value = ast.unparse(keyword.value)
    shown = value if len(value) <= SCREEN // 2 else f"{value[: SCREEN // 2]} ..."
    return f"{keyword.arg} = {shown} is not {VALUES}, or a tuple of these"


def _plain(node: ast.expr) -> Any:
    """Return the value of a literal.

    Raises:
        ValueError: If the node is not a literal, or is one that no setting accepts: bytes, a set, a
            dictionary or a complex number.
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
    """Return the name with the settings of `config`, without fields that equal their defaults."""
    changed = {
        field.name: getattr(config, field.name)
        for field in ordered_fields(config)
        if field.default is MISSING or getattr(config, field.name) != field.default
    }
    return format_settings(name, changed)


def format_settings(name: str, settings: Mapping[str, Any]) -> str:
    """Return the name with these settings, in their order."""
    texts = [f"{field}={value!r}" for field, value in settings.items()]
    return f"{name}({', '.join(texts)})" if texts else name


def name_of(kind: type) -> str:
    """Return the name under which a class is found again."""
    for package in ("raycl.methods.", "raycl.networks."):
        if kind.__module__.startswith(package):
            return kind.__module__.removeprefix(package)
    if kind.__module__.startswith("raycl.benchmarks"):
        return str(getattr(kind, "id", kind.__name__))
    module, name = userfiles.origin(kind)
    return f"{userfiles.short(module)}:{name}"


NAMES_OF_DATA = ("path", "name", "titles")  # Settings of a user's own data that do not affect results.


def nameless(text: str) -> str:
    """Return a benchmark's canonical name as it enters a key, without the path and name of a user's own data.

    The checksum of such data, which is also in the key, identifies them. The name of a user's own recipe
    class is returned unchanged, since only its file defines what its settings mean.
    """
    if ":" in text.partition("(")[0]:
        return text
    try:
        call = parse(text, "benchmark")
    except UserError:  # Another version of raycl may have written it.
        return text
    if not call.kwargs.keys() & {*NAMES_OF_DATA}:
        return text
    kept = [f"{name}={value!r}" for name, value in call.kwargs.items() if name not in NAMES_OF_DATA]
    return f"{call.name}({', '.join(kept)})"

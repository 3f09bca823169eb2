"""Search domains that stand beside the field they belong to, and values checked against a field's type.

``lamb: Annotated[float, Float(0.1, 4, log=True)] = 0.75`` says what `lamb` is, where it is searched, and
what it is when nobody searches it.
"""

from __future__ import annotations

import dataclasses
import functools
import math
import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal, TypeAlias

from raycl.errors import UserError, nearest

Value: TypeAlias = bool | int | float | str | tuple[Any, ...] | None


@dataclass(frozen=True)
class Float:
    """A real number in [low, high], uniform, or log-uniform with `log`."""

    low: float
    high: float
    log: bool = False

    def __post_init__(self) -> None:
        _check_interval(self)

    def __contains__(self, value: object) -> bool:
        return _is_number(value) and self.low <= value <= self.high  # type: ignore[operator]

    def __str__(self) -> str:
        return f"{self.low:g}..{self.high:g}{' (log)' if self.log else ''}"


@dataclass(frozen=True)
class Int:
    """A whole number in {low, ..., high}, uniform, or log-uniform with `log`."""

    low: int
    high: int
    log: bool = False

    def __post_init__(self) -> None:
        _check_interval(self)

    def __contains__(self, value: object) -> bool:
        return isinstance(value, int) and not isinstance(value, bool) and self.low <= value <= self.high

    def __str__(self) -> str:
        return f"{self.low}..{self.high}{' (log)' if self.log else ''}"


class Choice:
    """One of the given options."""

    def __init__(self, *options: Value) -> None:
        if not options:
            raise ValueError("Choice() needs at least one option")
        self.options = options

    def __contains__(self, value: object) -> bool:
        return any(value == option and type(value) is type(option) for option in self.options)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Choice) and other.options == self.options

    def __hash__(self) -> int:
        return hash(self.options)

    def __repr__(self) -> str:
        return f"Choice({', '.join(map(repr, self.options))})"

    def __str__(self) -> str:
        return "{" + ", ".join(map(str, self.options)) + "}"


Domain: TypeAlias = Float | Int | Choice


def _check_interval(domain: Float | Int) -> None:
    if not (_is_number(domain.low) and _is_number(domain.high) and domain.low <= domain.high):
        raise ValueError(f"{domain!r} is empty: low must not exceed high")
    if domain.log and domain.low <= 0:
        raise ValueError(f"{domain!r} has log=True and low <= 0: a log-uniform domain starts above zero")


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


@dataclass(frozen=True)
class Field:
    """One field of a Config: its type, its default and, if it is searched by default, its domain."""

    name: str
    type: Any
    default: Any
    domain: Domain | None

    def describe(self) -> str:
        """``float, default 400, searched in 25..800 (log)``."""
        searched = f", searched in {self.domain}" if self.domain is not None else ""
        default = f"{self.default:g}" if isinstance(self.default, float) else f"{self.default}"
        return f"{type_name(self.type)}, default {default}{searched}"


def fields_of(config: type) -> Mapping[str, Field]:
    """Fields of a Config dataclass by name.

    Raises:
        UserError: a default that lies outside the domain beside it.
    """
    return _fields_of(config)


@functools.cache
def _fields_of(config: type) -> Mapping[str, Field]:
    hints = typing.get_type_hints(config, include_extras=True)
    found: dict[str, Field] = {}
    for field in dataclasses.fields(config):
        annotation, domain = hints[field.name], None
        if typing.get_origin(annotation) is Annotated:
            annotation, *extras = typing.get_args(annotation)
            domain = next((extra for extra in extras if isinstance(extra, Float | Int | Choice)), None)
        if field.default is dataclasses.MISSING:
            raise UserError(f"{config.__qualname__}.{field.name} has no default: every field needs one")
        default = coerce(field.default, annotation, f"default of {config.__qualname__}.{field.name}")
        if domain is not None and default not in domain:
            raise UserError(
                f"default {default} of {config.__qualname__}.{field.name} lies outside its domain {domain}; "
                "change one of them"
            )
        found[field.name] = Field(field.name, annotation, default, domain)
    return types.MappingProxyType(found)


def space_of(config: type) -> dict[str, Domain]:
    """The fields of a Config that a search varies unless the study says otherwise, with their domains."""
    return {name: field.domain for name, field in fields_of(config).items() if field.domain is not None}


def field_of(config: type, name: str, place: str) -> Field:
    """The field `name`; `place` is how the user wrote it.

    Raises:
        UserError: no such field; names the nearest one.
    """
    fields = fields_of(config)
    if name not in fields:
        known = f"known: {', '.join(fields)}" if fields else "it has no fields"
        raise UserError(f"{place}: unknown field {name!r}{nearest(name, fields)} ({known})")
    return fields[name]


def filled(config: type, values: Mapping[str, Any], place: str) -> Any:
    """An instance of `config` with `values` checked and coerced, so that 400 and 400.0 are one thing."""
    given = {name: coerce(value, field_of(config, name, place).type, f"{place}.{name}",
                          field_of(config, name, place)) for name, value in values.items()}  # fmt: skip
    try:
        return config(**given)
    except UserError:
        raise
    except ValueError as error:  # a Config's own check
        raise UserError(f"{place}: {error}") from None


def coerce(value: Any, annotation: Any, place: str, field: Field | None = None) -> Any:
    """`value` as the annotated type: an int becomes a float where a float is meant, a list a tuple.

    Raises:
        UserError: it is of another type; says which value, where, and what is wanted.
    """
    if _fits(value, annotation):
        return value
    if annotation is float and _is_number(value):
        return float(value)
    origin, args = typing.get_origin(annotation), typing.get_args(annotation)
    if origin in (typing.Union, types.UnionType):
        for option in args:
            try:
                return coerce(value, option, place)
            except UserError:
                continue
    if origin is tuple and isinstance(value, list | tuple):
        kinds = [args[0]] * len(value) if len(args) == 2 and args[1] is Ellipsis else list(args)
        if len(kinds) == len(value):
            return tuple(coerce(v, kind, place) for v, kind in zip(value, kinds, strict=True))
    wanted = f" ({field.describe()})" if field else ""
    raise UserError(f"{place} = {value!r} is not {_article(annotation)}{wanted}")


def _fits(value: Any, annotation: Any) -> bool:
    if annotation is type(None) or annotation is None:
        return value is None
    if typing.get_origin(annotation) is Literal:
        return any(value == option and type(value) is type(option) for option in typing.get_args(annotation))
    if annotation is float:
        return type(value) is float and math.isfinite(value)
    return (
        isinstance(annotation, type) and type(value) is annotation and typing.get_origin(annotation) is None
    )


def type_name(annotation: Any) -> str:
    """A type as a user would write it."""
    if annotation is type(None):
        return "None"
    origin, args = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is Literal:
        return "one of " + ", ".join(repr(option) for option in args)
    if origin in (typing.Union, types.UnionType):
        return " or ".join(type_name(option) for option in args)
    return getattr(annotation, "__name__", str(annotation)) if origin is None else str(annotation)


def _article(annotation: Any) -> str:
    names = {float: "a number", int: "a whole number", bool: "True or False", str: "a text"}
    return names.get(annotation) or type_name(annotation)

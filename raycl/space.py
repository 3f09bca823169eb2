"""Fields of Configs with their search domains, and conversion of values to the type of a field.

``lamb: Annotated[float, Float(0.1, 4, log=True)] = 0.75`` declares the type of `lamb`, the domain in which a
search varies it, and its default value.
"""

from __future__ import annotations

import dataclasses
import functools
import math
import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from raycl import userfiles
from raycl.configs import check_dataclass, check_kind, hints_of, ordered_fields, read_hint
from raycl.domains import Choice, Domain, Float, Int, Value, is_number, plain, shown
from raycl.errors import UserError, nearest

WHOLE = 2**63  # Bound of integers: torch does not accept any beyond 64 bits.

__all__ = [
    "Choice",
    "Domain",
    "Field",
    "Float",
    "Int",
    "Value",
    "coerce",
    "field_of",
    "fields_of",
    "make_config",
    "space_of",
    "type_name",
]


@dataclass(frozen=True)
class Field:
    """One field of a Config: its name, type and default, and its domain if it is searched by default."""

    name: str
    type: Any
    default: Any
    domain: Domain | None

    def describe(self) -> str:
        """Return a description such as ``float, default 400, searched in 25..800 (log)``."""
        searched = f", searched in {self.domain}" if self.domain is not None else ""
        default = f"{self.default:g}" if isinstance(self.default, float) else f"{self.default}"
        return f"{type_name(self.type)}, default {default}{searched}"


def fields_of(config: Any) -> Mapping[str, Field]:
    """Return the fields of a Config dataclass by name.

    Raises:
        UserError: If a field is declared incorrectly, or its default lies outside its domain.
    """
    if not isinstance(config, type):
        check_dataclass(config, "Config")
    return _fields_of(config)


@functools.cache
def _fields_of(config: type) -> Mapping[str, Field]:
    check_dataclass(config, config.__qualname__)
    hints, found = hints_of(config), {}
    for field in ordered_fields(config):
        place = f"{config.__qualname__}.{field.name}"
        annotation, domain = read_hint(hints[field.name], place)
        default = coerce(_default_of(field, place), annotation, f"default of {place}")
        if domain is not None:
            domain = coerced(domain, annotation, place)
            if default not in domain:
                raise UserError(
                    f"default {default} of {place} lies outside its domain {domain}; change one of them"
                )
        found[field.name] = Field(field.name, annotation, default, domain)
    return types.MappingProxyType(found)


def _default_of(field: dataclasses.Field[Any], place: str) -> Any:
    if not field.init:
        raise UserError(f"{place} has init=False, so that no study can set it: drop that, or use a property")
    if field.default_factory is not dataclasses.MISSING:
        raise UserError(f"{place} has a default_factory: write the value itself, such as () for a list")
    if field.default is dataclasses.MISSING:
        raise UserError(f"{place} has no default: every field needs one")
    if isinstance(field.default, Float | Int | Choice):
        raise UserError(
            f"{place} has the domain {field.default!r} as its default, which would not be searched: write "
            f"{field.name}: Annotated[..., {field.default!r}] = value"
        )
    return field.default


def coerced(domain: Domain, annotation: Any, place: str, field: Field | None = None) -> Domain:
    """Return a domain whose options are converted to the annotated type as single values are.

    Raises:
        UserError: If the domain contains values that the field cannot hold.
    """
    check_kind(domain, annotation, place)
    if not isinstance(domain, Choice):
        return domain
    try:
        return Choice(*(coerce(option, annotation, place, field) for option in domain.options))
    except UserError as error:
        if len(domain.options) == 1 and isinstance(domain.options[0], tuple):
            raise UserError(f"{error}; options are given one by one: Choice(1, 2, 3)") from None
        raise
    except ValueError as error:  # For a field of type float, 1 and 1.0 are the same option.
        raise UserError(f"{place}: {error}") from None


def space_of(config: type) -> dict[str, Domain]:
    """Return the domains of the fields that a search varies by default, by field name."""
    return {name: field.domain for name, field in fields_of(config).items() if field.domain is not None}


def field_of(config: type, name: str, place: str) -> Field:
    """Return the field `name` of a Config.

    Args:
        config: The Config class.
        name: Name of the field.
        place: How the user wrote it, for the message.

    Raises:
        UserError: If there is no such field; the message suggests the nearest one.
    """
    fields = fields_of(config)
    if name not in fields:
        known = f"known: {', '.join(fields)}" if fields else "it has no fields"
        raise UserError(f"{place}: unknown field {name!r}{nearest(name, fields)} ({known})")
    return fields[name]


def make_config(config: type, values: Mapping[str, Any], place: str) -> Any:
    """Return an instance of `config` with `values` checked and converted to the types of the fields."""
    fields_of(config)  # An incorrectly declared class is refused even if no values are given.
    given: dict[str, Any] = {}
    for name, value in values.items():
        field = field_of(config, name, place)
        given[name] = coerce(value, field.type, f"{place}.{name}", field)
    return made(config, given, place)


def made(config: type, values: Mapping[str, Any], place: str) -> Any:
    """Return an instance of `config`, given values of the right types.

    Raises:
        UserError: If the constructor of `config` refuses the values, or fails in a user's own code.
    """
    try:
        return config(**values)
    except UserError:
        raise
    except ValueError as error:  # This is how a Config's own checks refuse a value.
        raise UserError(f"{place}: {error}") from None
    except Exception as error:
        if not userfiles.is_own(config):
            raise  # In raycl's own classes, any other exception is a bug.
        text = userfiles.fault(error) or f"{userfiles.where(config)}: {type(error).__name__}: {error}"
        raise UserError(f"{place}: {text}") from None


def coerce(value: Any, annotation: Any, place: str, field: Field | None = None) -> Any:
    """Convert `value` to the annotated type: an int to a float, or a list to a tuple.

    Args:
        value: The value.
        annotation: The type.
        place: Where the value was written, for the message.
        field: The field, whose description is added to the message.

    Raises:
        UserError: If the value is of another type; the message says what is expected.
    """
    value = plain(value)
    if _fits(value, annotation):
        if type(value) is int and abs(value) >= WHOLE:
            raise UserError(f"{place} = {shown(value)} is too large: integers must be smaller than 2**63")
        return value
    if annotation is float and is_number(value):
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
    about = f" ({field.describe()})" if field else ""
    raise UserError(f"{place} = {shown(value)} is not {_article(annotation)}{about}")


def _fits(value: Any, annotation: Any) -> bool:
    if annotation is type(None) or annotation is None:
        return value is None
    if typing.get_origin(annotation) is Literal:
        return any(type(value) is type(option) and value == option for option in typing.get_args(annotation))
    if annotation is float:
        return type(value) is float and math.isfinite(value)
    return (
        isinstance(annotation, type) and type(value) is annotation and typing.get_origin(annotation) is None
    )


def type_name(annotation: Any) -> str:
    """Return the name of a type as a user would write it."""
    if annotation is type(None):
        return "None"
    origin, args = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is Literal:
        return "one of " + ", ".join(repr(option) for option in args)
    if origin in (typing.Union, types.UnionType):
        return " or ".join(type_name(option) for option in args)
    return getattr(annotation, "__name__", str(annotation)) if origin is None else str(annotation)


def _article(annotation: Any) -> str:
    names = {float: "a number", int: "an integer", bool: "True or False", str: "a string"}
    return names.get(annotation) or type_name(annotation)

"""Checks that every declaration in a Config becomes a setting that a study can write and search.

A class statement can be valid Python and still lose a field: without ``@dataclass`` a class has only the
fields of its base, a name without a type is not a field, and a domain is found only directly inside
``Annotated``. All of these are refused, since the setting would otherwise silently not be searched.
"""

from __future__ import annotations

import dataclasses
import inspect
import types
import typing
from collections.abc import Iterator
from typing import Annotated, Any, ClassVar, Literal

from raycl.domains import Choice, Domain, Float, Int, shown
from raycl.errors import UserError

DECORATOR = "@dataclass(frozen=True, kw_only=True)"
_PLAIN = (bool, int, float, str, type(None))


def check_dataclass(config: Any, place: str) -> None:
    """Check that every annotated name of a Config, or of a recipe, is one of its fields.

    Raises:
        UserError: If one is not; names the class, what would be ignored, and what to write.
    """
    if not isinstance(config, type):
        raise UserError(f"{place} = {shown(config)} should be a class: write {DECORATOR} above class Config")
    if not dataclasses.is_dataclass(config):
        raise UserError(f"{place} is not a dataclass: write {DECORATOR} above its class statement")
    known = {field.name for field in dataclasses.fields(config)}
    for kind in reversed(config.__mro__):
        own = [name for name, hint in inspect.get_annotations(kind).items() if not _is_apart(hint)]
        lost = [name for name in own if name not in known]
        if "__dataclass_fields__" not in vars(kind):  # Without the decorator, new defaults are ignored too.
            lost = [name for name in own if name not in known or name in vars(kind)]
            if not lost:
                continue
            raise UserError(
                f"{kind.__qualname__} is not a dataclass, so that its {_listed(lost)} would be ignored: "
                f"write {DECORATOR} above its class statement"
            )
        if lost:
            raise UserError(f"{kind.__qualname__}.{lost[0]} is an InitVar, which no study can set: drop it")


def check_verbs(kind: type, base: type) -> None:
    """Check that functions that a class overrides accept the base class's arguments, and check its version.

    Raises:
        UserError: If a function takes other arguments, or the version is not a positive integer.
    """
    for name, known in vars(base).items():
        own = inspect.getattr_static(kind, name, None)
        if (
            name.startswith("_")
            or own is known
            or not inspect.isfunction(own)
            or not inspect.isfunction(known)
        ):
            continue
        given = [p.name for p in inspect.signature(known).parameters.values() if p.default is p.empty]
        given = [word for word in given if word not in ("args", "kwargs")]
        try:
            inspect.signature(own).bind(*given)
        except TypeError as error:
            form = f"{name}({', '.join(given)})"
            raise UserError(
                f"{kind.__qualname__}.{name} is called as {form}, and {error}: write def {form}"
            ) from None
    version = getattr(kind, "version", 1)
    if type(version) is not int or version < 1:
        raise UserError(f"{kind.__qualname__}.version = {version!r} must be an integer of at least 1")


def check_owner(kind: type, base: type) -> None:
    """Check that the Config of a method or network declares all its settings and matches its annotation.

    Args:
        kind: The class of the method or network.
        base: `Method` or `Network`.

    Raises:
        UserError: If a check fails; names the class, what would be ignored, and what to write.
    """
    config = getattr(kind, "Config", None)
    check_dataclass(config, f"{kind.__qualname__}.Config")
    assert isinstance(config, type)
    hints = hints_of(config)
    for part in config.__mro__:
        typed = inspect.get_annotations(part)
        for name, value in vars(part).items():
            if name in typed or _is_machinery(name, value) or typing.get_origin(hints.get(name)) is ClassVar:
                continue
            raise UserError(
                f"{part.__qualname__}.{name} = {shown(value)} has no type, and so is not a setting: write "
                f"{name}: {type(value).__name__} = {shown(value)}, or {name}: ClassVar = ... for a constant"
            )
    for name, hint in hints.items():
        if typing.get_origin(hint) is ClassVar and any(_domains_in(hint)):
            raise UserError(
                f"{config.__qualname__}.{name} is a ClassVar, which no study can search: drop ClassVar"
            )
    _check_stray_domains(kind, base)
    _check_meant(kind, config, base)


def ordered_fields(config: Any) -> list[dataclasses.Field[Any]]:
    """Return the fields of a dataclass in the order of their declaration, those in `settings_order` first."""
    first = getattr(config, "settings_order", ())
    known = {field.name: field for field in dataclasses.fields(config)}
    return [known[name] for name in dict.fromkeys((*first, *known))]


def hints_of(config: type) -> dict[str, Any]:
    """Return the evaluated annotations of a class and its bases.

    Raises:
        UserError: If an annotation cannot be evaluated.
    """
    try:
        return typing.get_type_hints(config, include_extras=True)
    except Exception as error:  # Evaluating a user's expression may raise anything.
        raise UserError(
            f"{config.__qualname__}: its annotations cannot be read: {type(error).__name__}: "
            f"{' '.join(str(error).split())}; import what they name at the top of its file"
        ) from None


def read_hint(hint: Any, place: str) -> tuple[Any, Domain | None]:
    """Return the type of a field, and its domain if it has one.

    Args:
        hint: The annotation of the field.
        place: Name of the field, such as ``Mine.Config.lamb``.

    Raises:
        UserError: If a study cannot represent values of the type, or the domain is in a wrong place.
    """
    name = place.rpartition(".")[2]
    if isinstance(hint, Float | Int | Choice):
        kind = "float" if isinstance(hint, Float) else "int" if isinstance(hint, Int) else "..."
        raise UserError(
            f"{place}: {hint!r} is used as its type, and would not be searched: "
            f"write {name}: Annotated[{kind}, {hint!r}] = ..."
        )
    domain: Domain | None = None
    if typing.get_origin(hint) is Annotated:
        hint, *extras = typing.get_args(hint)
        domain = _one_domain(extras, place)
    if isinstance(hint, Float | Int | Choice):
        raise UserError(f"{place}: the type comes first: write Annotated[..., {hint!r}]")
    if next(_domains_in(hint), None) is not None:
        raise UserError(
            f"{place}: a domain inside {_type_text(hint)} is not searched: put Annotated around the whole "
            "type, such as Annotated[float | None, Float(0.1, 1)]"
        )
    if not _is_supported(hint):
        raise UserError(
            f"{place} has the type {_type_text(hint)}, which a study cannot express: use bool, int, float, "
            "str, None, Literal[...], tuple[float, ...], or several of them joined by |"
        )
    return hint, domain


def check_kind(domain: Domain, annotation: Any, place: str) -> None:
    """Check that an interval contains values of the field's type.

    Raises:
        UserError: If a `Float` is given for a field of integers, or an `Int` for a field of floats.
    """
    if isinstance(domain, Choice):
        return
    wanted = float if isinstance(domain, Float) else int
    if wanted not in (annotation, *getattr(annotation, "__args__", ())):
        other = {float: "Int", int: "Float"}[wanted]
        raise UserError(
            f"{place} = {domain!r} searches {wanted.__name__}s, but the field is {_type_text(annotation)}: "
            f"write {other}(...) or Choice(...)"
        )


def _one_domain(extras: list[Any], place: str) -> Domain | None:
    found = [extra for extra in extras if isinstance(extra, Float | Int | Choice)]
    classes = [extra for extra in extras if extra in (Float, Int, Choice)]
    if classes:
        raise UserError(f"{place}: {classes[0].__name__} needs its values: {classes[0].__name__}(...)")
    if len(found) > 1:
        raise UserError(f"{place} has {len(found)} domains, {found[0]!r} and {found[1]!r}: keep one")
    return found[0] if found else None


def _check_stray_domains(kind: type, base: type) -> None:
    """Check that no attribute of the method or network itself, outside its Config, has a domain."""
    for part in _below(kind, base):
        for name, hint in inspect.get_annotations(part).items():
            value = _evaluated(hint, part)
            if isinstance(value, Float | Int | Choice) or next(_domains_in(value), None) is not None:
                raise UserError(
                    f"{part.__qualname__}.{name} has a domain, but only fields of {part.__qualname__}.Config "
                    "are searched: move it there"
                )


def _check_meant(kind: type, config: type, base: type) -> None:
    """Check that the annotation ``config: Config`` names the class of the actual Config."""
    for part in _below(kind, base):
        meant = _evaluated(inspect.get_annotations(part).get("config"), part)
        if meant is None:
            continue
        if isinstance(meant, type) and dataclasses.is_dataclass(meant) and not issubclass(config, meant):
            raise UserError(
                f"{part.__qualname__}.config is a {meant.__qualname__}, but {kind.__qualname__}.Config is "
                f"{config.__qualname__}: write Config = {meant.__name__} in class {part.__name__}, "
                "or move its class statement there"
            )
        return


def _below(kind: type, base: type) -> tuple[type, ...]:
    """Return the class and its bases up to but excluding `base`."""
    return kind.__mro__[: kind.__mro__.index(base)] if base in kind.__mro__ else ()


def _evaluated(hint: Any, part: type) -> Any:
    """Evaluate an annotation of a class; return None if that fails, as its names may be unknown here."""
    if not isinstance(hint, str):
        return hint
    module = inspect.getmodule(part)
    try:
        return eval(hint, dict(vars(module)) if module else {}, dict(vars(part)))
    except Exception:
        return None


def _domains_in(hint: Any) -> Iterator[Any]:
    """Yield the domains in an annotation, at any depth."""
    if typing.get_origin(hint) is Annotated:
        yield from (e for e in hint.__metadata__ if isinstance(e, Float | Int | Choice))
    for part in () if typing.get_origin(hint) is Literal else typing.get_args(hint):
        yield from _domains_in(part)


def _is_supported(hint: Any) -> bool:
    if hint is None or any(hint is kind for kind in _PLAIN):
        return True
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if origin is Literal:
        return all(type(option) in _PLAIN for option in args)
    if origin in (typing.Union, types.UnionType):
        return all(map(_is_supported, args))
    return origin is tuple and bool(args) and all(a is Ellipsis or _is_supported(a) for a in args)


def _is_apart(hint: Any) -> bool:
    """Return whether an annotation does not declare a field: ClassVar, or the KW_ONLY marker."""
    if isinstance(hint, str):
        text = hint.strip().removeprefix("typing.").removeprefix("dataclasses.").removeprefix("t.")
        return text.startswith("ClassVar") or text == "KW_ONLY"
    return hint is ClassVar or typing.get_origin(hint) is ClassVar or hint is dataclasses.KW_ONLY


def _is_machinery(name: str, value: Any) -> bool:
    """Return whether a class attribute cannot be a setting: function, class, CONSTANT or _private."""
    return name.startswith("_") or name.isupper() or callable(value) or hasattr(value, "__get__")


def _listed(names: list[str]) -> str:
    return ("field " if len(names) == 1 else "fields ") + ", ".join(names)


def _type_text(hint: Any) -> str:
    text = hint.__name__ if isinstance(hint, type) and not typing.get_args(hint) else str(hint)
    return " ".join(text.replace("typing.", "").split())

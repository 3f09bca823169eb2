"""Overrides: ``--set FIELD=VALUE`` gives a dotted field of a study a value, written as in a study file."""

from __future__ import annotations

import ast
import dataclasses
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from raycl.errors import UserError, nearest, quoted, screen_line
from raycl.space import Choice, Float, Int
from raycl.study.pruners import Halving, Median
from raycl.study.values import Grid, Resources, Search, Seeds, Study

_WRITABLE: Mapping[str, Callable[..., Any]] = {
    kind.__name__: kind for kind in (Search, Halving, Median, Grid, Seeds, Resources, Float, Int, Choice)
}
_FAULTS = (ValueError, TypeError, AttributeError, OverflowError)  # what value classes raise for wrong input
_FIXED = ("folder", "file")  # where the study is, which no option can change
_NEVER_NONE = ("name", "network", "paper")
LONGEST = 100_000  # largest number of characters of a value


def overridden(study: Study, overrides: Iterable[str]) -> Study:
    """Return the study with overrides such as ``search.trials=4`` applied from left to right.

    One that is refused is tried again after the others, because fields may go together only when both have
    changed, as ``search.objectives`` and ``search.pick`` do.

    Raises:
        UserError: If a string is not of the form FIELD=VALUE, the field does not exist, or it does not
            accept the value.
    """
    waiting, replaced = list(overrides), list[str]()
    while waiting:
        refused: dict[str, tuple[str, UserError]] = {}  # by path: a later value of the same field replaces it
        for text in waiting:
            path = _parted(study, text)[0]
            if path in refused:
                replaced.append(refused.pop(path)[0])
            try:
                study = _with(study, text)
            except UserError as error:
                refused[path] = text, error
        if len(refused) == len(waiting):
            raise next(iter(refused.values()))[1]
        waiting = [text for text, _ in refused.values()]
    for text in replaced:
        _with(study, text)  # a value that is wrong in any case is not passed over
    return study


def _with(study: Study, text: str) -> Study:
    path, equals, written = _parted(study, text)
    place = f"--set {screen_line(text)}"
    if not (equals and path):
        raise UserError(f"{place}: write FIELD=VALUE, such as search.trials=4")
    changed: Study = _replaced(study, path.split("."), _Written(written, place))
    return changed


def _parted(study: Study, text: str) -> tuple[str, str, str]:
    """Split an override into field, equals sign and value; equals signs inside a label belong to it."""
    start = 0
    if isinstance(study.methods, Mapping) and text.startswith("methods."):
        labels = [label for label in study.methods if isinstance(label, str)]
        heads = [f"methods.{label}" for label in labels]
        start = max((len(h) for h in heads if text.startswith((f"{h}.", f"{h}="))), default=0)
    path, equals, written = text[start:].partition("=")
    return (text[:start] + path).strip(), equals, written.strip()


class _Written:
    """A value written on the command line.

    Attributes:
        text: The value as it was typed.
        place: The whole option, for messages.
        value: What the text means.
    """

    def __init__(self, text: str, place: str) -> None:
        self.text, self.place = text, place
        if len(text) > LONGEST:
            raise UserError(f"{place}: the value has {len(text):,} characters, but at most {LONGEST:,} fit")
        self.value = self._read()

    def _read(self) -> Any:
        """Return the meaning of the text: a literal, a value class such as ``Seeds(1, 2)``, or the text."""
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # Python's parser warns of odd literals
                node = ast.parse(self.text, mode="eval").body
            return self._evaluated(node)
        except UserError:
            raise
        except (SyntaxError, ValueError):
            return self.text
        except TypeError as error:
            raise UserError(f"{self.place}: {screen_line(str(error))}") from None
        except (MemoryError, RecursionError):
            raise UserError(f"{self.place}: the value is nested too deeply") from None

    def _evaluated(self, node: ast.expr) -> Any:
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in _WRITABLE:
            args = [self._evaluated(arg) for arg in node.args]
            named = {keyword.arg or "**": self._evaluated(keyword.value) for keyword in node.keywords}
            return self.made(lambda: _WRITABLE[node.func.id](*args, **named))  # type: ignore[attr-defined]
        if isinstance(node, ast.Dict) and None not in node.keys:
            keys = [self._evaluated(key) for key in node.keys if key is not None]
            return dict(zip(keys, map(self._evaluated, node.values), strict=True))
        if isinstance(node, ast.List | ast.Tuple):
            values = [self._evaluated(value) for value in node.elts]
            return values if isinstance(node, ast.List) else tuple(values)
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Div):  # a share such as 1/3
            above, below = self._evaluated(node.left), self._evaluated(node.right)
            if type(above) in (int, float) and type(below) in (int, float) and below:
                return above / below
        return ast.literal_eval(node)

    def made(self, make: Callable[[], Any]) -> Any:
        """Return what `make` returns, with errors of value classes turned into user errors.

        Raises:
            UserError: If `make` raises such an error.
        """
        try:
            return make()
        except _FAULTS as error:
            raise UserError(f"{self.place}: {screen_line(str(error))}") from None


def _replaced(target: Any, path: Sequence[str], written: _Written) -> Any:
    """Return `target` with the field at `path` changed."""
    if isinstance(target, Mapping):
        return _replaced_in(target, path, written)
    name, *rest = path
    if not _has_fields(target):
        raise UserError(
            f"{written.place}: {quoted(target)} does not have a field {name!r}; change it in the study's file"
        )
    known = [field.name for field in dataclasses.fields(target) if field.name not in _FIXED]
    if name not in known:
        there = f"known: {', '.join(known)}"
        raise UserError(f"{written.place}: unknown field {quoted(name)}{nearest(name, known)} ({there})")
    old = getattr(target, name)
    value = _replaced(old, rest, written) if rest else _value(target, name, old, written)
    return written.made(lambda: dataclasses.replace(target, **{name: value}))


def _replaced_in(target: Mapping[Any, Any], path: Sequence[str], written: _Written) -> Mapping[Any, Any]:
    """Return a dictionary with one key changed or added; keys may contain dots."""
    for end in range(len(path), 0, -1):
        key, rest = ".".join(path[:end]), path[end:]
        if key in target and (not rest or _has_fields(target[key])):
            inner = _replaced(target[key], rest, written) if rest else written.value
            return {**target, key: inner}
    labels = [key for key, inner in target.items() if isinstance(inner, Mapping)]
    if labels and not isinstance(written.value, Mapping):  # the path leads into an unknown label
        known = ", ".join(map(str, labels))
        raise UserError(
            f"{written.place}: unknown label {quoted(path[0])}{nearest(path[0], map(str, labels))} "
            f"(known: {screen_line(known)})"
        )
    return {**target, ".".join(path): written.value}


def _has_fields(value: Any) -> bool:
    return isinstance(value, Mapping) or (dataclasses.is_dataclass(value) and not isinstance(value, type))


def _value(target: Any, name: str, old: Any, written: _Written) -> Any:
    """Return the new value of a field in the field's own type.

    Raises:
        UserError: If the value is of another type.
    """
    value, place = written.value, written.place
    if isinstance(target, Study):
        if name == "final" and isinstance(value, tuple | list | int) and not isinstance(value, Seeds):
            seeds = value if isinstance(value, tuple | list) else [value]
            return written.made(lambda: Seeds(*seeds))
        if name == "benchmarks" and isinstance(value, str) and value:
            return [value]
        if isinstance(old, str) and not isinstance(value, str) and (value is not None or name in _NEVER_NONE):
            return written.text  # a name may look like a number
    whole = dataclasses.is_dataclass(old) and not isinstance(old, Halving | Median)
    if whole and not isinstance(value, type(old) | Search | Grid | None):
        inner = ", ".join(f"{name}.{field.name}" for field in dataclasses.fields(old))
        raise UserError(f"{place}: {name} has fields of its own: set {inner}")
    if isinstance(old, int) and not isinstance(target, Resources) and type(value) is not type(old):
        wanted = {int: "an integer", bool: "True or False"}.get(type(old), f"a {type(old).__name__}")
        raise UserError(f"{place}: {quoted(value)} should be {wanted}, as {name} = {old!r} is")
    return value

"""Checks of the values that the hooks of a method return.

A value is checked where it is used, so that a wrong one fails its run with a one-line message instead of a
traceback from somewhere else.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from torch import Tensor

MOST_VALUES = 100_000  # the largest number of values in the diagnostics of a task, which are sent as JSON
DEEPEST = 20  # the largest number of nested containers
_WORD = 64  # the number of characters of a string that count as one value


class WrongAnswer(Exception):
    """A hook of a method returned an invalid value; the message names the method, the hook and the remedy."""


def diagnostics(learner: object, verb: str, answer: Any) -> dict[str, Any]:
    """Convert the diagnostics of a method to plain values, which are those of JSON and NaN.

    Scalars and arrays of PyTorch and NumPy become numbers and lists, tuples become lists, and keys become
    strings.

    Args:
        learner: The method that returned the diagnostics.
        verb: The name of the hook that returned them, for the message.
        answer: The returned value.

    Raises:
        WrongAnswer: A value cannot be converted. The message names its key and its type.
    """
    place = place_of(learner, verb)
    if not isinstance(answer, Mapping):
        raise WrongAnswer(f"{place} returned {_described(answer)}; expected a dictionary of plain values")
    plain: dict[str, Any] = _Plain(place)(answer, "", ())
    return plain


def number(learner: object, verb: str, answer: Any) -> int:
    """Convert a count to an integer.

    Raises:
        WrongAnswer: The value is not a non-negative integer below 2^63.
    """
    value = answer
    if isinstance(answer, Tensor | np.ndarray | np.generic) and np.prod(answer.shape) == 1:
        value = answer.item()
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 2**63:
        raise WrongAnswer(
            f"{place_of(learner, verb)} returned {_described(answer)}; expected an integer of at least 0"
        )
    return int(value)


def scalar(learner: object, verb: str, answer: Any) -> Any:
    """Check that a loss is a tensor without dimensions, or a Python number, and return it unchanged.

    Raises:
        WrongAnswer: The value is neither.
    """
    if isinstance(answer, Tensor):
        if not answer.dim() and not answer.is_complex():
            return answer
        raise WrongAnswer(
            f"{place_of(learner, verb)} returned a tensor of shape {tuple(answer.shape)}; "
            "expected a single number, such as the mean over the batch"
        )
    if isinstance(answer, int | float) and not isinstance(answer, bool):
        return answer
    raise WrongAnswer(
        f"{place_of(learner, verb)} returned {_described(answer)}; expected a tensor with a single number"
    )


def learnable(learner: object, verb: str, answer: Any) -> Tensor:
    """Check that `backward` can be called on a loss: it must depend on a trainable parameter.

    Raises:
        WrongAnswer: The value is not a loss, or it depends on no trainable parameter.
    """
    loss = scalar(learner, verb, answer)
    if not isinstance(loss, Tensor):
        raise WrongAnswer(
            f"{place_of(learner, verb)} returned {_described(answer)}; expected a tensor with a single number"
        )
    if not loss.requires_grad:
        raise WrongAnswer(
            f"{place_of(learner, verb)} returned a loss that depends on no trainable parameter: "
            "was it detached, or computed without gradients?"
        )
    return loss


def logits(learner: object, answer: Any, samples: int, classes: int | None) -> Tensor:
    """Check that logits have the shape [samples, classes].

    More columns are allowed, since one head may serve tasks with different numbers of classes.

    Raises:
        WrongAnswer: The value is not a tensor, or its shape does not fit.
    """
    if isinstance(answer, Tensor):
        shape = tuple(answer.shape)
        if len(shape) == 2 and shape[0] == samples and shape[1] >= (classes or 1):
            return answer
        got = f"a tensor of shape {tuple(answer.shape)}"
    else:
        got = _described(answer)
    expected = f"[{samples}, {'classes' if classes is None else classes}]"
    raise WrongAnswer(
        f"{place_of(learner, 'forward')} returned {got} for {samples} samples"
        f"{'' if classes is None else f' of a task with {classes} classes'}; "
        f"expected logits of shape {expected}"
    )


def groups(learner: object, answer: Any) -> list[Any]:
    """Return what is to be trained as a list of parameters, or of optimiser groups.

    Raises:
        WrongAnswer: The value contains something else.
    """
    place = place_of(learner, "trainable")
    try:
        found = list(answer)
    except TypeError:
        raise WrongAnswer(
            f"{place} returned {_described(answer)}; expected an iterable of parameters"
        ) from None
    for thing in found:
        inner = thing.get("params", _Missing) if isinstance(thing, Mapping) else thing
        if isinstance(thing, Mapping) and not isinstance(inner, Tensor) and inner is not _Missing:
            continue  # The value may be a generator, which can be walked only once, so it is not checked.
        if not isinstance(inner, Tensor):
            what = _described(thing)
            if isinstance(thing, tuple) and len(thing) == 2 and isinstance(thing[1], Tensor):
                what = "pairs of names and parameters"
            raise WrongAnswer(f"{place} returned {what}; expected parameters, or groups with a key 'params'")
    return found


class _Missing:
    """Stands for the parameters of an optimiser group that has none."""


def place_of(learner: object, verb: str) -> str:
    """Return the name by which a message refers to a hook of a method, such as "EWC.loss"."""
    return f"{type(learner).__qualname__}.{verb}"


class _Plain:
    """Converter of nested values to plain ones, which counts the values and refuses too many.

    Called with a value, the path of keys that leads to it, and the ids of the containers around it.
    """

    def __init__(self, place: str) -> None:
        self.place, self.count = place, 0

    def __call__(self, value: Any, path: str, above: tuple[int, ...]) -> Any:
        self._add(1, path)
        if value is None or isinstance(value, bool | np.bool_):
            return None if value is None else bool(value)
        if isinstance(value, str):
            self._add(len(value) // _WORD, path)
            return str(value)
        if isinstance(value, int | np.integer):
            if not -(2**63) <= int(value) < 2**63:
                raise self._wrong(path, "is an integer of more than 64 bits")
            return int(value)
        if isinstance(value, float | np.floating):
            return float(value)
        if isinstance(value, Tensor | np.ndarray):
            return self._array(value, path, above)
        if isinstance(value, Mapping | list | tuple):
            if id(value) in above:
                raise self._wrong(path, "contains itself")
            if len(above) >= DEEPEST:
                raise self._wrong(path, f"is nested deeper than {DEEPEST} levels")
            inner = (*above, id(value))
            if isinstance(value, Mapping):
                return self._mapping(value, path, inner)
            return [self(item, f"{path}[{i}]", inner) for i, item in enumerate(value)]
        raise self._wrong(
            path, f"is {_described(value)}, which is not a plain value: return its numbers, or a string"
        )

    def _mapping(self, value: Mapping[Any, Any], path: str, above: tuple[int, ...]) -> dict[str, Any]:
        plain: dict[str, Any] = {}
        for key, item in value.items():
            if not isinstance(key, str | int | float | np.generic) or isinstance(key, np.void | np.bytes_):
                raise self._wrong(path, f"has {_described(key)} as a key: expected a string or a number")
            name = str(key.item() if isinstance(key, np.generic) else key)
            if name in plain:
                raise self._wrong(path, f"has two keys that both become {name!r}")
            plain[name] = self(item, f"{path}.{name}" if path else name, above)
        return plain

    def _array(self, value: Any, path: str, above: tuple[int, ...]) -> Any:
        if (value.numel() if isinstance(value, Tensor) else value.size) > MOST_VALUES - self.count:
            raise self._too_large(path)
        try:
            if isinstance(value, Tensor):
                return self(value.detach().cpu().tolist(), path, above)
            return self(value.tolist(), path, above)
        except WrongAnswer:
            raise
        except Exception as error:  # PyTorch raises various errors for sparse, quantised and meta tensors
            raise self._wrong(
                path, f"is {_described(value)} that cannot be converted to numbers ({error})"
            ) from None

    def _add(self, values: int, path: str) -> None:
        self.count += values
        if self.count > MOST_VALUES:
            raise self._too_large(path)

    def _too_large(self, path: str) -> WrongAnswer:
        return self._wrong(
            path, f"is too large: the diagnostics of a task may hold at most {MOST_VALUES} values"
        )

    def _wrong(self, path: str, why: str) -> WrongAnswer:
        return WrongAnswer(
            f"{self.place}: {path[:100]!r} {why}" if path else f"{self.place}: its return value {why}"
        )


def _described(value: Any) -> str:
    """Describe the type of a value for a message, with an article; None is "None"."""
    if value is None:
        return "None"
    kind = type(value)
    name = kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
    if isinstance(value, Tensor):
        name = f"torch tensor of {str(value.dtype).removeprefix('torch.')}, shape {tuple(value.shape)}"
    return f"{'an' if name[0].lower() in 'aeiou' else 'a'} {name}"

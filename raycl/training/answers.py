"""What a method answers, checked where it is taken: a wrong answer fails its run in a sentence."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from torch import Tensor

MOST_VALUES = 100_000  # in the figures of a task, which travel as JSON
DEEPEST = 20
_WORD = 64  # characters of a text that count as one value


class WrongAnswer(Exception):
    """A verb of a method gave back what it must not: names the method, the verb and the remedy."""


def diagnostics(learner: object, verb: str, answer: Any) -> dict[str, Any]:
    """The figures of a method as plain values: what JSON holds, besides NaN.

    Scalars and arrays of torch and NumPy become numbers and lists, tuples become lists, keys become texts.

    Raises:
        WrongAnswer: names the figure and its type.
    """
    place = place_of(learner, verb)
    if not isinstance(answer, Mapping):
        raise WrongAnswer(f"{place} gave back {_a(answer)}; a dictionary of plain values is expected")
    plain: dict[str, Any] = _Plain(place)(answer, "", ())
    return plain


def number(learner: object, verb: str, answer: Any) -> int:
    """A count as a whole number.

    Raises:
        WrongAnswer: it is none.
    """
    value = answer
    if isinstance(answer, Tensor | np.ndarray | np.generic) and np.prod(answer.shape) == 1:
        value = answer.item()
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 2**63:
        raise WrongAnswer(
            f"{place_of(learner, verb)} gave back {_a(answer)}; a whole number of at least 0 is expected"
        )
    return int(value)


def scalar(learner: object, verb: str, answer: Any) -> Any:
    """A loss: a tensor of one number, without dimensions; a plain number will do.

    Raises:
        WrongAnswer: it is none.
    """
    if isinstance(answer, Tensor):
        if not answer.dim() and not answer.is_complex():
            return answer
        raise WrongAnswer(
            f"{place_of(learner, verb)} gave back a tensor of shape {tuple(answer.shape)}; "
            "one number is expected, such as the mean over the batch"
        )
    if isinstance(answer, int | float) and not isinstance(answer, bool):
        return answer
    raise WrongAnswer(f"{place_of(learner, verb)} gave back {_a(answer)}; a tensor of one number is expected")


def learnable(learner: object, verb: str, answer: Any) -> Tensor:
    """A loss to go backward from: it must depend on something that learns.

    Raises:
        WrongAnswer: it is no loss, or depends on nothing.
    """
    loss = scalar(learner, verb, answer)
    if not isinstance(loss, Tensor):
        raise WrongAnswer(
            f"{place_of(learner, verb)} gave back {_a(answer)}; a tensor of one number is expected"
        )
    if not loss.requires_grad:
        raise WrongAnswer(
            f"{place_of(learner, verb)} gave back a number that depends on no parameter that learns: "
            "was it detached, or computed without gradients?"
        )
    return loss


def logits(learner: object, answer: Any, samples: int, classes: int | None) -> Tensor:
    """Logits [samples, classes]; more columns are no fault, since one head may serve tasks of several sizes.

    Raises:
        WrongAnswer: they are none.
    """
    if isinstance(answer, Tensor):
        shape = tuple(answer.shape)
        if len(shape) == 2 and shape[0] == samples and shape[1] >= (classes or 1):
            return answer
        got = f"a tensor of shape {tuple(answer.shape)}"
    else:
        got = _a(answer)
    wanted = f"[{samples}, {'classes' if classes is None else classes}]"
    raise WrongAnswer(
        f"{place_of(learner, 'forward')} gave back {got} for {samples} samples"
        f"{'' if classes is None else f' of a task of {classes} classes'}; logits {wanted} are expected"
    )


def groups(learner: object, answer: Any) -> list[Any]:
    """What is to be trained: parameters, or optimiser groups of them.

    Raises:
        WrongAnswer: it is something else.
    """
    place = place_of(learner, "trainable")
    try:
        found = list(answer)
    except TypeError:
        raise WrongAnswer(
            f"{place} gave back {_a(answer)}; parameters are expected, in a list or one by one"
        ) from None
    for thing in found:
        inner = thing.get("params", _Nothing) if isinstance(thing, Mapping) else thing
        if isinstance(thing, Mapping) and not isinstance(inner, Tensor) and inner is not _Nothing:
            continue  # a list or a generator, which is walked but once
        if not isinstance(inner, Tensor):
            what = _a(thing)
            if isinstance(thing, tuple) and len(thing) == 2 and isinstance(thing[1], Tensor):
                what = "names with parameters"
            raise WrongAnswer(f"{place} gave back {what}; parameters are expected, or groups with 'params'")
    return found


class _Nothing:
    """In place of what a group lacks."""


def place_of(learner: object, verb: str) -> str:
    """The verb of a method, as a message names it."""
    return f"{type(learner).__qualname__}.{verb}"


class _Plain:
    """Makes values plain, and counts them."""

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
                raise self._wrong(path, "is a whole number of more than 64 bits")
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
        raise self._wrong(path, f"is {_a(value)}, which is no plain value: give its numbers, or a text")

    def _mapping(self, value: Mapping[Any, Any], path: str, above: tuple[int, ...]) -> dict[str, Any]:
        plain: dict[str, Any] = {}
        for key, item in value.items():
            if not isinstance(key, str | int | float | np.generic) or isinstance(key, np.void | np.bytes_):
                raise self._wrong(path, f"has {_a(key)} for a key: a text or a number is expected")
            name = str(key.item() if isinstance(key, np.generic) else key)
            if name in plain:
                raise self._wrong(path, f"has two keys that read {name!r}")
            plain[name] = self(item, f"{path}.{name}" if path else name, above)
        return plain

    def _array(self, value: Any, path: str, above: tuple[int, ...]) -> Any:
        if (value.numel() if isinstance(value, Tensor) else value.size) > MOST_VALUES - self.count:
            raise self._much(path)
        try:
            if isinstance(value, Tensor):
                return self(value.detach().cpu().tolist(), path, above)
            return self(value.tolist(), path, above)
        except WrongAnswer:
            raise
        except Exception as error:  # of torch's, for sparse, quantised, abstract tensors
            raise self._wrong(path, f"is {_a(value)} that has no plain numbers ({error})") from None

    def _add(self, values: int, path: str) -> None:
        self.count += values
        if self.count > MOST_VALUES:
            raise self._much(path)

    def _much(self, path: str) -> WrongAnswer:
        return self._wrong(path, f"is too much: the figures of a task hold {MOST_VALUES} values at most")

    def _wrong(self, path: str, why: str) -> WrongAnswer:
        return WrongAnswer(
            f"{self.place}: {path[:100]!r} {why}" if path else f"{self.place}: its answer {why}"
        )


def _a(value: Any) -> str:
    """What kind of thing a value is, with an article."""
    if value is None:
        return "nothing (None)"
    kind = type(value)
    name = kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
    if isinstance(value, Tensor):
        name = f"torch tensor of {str(value.dtype).removeprefix('torch.')}, shape {tuple(value.shape)}"
    return f"{'an' if name[0].lower() in 'aeiou' else 'a'} {name}"

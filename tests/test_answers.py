"""What a method answers is checked where it is taken (`raycl.training.answers`)."""

from __future__ import annotations

import json
import math
from collections import OrderedDict
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from raycl.method import Method, Task
from raycl.runs import execution
from raycl.specs import RunSpec
from raycl.tasks import Batch
from raycl.training import answers
from raycl.training.answers import WrongAnswer
from raycl.training.fit import Diverged, Fit
from raycl.userfiles.digest import digest_of
from tests.helpers import toys


class Colour(Enum):
    RED = 1


@dataclass
class Pair:
    x: int = 1


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        (torch.tensor(0.5), 0.5),
        (torch.tensor(7), 7),
        (torch.tensor(True), True),
        (nn.Parameter(torch.ones(2)), [1.0, 1.0]),
        (torch.ones(2, dtype=torch.bfloat16), [1.0, 1.0]),
        (torch.zeros(2, 0), [[], []]),
        (np.float32(0.5), 0.5),
        (np.float64(0.25), 0.25),
        (np.int64(3), 3),
        (np.uint8(3), 3),
        (np.bool_(True), True),
        (np.str_("a"), "a"),
        (np.arange(3), [0, 1, 2]),
        (np.array([[1.5]]), [[1.5]]),
        (np.array(2.0), 2.0),
        ((1, (2, "x")), [1, [2, "x"]]),
        (OrderedDict(a=None), {"a": None}),
        ({1: 0, np.int64(3): 4, 0.5: 1}, {"1": 0, "3": 4, "0.5": 1}),
        ([torch.tensor(1), {"b": np.float32(2)}], [1, {"b": 2.0}]),
        (math.inf, math.inf),
        ("", ""),
    ],
)
def test_figures_become_plain(given: Any, wanted: Any) -> None:
    found = answers.diagnostics(toys_method(), "figures", {"f": given})
    assert found == {"f": wanted}
    assert repr(found["f"]) == repr(wanted), "of another type"
    json.dumps(found)


def toys_method() -> Method:
    return toys.method("finetune", toys.benchmark())


class Loop(list[Any]):
    """Contains itself."""

    def __init__(self) -> None:
        super().__init__([self])


deep: Any = []
for _ in range(50):
    deep = [deep]


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"f": Colour.RED}, "'f' is a tests.test_answers.Colour, which is not a plain value"),
        ({"f": Pair()}, "'f' is a tests.test_answers.Pair"),
        ({"f": {1, 2}}, "'f' is a set"),
        ({"f": b"x"}, "'f' is a bytes"),
        ({"f": 1j}, "'f' is a complex"),
        ({"f": torch.tensor(1j)}, "'f' is a complex"),
        ({"f": Path("x")}, "'f' is a pathlib"),
        ({"f": len}, "'f' is a builtin_function_or_method"),
        ({"a": {"b": [1, object()]}}, "'a.b[1]' is an object"),
        ({"f": np.array([object()])}, r"'f\[0\]' is an object"),
        ({"f": np.datetime64("2020-01-01")}, "'f' is a numpy.datetime64"),
        (
            {"f": torch.ones(2, device="meta")},
            "torch tensor of float32, shape .2,. that cannot be converted to numbers",
        ),
        ({"f": torch.ones(2).to_sparse()}, "that cannot be converted to numbers"),
        ({"f": Loop()}, "contains itself"),
        ({"f": deep}, "is nested deeper than 20 levels"),
        ({"f": 10**30}, "is an integer of more than 64 bits"),
        ({"f": torch.zeros(10**6)}, "is too large: the diagnostics of a task may hold at most 100000 values"),
        ({"f": "x" * 10**8}, "is too large"),
        ({"f": {1: 2, "1": 3}}, "'f' has two keys that both become '1'"),
        ({(1, 2): 3}, "its return value has a tuple as a key"),
        ({"f": {None: 3}}, "'f' has None as a key"),
        (None, "Finetune.figures returned None; expected a dictionary of plain values"),
        ([1], "returned a list"),
        (3, "returned an int"),
    ],
)
def test_what_is_no_plain_value_is_named(given: Any, said: str) -> None:
    said = said.replace("a.b[1]", r"a.b\[1\]")
    with pytest.raises(WrongAnswer, match=said) as raised:
        answers.diagnostics(toys_method(), "figures", given)
    assert "Finetune.figures" in str(raised.value) and len(str(raised.value)) < 300


@pytest.mark.parametrize("given", [3, np.int32(3), torch.tensor(3), 3.0, np.float64(3.0), torch.tensor([3])])
def test_counts_become_whole_numbers(given: Any) -> None:
    found = answers.number(toys_method(), "stored_bytes", given)
    assert found == 3 and type(found) is int


@pytest.mark.parametrize("given", [None, -1, 2.5, math.nan, math.inf, True, "3", torch.ones(2), [3], 2**70])
def test_what_is_no_count_is_refused(given: Any) -> None:
    with pytest.raises(WrongAnswer, match=r"stored_bytes returned .*; expected an integer of at least 0"):
        answers.number(toys_method(), "stored_bytes", given)


# Methods that answer something else than their verb asks for.


class Wrong(Method):
    """Answers what it is told to."""

    verb: ClassVar[str] = ""
    answer: ClassVar[Any] = None


def wrong(verb: str, answer: Any) -> type[Method]:
    return type("Wrong", (Wrong,), {verb: answer})


def vectors(self: Any, batch: Batch) -> Tensor:
    return nn.functional.cross_entropy(self(batch.x, batch.task), batch.y, reduction="none")


def detached(self: Any, batch: Batch) -> Tensor:
    return vectors(self, batch).mean().detach()


@pytest.mark.parametrize(
    ("verb", "answer", "said"),
    [
        ("loss", vectors, r"Wrong.loss returned a tensor of shape \(16,\); expected a single number"),
        ("loss", lambda self, batch: None, "Wrong.loss returned None"),
        (
            "loss",
            lambda self, batch: 0.5,
            "Wrong.loss returned a float; expected a tensor with a single number",
        ),
        ("loss", detached, "Wrong.loss returned a loss that depends on no trainable parameter"),
        (
            "step",
            lambda self, batch, update: torch.ones(16),
            r"Wrong.step returned a tensor of shape \(16,\)",
        ),
        ("step", lambda self, batch, update: None, "Wrong.step returned None"),
        ("validation_loss", vectors, r"Wrong.validation_loss returned a tensor of shape"),
        ("trainable", lambda self, task: None, "Wrong.trainable returned None"),
        ("trainable", lambda self, task: [1], "Wrong.trainable returned an int; expected parameters"),
        ("trainable", lambda self, task: self.named_parameters(), "returned pairs of names and parameters"),
        ("trainable", lambda self, task: [{"lr": 1}], "returned a dict; expected parameters"),
        ("count_parameters", lambda self: None, "Wrong.count_parameters returned None"),
        ("stored_bytes", lambda self: 2.5, "Wrong.stored_bytes returned a float"),
        ("diagnostics", lambda self, task: {"f": object()}, "Wrong.diagnostics: 'f' is an object"),
        ("examine", lambda self, tasks, fit: None, "Wrong.examine returned None"),
    ],
)
def test_a_wrong_answer_names_method_verb_and_remedy(verb: str, answer: Any, said: str) -> None:
    on = toys.benchmark()
    subject = toys.method("finetune", on)
    subject.__class__ = wrong(verb, answer)
    with pytest.raises(WrongAnswer, match=said):
        toys.learn(subject, on, toys.fit(epochs=1))


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (lambda self, x, task: None, r"Wrong.forward returned None for \d+ samples"),
        (lambda self, x, task: self.net(x, task)[:, 0], r"a tensor of shape \(\d+,\)"),
        (lambda self, x, task: self.net(x, task).T, r"a tensor of shape \(\d, \d+\)"),
        (lambda self, x, task: self.net(x, task)[:, :1], "of a task with 2 classes; expected logits"),
        (lambda self, x, task: self.net(x, task)[:1], "for 24 samples"),
    ],
)
def test_wrong_logits_are_refused_when_they_are_measured(answer: Any, said: str) -> None:
    on = toys.benchmark()
    subject = toys.method("finetune", on)
    list(on.tasks)
    subject.__class__ = wrong("forward", answer)
    with pytest.raises(WrongAnswer, match=said):
        toys.fit().accuracy(subject, 0, on.tasks[0].test, on.tasks[0].classes)


class Breaks(Method):
    """Its weights are no numbers any more when it has learnt."""

    def learn(self, task: Task, fit: Fit) -> None:
        fit(self, task)
        with torch.no_grad():
            next(self.parameters()).fill_(math.nan)


def test_weights_that_are_no_numbers_are_an_outcome_and_no_accuracy() -> None:
    on = toys.benchmark()
    subject = toys.method("finetune", on)
    subject.__class__ = Breaks
    with pytest.raises(Diverged, match="logits of task 1 are NaN when it is measured"):
        toys.learn(subject, on, toys.fit(epochs=1))


class Figures(Method):
    """Figures as a user may write them."""

    def diagnostics(self, task: int) -> dict[str, Any]:
        return {"a": torch.tensor(0.5), "b": np.float32(2), 3: np.arange(2), "nan": torch.tensor(math.nan)}

    def examine(self, tasks: Any, fit: Any) -> dict[str, Any]:
        return {"c": np.bool_(True)}


def test_a_run_with_figures_of_torch_and_numpy_travels_as_json() -> None:
    spec = RunSpec(
        method=f"{__name__}:Figures",
        network="mlp(hidden=8)",
        fit={"epochs": 1},
        benchmark="digits_permuted(tasks=2, first=1)",
        code={"method": digest_of(Figures)},
    )
    result = execution.execute(spec)
    assert result.status == "done", result.message
    assert result.reports[-1].diagnostics == {"a": 0.5, "b": 2.0, "3": [0, 1], "nan": None, "c": True}
    json.dumps(result.to_json(), allow_nan=False)

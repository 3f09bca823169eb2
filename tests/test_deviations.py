"""In what methods differ from their publications; subclasses have the deviations of their bases as well."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import pytest

from raycl import registry
from raycl.errors import UserError
from raycl.method import Method, deviations_of
from raycl.study.expand import cells_of
from raycl.study.values import Seeds, Study


class First(Method):
    deviations: ClassVar[Sequence[str]] = ("heads are scaled", "dropout stays on")


class Second(First):
    """It says nothing itself."""


class Third(Second):
    deviations: ClassVar[Sequence[str]] = ("gates are hard",)
    deviations_lifted: ClassVar[Sequence[str]] = ("dropout",)


class Last(Third):
    deviations_lifted: ClassVar[Sequence[str]] = ("",)


def test_a_class_has_the_deviations_of_its_bases_and_its_own() -> None:
    assert deviations_of(Second) == deviations_of(First) == ("heads are scaled", "dropout stays on")
    assert deviations_of(Third) == ("heads are scaled", "gates are hard")
    assert deviations_of(Last) == ()


def test_a_line_that_no_base_has_cannot_be_lifted() -> None:
    class Wrong(First):
        deviations_lifted: ClassVar[Sequence[str]] = ("dropouts",)

    with pytest.raises(UserError, match=r"Wrong\.deviations_lifted: no base class .* begins with 'dropouts'"):
        deviations_of(Wrong)


@pytest.mark.parametrize("name", ["deviations", "deviations_lifted"])
def test_a_single_string_is_refused(name: str) -> None:
    wrong = type("Wrong", (First,), {name: "heads"})
    with pytest.raises(UserError, match=rf"Wrong\.{name} should be a list of strings; write \['heads'\]"):
        deviations_of(wrong)


@pytest.mark.parametrize("name", registry.method_names())
def test_methods_lift_only_lines_that_they_inherit(name: str) -> None:
    found = deviations_of(registry.method(name))
    assert len(set(found)) == len(found)


@pytest.mark.parametrize(
    ("name", "has", "lacks"),
    [
        ("spg", ["importance is standardised", "gradients of a task's head", "importance is measured"], []),
        ("spg_fi", ["gradients of a task's head", "the Fisher is scaled", "the Fisher is measured"],
         ["importance is"]),
        ("hpg", ["importance is standardised", "importance is measured with", "the head's gradient"],
         ["gradients of a task's head"]),
        ("ewc_gi", ["importance is standardised", "importance is measured with", "the validation loss"],
         ["one anchor"]),
        ("cat", ["the slope reaches smax", "the gradient of an embedding", "attention is over"], []),
        ("ehat", ["the slope reaches smax", "the gradient of an embedding", "read as EWC"], []),
        ("prm", ["the gradient of an embedding", "tasks are clustered", "with the preset prm, training"],
         ["the slope reaches smax"]),
        ("one", ["PRM's text says"], []),
        ("copies", [], ["PRM's text says"]),
        ("si", ["an importance below 0"], []),
        ("pnn", ["an earlier column is read with its own lateral"], []),
    ],
)  # fmt: skip
def test_what_is_read_into_a_paper_is_said(name: str, has: Sequence[str], lacks: Sequence[str]) -> None:
    found = deviations_of(registry.method(name))
    for start in has:
        assert sum(line.startswith(start) for line in found) == 1, start
    assert not any(line.startswith(tuple(lacks)) for line in found) or not lacks


def test_a_method_of_no_paper_has_none() -> None:
    assert deviations_of(registry.method("random_mask")) == ()


def test_cells_of_a_study_have_inherited_ones() -> None:
    study = Study(name="small", methods={"hpg": {}}, benchmarks=["digits_split"], network="mlp(hidden=8)",
                  search=None, final=Seeds(1))  # fmt: skip
    (cell,) = cells_of(study, check=False)
    assert cell.kinds.deviations == deviations_of(registry.method("hpg"))

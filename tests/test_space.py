"""Domains beside fields; values checked against types; errors that name value, place and remedy."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Literal

import pytest

from raycl.errors import UserError
from raycl.space import Choice, Float, Int, coerce, field_of, fields_of, make_config, space_of


@dataclass(frozen=True, kw_only=True)
class Config:
    lamb: Annotated[float, Float(0.1, 4.0, log=True)] = 0.75
    modules: Annotated[int, Int(2, 8)] = 4
    rank: Annotated[Literal["abs", "raw"], Choice("abs", "raw")] = "abs"
    clamp: float = 6.0
    clip: float | None = None
    milestones: tuple[int, ...] = ()
    pair: tuple[int, float] = (1, 2.0)
    on: bool = True

    def __post_init__(self) -> None:
        if self.clamp <= 0:
            raise ValueError(f"clamp = {self.clamp} must be above 0")


def test_domains_stand_beside_fields() -> None:
    assert space_of(Config) == {
        "lamb": Float(0.1, 4.0, log=True),
        "modules": Int(2, 8),
        "rank": Choice("abs", "raw"),
    }
    field = fields_of(Config)["lamb"]
    assert (field.type, field.default, field.domain) == (float, 0.75, Float(0.1, 4.0, log=True))
    assert field.describe() == "float, default 0.75, searched in 0.1..4 (log)"
    assert fields_of(Config)["rank"].describe() == "one of 'abs', 'raw', default abs, searched in {abs, raw}"
    assert fields_of(Config)["clip"].describe() == "float or None, default None"


def test_membership() -> None:
    assert 0.1 in Float(0.1, 1) and 1 in Float(0.1, 1) and 1.01 not in Float(0.1, 1)
    assert True not in Float(0, 2) and float("nan") not in Float(0, 2) and "a" not in Float(0, 2)
    assert 2 in Int(2, 8) and 2.0 not in Int(2, 8) and True not in Int(0, 8) and 9 not in Int(2, 8)
    assert 1 in Choice(1, "a") and 1.0 not in Choice(1, "a") and True not in Choice(1, "a")
    assert Choice(1, 2) == Choice(1, 2) != Choice(2, 1) and repr(Choice(1, "a")) == "Choice(1, 'a')"


EMPTY: list[Callable[[], object]] = [
    lambda: Float(2, 1),
    lambda: Float(0, 1, log=True),
    lambda: Float(0, float("inf")),
    lambda: Int(3, 2),
    lambda: Int(0, 5, log=True),
    lambda: Choice(),
]


@pytest.mark.parametrize("make", EMPTY)
def test_domains_that_cannot_be(make: Callable[[], object]) -> None:
    with pytest.raises(ValueError):
        make()


def test_a_default_outside_its_domain_is_refused() -> None:
    @dataclass(frozen=True)
    class Wrong:
        lamb: float = 5.0

    Wrong.__annotations__["lamb"] = Annotated[float, Float(0, 1)]
    with pytest.raises(UserError, match=r"default 5.0 of .*Wrong.lamb lies outside its domain 0..1"):
        fields_of(Wrong)


def test_values_become_what_the_field_means() -> None:
    config = make_config(Config, {"lamb": 1, "milestones": [3, 5], "pair": [2, 3], "clip": 10}, "study")
    assert (config.lamb, config.milestones, config.pair, config.clip) == (1.0, (3, 5), (2, 3.0), 10.0)
    assert isinstance(config.lamb, float) and isinstance(config.clip, float)
    assert make_config(Config, {"clip": None}, "study").clip is None


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"lamb": "1"}, r"study.lamb = '1' is not a number \(float, default 0.75, searched"),
        ({"lamb": True}, "study.lamb = True is not a number"),
        ({"lamb": float("nan")}, "study.lamb = nan is not a number"),
        ({"modules": 2.0}, "study.modules = 2.0 is not an integer"),
        ({"modules": True}, "study.modules = True is not an integer"),
        ({"on": 1}, "study.on = 1 is not True or False"),
        ({"rank": "top"}, "study.rank = 'top' is not one of 'abs', 'raw'"),
        ({"milestones": [1, 2.5]}, "2.5 is not an integer"),
        ({"pair": [1]}, r"study.pair = \[1\] is not"),
        ({"clip": "x"}, "study.clip = 'x' is not float or None"),
        ({"clamp": -1}, "study: clamp = -1.0 must be above 0"),
        ({"lam": 1}, r"unknown field 'lam'; did you mean 'lamb'\?"),
    ],
)
def test_errors_name_the_value_and_the_place(values: dict[str, object], message: str) -> None:
    with pytest.raises(UserError, match=message):
        make_config(Config, values, "study")


def test_fields_by_name() -> None:
    assert field_of(Config, "clamp", "study").default == 6.0
    with pytest.raises(UserError, match="study: unknown field 'zzz'"):
        field_of(Config, "zzz", "study")
    assert coerce(3, int | float | None, "x") == 3 and isinstance(coerce(3, int | float, "x"), int)


def test_domains_that_read_differently_are_kept_apart_wherever_they_were_written_first() -> None:
    """`typing` would hand out the first of equal ones, and a search's key would hang on what was imported."""
    for one, other in ((Float(0, 1), Float(0.0, 1.0)), (Choice(0, 1), Choice(False, True))):
        first, second = Annotated[float, one], Annotated[float, other]
        assert one != other and repr(first.__metadata__[0]) == repr(one)  # type: ignore[attr-defined]
        assert repr(second.__metadata__[0]) == repr(other)  # type: ignore[attr-defined]
    assert Float(0.5, 1) == Float(0.5, 1) and len({Choice("a", "b"), Choice("a", "b")}) == 1

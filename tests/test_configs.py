"""A Config that Python accepts and a search would not read is refused in one line, or read as it is meant."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from raycl import Study
from raycl.errors import UserError
from raycl.study.cells import Cell
from raycl.study.expand import cells_of

HEAD = """
from __future__ import annotations
import enum, dataclasses, typing
from dataclasses import KW_ONLY, InitVar, dataclass, field
from typing import Annotated, Any, ClassVar, Final, Literal, NewType, Optional, TypeAlias, Union
import numpy as np
import torch
from raycl import Choice, Float, Int
from raycl.method import Method
from raycl.methods.hat import HAT
from raycl.networks.mlp import MLP
from raycl.benchmarks import Recipe
"""
PLAIN = """
class Mine(Method):
    @dataclass(frozen=True, kw_only=True)
    class Config(Method.Config):
        {field}
    config: Config
"""


def write(folder: Path, text: str, lazy: bool = True) -> Path:
    """A user's file with this text, its annotations strings or, without `lazy`, values."""
    head = HEAD if lazy else HEAD.replace("from __future__ import annotations", "")
    (folder / "mine_of_test.py").write_text(head + text)
    return folder


def cell_of(folder: Path, **changes: Any) -> Cell:
    given: dict[str, Any] = {
        "methods": {"x": {"method": "mine_of_test:Mine"}},
        "network": "mlp(hidden=4)",
        "benchmarks": ["digits_split"],
        "file": "s.py",
        "folder": folder,
    }
    (cell,) = cells_of(Study(**(given | changes)))
    return cell


def complaint(folder: Path, **changes: Any) -> str:
    with pytest.raises(UserError) as caught:
        cell_of(folder, **changes)
    assert "\n" not in str(caught.value)
    return str(caught.value)


both = pytest.mark.parametrize("lazy", [True, False], ids=["strings", "values"])

REFUSED = {
    "a domain for a type": ("lamb: Float(0.1, 4) = 0.5", ["Mine.Config.lamb", "Annotated[float, Float("]),
    "an integer domain for a type": ("n: Int(1, 4) = 2", ["Mine.Config.n", "Annotated[int, Int("]),
    "options for a type": ("n: Choice(1, 4) = 1", ["Mine.Config.n", "Annotated"]),
    "the domain first": ("lamb: Annotated[Float(0.1, 4), 'x'] = 0.5", ["Mine.Config.lamb", "comes first"]),
    "a domain without values": ("lamb: Annotated[float, Float] = 0.5", ["Mine.Config.lamb", "Float(...)"]),
    "two domains": ("lamb: Annotated[float, Float(0, 1), Int(0, 2)] = 0.5", ["has 2 domains", "keep one"]),
    "a domain inside a union": (
        "lamb: Optional[Annotated[float, Float(0, 1)]] = 0.5",
        ["lamb", "around the whole"],
    ),
    "a domain inside a tuple": (
        "lamb: tuple[Annotated[int, Int(0, 1)], ...] = ()",
        ["lamb", "around the whole"],
    ),
    "a domain for a default": ("lamb: float = Float(0.1, 4)", ["lamb", "as its default", "Annotated"]),
    "floats for integers": (
        "n: Annotated[int, Float(1, 4)] = 2",
        ["n = Float(", "searches floats", "Int(...)"],
    ),
    "integers for floats": (
        "lamb: Annotated[float, Int(1, 4)] = 2.0",
        ["lamb", "searches ints", "Float(...)"],
    ),
    "options of another type": ("n: Annotated[int, Choice('a', 'b')] = 2", ["n = 'a' is not an integer"]),
    "options that are one": ("lamb: Annotated[float, Choice(1, 1.0)] = 1", ["lamb", "1.0 is given twice"]),
    "a default outside": (
        "lamb: Annotated[float, Float(1, 2)] = 3",
        ["default 3.0", "outside its domain 1..2"],
    ),
    "no type": ("lamb = 0.1", ["Mine.Config.lamb = 0.1 has no type", "lamb: float = 0.1"]),
    "no default": ("lamb: float", ["Mine.Config.lamb has no default"]),
    "never set": ("lamb: float = field(default=0.5, init=False)", ["lamb has init=False"]),
    "made anew": ("lamb: tuple[int, ...] = field(default_factory=tuple)", ["lamb", "write the value itself"]),
    "only for init": ("lamb: InitVar[float] = 0.5", ["lamb is an InitVar"]),
    "a class variable": ("lamb: ClassVar[Annotated[float, Float(0, 1)]] = 0.5", ["lamb is a ClassVar"]),
    "a list": ("lamb: list[int] = None", ["lamb has the type list[int]", "tuple[float, ...]"]),
    "a bare tuple": ("lamb: tuple = ()", ["lamb has the type tuple"]),
    "a dictionary": ("lamb: dict = None", ["lamb has the type dict"]),
    "anything": ("lamb: Any = 0", ["lamb has the type Any"]),
    "an object": ("lamb: object = 0", ["lamb has the type object"]),
    "a NumPy type": ("lamb: np.float64 = 0.5", ["lamb has the type float64"]),
    "a torch type": ("lamb: torch.dtype = torch.float32", ["lamb has the type dtype"]),
    "complex": ("lamb: complex = 0j", ["lamb has the type complex"]),
    "bytes": ("lamb: bytes = b''", ["lamb has the type bytes"]),
    "a callable": ("lamb: typing.Callable = None", ["lamb has the type Callable"]),
    "another dataclass": ("lamb: Method.Config = Method.Config()", ["lamb has the type Config"]),
    "an enumeration": ("lamb: enum.Enum = None", ["lamb has the type Enum"]),
    "odd options": ("lamb: Literal[b'x'] = b'x'", ["lamb has the type Literal"]),
    "an odd part of a union": ("lamb: int | list = 0", ["lamb has the type"]),
    "final": ("lamb: Final[float] = 0.5", ["lamb has the type"]),
    "a default of another type": ("lamb: float = 'x'", ["default of Mine.Config.lamb = 'x' is not a number"]),
    "a default that is no number": ("lamb: float = float('nan')", ["lamb = nan is not a number"]),
}


@both
@pytest.mark.parametrize("name", REFUSED)
def test_a_field_that_would_not_be_read_is_refused(tmp_path: Path, name: str, lazy: bool) -> None:
    field, parts = REFUSED[name]
    write(tmp_path, PLAIN.format(field=field), lazy)
    text = complaint(tmp_path)
    assert [part for part in parts if part not in text] == [], text


RIGHT = {
    "a value": ("lamb: float = 0.5", {}),
    "a domain": ("lamb: Annotated[float, Float(0.1, 4, log=True)] = 1", {"method.lamb"}),
    "a domain of a union": ("lamb: Annotated[float | None, Float(0.1, 4)] = 0.5", {"method.lamb"}),
    "an old union": ("lamb: Annotated[Union[int, None], Int(1, 4)] = 2", {"method.lamb"}),
    "options in another type": ("lamb: Annotated[float, Choice(1, 10)] = 1", {"method.lamb"}),
    "options that are tuples": (
        "lamb: Annotated[tuple[int, ...], Choice((1, 2), (3,))] = (3,)",
        {"method.lamb"},
    ),
    "more beside the domain": ("lamb: Annotated[float, 'why', Float(0.1, 4)] = 0.5", {"method.lamb"}),
    "nothing beside": ("lamb: Annotated[float, 'why'] = 0.5", {}),
    "literals": ("lamb: Annotated[Literal['a', 1], Choice('a', 1)] = 1", {"method.lamb"}),
    "a constant": ("LAMB = 0.5", {}),
    "a class variable": ("lamb: ClassVar[float] = 0.5", {}),
    "a property": ("lamb = property(lambda self: 0.5)", {}),
    "keywords from here": ("_: KW_ONLY\n        lamb: Annotated[float, Float(0, 1)] = 0.5", {"method.lamb"}),
    "a name of Fit's": ("lr: Annotated[float, Float(0.1, 4)] = 0.5", {"method.lr"}),
}


@both
@pytest.mark.parametrize("name", RIGHT)
def test_a_field_that_is_right_is_searched_where_it_says_so(tmp_path: Path, name: str, lazy: bool) -> None:
    field, searched = RIGHT[name]
    write(tmp_path, PLAIN.format(field=field), lazy)
    assert {key for key in cell_of(tmp_path).space if key.startswith("method.")} == set(searched)


BARE = "class Mine(Method):\n    class Config(Method.Config):\n        "
MADE = BARE.replace("class Config", "@dataclass(frozen=True)\n    class Config")
CLASSES = {
    "no decorator": (
        BARE + "lamb: Annotated[float, Float(0, 1)] = 0.5",
        ["Mine.Config is not a dataclass", "lamb would be ignored", "@dataclass(frozen=True, kw_only=True)"],
    ),
    "no decorator on a changed default": (
        "class Mine(HAT):\n    class Config(HAT.Config):\n        smax: float = 100.0",
        ["Mine.Config is not a dataclass", "smax"],
    ),
    "no decorator between": (
        "class Between(Method):\n    class Config(Method.Config):\n        a: float = 1.0\n"
        "class Mine(Between):\n    @dataclass(frozen=True)\n    class Config(Between.Config):\n"
        "        b: int = 1",
        ["Between.Config is not a dataclass", "field a"],
    ),
    "a default changed without a type": (
        "class Mine(HAT):\n    @dataclass(frozen=True)\n    class Config(HAT.Config):\n        smax = 100.0",
        ["Mine.Config.smax = 100.0 has no type"],
    ),
    "no class": (
        "class Mine(Method):\n    Config = {'lamb': 1}",
        ["Config = {'lamb': 1} should be a class"],
    ),
    "a plain class": (
        "class Mine(Method):\n    class Config:\n        pass",
        ["Mine.Config is not a dataclass"],
    ),
    "a Config beside the class": (
        "@dataclass(frozen=True)\nclass Config(Method.Config):\n    lamb: float = 0.5\n"
        "class Mine(Method):\n    config: Config",
        ["Mine.config is a Config", "Mine.Config is Method.Config", "write Config = Config"],
    ),
    "a field on the method": (
        "class Mine(Method):\n    lamb: Annotated[float, Float(0, 1)] = 0.5",
        ["Mine.lamb has a domain", "Mine.Config"],
    ),
    "a name that is not there": (
        MADE + "lamb: 'Nowhere' = 0.5",
        ["Mine.Config: its annotations cannot be read", "Nowhere", "import"],
    ),
    "a default that the Config refuses": (
        MADE + "n: int = 0\n        def __post_init__(self): raise ValueError('n must be above 0')",
        ["n must be above 0"],
    ),
    "a check that fails": (
        MADE + "n: int = 0\n        def __post_init__(self):\n            self.n = 3",
        ["mine_of_test.py:", "FrozenInstanceError"],
    ),
}


@pytest.mark.parametrize("name", CLASSES)
def test_a_class_that_would_lose_its_settings_is_refused(tmp_path: Path, name: str) -> None:
    text, parts = CLASSES[name]
    write(tmp_path, text)
    said = complaint(tmp_path)
    assert [part for part in parts if part not in said] == [], said


FORMS = {
    "alone": "    @dataclass(frozen=True)\n    class Config:\n        {}",
    "not frozen": "    @dataclass\n    class Config:\n        {}",
    "not restated": "    @dataclass(frozen=True)\n    class Config(Method.Config):\n        {}",
    "shared": "    @dataclass(frozen=True)\n    class Config(Method.Config):\n        {}\n"
    "class Other(Method):\n    Config = Mine.Config\n    config: Mine.Config",
}


@pytest.mark.parametrize("form", FORMS)
def test_a_config_of_another_form_is_searched_too(tmp_path: Path, form: str) -> None:
    field = "lamb: Annotated[float, Float(0.1, 4)] = 0.5"
    write(tmp_path, "class Mine(Method):\n" + FORMS[form].format(field))
    methods = {"x": {"method": f"mine_of_test:{'Other' if form == 'shared' else 'Mine'}"}}
    assert "method.lamb" in cell_of(tmp_path, methods=methods).space


def test_a_network_is_held_to_the_same(tmp_path: Path) -> None:
    write(
        tmp_path,
        "class Net(MLP):\n    class Config(MLP.Config):\n        depth: Annotated[int, Int(1, 2)] = 1",
    )
    text = complaint(tmp_path, methods={"finetune": {}}, network="mine_of_test:Net")
    assert "Net.Config is not a dataclass" in text and "depth" in text


def test_a_recipe_is_held_to_the_same(tmp_path: Path) -> None:
    write(tmp_path, "class Made(Recipe):\n    tasks: int = 2")
    text = complaint(tmp_path, methods={"finetune": {}}, benchmarks=["mine_of_test:Made"])
    assert "Made is not a dataclass" in text and "tasks" in text


def test_every_built_in_config_passes() -> None:
    from raycl import registry
    from raycl.configs import check_owner
    from raycl.method import Method
    from raycl.networks import Network
    from raycl.space import fields_of, make_config

    for base, kinds in (
        (Method, [registry.method(name) for name in registry.method_names()]),
        (Network, [registry.network(name) for name in registry.network_names()]),
    ):
        for kind in kinds:
            check_owner(kind, base)
            make_config(kind.Config, {}, kind.__name__)  # type: ignore[attr-defined]
    for recipe in registry.recipes().values():
        assert fields_of(recipe) is not None

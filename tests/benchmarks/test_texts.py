"""What a study writes of each recipe is pinned, since a recipe's text is part of the keys of its runs.

`tests/golden/recipes.json` holds, for each recipe that ships, its settings in order, the texts, and what it
refuses. Where one changes on purpose, record it with ``RAYCL_RECORD=1 python -m pytest
tests/benchmarks/test_texts.py``, and say in the commit what changed and why.
"""

from __future__ import annotations

import json
import os
import re
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated, Any

import pytest

from raycl import calls, registry
from raycl.benchmarks import Recipe
from raycl.benchmarks.digits import DigitsPermuted, DigitsRotated
from raycl.benchmarks.settings import Range
from raycl.space import fields_of, type_name

GOLDEN = Path(__file__).parents[1] / "golden" / "recipes.json"
OWN = ("npz", "folder")  # which have no default: they name a user's data

# Values of a setting by its name: the first one that is not the default is taken.
OTHER: dict[str, tuple[Any, ...]] = {
    "channels": (3,),
    "class_order": ("id", "seeded"),
    "classes": (((0, 1), (2, 3)),),
    "data_seed": (7,),
    "federated_mode": ("identity",),
    "first": (3,),
    "imagenet": (False,),
    "label": ("parity",),
    "limit_test": (50,),
    "limit_train": (100,),
    "name": ("other",),
    "norm": ("supsup", "cifar"),
    "order": (2,),
    "path": ("/mine",),
    "permuted": (True,),
    "scrambled": (True,),
    "size": (28,),
    "source": ("cifar100",),
    "step": (15.0,),
    "tasks": (4,),
    "test": (0.3,),
    "titles": (("a", "b"),),
    "val": (0.25,),
    "val_from": ("last",),
}


def settings_of(kind: type[Recipe]) -> list[str]:
    """Names of the settings in the order in which a study may write their values."""
    count = len(fields_of(kind))
    return list(calls.Call(kind.id, tuple(range(count)), {}).settings(kind, "benchmark"))


def changed(kind: type[Recipe]) -> dict[str, Any]:
    """A value other than the default for every setting."""
    defaults = {name: field.default for name, field in fields_of(kind).items()}
    return {name: next(v for v in OTHER[name] if v != default) for name, default in defaults.items()}


def refusals(kind: type[Recipe]) -> dict[str, list[str]]:
    """What is said of values that are too small, too large or unknown, by setting."""
    found: dict[str, list[str]] = {}
    given = {"name": "mine"} if kind.id in OWN else {}
    for name, field in fields_of(kind).items():
        odd = ("nonsense",) if isinstance(field.default, str) else (-1, 10**12)
        for value in odd if name not in ("path", "name") else ():
            try:
                kind(**(given | {name: value}))
            except ValueError as error:
                found.setdefault(name, []).append(str(error))
    return found


def written(kind: type[Recipe]) -> list[str]:
    """Name, default and type of each setting, in order."""
    known = fields_of(kind)
    return [f"{name} = {known[name].default!r}: {type_name(known[name].type)}" for name in settings_of(kind)]


def facts_of(recipe: Recipe) -> dict[str, str]:
    return {"text": str(recipe), "needs": ", ".join(recipe.needs()), "counts": str(recipe.counts())}


def pinned(kind: type[Recipe]) -> dict[str, Any]:
    """All that a change of how recipes are declared must leave as it is."""
    plain = kind(**({"name": "mine"} if kind.id in OWN else {}))
    return {
        "class": f"version {kind.version}, similar {kind.similar}, windows {kind.windows}: {kind.summary}",
        "settings": written(kind),
        "default": facts_of(plain),
        "changed": facts_of(kind(**changed(kind))),
        "refused": refusals(kind),
    }


def test_texts_of_what_ships_with_raycl_stay() -> None:
    found = {name: pinned(kind) for name, kind in registry.recipes().items()}
    if os.environ.get("RAYCL_RECORD"):
        GOLDEN.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    golden = json.loads(GOLDEN.read_text(encoding="utf-8"))
    assert found.keys() == golden.keys()
    for name, wanted in golden.items():
        for part, value in wanted.items():
            assert found[name][part] == value, f"{name}: {part}"


@pytest.mark.parametrize("name", sorted(set(registry.recipes()) - {*OWN}))
def test_a_text_is_read_back_as_the_recipe_that_wrote_it(name: str) -> None:
    kind = registry.recipes()[name]
    every = kind(**changed(kind))
    assert registry.recipe(str(every)) == every
    assert registry.recipe(str(kind())) == kind()
    assert str(kind()) == name
    values = [repr(getattr(every, setting)) for setting in settings_of(kind)]
    assert registry.recipe(f"{name}({', '.join(values)})") == every  # by position


def test_every_setting_is_written_and_shown_in_one_order() -> None:
    for name, kind in registry.recipes().items():
        shown = [word for word in settings_of(kind) if word not in ("path", "name")]
        text = str(kind(**changed(kind)))
        assert list(calls.parse(text, "benchmark").kwargs) == (shown if name not in OWN else ["name", *shown])
        assert list(fields_of(kind)) == settings_of(kind)


@dataclass(frozen=True, kw_only=True)
class Noisy(DigitsRotated):
    """As a user may extend a recipe."""

    noise: float = 0.0


def test_a_recipe_that_extends_another_adds_its_settings_at_the_end() -> None:
    text = str(Noisy(noise=0.5, first=3, size=28, step=15.0, tasks=4))
    assert text.endswith("Noisy(tasks=4, step=15.0, size=28, first=3, noise=0.5)")
    assert settings_of(Noisy) == ["tasks", "step", "size", "channels", "first", "noise"]


def test_an_order_of_settings_names_every_field_once() -> None:
    stated = [kind for kind in registry.recipes().values() if kind.settings_order]
    assert stated
    for kind in stated:
        assert sorted(kind.settings_order) == sorted(field.name for field in fields(kind)), kind.id


@dataclass(frozen=True, kw_only=True)
class Ranged(DigitsPermuted):
    """Settings with a range of their own, with that of a base, and with another than the base's."""

    noise: Annotated[float, Range(0, 0.5)] = 0.0
    tasks: int = 8
    first: Annotated[int, Range(2, 4)] = 2


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"noise": 0.6}, "noise = 0.6 is outside 0..0.5"),
        ({"noise": float("nan")}, "noise = nan is outside 0..0.5"),
        ({"tasks": 1001}, "tasks = 1001 is outside 1..1000"),
        ({"first": 5}, "first = 5 is outside 2..4"),
        ({"first": 1}, "first = 1 is outside 2..4"),
    ],
)
def test_a_value_outside_the_range_beside_its_type_is_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        Ranged(**settings)


def test_both_ends_of_a_range_are_allowed() -> None:
    for noise, first in ((0, 2), (0.5, 4)):
        assert Ranged(noise=noise, first=first).first == first


def test_annotations_that_cannot_be_read_break_no_recipe() -> None:
    @dataclass(frozen=True, kw_only=True)
    class Odd(DigitsPermuted):
        unknown: "Nowhere" = 1  # type: ignore[name-defined]  # noqa: F821, UP037

    assert Odd().unknown == 1
    with pytest.raises(ValueError, match="tasks = 0 is outside"):  # what can be read is checked
        Odd(tasks=0)

"""Names of version 0.1: studies and methods that use them still work, and are told once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import pytest

import raycl
from raycl import Resources, Search, oldnames
from raycl.method import Method
from raycl.study.expand import cells_of
from raycl.study.file import read_study
from raycl.study.notelines import lines_of

OLD = """
from raycl import *
from raycl import R
from raycl.method import Method


class Mine(Method):
    fit = {"clip": 7.0}
    presets = {"spg": {"fit.lr": 0.5}}
    reference = True

    def figures(self, task):
        return {"mine": 1.0}


STUDY = Study(
    methods={"mine": {"method": "old:Mine"}},
    benchmarks=["digits_split"],
    search=Search(trials=2, width=2, startup=1),
    resources={"*": R(cpus=1, silence=5)},
)
DESK = STUDY.with_(final=Seeds(1))
"""


def test_an_old_study_is_read_and_told_each_name_once(tmp_path: Path) -> None:
    (tmp_path / "old.py").write_text(OLD)
    oldnames.take_seen()
    study = read_study(tmp_path / "old.py", small=True)
    assert study.search == Search(trials=2, concurrency=2, startup_trials=1)
    assert study.resources == {"*": Resources(cpus=1, stall_minutes=5)}
    cells = cells_of(study)
    kind = cells[0].method
    assert kind.fit_defaults == {"clip": 7.0} and cells[0].settings["fit.clip"].value == 7.0
    assert kind.is_reference and kind.diagnostics is not Method.diagnostics and "figures" not in vars(kind)
    told = [line.partition(";")[0] for line in lines_of(cells) if "is now named" in line]
    assert sorted(told) == [
        "DESK is now named SMALL",
        "Mine.figures is now named diagnostics",
        "Mine.fit is now named fit_defaults",
        "Mine.presets is now named preset_overrides",
        "Mine.reference is now named is_reference",
        "R is now named Resources",
        "Resources(silence=...) is now named stall_minutes",
        "Search(startup=...) is now named startup_trials",
        "Search(width=...) is now named concurrency",
    ]
    assert not [line for line in lines_of(cells_of(study)) if "is now named" in line]


def test_a_name_that_was_freed_may_mean_something_else() -> None:
    class Own(Method):
        mixed = 0.5

        def fit(self) -> float:
            return 1.0

        @dataclass(frozen=True, kw_only=True)
        class Config(Method.Config):
            pass

    assert Own.mixed == 0.5 and callable(Own.fit) and Own.fit_defaults == {} and not Own.mixed_batches


def test_other_names_are_not_there() -> None:
    with pytest.raises(AttributeError, match="no attribute 'Resource'"):
        raycl.Resource  # noqa: B018


def test_new_names_say_nothing() -> None:
    oldnames.take_seen()
    Search(concurrency=2)

    class Own(Method):
        fit_defaults: ClassVar[Mapping[str, Any]] = {"clip": 1.0}

    assert oldnames.take_seen() == [] and Own.fit_defaults == {"clip": 1.0}

"""Keys of what ships with raycl are pinned: a key that changes loses the results that a store has.

`tests/golden/specs.json` holds the canonical specs and the keys. Where one changes on purpose, record it with
``RAYCL_RECORD=1 python -m pytest tests/test_keys.py``, and say in the commit what changed and why.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from raycl import Search, Seeds, Study, registry
from raycl.runs.inputs import masks_for, runs_for
from raycl.specs import key_of
from raycl.study.expand import cells_of
from raycl.study.file import read_study

HERE = Path(__file__).parent
GOLDEN = HERE / "golden" / "specs.json"
STUDIES = HERE.parent / "studies"
FILES = [path for path in sorted(STUDIES.rglob("*.py")) if "STUDY" in path.read_text(encoding="utf-8")]
PLACES = ("npz", "folder")  # a user's own data: keyed by their content


@pytest.fixture(autouse=True)
def _no_data_are_prepared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAYCL_DATA", str(tmp_path))


def spec_of(**changes: Any) -> dict[str, Any]:
    base: dict[str, Any] = {"methods": {"finetune": {}}, "benchmarks": ["digits_split"],
                            "network": "mlp(hidden=16)", "search": None, "final": Seeds(1)}  # fmt: skip
    (cell,) = cells_of(Study(**(base | changes)), check=False)
    spec = cell.spec({}, 1)
    plain: dict[str, Any] = json.loads(json.dumps(spec.to_json()))
    masks = key_of([mask.key for mask in masks_for(spec)])
    return {
        "spec": plain,
        "key": spec.key,
        "masks": masks,
        "runs": {n: r.key for n, r in runs_for(spec).items()},
    }


def method_spec(name: str) -> dict[str, Any]:
    benchmark = "digits_permuted(first=10)" if name == "impresslearn" else "digits_split"
    return spec_of(methods={name: {}}, preset="spg", benchmarks=[benchmark])


def study_keys(path: Path) -> dict[str, str]:
    """The key of each cell, and of its search: a digest of all of a study."""
    found = {}
    for form in (False, True):
        try:
            study = read_study(path, small=form)
        except ValueError:  # most examples have no small form
            continue
        for cell in cells_of(study, check=False):
            spec = cell.spec({}, cell.trial_seed)
            if any(":" in text for text in (spec.method, spec.network, spec.benchmark)):
                continue  # a class of the study's own file, which is keyed by its code
            search = cell.key if isinstance(cell.search, Search) else ""
            found[f"{form} {cell.name}"] = spec.key + search
    return found


PARTS: dict[str, Callable[[], dict[str, Any]]] = {
    "methods": lambda: {name: method_spec(name) for name in registry.method_names()},
    "networks": lambda: {name: spec_of(network=name) for name in registry.network_names()},
    "benchmarks": lambda: {
        name: spec_of(benchmarks=[name]) for name in registry.recipes() if name not in PLACES
    },
    "presets": lambda: {p: spec_of(preset=p) for p in ("spg", "prm", "pmask", "spg+desk", "ksm_initial")},
    "studies": lambda: {path.relative_to(STUDIES).as_posix(): key_of(study_keys(path)) for path in FILES},
}


@pytest.mark.parametrize("part", PARTS)
def test_keys_of_what_ships_with_raycl_stay(part: str) -> None:
    found = json.loads(json.dumps(PARTS[part]()))
    golden = json.loads(GOLDEN.read_text(encoding="utf-8"))
    if os.environ.get("RAYCL_RECORD"):
        golden[part] = found
        GOLDEN.write_text(json.dumps(golden, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    assert found.keys() == golden[part].keys()
    for name, wanted in golden[part].items():
        assert found[name] == wanted, f"{part}: {name}"

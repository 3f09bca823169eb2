"""A study whose fields hold what nobody expects, arrays among it, is told in one line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from raycl import Seeds, Study
from raycl.errors import UserError
from raycl.study.expand import cells_of
from raycl.study.file import read_study


class Rude:
    """Can be neither written, compared nor counted."""

    def __repr__(self) -> str:
        raise RuntimeError("no repr")

    def __eq__(self, other: object) -> bool:
        raise RuntimeError("no comparison")

    def __bool__(self) -> bool:
        raise RuntimeError("neither true nor false")

    __hash__ = None  # type: ignore[assignment]


FIELDS = [
    "methods",
    "benchmarks",
    "network",
    "preset",
    "fit",
    "search",
    "final",
    "orders",
    "protocol",
    "resources",
    "numerics",
    "evaluate",
    "paper",
    "views",
    "sheets",
    "tables",
    "metrics",
    "name",
]
ODD: list[Any] = [np.arange(3), torch.ones(2), Rude(), object(), 1j, b"x", {1, 2}, print, ..., 10**5000]
NAMES = ["array", "tensor", "rude", "object", "complex", "bytes", "set", "function", "ellipsis", "huge"]


def study(**changes: Any) -> Study:
    base: dict[str, Any] = {
        "methods": {"hat": {}},
        "benchmarks": ["digits_split"],
        "network": "mlp(hidden=8)",
        "search": None,
        "final": Seeds(1),
        "file": "mine.py",
    }
    return Study(**(base | changes))


@pytest.mark.parametrize("field", FIELDS)
@pytest.mark.parametrize("value", ODD, ids=NAMES)
def test_in_a_field_of_a_study(field: str, value: Any) -> None:
    with pytest.raises(UserError) as caught:
        cells_of(study(**{field: value}))
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 1000


@pytest.mark.parametrize(
    "key",
    [
        "method",
        "method.lamb",
        "fit.lr",
        "fit.optimiser",
        "fit.milestones",
        "network",
        "preset",
        "search",
        "benchmarks",
        "net.hidden",
    ],
)
@pytest.mark.parametrize("value", ODD, ids=NAMES)
def test_in_a_key_of_a_label(key: str, value: Any) -> None:
    if key == "fit.milestones" and isinstance(value, np.ndarray):
        return  # a list of whole numbers
    with pytest.raises(UserError) as caught:
        cells_of(study(methods={"mine": {"method": "hat", key: value}}))
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 1000


@pytest.mark.parametrize("field", ["paper", "name"])
def test_before_a_study_has_a_name(tmp_path: Path, field: str) -> None:
    file = tmp_path / "mine.py"
    file.write_text(
        "import numpy\nfrom raycl import *\n"
        f"STUDY = Study(methods={{'hat': {{}}}}, benchmarks=['digits_split'], {field}=numpy.arange(3))\n"
    )
    with pytest.raises(UserError, match=field):
        cells_of(read_study(file))

"""Parameter counts of the authors' own networks (golden 09a)."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from raycl import registry
from raycl.method import World
from raycl.networks import Start
from tests.helpers import facts

ROWS = facts.golden("09a_param_counts")["rows"]


@pytest.mark.parametrize(
    "row", ROWS, ids=lambda row: f"{row['input']}-{row['tasks']}x{row['classes_per_task']}"
)
@pytest.mark.parametrize(("method", "column"), [("finetune", "alexnet(sgd,ewc)"), ("ewc", "alexnet(sgd,ewc)"),
                                                ("hat", "hat")])  # fmt: skip
def test_alexnet(row: dict[str, Any], method: str, column: str) -> None:
    net, kind = registry.network("alexnet"), registry.method(method)
    shape, classes = tuple(row["input"]), (row["classes_per_task"],) * row["tasks"]
    with torch.device("meta"):  # shapes are enough
        build = Start(net, net.Config(), shape, classes, seed=0)  # type: ignore[arg-type]
        assert kind(World(shape, classes, build), kind.Config()).count_parameters() == row[column]  # type: ignore[arg-type]

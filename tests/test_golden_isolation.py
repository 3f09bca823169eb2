"""Parameter counts and widths of PathNet and PNN in the authors' own code (golden 09a)."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from raycl import registry
from raycl.method import World
from raycl.networks import Start
from tests.helpers import facts

ROWS = facts.golden("09a_param_counts")["rows"]
each_row = pytest.mark.parametrize(
    "row", ROWS, ids=lambda row: f"{row['input']}-{row['tasks']}x{row['classes_per_task']}"
)


def built(method: str, shape: Any, tasks: int, classes: int, network: str = "alexnet", **config: Any) -> Any:
    """The method without numbers: shapes are enough."""
    net, kind = registry.network(network), registry.method(method)
    every = (classes,) * tasks
    with torch.device("meta"):
        return kind(
            World(shape, every, Start(net, net.Config(), shape, every, seed=0)), kind.Config(**config)
        )


def units(blocks: Any) -> list[int]:
    return [block.units for block in blocks]


@each_row
def test_pathnet(row: dict[str, Any]) -> None:
    pathnet = built("pathnet", tuple(row["input"]), row["tasks"], row["classes_per_task"])
    assert pathnet.count_parameters() == row["pathnet(M=16,N=3,0.258)"]
    for module in range(16):
        assert units(layer[module] for layer in pathnet.layers) == row["pathnet widths"]


@each_row
def test_pnn(row: dict[str, Any]) -> None:
    pnn = built("pnn", tuple(row["input"]), row["tasks"], row["classes_per_task"])
    assert pnn.count_parameters() == row["pnn(1.117)"]
    last = sum(p.numel() for p in pnn.trainable(row["tasks"] - 1))
    assert last == row["pnn_params_trainable_for_last_task"]
    for column in pnn.columns:
        assert units(column) == row["pnn widths per column"]


@pytest.mark.parametrize(
    ("shape", "tasks", "classes", "wanted"),
    [  # SPG section 7.6: C-10, C-20, T-10, T-20, I-100, FC-10, FC-20, FE-10, FE-20
        ((3, 32, 32), 10, 10, 6_990_164),
        ((3, 32, 32), 20, 5, 6_990_164),
        ((3, 32, 32), 10, 20, 7_043_064),
        ((3, 32, 32), 20, 10, 7_043_064),
        ((3, 32, 32), 100, 10, 7_466_264),
        ((3, 32, 32), 10, 2, 6_947_844),
        ((3, 32, 32), 20, 2, 6_958_424),
        ((1, 28, 28), 10, 62, 7_213_020),
        ((1, 28, 28), 20, 62, 7_541_000),
    ],
)
def test_pathnet_on_the_benchmarks_of_spg(shape: Any, tasks: int, classes: int, wanted: int) -> None:
    assert built("pathnet", shape, tasks, classes).count_parameters() == wanted


def test_pathnet_on_two_hidden_layers() -> None:
    pathnet = built("pathnet", (1, 28, 28), 10, 5, "mlp", modules=10)
    assert [units(layer) for layer in pathnet.layers] == [[516] * 10] * 2
    assert pathnet.count_parameters() == 10 * (785 * 516 + 517 * 516) + 10 * 517 * 5


@pytest.mark.parametrize(
    ("tasks", "wanted"),
    [
        (5, [14, 28, 57, 457, 457]),
        (10, [7, 14, 28, 228, 228]),
        (20, [3, 7, 14, 114, 114]),
        (100, [1, 1, 2, 22, 22]),  # the formula gives conv1 no channel
    ],
)
def test_widths_of_a_column(tasks: int, wanted: list[int]) -> None:
    pnn = built("pnn", (3, 32, 32), tasks, 2)
    assert all(units(column) == wanted for column in pnn.columns)

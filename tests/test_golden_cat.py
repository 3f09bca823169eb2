"""Parameter counts of CAT: the authors' own networks (golden 10a) and SPG's Table 10."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from raycl import calls, registry
from raycl.method import World
from raycl.networks import Start
from raycl.networks._attention import Attention
from tests.helpers import facts

ROWS = facts.golden("10a_cat_param_counts")["rows"]
TABLE_10 = [  # input, tasks, classes of each, n_head, printed
    ((3, 32, 32), 10, 2, 3, 38_531_388),
    ((3, 32, 32), 20, 2, 1, 38_906_792),
    ((1, 28, 28), 10, 62, 1, 46_226_660),
    ((1, 28, 28), 20, 62, 4, 55_131_480),
]


@pytest.fixture(autouse=True)
def _nothing_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shapes are enough."""
    monkeypatch.setattr(nn.init, "kaiming_uniform_", lambda tensor, *args, **kwargs: tensor)
    monkeypatch.setattr(nn.init, "uniform_", lambda tensor, *args, **kwargs: tensor)


def cat(network: str, shape: tuple[int, int, int], tasks: int, classes: int, n_head: int) -> Any:
    net, kind = registry.network(network), registry.method("cat")
    config = net.Config(**calls.parse(network, "network").settings(net.Config, "network"))
    with torch.device("meta"):
        build = Start(net, config, shape, (classes,) * tasks, seed=0)
        return kind(World(shape, build.classes, build), kind.Config(n_head=n_head))  # type: ignore[call-arg]


def numbers(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


@pytest.mark.parametrize("cell", TABLE_10, ids=["FC-10", "FC-20", "FE-10", "FE-20"])
def test_table_10_of_spg(cell: tuple[tuple[int, int, int], int, int, int, int]) -> None:
    shape, tasks, classes, n_head, printed = cell
    assert cat("alexnet", shape, tasks, classes, n_head).count_parameters() == printed


def test_other_numbers_of_heads_miss_table_10() -> None:
    for shape, tasks, classes, n_head, printed in TABLE_10:
        other = 3 if n_head != 3 else 1
        assert cat("alexnet", shape, tasks, classes, other).count_parameters() != printed


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row['n_head']}-{row['tasks']}")
def test_attention_block(row: dict[str, Any]) -> None:
    with torch.device("meta"):
        assert numbers(Attention(2048, row["n_head"])) == row["encoder_d2048"]
        for name in ("mlp_cat nhid=2000 input 1x28x28", "mlp_cat nhid=2048 input 3x32x32",
                     "cnn_cat nhid=2000 input 3x32x32"):  # fmt: skip
            width = 2048 if "2048" in name else 2000
            assert numbers(Attention(width, row["n_head"])) == row[name]["kt_encoder"]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row['n_head']}-{row['tasks']}")
@pytest.mark.parametrize(("width", "shape"), [(2000, (1, 28, 28)), (2048, (3, 32, 32))])
def test_two_hidden_layers(row: dict[str, Any], width: int, shape: tuple[int, int, int]) -> None:
    wanted = row[f"mlp_cat nhid={width} input {'x'.join(map(str, shape))}"]
    tasks, classes = row["tasks"], row["classes"]
    method = cat(f"mlp(hidden={width})", shape, tasks, classes, row["n_head"])
    fusion = 2 * width * width + width  # of a pair of features into one; never used, and not in Table 10
    parts = method.parts()
    assert parts["main"] == wanted["mcl"]
    assert parts["transfer"] + fusion == wanted["transfer"]
    assert parts["attention"] == wanted["kt"]
    assert method.count_parameters() + fusion == wanted["total"]
    # What is built is the main network and the attention block with its queries, and a map and another
    # network for the time of a similarity test. Beyond that CAT's code declares:
    heads, embeddings = tasks * classes * (width + 1), tasks * 2 * width
    pairs, maps = tasks * classes * (2 * width + 1), tasks**2 * (classes**2 + classes)
    body = numbers(method.net.body)
    assert method.count_parameters() - numbers(method) == heads + embeddings + (body + heads + pairs + maps)

"""Attention of one learnt query over a few feature vectors of each sample (Vaswani et al., NeurIPS 2017)."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

M = TypeVar("M", bound=nn.Module)


class Attention(nn.Module):
    """An encoder layer whose query is the same for all samples: [batch, items, width] to [batch, width].

    Multi-head attention of inner width heads * floor(width / heads), then two linear layers, a residual
    around each, layer norms before both (the query's and the second's input) and at the end.
    """

    def __init__(self, width: int, heads: int, drop: float = 0.1) -> None:
        super().__init__()
        if not 1 <= heads <= width:
            raise ValueError(f"{heads} heads of attention need as many features, not {width}")
        self.heads, self.drop = heads, drop
        inner = heads * (width // heads)
        self.query, self.key, self.value = (nn.Linear(width, inner, bias=False) for _ in range(3))
        self.out = nn.Linear(inner, width, bias=False)
        self.feed = nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, width))
        self.norms = nn.ModuleList(nn.LayerNorm(width, eps=1e-6) for _ in range(3))

    def forward(self, query: Tensor, items: Tensor) -> Tensor:
        """`query` [width], `items` [batch, items, width]; dropout is on the attention's weights.

        Keys and values are linear and the query is one, so the key's matrix is applied to the query and the
        value's to the weighted mean of the items: its cost does not grow with their number.
        """
        q = self.query(self.norms[0](query)).view(self.heads, -1)  # [heads, inner / heads]
        key, value = (layer.weight.view(self.heads, q.shape[1], -1) for layer in (self.key, self.value))
        scores = items @ torch.einsum("hi,hiw->wh", q, key) / math.sqrt(q.shape[1])  # [batch, items, heads]
        weights = F.dropout(scores.softmax(1), self.drop, self.training)
        means = torch.einsum("bnh,bnw->hbw", weights, items)
        answer = torch.einsum("hbw,hiw->bhi", means, value).flatten(1)  # [batch, inner]
        h = query + self.out(answer)
        h = h + self.feed(self.norms[1](h))
        found: Tensor = self.norms[2](h)
        return found


def initialised_on_cpu(make: Callable[[], M]) -> M:
    """A module with its weights drawn on the CPU, so that they are the same on every device."""
    with torch.device("cpu"):
        module = make()
    return module.to(torch.get_default_device())

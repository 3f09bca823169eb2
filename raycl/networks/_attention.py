"""Attention of a learnt query over several feature vectors per sample (Vaswani et al., NeurIPS 2017)."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TypeVar

import torch
from torch import Tensor, nn

from raycl.networks._dropout import dropout

M = TypeVar("M", bound=nn.Module)


class Attention(nn.Module):
    """Encoder layer whose query is the same for all samples; maps [batch, items, width] to [batch, width].

    It consists of multi-head attention with inner width heads * floor(width / heads), then two linear layers,
    with a residual connection around each of these two parts. Layer norms are applied to the query, to the
    input of the linear layers, and to the output.
    """

    def __init__(self, width: int, heads: int, drop: float = 0.1) -> None:
        super().__init__()
        if not 1 <= heads <= width:
            raise ValueError(
                f"attention with {heads} heads needs at least 1 head and as many features as heads; "
                f"there are {width} features"
            )
        self.heads, self.drop = heads, drop
        inner = heads * (width // heads)
        self.query, self.key, self.value = (nn.Linear(width, inner, bias=False) for _ in range(3))
        self.out = nn.Linear(inner, width, bias=False)
        self.feed = nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, width))
        self.norms = nn.ModuleList(nn.LayerNorm(width, eps=1e-6) for _ in range(3))

    def forward(self, query: Tensor, items: Tensor) -> Tensor:
        """Return the attended features [batch, width]; dropout acts on the attention weights.

        Keys and values are linear in the items and there is a single query. Therefore the key matrix can be
        applied to the query, and the value matrix to the weighted mean of the items, so that the cost of both
        matrices does not grow with the number of items.

        Args:
            query: [width].
            items: [batch, items, width].
        """
        q = self.query(self.norms[0](query)).view(self.heads, -1)  # [heads, inner / heads]
        key, value = (layer.weight.view(self.heads, q.shape[1], -1) for layer in (self.key, self.value))
        scores = items @ torch.einsum("hi,hiw->wh", q, key) / math.sqrt(q.shape[1])  # [batch, items, heads]
        weights = dropout(scores.softmax(1), self.drop, self.training)
        means = torch.einsum("bnh,bnw->hbw", weights, items)
        answer = torch.einsum("hbw,hiw->bhi", means, value).flatten(1)  # [batch, inner]
        h = query + self.out(answer)
        h = h + self.feed(self.norms[1](h))
        found: Tensor = self.norms[2](h)
        return found


def initialised_on_cpu(make: Callable[[], M]) -> M:
    """Return a module whose weights were drawn on the CPU, so that they are the same on every device."""
    with torch.device("cpu"):
        module = make()
    return module.to(torch.get_default_device())

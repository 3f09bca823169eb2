"""Scores of one or many masks as flat tensors, and the effective weights under these masks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from raycl import streams
from raycl.masks import count_kept
from raycl.supermasks.bank import Backbone, BasisMask, packed
from raycl.supermasks.edge_popup import density_of, draw_scores
from raycl.supermasks.rules import Order, Rules
from raycl.supermasks.selection import Selection


class Masks:
    """Masks that an executor trains, as flat tensors over all layers.

    Shapes are written [*lead, ...], where `lead` is empty for a single mask and holds one axis for many.

    Attributes:
        scores: Scores [*lead, weights of all layers], in the order of the backbone.
        effective: Effective weights, of the same shape.
        gradient: Gradient, of the same shape. It is that of the effective weights until `through` turns it
            into that of the scores.
    """

    def __init__(
        self, backbone: Backbone, orders: Sequence[Order], rules: Rules, lead: tuple[int, ...]
    ) -> None:
        self.backbone, self.rules, self.lead = backbone, rules, lead
        self.ends = np.cumsum(backbone.sizes).tolist()
        self.weights = torch.cat([w.detach().reshape(-1) for w in backbone.weights])
        rows = torch.stack([self._drawn(order.score_seed) for order in orders])
        self.scores = rows.view(*lead, -1).to(self.weights.device)
        self.effective, self.gradient, self.scratch = (torch.zeros_like(self.scores) for _ in range(3))
        self.largest: list[Tensor] = []
        self.selections = [
            Selection(
                [count_kept(w.numel(), density_of(w, order.density, rules.density_rule)) for order in orders],
                w.numel(),
                w.device,
            )
            for w in backbone.weights
        ]

    def _drawn(self, seed: int) -> Tensor:
        generator = torch.Generator().manual_seed(streams.seed_of(seed, "init", fit="scores"))
        return torch.cat([draw_scores(w, generator).cpu().view(-1) for w in self.backbone.weights])

    def layers(self, flat: Tensor) -> list[Tensor]:
        """Split a flat tensor into views [*lead, n], one per layer."""
        return list(flat.tensor_split(self.ends[:-1], dim=-1))

    def shaped(self, flat: Tensor) -> list[Tensor]:
        """Split a flat tensor into views [*lead, *shape of the weight], one per layer."""
        parts = zip(self.layers(flat), self.backbone.weights, strict=True)
        return [part.unflatten(-1, w.shape) for part, w in parts]

    def write(self) -> None:
        """Compute the effective weights of the present scores."""
        self.write_factors()
        self.effective.mul_(self.weights)

    def write_factors(self) -> None:
        """Compute the masks themselves, and store them in place of the effective weights."""
        rules, scores, out = self.rules, self.scores, self.effective
        if rules.keeps_all:
            out.fill_(1)
        elif rules.density_rule == "threshold":
            torch.ge(scores, 0, out=out)
        else:
            ranks = torch.abs(scores, out=self.scratch) if rules.score_rank == "abs" else scores
            for selection, a, b in zip(self.selections, self.layers(ranks), self.layers(out), strict=True):
                selection(a.view(-1, selection.n), b.view(-1, selection.n))
        if rules.mask_values == "signed":
            out.mul_(torch.sign(scores, out=self.scratch))
        elif rules.soft:
            sizes = torch.abs(scores, out=self.scratch)
            self.largest = [layer.amax(-1, keepdim=True) for layer in self.layers(sizes)]
            out.mul_(scores if rules.mask_values.startswith("signed") else sizes)
            for layer, largest in zip(self.layers(out), self.largest, strict=True):
                layer.div_(largest)

    def through(self) -> None:
        """Turn the gradient of the effective weights into that of the scores, in place."""
        self.gradient.mul_(self.weights)
        if self.rules.through_abs:
            self.gradient.mul_(torch.sign(self.scores, out=self.scratch))
        if self.rules.soft:
            for layer, largest in zip(self.layers(self.gradient), self.largest, strict=True):
                layer.div_(largest)

    def clip(self, most: float) -> None:
        """Scale the gradient of each mask so that its norm is at most `most`."""
        norm = self.gradient.norm(dim=-1, keepdim=True)
        self.gradient.mul_((most / (norm + 1e-6)).clamp_max(1.0))

    def finished(
        self, statistics: Sequence[Sequence[Tensor]], about: Sequence[dict[str, Any]]
    ) -> list[BasisMask]:
        """Return the stored form of each mask, and add its share of ones to its entry in `about`."""
        self.write_factors()
        made = []
        for row, stats, facts in zip(
            self.effective.view(-1, self.ends[-1]).cpu(), statistics, about, strict=True
        ):
            layers = row.tensor_split(self.ends[:-1])
            values: tuple[NDArray[Any], ...] = ()
            if self.rules.mask_values != "binary":
                kind = torch.int8 if self.rules.mask_values == "signed" else torch.float32
                values = tuple(layer[layer != 0].to(kind).numpy() for layer in layers)
            share = int(row.count_nonzero()) / row.numel()
            running = tuple(t.cpu().to(torch.float32).numpy().copy() for t in stats)
            made.append(BasisMask(packed(layers), values, running, {**facts, "density": share}))
        return made

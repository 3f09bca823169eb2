"""Basis masks and the frozen backbone that they share (ImpressLearn, sections 2 to 4).

A mask is addressed by its content: the key of its `MaskSpec` covers everything that the mask depends on. How
many masks were trained at the same time, and where, is not part of the key.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.func import functional_call

from raycl import streams
from raycl.masks import count_kept, layers_of, pack, unpack, weights_of
from raycl.networks import Network
from raycl.specs import BackboneInit
from raycl.supermasks.edge_popup import fixed_weight


@dataclass(frozen=True)
class Backbone:
    """Frozen random network in which every layer is masked: those of the body, and the first head.

    All tasks share the first head.

    Attributes:
        net: Network, none of whose parameters is trained.
        names: Names of the masked weights, as `functional_call` takes them.
        weights: Masked weights, in the same order.
    """

    net: Network
    names: tuple[str, ...]
    weights: tuple[Tensor, ...]

    @property
    def sizes(self) -> tuple[int, ...]:
        """Number of weights of each masked layer."""
        return tuple(weight.numel() for weight in self.weights)

    def __call__(self, effective: Sequence[Tensor], x: Tensor, task: int = 0) -> Tensor:
        """Return logits computed with `effective` in place of the network's own weights.

        `task` only chooses the batch statistics.
        """
        named = dict(zip(self.names, effective, strict=True))
        logits: Tensor = functional_call(self.net, named, (x, task), tie_weights=False)
        return logits


def backbone_of(net: Network, seed: int, init: BackboneInit) -> Backbone:
    """Freeze `net` at random weights, with zero biases.

    The weights are the same as those that the method SupSup gives to a network of this seed. The current
    random state of PyTorch is not changed.
    """
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        streams.reseed(seed, "method")
        for layer in layers_of(net).values():
            layer.weight.copy_(fixed_weight(layer.weight, init))
            if layer.bias is not None:
                layer.bias.zero_()
    net.requires_grad_(False)
    found = masked_weights(net)
    return Backbone(net, tuple(found), tuple(found.values()))


@dataclass(frozen=True)
class BasisMask:
    """Stored form of a mask.

    Attributes:
        bits: For each layer, which weights are kept, as packed bits in C order.
        values: For each layer, the factors of the kept weights in C order, in float32 (int8 for `signed`);
            empty for binary masks.
        statistics: Running mean and variance of every batch normalisation in the network's order; empty if
            there is none.
        about: Information on its training, as plain JSON.
    """

    bits: tuple[NDArray[np.uint8], ...]
    values: tuple[NDArray[Any], ...] = ()
    statistics: tuple[NDArray[np.float32], ...] = ()
    about: Mapping[str, Any] = field(default_factory=dict)

    def tensors(self, weights: Sequence[Tensor]) -> list[Tensor]:
        """Return the mask of each layer, with the shape, dtype and device of its weight."""
        masks = [unpack(bits, w.shape).to(w) for bits, w in zip(self.bits, weights, strict=True)]
        for mask, values in zip(masks, self.values, strict=False):
            mask[mask != 0] = torch.from_numpy(values).to(mask)
        return masks


def masked_weights(net: Network) -> dict[str, Tensor]:
    """Return the masked weights by name: those of the body and that of the first head."""
    found = weights_of(net)
    body = {name: weight for name, weight in found.items() if not name.startswith("heads.")}
    return body | {"heads.0.weight": found["heads.0.weight"]}


def random_mask(sizes: Sequence[int], density: float, seed: int) -> BasisMask:
    """Return a mask with as many ones per layer as a trained mask has, at places drawn at random."""
    draw = np.random.Generator(np.random.PCG64(streams.seed_of(seed, "init", fit="random mask")))
    bits = []
    for n in sizes:
        chosen = np.zeros(n, bool)
        chosen[draw.permutation(n)[: count_kept(n, density)]] = True
        bits.append(np.packbits(chosen))
    return BasisMask(tuple(bits))


def packed(masks: Sequence[Tensor]) -> tuple[NDArray[np.uint8], ...]:
    """Return packed bits that mark the entries that are not zero."""
    return tuple(pack(mask != 0) for mask in masks)

"""A bank of basis masks: the backbone they share, what one mask depends on, and what is kept of it.

ImpressLearn, sections 2 to 4. A mask is addressed by its content: the key of its `MaskSpec` says all that
it depends on, and neither how many were trained beside it nor where.
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
    """A frozen random network, of which every layer is masked: the body, and the first head for all tasks.

    Attributes:
        net: on some device, nothing in it is trained.
        names: of the masked weights, as `functional_call` knows them.
        weights: in the same order.
    """

    net: Network
    names: tuple[str, ...]
    weights: tuple[Tensor, ...]

    @property
    def sizes(self) -> tuple[int, ...]:
        """Weights of each masked layer."""
        return tuple(weight.numel() for weight in self.weights)

    def __call__(self, effective: Sequence[Tensor], x: Tensor, task: int = 0) -> Tensor:
        """Logits with these weights instead of its own; `task` chooses the batch statistics alone."""
        named = dict(zip(self.names, effective, strict=True))
        logits: Tensor = functional_call(self.net, named, (x, task), tie_weights=False)
        return logits


def backbone_of(net: Network, seed: int, init: BackboneInit) -> Backbone:
    """Freeze `net` at fixed random weights, biases zero; draws nothing from torch's current stream.

    The weights are those that the SupSup method gives a network of this seed.
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
    """What is kept of a trained mask.

    Attributes:
        bits: which weights are kept, a layer each, packed in C order.
        values: factors of the kept weights, layer by layer in C order, float32 (int8 for `signed`); empty for
            binary masks.
        statistics: running mean and variance of every batch normalisation in the network's order; empty
            where there is none.
        about: figures of its training, plain JSON.
    """

    bits: tuple[NDArray[np.uint8], ...]
    values: tuple[NDArray[Any], ...] = ()
    statistics: tuple[NDArray[np.float32], ...] = ()
    about: Mapping[str, Any] = field(default_factory=dict)

    def tensors(self, weights: Sequence[Tensor]) -> list[Tensor]:
        """The mask of each layer in the shape, type and place of its weight."""
        masks = [unpack(bits, w.shape).to(w) for bits, w in zip(self.bits, weights, strict=True)]
        for mask, values in zip(masks, self.values, strict=False):
            mask[mask != 0] = torch.from_numpy(values).to(mask)
        return masks


def masked_weights(net: Network) -> dict[str, Tensor]:
    """Weights under a mask, by name: the body's, and the first head's, which all tasks share."""
    found = weights_of(net)
    body = {name: weight for name, weight in found.items() if not name.startswith("heads.")}
    return body | {"heads.0.weight": found["heads.0.weight"]}


def random_mask(sizes: Sequence[int], density: float, seed: int) -> BasisMask:
    """Exactly as many ones as a trained mask has, in places drawn layer by layer without replacement."""
    draw = np.random.Generator(np.random.PCG64(streams.seed_of(seed, "init", fit="random mask")))
    bits = []
    for n in sizes:
        chosen = np.zeros(n, bool)
        chosen[draw.permutation(n)[: count_kept(n, density)]] = True
        bits.append(np.packbits(chosen))
    return BasisMask(tuple(bits))


def packed(masks: Sequence[Tensor]) -> tuple[NDArray[np.uint8], ...]:
    """Bits of the entries that are not zero."""
    return tuple(pack(mask != 0) for mask in masks)

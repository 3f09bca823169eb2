"""A bank of basis masks: the backbone they share, what one mask depends on, and what is kept of it.

ImpressLearn, sections 2 to 4. A mask is addressed by its content: the key of its `MaskSpec` says all that
it depends on, and neither how many were trained beside it nor where.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.func import functional_call

from raycl import streams
from raycl.masks import kept, layers_of, pack, unpack, weights_of
from raycl.networks import Network
from raycl.plainfiles import Unfit, archive, check_plain, mapping, only, read_archive, whole
from raycl.supermasks.edge_popup import Backbone as Init
from raycl.supermasks.edge_popup import Values, fixed_weight

FORMAT = 2  # of a mask's file; the first has no digest
PARTS = ("bits", "values", "statistics")  # of a `BasisMask`, an array a layer each


class DamagedMask(ValueError):
    """A mask's file that cannot be used: truncated, garbled, or of another mask."""

    key = ""


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


def backbone_of(net: Network, seed: int, init: Init) -> Backbone:
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


@dataclass(frozen=True, kw_only=True)
class MaskSpec:
    """All that one basis mask depends on.

    Attributes:
        network, benchmark: as a study writes them.
        task: index within the benchmark; its training images are what the scores are trained on.
        density: share of ones in each layer.
        density_rule, score_rank, mask_values: as fields of the `supsup` method.
        backbone_seed, backbone_init: of the frozen weights.
        score_seed, order_seed: of the initial scores, and of the order of the data and its augmentation.
        trained: False for random positions, which are drawn from `score_seed`.
        fit: fields of `Fit.Config` that differ from their defaults; empty for a mask that is not trained.
        numerics, identity, versions, code, home: as of a `RunSpec`.
    """

    network: str
    benchmark: str
    task: int
    density: float
    density_rule: Literal["uniform", "er", "threshold"] = "uniform"
    score_rank: Literal["abs", "raw"] = "abs"
    mask_values: Values = "binary"
    backbone_seed: int = 1
    backbone_init: Init = "kaiming_normal"
    score_seed: int = 0
    order_seed: int = 0
    trained: bool = True
    fit: Mapping[str, Any] = field(default_factory=dict)
    numerics: Literal["strict", "fast"] = "strict"
    identity: Mapping[str, Any] = field(default_factory=dict)
    versions: Mapping[str, int] = field(default_factory=dict)
    code: Mapping[str, str] = field(default_factory=dict)
    home: Path | None = field(default=None, repr=False, compare=False)

    def to_json(self) -> dict[str, Any]:
        """Plain values; what equals its default is left out."""
        plain: dict[str, Any] = {"kind": "mask"}
        for name, entry in type(self).__dataclass_fields__.items():
            value = getattr(self, name)
            value = dict(value) if isinstance(value, Mapping) else value
            if name != "home" and value != entry.default and value != {}:
                plain[name] = value
        return plain

    @classmethod
    def from_json(cls, plain: Mapping[str, Any], home: Path | None = None) -> MaskSpec:
        """The inverse of `to_json`."""
        return cls(**{name: value for name, value in plain.items() if name != "kind"}, home=home)

    @functools.cached_property
    def key(self) -> str:
        """64 hexadecimal digits."""
        from raycl.spec import key_of

        return key_of(self.to_json())

    def check_code(self) -> None:
        """See that a user's own network and benchmark are those that the key stands for.

        Raises:
            UserError: a file of the user's has changed since the key was made.
        """
        from raycl import names

        names.check_code(self.code, self.home, {"network": self.network, "benchmark": self.benchmark})


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


def basis_of(specs: Sequence[MaskSpec], net: Network, find: Callable[[str], Path]) -> list[BasisMask]:
    """The masks that these specs mean: drawn, or read from the files that `find` names by key.

    Raises:
        DamagedMask: a file is torn or is not what its name says; its `key` says which.
        FileNotFoundError: a mask is not there.
    """
    sizes = [weight.numel() for weight in masked_weights(net).values()]
    found = []
    for spec in specs:
        if not spec.trained:
            found.append(random_mask(sizes, spec.density, spec.score_seed))
            continue
        try:
            found.append(from_file(find(spec.key), spec, sizes))
        except DamagedMask as error:
            error.key = spec.key
            raise
    return found


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
        chosen[draw.permutation(n)[: kept(n, density)]] = True
        bits.append(np.packbits(chosen))
    return BasisMask(tuple(bits))


def packed(masks: Sequence[Tensor]) -> tuple[NDArray[np.uint8], ...]:
    """Bits of the entries that are not zero."""
    return tuple(pack(mask != 0) for mask in masks)


def to_bytes(mask: BasisMask, spec: MaskSpec) -> bytes:
    """A mask as a file: an .npz archive with its spec beside the bits, and the digest of all of it."""
    arrays = {f"{name}{i}": array for name in PARTS for i, array in enumerate(getattr(mask, name))}
    return archive({"format": FORMAT, "spec": spec.to_json(), "about": dict(mask.about)}, arrays)


def from_file(path: Path, spec: MaskSpec, sizes: Sequence[int] | None = None) -> BasisMask:
    """A mask from its file.

    Args:
        sizes: weights of each layer of the backbone it is wanted for.

    Raises:
        DamagedMask: the file is truncated or garbled, was changed, or is of another mask or backbone.
        FileNotFoundError: there is none.
    """
    try:
        head, arrays = read_archive(path, sealed_from=2)
        mask = _checked(head, arrays, spec)
    except FileNotFoundError:
        raise
    except (OSError, Unfit) as error:
        raise DamagedMask(f"mask {path} is damaged ({error})") from None
    if sizes is None:
        return mask
    if [(n + 7) // 8 for n in sizes] != [len(layer) for layer in mask.bits]:
        raise DamagedMask(
            f"mask {path} is of another backbone: {len(mask.bits)} layers, wanted {list(sizes)}"
        )
    if any(np.unpackbits(bits)[n:].any() for bits, n in zip(mask.bits, sizes, strict=True)):
        raise DamagedMask(f"mask {path} is damaged (a layer has more ones than weights)")
    return mask


def _checked(head: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]], spec: MaskSpec) -> BasisMask:
    """The mask that an archive holds.

    Raises:
        Unfit: it is another, or holds what no mask does.
    """
    only(head, ("format", "spec", "about", *(("arrays", "digest") if "digest" in head else ())), "its head")
    if whole(head["format"], "format") not in (1, FORMAT):
        raise Unfit("another format")
    check_plain(mapping(head["about"], "about"), "about")
    if head["spec"] != json.loads(json.dumps(spec.to_json())):
        raise Unfit("it is not the one that its name says")
    counts = {name: sum(member.rstrip("0123456789") == name for member in arrays) for name in PARTS}
    only(arrays, [f"{name}{i}" for name in PARTS for i in range(counts[name])], "it")
    parts = {name: tuple(arrays[f"{name}{i}"] for i in range(counts[name])) for name in PARTS}
    factor = np.int8 if spec.mask_values == "signed" else np.float32
    for name, kind in (("bits", np.uint8), ("values", factor), ("statistics", np.float32)):
        for i, array in enumerate(parts[name]):
            if array.dtype != kind or array.ndim != 1 or not np.isfinite(array).all():
                raise Unfit(f"{name}{i} is no vector of finite {np.dtype(kind)}")
    ones = [int(np.unpackbits(bits).sum()) for bits in parts["bits"]]
    if [len(values) for values in parts["values"]] != (ones if spec.mask_values != "binary" else []):
        raise Unfit("its values are not as many as its ones")
    return BasisMask(**parts, about=head["about"])
